"""Runs every file of tests/vectors against silo.crypto (tests/vectors/README.md says what the fields mean)."""

import hashlib
import importlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from silo.crypto import _hpke, channel, labels, locks
from silo.crypto.bags import BagPlace
from silo.crypto.channel import ReplyOpener, Seen, part, read_keys
from silo.crypto.directory import SignedEntry, newest, read_entry
from silo.crypto.encoding import Blob, Hash, Id, b32, hash_bytes, id_bytes, padme, parse_json, read_json, u64, unb64
from silo.crypto.frames import ReplyFrames, WholeOpener
from silo.crypto.keyfile import read_admin_key
from silo.crypto.keyring import Keyring, SignedKeyring, verify_chain, verify_keyring
from silo.crypto.keys import (
    AccountKey,
    AdminKey,
    Recipient,
    check_vouch,
    derive,
    fingerprint,
    read_enrolment,
    recipient_of,
    setup_bearer,
    setup_hash,
    spoken,
    verify,
)
from silo.crypto.labels import digest, pack, unpack
from silo.crypto.locks import (
    Lock,
    LockSecret,
    SignedManifest,
    device_secret,
    lock_salt,
    parse_manifest,
    prf_secret,
    read_manifest,
    recovery_secret,
)
from silo.crypto.opening import (
    Envelope,
    Log,
    Opener,
    check_receipt,
    check_recipients,
    open_core,
    open_epochs,
    open_record,
    open_sealed,
    open_with_key,
    read_place,
)
from silo.crypto.rotation import Rotation, check_next, read_rotation
from silo.crypto.sealing import TurnPlace, check_turn, core_hash, frame_key, head_hash
from silo.crypto.tombstones import Erased, check_deletion, check_tombstone, tombstone_hash
from silo.crypto.unlocking import open_lock, walk_back
from silo.errors import SiloError

VECTORS = Path(__file__).parents[2] / "vectors"

CLASSES = {"success", "no match", "header failure", "payload failure", "truncated", "forged", "stale", "replay"}
"""SPEC 10."""
OTHERS = {"refused", "cannot open", "bad version", "too large", "wrong silo", "bad reply", "bad key file"}
OTHERS |= {"wrong passphrase", "bad password"}
"""What the door, its client and key files say, and `refused` where only the place a text stands in has a verdict."""


def load(name: str) -> Any:
    """A module that stands beside the vectors and is no part of the tests' own tree."""
    sys.path.insert(0, str(VECTORS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(VECTORS))


form = load("form")
Vector = Any
FILES = sorted(VECTORS.glob("*.txt"))


@cache
def vectors() -> dict[str, Vector]:
    return {path.stem: form.read(path) for path in FILES}


def same(v: Vector, key: str, *found: bytes | str | int) -> None:
    """What a reader found stands in the file too, if the file says anything of it."""
    if key in v:
        assert v.texts(key) == [form.spell(one) for one in found], key


class Released:
    """Collects what a reader lets out."""

    def __init__(self) -> None:
        self.data = b""


Runner = Callable[[Vector, Released], None]
RUNNERS: dict[str, Runner] = {}


def runs(what: str) -> Callable[[Runner], Runner]:
    def add(runner: Runner) -> Runner:
        RUNNERS[what] = runner
        return runner

    return add


@contextmanager
def refusing() -> Iterator[None]:
    # A building block says no without a class: its caller knows what that means where it stands.
    try:
        yield
    except ValueError as error:
        raise Refused from error


class Refused(Exception):
    """Stands for `refused`."""


# --- building blocks ---


@runs("pack")
def _pack(v: Vector, _: Released) -> None:
    with refusing():
        fields = unpack(v.text("label"), v.data("bytes"), v.number("count"))
    same(v, "field", *fields)
    same(v, "digest", digest(v.text("label"), *fields))
    assert pack(v.text("label"), *fields) == v.data("bytes")


@runs("spelling")
def _spelling(v: Vector, _: Released) -> None:
    readers: dict[str, tuple[Callable[[str], bytes], Any]] = {
        "id": (id_bytes, Id),
        "hash": (hash_bytes, Hash),
        "blob": (unb64, Blob),
    }
    decode, spelled = readers[v.text("kind")]
    text = v.string("string")
    # A field that nobody decodes is held to the same spelling.
    try:
        msgspec.convert(text, spelled, strict=True)
        fits = True
    except msgspec.ValidationError:
        fits = False
    with refusing():
        try:
            data = decode(text)
        except ValueError:
            assert not fits
            raise
    assert fits
    same(v, "bytes", data)


@runs("json")
def _json(v: Vector, _: Released) -> None:
    with refusing():
        if v.text("shape") == "seen":
            read_json(v.data("bytes"), Seen)
        else:
            parse_json(v.data("bytes"))


@runs("padme")
def _padme(v: Vector, _: Released) -> None:
    same(v, "padded", " ".join(str(padme(int(size))) for size in v.text("sizes").split()))


@runs("derive")
def _derive(v: Vector, _: Released) -> None:
    salt = v.data("salt") if "salt" in v else b""
    same(v, "derived", derive(v.data("secret"), v.text("label"), *v.datas("field"), salt=salt))


@runs("setup")
def _setup(v: Vector, _: Released) -> None:
    same(v, "bearer", setup_bearer(v.data("secret")))
    same(v, "hash", setup_hash(v.data("bearer")))


@runs("fingerprint")
def _fingerprint(v: Vector, _: Released) -> None:
    sign, seal = v.data("sign"), v.data("seal")
    admin = digest(labels.ADMIN, sign, seal)
    same(v, "sign-fingerprint", fingerprint(sign))
    same(v, "seal-fingerprint", fingerprint(seal))
    same(v, "admin-fingerprint", admin)
    same(v, "device-fingerprint", digest(labels.DEVICE, sign, seal))
    same(v, "spoken", spoken(admin))
    same(v, "key-id", b32(fingerprint(seal)[:8]))


@runs("admin")
def _admin(v: Vector, _: Released) -> None:
    key = AdminKey(v.data("seed"))
    same(v, "sign-seed", key.signer.seed)
    same(v, "seal-seed", key.seal_seed)
    same(v, "sign", key.public.sign)
    same(v, "seal", key.public.seal)


@runs("xwing-seed")
def _xwing_seed(v: Vector, _: Released) -> None:
    seed = v.data("seed")
    if recipient_of(seed).public != v.data("public"):
        raise Refused
    expanded = hashlib.shake_256(seed).digest(96)
    same(v, "mlkem-seed", expanded[:64])
    same(v, "x25519-private", expanded[64:])
    same(v, "fingerprint", recipient_of(seed).fingerprint)


@runs("xwing-public")
def _xwing_public(v: Vector, _: Released) -> None:
    with refusing():
        Recipient(v.data("public"))


@runs("hpke")
def _hpke_open(v: Vector, _: Released) -> None:
    key = _hpke.PrivateKey(v.data("seed"))
    same(v, "plaintext", open_sealed(key, v.data("sealed"), v.text("label"), *v.datas("field")))


@runs("signature")
def _signature(v: Vector, _: Released) -> None:
    verify(v.data("public"), v.data("signature"), v.text("label"), *v.datas("field"))


# --- streams: whatever pieces the bytes come in, the verdict and what is released are the same ---


def _pieces(data: bytes) -> Iterator[list[bytes]]:
    for size in (len(data) or 1, 277, max(1, len(data) // 4000)):
        yield [data[at : at + size] for at in range(0, len(data), size)]


def _stream(data: bytes, fresh: Callable[[], Any], out: Released, spell: Callable[[Any], bytes]) -> Any:
    """Every way of cutting `data`, through an opener of its own; the last one's verdict stands."""
    verdicts: set[tuple[str, bytes]] = set()
    opener: Any = None
    for pieces in _pieces(data):
        opener = fresh()
        out.data, verdict = b"", "success"
        try:
            for piece in pieces:
                out.data += b"".join(map(spell, opener.push(piece)))
            ended = opener.finish()
            out.data += ended or b""
        except SiloError as error:
            verdict = error.code
            # A fault stays: nothing comes out later, and the verdict does not soften.
            with pytest.raises(SiloError) as again:
                opener.finish()
            assert again.value.code == verdict
        verdicts.add((verdict, out.data))
    assert len(verdicts) == 1
    ((verdict, _),) = verdicts
    if verdict != "success":
        raise SiloError(verdict)
    return opener


@runs("frames-reply")
def _frames_reply(v: Vector, out: Released) -> None:
    _stream(v.data("stream"), lambda: ReplyFrames(v.data("key"), v.data("context")), out, bytes)
    assert all(plain[4:].startswith(word) for plain, word in zip(v.datas("plaintext"), v.datas("payload"), strict=True))


@runs("frames-whole")
def _frames_whole(v: Vector, out: Released) -> None:
    opener = _stream(v.data("stream"), lambda: WholeOpener(v.data("key"), v.data("context"), 1 << 24), out, bytes)
    same(v, "content", out.data)
    same(v, "plaintext", bytes(opener._plain))


# --- the door ---


def _transport(v: Vector) -> channel.TransportKey:
    key = channel.TransportKey(v.data("silo"), v.data("identity"), 0, 0)
    # A transport key takes no seed; the vector's is put in its place.
    key._key = _hpke.PrivateKey(v.data("transport-seed"))
    key.destination = channel.Destination(v.data("silo"), v.data("identity"), key._key.public)
    key._label = pack(labels.DOOR_HEADER, *channel._context(v.data("silo"), v.data("identity"), key._key.public))
    return key


@runs("request")
def _request(v: Vector, out: Released) -> None:
    data = v.data("bytes")
    prefix, body = data[: channel.PREFIX_SIZE], data[channel.PREFIX_SIZE :]
    opened = _transport(v).open_header(prefix)
    opened.check_signature(v.data("device-public") if "device-public" in v else None)
    limit = v.number("limit") if "limit" in v else 1 << 24
    _stream(body, lambda: opened.body(limit), out, bytes)
    key = derive(hash_bytes(opened.header.request), labels.DOOR_REQUEST, salt=opened._transcript)
    same(v, "sealed-header-key", prefix[1:1169])
    same(v, "sealed-header", prefix[1169:])
    same(v, "header-key", _transport(v)._key.open(prefix[1:1169], _transport(v)._label))
    same(v, "device", opened.device)
    same(v, "signature", opened.signature)
    same(v, "json", opened._text.decode())
    same(v, "transcript", opened._transcript)
    same(v, "request-key", key)
    same(v, "content", out.data)
    same(v, "frames", body)


@runs("reply")
def _reply(v: Vector, out: Released) -> None:
    secret, transcript, data = v.data("secret"), v.data("transcript"), v.data("bytes")
    _stream(data, lambda: ReplyOpener(secret, transcript), out, lambda one: part(one.kind, one.data))
    same(v, "salt", data[:32])
    same(v, "reply-key", derive(secret, labels.DOOR_REPLY, salt=transcript + data[:32]))
    if "part" in v:
        assert b"".join(v.datas("part")) == out.data


@runs("keys")
def _keys(v: Vector, _: Released) -> None:
    nonce = v.text("nonce") if "nonce" in v else None
    clock = v.number("clock") if "clock" in v else None
    keys = read_keys(v.text("answer").encode(), v.data("silo"), v.data("identity"), nonce, clock)
    same(v, "now", keys.now)
    same(v, "key-id", *(key.key_id for key in keys.destinations))
    same(v, "statement-json", msgspec.json.decode(v.text("answer"))["statement"])


# --- what is kept ---


@runs("enrolment")
def _enrolment(v: Vector, _: Released) -> None:
    read = read_enrolment(v.data("statement"), v.data("signature"))
    same(v, "silo", read.silo)
    same(v, "user", read.user)
    same(v, "device", read.device)
    same(v, "sign", read.sign)
    same(v, "seal", read.seal)
    same(v, "time", read.time)
    same(v, "fingerprint", read.fingerprint)


@runs("vouch")
def _vouch(v: Vector, _: Released) -> None:
    statement, signature = v.data("statement"), v.data("signature")
    read = read_enrolment(statement, signature)
    revoked = v.number("revoked") if "revoked" in v else None
    check_vouch(v.data("sign"), v.data("account"), v.data("vouch"), statement, signature, revoked)
    same(v, "device", read.device)
    same(v, "device-public", read.sign)


@runs("core")
def _core(v: Vector, out: Released) -> None:
    core, key = v.data("core"), v.data("record-key")
    out.data = open_core(core, key)
    place, head = read_place(core), head_hash(core[:197])
    for name in ("silo", "user", "index", "previous", "thread", "parent", "id", "time"):
        same(v, name, getattr(place, name))
    same(v, "commitment", core[165:197])
    same(v, "head-hash", head)
    same(v, "frame-key", frame_key(key, head))
    same(v, "content", out.data)
    same(v, "core-hash", core_hash(core))


@runs("wrap")
def _wrap(v: Vector, _: Released) -> None:
    opener = Opener(v.data("seed"))
    same(v, "record-key", opener.open_wrap(v.data("sealed"), v.data("core-hash")))
    same(v, "recipient", opener.fingerprint)


@runs("receipt")
def _receipt(v: Vector, _: Released) -> None:
    read = check_receipt(v.data("receipt"), v.data("identity"), v.data("core"))
    if "named" in v:
        check_recipients(read, v.datas("named"))
    same(v, "core-hash", read.core_hash)
    same(v, "entry-hash", read.entry_hash)
    same(v, "recipient", *read.recipients)
    same(v, "time", read.time)


@runs("record")
def _record(v: Vector, out: Released) -> None:
    wraps: dict[bytes, bytes] = dict(v.tuples("wrap"))
    envelope = Envelope(v.data("core"), wraps, v.data("receipt"))
    opener = Opener(v.data("seed"))
    out.data = open_record(envelope, [opener], v.data("silo"), v.data("user"), v.data("identity")).content


@runs("log")
def _log(v: Vector, _: Released) -> None:
    seen = [(int.from_bytes(index, "big"), entry) for index, entry in v.tuples("seen")]
    log = Log(v.data("silo"), v.data("user"), v.number("at"), v.data("start"), seen[0] if seen else None)
    for index, thread, core in v.tuples("entry"):
        log.step(int.from_bytes(index, "big"), thread, core)
    log.check(v.data("head-hash"))


@runs("tombstone")
def _tombstone(v: Vector, _: Released) -> None:
    keyrings: list[Keyring] = []
    for text in v.texts("keyring"):
        before = keyrings[-1] if keyrings else None
        keyrings.append(verify_keyring(read_json(text.encode(), SignedKeyring), v.data("silo"), v.data("pin"), before))
    erased = Erased(v.data("silo"), v.data("user"), v.number("index"), v.data("core-hash"), v.data("entry-hash"))
    statement = v.data("statement")
    devices = {v.data("device"): [v.data("device-public")]}
    read = check_tombstone(statement, v.data("signature"), erased, keyrings, devices)
    assert read.statement() == statement
    for name in ("made", "who", "why", "time"):
        same(v, name, getattr(read, name))
    same(v, "version", read.keyring_version)
    same(v, "keyring-hash", read.keyring_hash)
    same(v, "tombstone-hash", tombstone_hash(statement))


@runs("deletion")
def _deletion(v: Vector, _: Released) -> None:
    read = check_deletion(v.data("receipt"), v.data("statement"), [v.data("identity")])
    same(v, "tombstone-hash", read.tombstone_hash)
    same(v, "time", read.time)
    assert "time" not in v or (read.until is None) == ("until" not in v) or v.name == "deletion-nowhere"
    same(v, "until", read.until or 0)
    same(v, "also", ",".join(read.also))


def _bag_keys(v: Vector) -> dict[int, bytes]:
    bound = BagPlace(
        v.data("silo"), v.data("user"), v.data("thread"), v.number("version"), v.number("at"), v.data("entry-hash")
    )
    return Opener(v.data("seed")).open_bag(v.data("sealed"), bound)


@runs("bag")
def _bag(v: Vector, _: Released) -> None:
    keys = _bag_keys(v)
    if "held" in v:
        assert [[u64(index), key] for index, key in keys.items()] == v.tuples("held")
    if "plaintext" in v:
        content = b"".join(u64(index) + key for index, key in keys.items())
        assert v.data("plaintext").rstrip(b"\0") == (u64(len(content)) + content).rstrip(b"\0")


@runs("bagged")
def _bagged(v: Vector, out: Released) -> None:
    keys = _bag_keys(v)
    envelope = Envelope(v.data("core"), {}, v.data("receipt"))
    key = keys.get(read_place(envelope.core).index)
    if key is None:
        raise SiloError("no_match")
    out.data = open_with_key(envelope, key, v.data("silo"), v.data("user"), v.data("identity")).content


@runs("turn")
def _turn(v: Vector, _: Released) -> None:
    place = TurnPlace(*(v.data(name) for name in ("silo", "user", "thread", "turn", "parent")))
    check_turn(v.data("device-public"), v.data("signature"), place, v.text("text").encode())
    same(v, "text-digest", digest(labels.TURN, v.text("text").encode()))


# --- the keyring, and what keeps secrets ---


def _chain(v: Vector) -> Keyring:
    chain = [read_json(text.encode(), SignedKeyring) for text in v.texts("keyring")]
    return verify_chain(chain, v.data("silo"), v.data("pin"))


@runs("keyring")
def _keyring(v: Vector, _: Released) -> None:
    keyring = _chain(v)
    same(v, "version", keyring.document.version)
    same(v, "hash", keyring.hash)
    same(v, "document", keyring.signed.document)
    extras = [(extra.user, unb64(extra.recipient)) for extra in keyring.document.extras]
    same(v, "extra", *(form.join(id_bytes(user), fingerprint(seal)) for user, seal in extras))
    same(v, "signer", keyring.signed.signer)
    same(v, "signature", unb64(keyring.signed.signature))


@runs("vault")
def _vault(v: Vector, _: Released) -> None:
    keyring = _chain(v)
    openers = open_epochs(AdminKey(v.data("seed")), keyring)
    same(v, "opened", *(opener.fingerprint for opener in openers))
    first = keyring.document.epochs[0]
    same(v, "epoch", first.id)
    same(v, "holder", hash_bytes(first.halves[0].holder))
    same(v, "sealed", unb64(first.halves[0].sealed))
    same(v, "epoch-public", unb64(first.public))
    if "epoch-seed" in v:
        assert recipient_of(v.data("epoch-seed")).fingerprint == openers[0].fingerprint


@runs("identities")
def _identities(v: Vector, _: Released) -> None:
    same(v, "identity", *_chain(v).identities(v.datas("former")))


@runs("directory")
def _directory(v: Vector, _: Released) -> None:
    keyring = _chain(v)
    signed = [read_json(text.encode(), SignedEntry) for text in v.texts("signed-entry")]
    seen = {user: int.from_bytes(time, "big") for user, time in v.tuples("seen")}
    listed = newest([read_entry(one, keyring) for one in signed], seen)
    same(v, "statement", unb64(signed[0].statement))
    same(v, "signature", unb64(signed[0].signature))
    same(v, "listed", *(form.join(user, one.name.encode(), one.account, one.sign) for user, one in listed.items()))


@runs("account")
def _account(v: Vector, _: Released) -> None:
    key = AccountKey(v.data("seed"))
    same(v, "public", key.recipient.public)
    same(v, "fingerprint", key.fingerprint)
    same(v, "sign-seed", key.signer.seed)
    same(v, "sign", key.signer.public)
    same(v, "mac-key", key.mac_key)


@cache
def _stretched(*said: Any) -> LockSecret:
    # A fifth of a second each, and most of the files have the same password.
    return locks.stretch(*said)


def _secret(v: Vector, lock: Lock, silo: bytes, genesis: bytes) -> LockSecret:
    if lock.kind == "password":
        return _stretched(v.string("password"), lock_salt(lock), silo, genesis)
    if lock.kind == "device":
        return device_secret(v.data("secret"))
    return (recovery_secret if lock.kind == "recovery" else prf_secret)(v.data("secret"), silo, genesis)


def _rotations(v: Vector) -> list[Rotation]:
    with refusing():
        return [read_json(text.encode(), Rotation) for text in v.texts("rotation")]


@runs("lock")
def _lock(v: Vector, _: Released) -> None:
    with refusing():
        lock = read_json(v.text("lock").encode(), Lock)
    silo, genesis, user = v.data("silo"), v.data("genesis"), v.data("user")
    secret = _secret(v, lock, silo, genesis)
    accepted = v.data("accepted") if "accepted" in v else None
    listed = v.data("listed") if "listed" in v else None
    unlocked = open_lock(lock, secret, silo, genesis, user, _rotations(v), accepted, listed)
    same(v, "account-seed", *(key.seed for key in unlocked.keys))
    same(v, "least", unlocked.manifest)
    same(v, "is-listed", int(unlocked.listed))
    same(v, "proof", *([secret.proof] if secret.proof else []))
    same(v, "seal-seed", secret.seal_seed)
    same(v, "mac-key", *([secret.mac_key] if secret.mac_key else []))
    same(v, "proof-hash", *([secret.proof_hash] if secret.proof_hash else []))
    if "salt" in v:
        same(v, "salt", lock_salt(lock))
        same(v, "argon2-salt", digest(labels.LOCK_SALT, silo, genesis, lock_salt(lock))[:16])
        assert derive(v.data("stretched"), labels.LOCK_PROOF, b"password", silo, genesis) == secret.proof


@runs("manifest")
def _manifest(v: Vector, _: Released) -> None:
    with refusing():
        signed = read_json(v.text("manifest").encode(), SignedManifest)
    least = v.number("least") if "least" in v else 0
    read = read_manifest(signed, AccountKey(v.data("seed")), v.data("silo"), v.data("user"), least)
    same(v, "version", read.version)
    same(v, "text", signed.manifest)
    same(v, "mac", hash_bytes(signed.mac))
    same(v, "listed", *(id_bytes(one.id) for one in read.locks))


@runs("rotation")
def _rotation(v: Vector, _: Released) -> None:
    (rotation,) = _rotations(v)
    read, device = read_rotation(rotation, v.data("silo"), v.data("user"), v.data("sign"))
    if "manifest" in v:
        before, after = (parse_manifest(read_json(text.encode(), SignedManifest)) for text in v.texts("manifest"))
        check_next(read, before, after)
    same(v, "statement", read.statement())
    same(v, "old", read.old)
    same(v, "new", read.new)
    same(v, "new-sign", read.sign)
    same(v, "version", read.manifest)
    same(v, "device", device.device)
    same(v, "time", read.time)


@runs("walk")
def _walk(v: Vector, _: Released) -> None:
    start = v.data("start") if "start" in v else None
    keys = walk_back(AccountKey(v.data("seed")), _rotations(v), v.data("silo"), v.data("user"), start)
    same(v, "account", *(key.fingerprint for key in keys))


@runs("keyfile")
def _keyfile(v: Vector, _: Released) -> None:
    phrase = v.string("passphrase") if "passphrase" in v else None
    key = read_admin_key(v.string("file"), phrase)
    same(v, "seed", key.seed)
    same(v, "fingerprint", key.public.fingerprint)
    if "locked" in v:
        same(v, "salt", unpack(labels.KEY_FILE, v.data("locked"), 2)[0])
        same(v, "stretched", locks.stretch_text(v.string("passphrase"), v.data("salt")))
        assert f"locked  {v.text('locked')}\n" in v.string("file")


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_vector(name: str) -> None:
    v = vectors()[name]
    out = Released()
    try:
        RUNNERS[v.text("what")](v, out)
        verdict = "success"
    except SiloError as error:
        verdict = error.code.replace("_", " ")
    except Refused:
        verdict = "refused"
    assert verdict == v.text("expect")
    if "released" in v:
        assert hashlib.sha256(out.data).hexdigest() == v.text("released")
    if verdict == "success":
        assert v.used >= set(v.fields), "a field that nobody looked at"


# --- the collection ---


def test_every_class_occurs() -> None:
    expected = Counter(v.text("expect") for v in vectors().values())
    assert set(expected) >= CLASSES
    assert set(expected) <= CLASSES | OTHERS
    assert len(FILES) >= 90
    assert sum(expected.values()) - expected["success"] >= 90


def test_every_structure_has_truths_and_lies() -> None:
    told: dict[str, set[bool]] = {}
    for v in vectors().values():
        told.setdefault(v.text("what"), set()).add(v.text("expect") == "success")
    assert set(told) == set(RUNNERS)
    true_alone = {"padme", "derive", "setup", "fingerprint", "admin", "account"}
    assert {what for what, kinds in told.items() if kinds != {True, False}} == true_alone


def test_streams_say_what_may_be_released() -> None:
    streams = {"frames-reply", "frames-whole", "request", "reply", "core", "record", "bagged"}
    for v in vectors().values():
        assert ("released" in v) == (v.text("what") in streams), v.name


def test_no_scenario_is_told_twice() -> None:
    comments = Counter((v.text("what"), v.text("comment")) for v in vectors().values())
    assert [said for said, times in comments.items() if times > 1] == []
    idle = {"expect", "comment", "released"}
    bodies = Counter(
        tuple((key, *values) for key, values in v.fields.items() if key not in idle) for v in vectors().values()
    )
    assert [body[0] for body, times in bodies.items() if times > 1] == []


def test_files_are_the_generators() -> None:
    told = load("make").lies.LIES
    assert set(told) == set(vectors())
    for name, one in told.items():
        v = vectors()[name]
        assert (one.what, one.expect, one.comment) == (v.text("what"), v.text("expect"), v.text("comment"))
        assert name == one.what or name.startswith(one.what + "-")


def test_files_are_frozen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make = load("make")
    first = make.make(tmp_path, [])
    assert set(first) == set(vectors())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert make.make(tmp_path, []) == []
    assert make.make(tmp_path, ["hpke-sealed"]) == ["hpke-sealed"]
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"hpke-sealed.txt"}
    with pytest.raises(KeyError):
        make.make(tmp_path, ["no-such-vector"])


def _rows() -> list[list[str]]:
    """(where, who must what, broken by) of the README's last table."""
    table = (VECTORS / "README.md").read_text("utf-8").partition("## What breaks what")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert rows[0] == ["where", "who must what", "broken by"]
    return rows[2:]


def test_every_file_that_the_readme_names_breaks_something() -> None:
    for _, _, cell in _rows():
        files = re.findall(r"`([a-z0-9-]+)`", cell)
        assert files or cell.startswith("what a client ")
        for name in files:
            assert vectors()[name].text("expect") != "success", name


def test_every_must_of_the_paper_has_a_row() -> None:
    spec = (VECTORS.parents[1] / "SPEC.md").read_text("utf-8")
    section, binding = "", set[str]()
    for line in spec.splitlines():
        if found := re.match(r"#+ ([0-9.]+[0-9])", line):
            section = found[1]
        # Section 2 itself says what MUST means.
        if re.search(r"\bMUST\b", line) and section not in ("", "2"):
            binding.add(section)
    assert len(binding) > 10
    assert binding <= {where for where, _, _ in _rows()}


def test_the_readme_says_what_to_do_with_every_structure() -> None:
    readme = (VECTORS / "README.md").read_text("utf-8")
    assert all(f"| `{what}` | " in readme for what in RUNNERS)
    told = set(re.findall(r"`([a-z0-9-]+)`", readme))
    spelled = form.TEXTS | form.STRINGS | form.NUMBERS
    assert spelled <= told
