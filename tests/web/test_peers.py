"""Each language opens what the other has sealed, signed and written."""

import json
import secrets
from collections.abc import Iterator

import msgspec
import pytest

from silo.crypto import _hpke, channel, labels
from silo.crypto.bags import BagPlace
from silo.crypto.channel import BODY, END, HEAD, Header, Seen, TransportKey, part
from silo.crypto.directory import SignedEntry, read_entry
from silo.crypto.encoding import b32, b64, unb64
from silo.crypto.keyfile import read_admin_key, write_admin_key
from silo.crypto.keyring import first_keyring, verify_chain
from silo.crypto.keys import AccountKey, AdminKey, Recipient, Signer, check_vouch, fingerprint, recipient_of, verify
from silo.crypto.locks import (
    Lock,
    SignedManifest,
    device_secret,
    lock_salt,
    prf_secret,
    read_manifest,
    recovery_secret,
    stretch,
)
from silo.crypto.opening import Opener, open_sealed
from silo.crypto.rotation import Resealed, Rotation, check_next, read_rotation
from silo.crypto.sealing import TurnPlace, check_turn
from silo.crypto.unlocking import open_lock
from silo.errors import SiloError
from tests.node import Peer

SILO, USER, THREAD, TURN, DEVICE = (secrets.token_bytes(16) for _ in range(5))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with Peer() as running:
        yield running


def test_both_derive_the_same_key(peer: Peer):
    for _ in range(20):
        seed = secrets.token_bytes(32)
        assert unb64(peer.ask(do="public", seed=seed)) == recipient_of(seed).public


@pytest.mark.parametrize("size", [0, 1, 32, 255, 4096, 100_000])
def test_both_seal_for_each_other(peer: Peer, size: int):
    seed, plaintext, field = secrets.token_bytes(32), secrets.token_bytes(size), secrets.token_bytes(32)
    to = recipient_of(seed)
    theirs = unb64(peer.ask(do="seal", public=to.public, plaintext=plaintext, label=labels.RECORD_WRAP, field=field))
    assert len(theirs) == size + _hpke.OVERHEAD
    assert open_sealed(_hpke.PrivateKey(seed), theirs, labels.RECORD_WRAP, field) == plaintext
    with pytest.raises(SiloError):
        open_sealed(_hpke.PrivateKey(seed), theirs, labels.DOOR_HEADER, field)
    ours = to.seal(plaintext, labels.RECORD_WRAP, field)
    asked = {"do": "open", "seed": seed, "sealed": ours, "field": field}
    assert peer.ask(**asked, label=labels.RECORD_WRAP) == b64(plaintext)
    assert peer.ask(**asked, label=labels.DOOR_HEADER) == {"refused": "no_match"}


@pytest.mark.parametrize("size", [0, 1, 300, 70_000])
@pytest.mark.parametrize("signed", [True, False])
def test_the_silo_opens_their_request_and_they_its_answer(peer: Peer, size: int, signed: bool):
    identity, device = Signer(), Signer()
    key = TransportKey(SILO, fingerprint(identity.public), 0, 1)
    account, content, digest = secrets.token_bytes(32), secrets.token_bytes(size), b32(secrets.token_bytes(32))
    asked = peer.ask(
        do="request",
        name="one",
        silo=SILO,
        identity=fingerprint(identity.public),
        public=key.destination.public,
        device=DEVICE if signed else "",
        seed=device.seed,
        time="1767225600000",
        account=account,
        hash=digest,
        content=content,
    )
    sealed = unb64(asked["bytes"])
    opened = key.open_header(sealed[: channel.PREFIX_SIZE])
    opened.check_signature(device.public if signed else None)
    assert opened.header == Header(
        id=asked["id"],
        time=1767225600000,
        method="POST",
        path="/chat",
        request=opened.header.request,
        reply=opened.header.reply,
        headers={"accept": "text/plain"},
        account=b32(account),
        keyring=Seen(at=7, hash=digest),
        head=None,
    )
    body = opened.body(1 << 24)
    body.push(sealed[channel.PREFIX_SIZE :])
    assert body.finish() == content

    parts = [part(HEAD, b"{}"), part(BODY, content), part(END, b"{}")]
    answered = opened.reply()
    assert peer.ask(do="reply", name="one", bytes=answered.whole(b"".join(parts))) == [b64(one) for one in parts]


def test_both_sign_alike(peer: Peer):
    signer, field = Signer(), secrets.token_bytes(99)
    theirs = unb64(peer.ask(do="sign", seed=signer.seed, label=labels.TURN, field=field))
    # Ed25519 draws nothing: two signatures of one text are one.
    assert theirs == signer.sign(labels.TURN, field)
    verify(signer.public, theirs, labels.TURN, field)


def test_their_turn_is_one(peer: Peer):
    device, text, parent = Signer(), '{"é":"🐦"}', secrets.token_bytes(32)
    asked = {"silo": SILO, "user": USER, "thread": THREAD, "turn": TURN, "parent": b32(parent), "text": text}
    theirs = unb64(peer.ask(do="turn", seed=device.seed, **asked))
    check_turn(device.public, theirs, TurnPlace(SILO, USER, THREAD, TURN, parent), text.encode())


def test_their_tombstone_is_one(peer: Peer):
    device, statement = Signer(), secrets.token_bytes(250)
    theirs = unb64(peer.ask(do="tombstone", seed=device.seed, statement=statement))
    verify(device.public, theirs, labels.TOMBSTONE, statement)


def test_their_bag_opens(peer: Peer):
    seed, entry, one, two = (secrets.token_bytes(32) for _ in range(4))
    to = Recipient(recipient_of(seed).public)
    asked = {"silo": SILO, "user": USER, "thread": THREAD, "entry": entry, "one": one, "two": two}
    theirs = unb64(peer.ask(do="bag", public=to.public, **asked))
    assert Opener(seed).open_bag(theirs, BagPlace(SILO, USER, THREAD, 3, 9, entry)) == {4: one, 9: two}


@pytest.mark.parametrize("passphrase", [None, "a pelican’s ﬁsh"])
def test_both_read_each_others_key_files(peer: Peer, passphrase: str | None):
    key = AdminKey()
    said = {} if passphrase is None else {"passphrase": passphrase}
    theirs = peer.ask(do="write-key", seed=key.seed, comment="for  somebody\n", **said)
    assert read_admin_key(theirs, passphrase).seed == key.seed
    ours = write_admin_key(key, "for somebody", passphrase)
    assert theirs.splitlines()[:3] == ours.splitlines()[:3]
    assert unb64(peer.ask(do="read-key", text=ours, **said)) == key.seed


def test_their_account_opens_and_rotates(peer: Peer):
    old, new, device, secret, genesis = AccountKey(), AccountKey(), Signer(), secrets.token_bytes(32), bytes(range(32))
    made = peer.ask(
        do="account",
        silo=SILO,
        user=USER,
        genesis=genesis,
        device=DEVICE,
        secret=secret,
        seed=device.seed,
        old=old.seed,
        next=new.seed,
        password="a pelican’s ﬁsh",
    )
    given = [msgspec.convert(one, Lock, strict=True) for one in made["locks"]]
    assert [lock.kind for lock in given] == ["password", "recovery", "prf", "device"]
    keys = [
        stretch("a pelican’s ﬁsh", lock_salt(given[0]), SILO, genesis),
        recovery_secret(secret, SILO, genesis),
        prf_secret(secret, SILO, genesis),
        device_secret(secret),
    ]
    for lock, key in zip(given, keys, strict=True):
        opened = open_lock(lock, key, SILO, genesis, USER, accepted=old.fingerprint)
        assert [one.seed for one in opened.keys] == [old.seed]
    before = read_manifest(msgspec.convert(made["manifest"], SignedManifest, strict=True), old, SILO, USER, 1)
    assert [one.id for one in before.locks] == [lock.id for lock in given]

    rotation = msgspec.convert(made["rotation"], Rotation, strict=True)
    rotated, enrolled = read_rotation(rotation, SILO, USER, old.signer.public)
    assert (enrolled.device, rotated.new, rotated.time) == (DEVICE, new.fingerprint, 6)
    resealed = [msgspec.convert(one, Resealed, strict=True) for one in made["after"]["locks"]]
    kept = {lock.id: lock for lock in given}
    after = [msgspec.structs.replace(kept[one.id], sealed=one.sealed) for one in resealed]
    manifest = read_manifest(msgspec.convert(made["after"]["manifest"], SignedManifest, strict=True), new, SILO, USER)
    check_next(rotated, before, manifest)
    assert [lock.kind for lock in after] == ["password", "recovery", "device"]
    for lock, key in zip(after, [keys[0], keys[1], keys[3]], strict=True):
        opened = open_lock(lock, key, SILO, genesis, USER, [rotation], old.fingerprint)
        assert ([one.seed for one in opened.keys], opened.manifest) == ([new.seed, old.seed], 2)

    assert [one["revoked"] for one in made["anew"]] == [None, 9, 0]
    for one in made["anew"]:
        vouch, said, signed = (unb64(one["enrolment"][name]) for name in ("vouch", "statement", "signature"))
        check_vouch(new.signer.public, new.fingerprint, vouch, said, signed, one["revoked"])
    rotations = json.dumps([made["rotation"]])
    asked = {"rotations": rotations, "silo": SILO, "user": USER, "account": old.fingerprint}
    assert peer.ask(do="follow", **asked, sign=old.signer.public) == [b64(new.fingerprint), b64(new.signer.public)]
    assert peer.ask(do="follow", **asked, sign=new.signer.public) == {"refused": "forged"}


def test_their_directory_entry_is_one(peer: Peer):
    admin, account = AdminKey(), AccountKey()
    keyring = verify_chain([first_keyring(admin, "admin", SILO, bytes(32), 5)], SILO, admin.public.fingerprint)
    asked = {"silo": SILO, "user": USER, "name": "Zoë", "account": account.fingerprint, "sign": account.signer.public}
    theirs = msgspec.convert(peer.ask(do="entry", seed=admin.seed, **asked), SignedEntry, strict=True)
    entry = read_entry(theirs, keyring)
    assert (entry.user, entry.name, entry.time) == (USER, "Zoë", 7)
    assert (entry.account, entry.sign) == (account.fingerprint, account.signer.public)
