"""The account key, its manifest, its rotations, its vouches and the directory (SPEC 6.2, 8.8, 9)."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto import labels
from silo.crypto.directory import Entry, newest, read_entry, sign_entry
from silo.crypto.encoding import b32, b64, hash_bytes, unb64
from silo.crypto.keyring import first_keyring, sign_keyring, verify_keyring
from silo.crypto.keys import AccountKey, AdminKey, Enrolment, Signer, check_vouch, recipient_of
from silo.crypto.locks import (
    Lock,
    SignedManifest,
    device_secret,
    make_lock,
    parse_manifest,
    prf_secret,
    read_manifest,
    state_manifest,
)
from silo.crypto.rotation import (
    Rotation,
    Vouched,
    check_next,
    follow,
    make_rotation,
    next_locks,
    parse_rotation,
    read_rotation,
    vouch_anew,
)
from silo.crypto.unlocking import open_lock, walk_back
from silo.errors import SiloError

SILO, USER, GENESIS, DEVICE = b"s" * 16, b"u" * 16, b"g" * 32, b"d" * 16
KEYS = [AccountKey(bytes([number]) * 32) for number in range(4)]
SIGNER = Signer(bytes(range(32)))
SEAL = bytes(range(1, 33))
ENROLMENT = Enrolment(SILO, USER, DEVICE, SIGNER.public, recipient_of(SEAL).public, 1)
STATEMENT = ENROLMENT.statement()
SIGNATURE = SIGNER.sign(labels.ENROLMENT, STATEMENT)
SECRETS = [prf_secret(bytes(range(2, 34)), SILO, GENESIS), device_secret(SEAL)]
FIRST = [
    make_lock(SECRETS[0], b"p" * 16, KEYS[0], SILO, GENESIS, USER),
    make_lock(SECRETS[1], DEVICE, KEYS[0], SILO, GENESIS, USER),
]


def _code(act: Callable[..., object], *args: object) -> str:
    with pytest.raises(SiloError) as error:
        act(*args)
    return error.value.code


def _vouched(account: AccountKey) -> Vouched:
    return Vouched(b64(STATEMENT), b64(SIGNATURE), b64(account.vouch(STATEMENT, SIGNATURE)))


@cache
def _rotated(times: int) -> tuple[list[Rotation], list[Lock], SignedManifest]:
    """After so many rotations."""
    if not times:
        return [], FIRST, state_manifest(KEYS[0], SILO, USER, 1, FIRST)
    rotations, locks, signed = _rotated(times - 1)
    old, new = KEYS[times - 1], KEYS[times]
    before = read_manifest(signed, old, SILO, USER)
    resealed, after = next_locks(before, new, GENESIS)
    made = [msgspec.structs.replace(one, sealed=new.sealed) for one, new in zip(locks, resealed, strict=True)]
    rotation = make_rotation(old, new, SIGNER, _vouched(old), before.version + 1, SILO, USER, times)
    return [*rotations, rotation], made, after


# --- the account key and its vouches ---


def test_what_an_account_key_derives_is_apart():
    key = KEYS[1]
    assert len({key.seed, key.mac_key, key.signer.seed, key.fingerprint, key.signer.public}) == 5
    assert key.seed.hex() not in repr(key)
    assert AccountKey().seed != AccountKey().seed
    for size in (0, 31, 33):
        with pytest.raises(ValueError):
            AccountKey(bytes(size))


def test_a_vouch_is_for_one_enrolment_and_one_account():
    key, other = KEYS[:2]
    vouch = key.vouch(STATEMENT, SIGNATURE)
    check_vouch(key.signer.public, key.fingerprint, vouch, STATEMENT, SIGNATURE)
    lies = [
        (other.signer.public, key.fingerprint, vouch, STATEMENT, SIGNATURE),
        (key.signer.public, other.fingerprint, vouch, STATEMENT, SIGNATURE),
        (key.signer.public, key.fingerprint, other.vouch(STATEMENT, SIGNATURE), STATEMENT, SIGNATURE),
        (key.signer.public, key.fingerprint, vouch, STATEMENT + b"\0", SIGNATURE),
        (key.signer.public, key.fingerprint, vouch, STATEMENT, bytes(64)),
        (key.signer.public, key.fingerprint, b"", STATEMENT, SIGNATURE),
    ]
    assert {_code(check_vouch, *lie) for lie in lies} == {"forged"}


def test_a_vouch_says_whether_its_device_was_revoked_and_when():
    key = KEYS[0]
    said = (key.signer.public, key.fingerprint)
    for revoked in (None, 0, 5):
        vouch = key.vouch(STATEMENT, SIGNATURE, revoked)
        check_vouch(*said, vouch, STATEMENT, SIGNATURE, revoked)
        others = {None, 0, 5, 6} - {revoked}
        assert {_code(check_vouch, *said, vouch, STATEMENT, SIGNATURE, other) for other in others} == {"forged"}


def _device(account: AccountKey, device: bytes, revoked: int | None = None, **changes: Any) -> Vouched:
    signer = Signer()
    text = replace(ENROLMENT, device=device, sign=signer.public, **changes).statement()
    signed = signer.sign(labels.ENROLMENT, text)
    return Vouched(b64(text), b64(signed), b64(account.vouch(text, signed, revoked)))


def test_a_rotation_vouches_for_what_its_person_knows_alone():
    old, new = KEYS[:2]
    ids = [bytes([number]) * 16 for number in range(6)]
    # The thief's own statement has any time that it likes.
    times = {3: 50, 4: 50}
    listed = [
        (_device(old, one, times.get(at), time=2**52 if at == 5 else 1), times.get(at)) for at, one in enumerate(ids)
    ]
    known = {ids[0]: None, ids[1]: None, ids[2]: 70, ids[3]: None, ids[4]: 90}
    anew = vouch_anew(old, new, listed, SILO, USER, known)
    assert [revoked for _, revoked in anew] == [None, None, 70, 50, 50, 0]
    for (one, revoked), (before, _) in zip(anew, listed, strict=True):
        assert (one.statement, one.signature) == (before.statement, before.signature)
        said = unb64(one.vouch), unb64(one.statement), unb64(one.signature)
        check_vouch(new.signer.public, new.fingerprint, *said, revoked)
    lies = [
        (_device(new, ids[0]), None),
        (_device(old, ids[0], 5), None),
        (_device(old, ids[0]), 5),
        (_device(old, ids[0], user=b"v" * 16), None),
        (_device(old, ids[0], silo=b"t" * 16), None),
        (msgspec.structs.replace(_device(old, ids[0]), vouch="A"), None),
    ]
    for lie in lies:
        assert _code(vouch_anew, old, new, [listed[1], lie], SILO, USER, known) == "forged"


def test_a_revoked_device_rotates_nothing():
    old, new = KEYS[:2]
    revoked = Vouched(b64(STATEMENT), b64(SIGNATURE), b64(old.vouch(STATEMENT, SIGNATURE, 3)))
    lie = make_rotation(old, new, SIGNER, revoked, 2, SILO, USER, 9)
    assert _code(read_rotation, lie, SILO, USER, old.signer.public) == "forged"
    assert _code(walk_back, new, [lie], SILO, USER) == "forged"


# --- the manifest ---


def test_a_manifest_comes_back():
    _, _, signed = _rotated(0)
    manifest = read_manifest(signed, KEYS[0], SILO, USER, 1)
    assert [(one.id, one.kind, one.public) for one in manifest.locks] == [(b.id, b.kind, b.public) for b in FIRST]
    assert _code(read_manifest, signed, KEYS[1], SILO, USER) == "forged"
    assert _code(read_manifest, signed, KEYS[0], b"t" * 16, USER) == "forged"
    assert _code(read_manifest, signed, KEYS[0], SILO, b"v" * 16) == "forged"
    assert _code(read_manifest, signed, KEYS[0], SILO, USER, 2) == "stale"


@given(st.integers(0, 10**6), st.integers(1, 127))
def test_any_changed_letter_of_a_manifest_is_forged(at: int, change: int):
    _, _, signed = _rotated(0)
    text = list(signed.manifest)
    text[at % len(text)] = chr(ord(text[at % len(text)]) ^ change)
    assert _code(read_manifest, SignedManifest("".join(text), signed.mac), KEYS[0], SILO, USER) == "forged"


def test_a_manifest_lists_each_lock_once_and_some():
    again = [FIRST[0], msgspec.structs.replace(FIRST[1], id=FIRST[0].id)]
    same = [FIRST[0], msgspec.structs.replace(FIRST[1], public=FIRST[0].public)]
    for locks in ([], again, same, [msgspec.structs.replace(FIRST[0], public="AAAA")]):
        assert _code(parse_manifest, state_manifest(KEYS[0], SILO, USER, 1, locks)) == "header_failure"
    assert _code(parse_manifest, state_manifest(KEYS[0], SILO, USER, 0, FIRST)) == "header_failure"


# --- rotation ---


@pytest.mark.parametrize("times", [0, 1, 2, 3])
@pytest.mark.parametrize("which", [0, 1])
def test_every_lock_opens_after_rotations_that_it_was_not_asked_for(times: int, which: int):
    rotations, locks, signed = _rotated(times)
    accepted = KEYS[0].fingerprint if which else None
    unlocked = open_lock(locks[which], SECRETS[which], SILO, GENESIS, USER, rotations, accepted)
    assert [one.seed for one in unlocked.keys] == [one.seed for one in reversed(KEYS[: times + 1])]
    manifest = read_manifest(signed, unlocked.account, SILO, USER, unlocked.manifest)
    assert manifest.version == times + 1
    assert _code(read_manifest, signed, unlocked.account, SILO, USER, times + 2) == "stale"
    # Only the secret could have made another proof, and it was not there.
    assert [(one.account, one.mac) for one in locks] == [(one.account, one.mac) for one in FIRST]


def test_a_device_walks_from_the_key_that_it_accepted_last():
    rotations, locks, _ = _rotated(3)
    for last in range(4):
        keys = open_lock(locks[1], SECRETS[1], SILO, GENESIS, USER, rotations, KEYS[last].fingerprint).keys
        assert keys[-1].fingerprint == KEYS[last].fingerprint
        assert len(keys) == 4 - last
    unknown = AccountKey(b"?" * 32).fingerprint
    assert _code(open_lock, locks[1], SECRETS[1], SILO, GENESIS, USER, rotations, unknown) == "forged"


def test_rotations_that_are_not_the_chain_are_forged():
    chain, locks, _ = _rotated(3)
    fork = make_rotation(KEYS[1], KEYS[3], SIGNER, _vouched(KEYS[1]), 3, SILO, USER, 9)
    lies = [
        chain[:1] + chain[2:],
        chain[1:],
        [chain[1], chain[0], chain[2]],
        [*chain, chain[2]],
        [chain[0], fork, *chain[1:]],
        [chain[0], chain[1], chain[1], chain[2]],
    ]
    assert {_code(walk_back, KEYS[3], lie, SILO, USER, KEYS[0].fingerprint) for lie in lies} == {"forged"}
    assert _code(walk_back, KEYS[3], chain, b"t" * 16, USER) == "forged"
    assert _code(walk_back, KEYS[3], chain, SILO, b"v" * 16) == "forged"
    # A lock from before a rotation that the silo does know of, and a silo that lost the rotations.
    assert _code(walk_back, KEYS[2], chain, SILO, USER, KEYS[0].fingerprint) == "stale"
    assert _code(open_lock, locks[0], SECRETS[0], SILO, GENESIS, USER, []) == "forged"


def _bent(rotation: Rotation, **changes: Any) -> Rotation:
    return msgspec.structs.replace(rotation, **changes)


def _again(**changes: Any) -> Rotation:
    """The first rotation with something else stated, and every proof that the old key's holder can make."""
    rotation = _rotated(1)[0][0]
    text = replace(parse_rotation(rotation), **changes).statement()
    return _bent(
        rotation,
        statement=b64(text),
        mac=b32(KEYS[0].mac(labels.ACCOUNT_ROTATION_MAC, text)),
        signature=b64(SIGNER.sign(labels.ACCOUNT_ROTATION, text)),
        past=b64(KEYS[1].recipient.seal(KEYS[0].seed, labels.ACCOUNT_PAST, text)),
    )


def test_every_proof_of_a_rotation_is_needed():
    (rotation,) = _rotated(1)[0]
    said = unb64(rotation.statement)
    thief = Signer()
    stranger = Enrolment(SILO, USER, DEVICE, thief.public, ENROLMENT.seal, 1)
    text = stranger.statement()
    signed = thief.sign(labels.ENROLMENT, text)
    strange = Vouched(b64(text), b64(signed), b64(KEYS[1].vouch(text, signed)))
    lies = [
        _bent(rotation, mac=b32(KEYS[1].mac(labels.ACCOUNT_ROTATION_MAC, said))),
        _bent(rotation, mac=b32(bytes(32))),
        _bent(rotation, signature=b64(thief.sign(labels.ACCOUNT_ROTATION, said))),
        _bent(rotation, enrolment=strange, signature=b64(thief.sign(labels.ACCOUNT_ROTATION, said))),
        _bent(rotation, enrolment=_vouched(KEYS[1])),
        _bent(rotation, past=b64(KEYS[1].recipient.seal(KEYS[2].seed, labels.ACCOUNT_PAST, said))),
        _bent(rotation, past=b64(KEYS[1].recipient.seal(KEYS[0].seed, labels.ACCOUNT_PAST, said + b"\0"))),
        _bent(rotation, past=""),
        _again(silo=b"t" * 16),
        _again(user=b"v" * 16),
        _again(device=b"e" * 16),
        _again(sign=KEYS[2].signer.public),
        _again(old=KEYS[2].fingerprint),
        _again(new=KEYS[2].fingerprint),
    ]
    walk_back(KEYS[1], [_again()], SILO, USER, KEYS[0].fingerprint)
    for lie in lies:
        assert _code(walk_back, KEYS[1], [lie], SILO, USER, parse_rotation(lie).old) == "forged"


def test_a_rotation_from_before_the_lock_was_proven_is_forged():
    _, locks, _ = _rotated(1)
    said = SECRETS[0].mac(SILO, USER, b"p" * 16, KEYS[0].fingerprint, 2)
    assert said
    late = msgspec.structs.replace(locks[0], manifest=2, mac=b32(said))
    assert _code(open_lock, late, SECRETS[0], SILO, GENESIS, USER, _rotated(1)[0]) == "forged"


def test_new_locks_are_sealed_to_what_the_manifest_lists_but_for_what_is_dropped():
    manifest = read_manifest(_rotated(0)[2], KEYS[0], SILO, USER)
    resealed, signed = next_locks(manifest, KEYS[1], GENESIS, {FIRST[1].id})
    assert [one.id for one in resealed] == [FIRST[0].id]
    assert [one.id for one in read_manifest(signed, KEYS[1], SILO, USER, 2).locks] == [FIRST[0].id]
    with pytest.raises(ValueError):
        next_locks(manifest, KEYS[1], GENESIS, {one.id for one in FIRST})


def test_a_rotation_brings_its_own_manifest():
    (rotation,), _, signed = _rotated(1)
    rotated, device = read_rotation(rotation, SILO, USER, KEYS[0].signer.public)
    assert device == ENROLMENT
    before, after = parse_manifest(_rotated(0)[2]), parse_manifest(signed)
    check_next(rotated, before, after)
    more = make_lock(device_secret(bytes(32)), b"t" * 16, KEYS[1], SILO, GENESIS, USER)
    lies = [
        state_manifest(KEYS[1], SILO, USER, 3, FIRST),
        state_manifest(KEYS[1], SILO, USER, 1, FIRST),
        state_manifest(KEYS[0], SILO, USER, 2, FIRST),
        state_manifest(KEYS[1], b"t" * 16, USER, 2, FIRST),
        state_manifest(KEYS[1], SILO, USER, 2, [*FIRST, more]),
    ]
    assert {_code(check_next, rotated, before, parse_manifest(lie)) for lie in lies} == {"forged"}


def test_who_has_no_seed_goes_on_over_rotations_by_signatures():
    chain, _, _ = _rotated(3)
    for first in range(4):
        key = KEYS[first]
        assert follow(chain, SILO, USER, key.fingerprint, key.signer.public) == (
            KEYS[3].fingerprint,
            KEYS[3].signer.public,
        )
    # What it does not lead on from stays where it is; what does not follow is refused.
    alone = AccountKey(b"?" * 32)
    assert follow(chain, SILO, USER, alone.fingerprint, bytes(32)) == (alone.fingerprint, bytes(32))
    start = (SILO, USER, KEYS[0].fingerprint, KEYS[0].signer.public)
    assert _code(follow, [chain[0], chain[2]], *start) == "forged"
    assert _code(follow, chain, *start[:3], KEYS[1].signer.public) == "forged"


def _forked() -> tuple[Rotation, Lock]:
    """Who holds the first account key's seed rotates it once more, with a device that it vouches for itself."""
    thief = Signer()
    stated = Enrolment(SILO, USER, b"t" * 16, thief.public, ENROLMENT.seal, 1).statement()
    signed = thief.sign(labels.ENROLMENT, stated)
    enrolled = Vouched(b64(stated), b64(signed), b64(KEYS[0].vouch(stated, signed)))
    resealed, _ = next_locks(read_manifest(_rotated(0)[2], KEYS[0], SILO, USER), KEYS[3], GENESIS)
    lock = msgspec.structs.replace(FIRST[0], sealed=resealed[0].sealed)
    return make_rotation(KEYS[0], KEYS[3], thief, enrolled, 2, SILO, USER, 2), lock


def test_the_directory_tells_a_fork_by_a_stolen_seed():
    fork, lock = _forked()
    said = (SECRETS[0], SILO, GENESIS, USER)
    # Nothing in a lock tells it from a true rotation: the thief has all that the old key had.
    assert open_lock(lock, *said, [fork]).account.seed == KEYS[3].seed
    rotations, locks, _ = _rotated(2)
    listed = KEYS[1].fingerprint
    assert _code(open_lock, lock, *said, [fork], None, listed) == "forged"
    assert _code(open_lock, FIRST[0], *said, [], None, listed) == "forged"
    # Who has no seed counts from the newest entry on.
    assert follow([fork], SILO, USER, listed, KEYS[1].signer.public) == (listed, KEYS[1].signer.public)
    assert follow([fork, *rotations], SILO, USER, listed, KEYS[1].signer.public)[0] == KEYS[2].fingerprint
    for at, key in enumerate(KEYS[:3]):
        unlocked = open_lock(locks[0], *said, rotations, None, key.fingerprint)
        assert (unlocked.account.seed, unlocked.listed) == (KEYS[2].seed, at == 2)
    # A lock that was proven since is walked back to the listed key all the same.
    own = open_lock(locks[1], SECRETS[1], SILO, GENESIS, USER, rotations, KEYS[2].fingerprint, KEYS[0].fingerprint)
    assert [one.seed for one in own.keys] == [one.seed for one in reversed(KEYS[:3])]
    assert not open_lock(locks[0], *said, rotations).listed


def test_no_manifest_from_before_the_newest_rotation_is_taken():
    rotations, locks, _ = _rotated(3)
    unlocked = open_lock(locks[1], SECRETS[1], SILO, GENESIS, USER, rotations, KEYS[3].fingerprint)
    assert (len(unlocked.keys), unlocked.manifest) == (1, 4)


# --- the directory ---

ADMIN, OTHER = AdminKey(bytes(range(32))), AdminKey(bytes(range(1, 33)))
SIGNED = first_keyring(ADMIN, "admin", SILO, SIGNER.public, 1_000)
RING = verify_keyring(SIGNED, SILO, ADMIN.public.fingerprint)
ENTRY = Entry(SILO, USER, "alice", KEYS[0].fingerprint, KEYS[0].signer.public, 5)


def test_an_entry_counts_where_a_live_admin_signed_it():
    signed = sign_entry(ADMIN, ENTRY)
    assert read_entry(signed, RING) == ENTRY
    other = Entry(b"t" * 16, USER, "alice", ENTRY.account, ENTRY.sign, 5)
    lies = [
        sign_entry(OTHER, ENTRY),
        sign_entry(ADMIN, other),
        msgspec.structs.replace(sign_entry(OTHER, ENTRY), signer=signed.signer),
        msgspec.structs.replace(signed, statement=b64(unb64(signed.statement) + b"\0")),
        msgspec.structs.replace(signed, statement=sign_entry(ADMIN, other).statement),
    ]
    lies += [sign_entry(ADMIN, replace(ENTRY, name=name)) for name in ("", " ", "a" * 65, "\x1b[2J")]
    assert {_code(read_entry, lie, RING) for lie in lies} == {"forged"}
    assert hash_bytes(signed.signer) == ADMIN.public.fingerprint


def test_a_revoked_admins_entries_count_no_more():
    holder = RING.document.holders[0]
    heir = msgspec.structs.replace(holder, name="heir", sign=b32(OTHER.public.sign), seal=b64(OTHER.public.seal))
    half = msgspec.structs.replace(RING.document.epochs[0].halves[0], holder=b32(OTHER.public.fingerprint))
    document = msgspec.structs.replace(
        RING.document,
        version=2,
        previous=b32(RING.hash),
        holders=[msgspec.structs.replace(holder, revoked=2), heir],
        epochs=[msgspec.structs.replace(RING.document.epochs[0], halves=[half])],
    )
    ring = verify_keyring(sign_keyring(ADMIN, document), SILO, ADMIN.public.fingerprint, RING)
    assert _code(read_entry, sign_entry(ADMIN, ENTRY), ring) == "forged"
    assert read_entry(sign_entry(OTHER, ENTRY), ring) == ENTRY


def test_the_newest_entry_counts():
    later = Entry(SILO, USER, "alice", KEYS[1].fingerprint, KEYS[1].signer.public, 6)
    other = Entry(SILO, b"v" * 16, "bob", KEYS[2].fingerprint, KEYS[2].signer.public, 1)
    assert newest([later, other, ENTRY]) == {USER: later, other.user: other}
    assert newest([ENTRY, ENTRY], {USER: 5}) == {USER: ENTRY}
    for lie in (replace(later, time=5), replace(ENTRY, name="bob")):
        for order in ([ENTRY, lie], [ENTRY, lie, later], [ENTRY, later, lie], [later, ENTRY, lie]):
            assert _code(newest, order) == "forged"
    assert _code(newest, [ENTRY], {USER: 6}) == "stale"
    assert _code(newest, [ENTRY], {other.user: 1}) == "stale"
