"""What keeps a secret under a password, a passphrase or on paper (SPEC 8.6, 9)."""

from collections.abc import Callable
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo.crypto import labels, locks
from silo.crypto.assigned import is_assigned
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, read_json, unb64, write_json
from silo.crypto.keyfile import is_locked, lock_bytes, read_admin_key, unlock_bytes, write_admin_key
from silo.crypto.keys import AccountKey, AdminKey, recipient_of
from silo.crypto.labels import pack
from silo.crypto.locks import (
    Lock,
    LockSecret,
    device_secret,
    lock_salt,
    make_lock,
    make_password_lock,
    prf_secret,
    recovery_secret,
    stretch,
)
from silo.crypto.unlocking import open_lock
from silo.errors import SiloError

SILO, USER, GENESIS = b"s" * 16, b"u" * 16, b"g" * 32
ACCOUNT = AccountKey(bytes(range(32)))
KEY = AdminKey(bytes(range(32)))
SECRET = bytes(range(2, 34))


def _code(act: object, *args: object) -> str:
    assert callable(act)
    with pytest.raises(SiloError) as error:
        act(*args)
    return error.value.code


@cache
def _lock() -> tuple[Lock, LockSecret]:
    lock = make_password_lock("six pelicans", ACCOUNT, SILO, GENESIS, USER)
    return lock, stretch("six pelicans", lock_salt(lock), SILO, GENESIS)


@cache
def _locks() -> dict[str, tuple[Lock, LockSecret]]:
    """One of each kind; all but the password's from the same 32 bytes."""
    made = [recovery_secret(SECRET, SILO, GENESIS), prf_secret(SECRET, SILO, GENESIS), device_secret(SECRET)]
    locks = {one.kind: (make_lock(one, b"l" * 16, ACCOUNT, SILO, GENESIS, USER), one) for one in made}
    return {"password": _lock(), **locks}


def _opened(lock: Lock, secret: LockSecret, silo: bytes = SILO, genesis: bytes = GENESIS, user: bytes = USER) -> bytes:
    accepted = ACCOUNT.fingerprint if lock.kind == "device" else None
    return open_lock(lock, secret, silo, genesis, user, (), accepted).account.seed


# --- locks ---


@pytest.mark.parametrize("kind", ["password", "recovery", "prf", "device"])
def test_a_secret_opens_its_lock(kind: str):
    lock, secret = _locks()[kind]
    assert _opened(lock, secret) == ACCOUNT.seed
    assert read_json(write_json(lock), Lock) == lock
    assert recipient_of(secret.seal_seed).public == unb64(lock.public)
    assert (secret.proof_hash is None) == (lock.proof_hash is None) == (kind in ("prf", "device"))
    assert lock.proof_hash is None or b32(secret.proof_hash or b"") == lock.proof_hash
    assert (lock.mac is None) == (kind == "device")


def test_no_kinds_secret_passes_for_anothers():
    secrets = {kind: secret for kind, (_, secret) in _locks().items()}
    assert len({one.seal_seed for one in secrets.values()}) == 4
    for kind, (lock, _) in _locks().items():
        for other, secret in secrets.items():
            if other != kind:
                assert _code(_opened, lock, secret) == "no_match"
    # The same seed under another kind's name: sealed for a kind, and bound to it.
    lock, secret = _locks()["device"]
    assert _code(_opened, lock, LockSecret("prf", secret.seal_seed, bytes(32), None)) == "forged"


def test_a_lock_has_what_its_kind_has():
    for kind, (lock, _) in _locks().items():
        for name in ("salt", "proof_hash", "account", "manifest", "mac"):
            given = {"salt": "a" * 26, "manifest": 1}.get(name, "a" * 52)
            fields = msgspec.to_builtins(lock)
            fields[name] = given if fields[name] is None else None
            with pytest.raises(ValueError):
                read_json(write_json(fields), Lock)
        assert kind == lock.kind


def test_a_devices_lock_is_nothing_to_who_accepted_no_key():
    lock, secret = _locks()["device"]
    assert _code(open_lock, lock, secret, SILO, GENESIS, USER) == "forged"
    assert _code(open_lock, lock, secret, SILO, GENESIS, USER, (), bytes(32)) == "forged"


@pytest.mark.parametrize("make", [recovery_secret, prf_secret])
def test_secrets_have_32_bytes(make: Callable[[bytes, bytes, bytes], LockSecret]):
    for size in (0, 31, 33):
        with pytest.raises(ValueError):
            make(bytes(size), SILO, GENESIS)
        with pytest.raises(ValueError):
            device_secret(bytes(size))
    # A code typed into another silo, or under another genesis, derives something else.
    made = [make(SECRET, SILO, GENESIS), make(SECRET, b"t" * 16, GENESIS), make(SECRET, SILO, b"h" * 32)]
    assert len({one.seal_seed for one in made}) == len({one.mac_key for one in made}) == 3


def test_another_password_silo_or_genesis_derives_something_else():
    lock, secret = _lock()
    salt = lock_salt(lock)
    others = [
        stretch("six herons", salt, SILO, GENESIS),
        stretch("six pelicans", salt, b"t" * 16, GENESIS),
        stretch("six pelicans", salt, SILO, b"h" * 32),
        stretch("six pelicans", bytes(16), SILO, GENESIS),
    ]
    assert len({secret.proof, *(other.proof for other in others)}) == 5
    for other in others:
        assert _code(_opened, lock, other) == "no_match"


def test_the_proof_says_nothing_of_the_rest():
    _, secret = _lock()
    assert len({secret.proof, secret.seal_seed, secret.mac_key, secret.proof_hash}) == 4
    assert (secret.proof or b"").hex() not in repr(secret)
    assert str(secret.proof) not in repr(secret)


def test_whoever_keeps_the_lock_cannot_put_a_key_into_it():
    lock, secret = _lock()
    own = bytes(32)
    sealed = recipient_of(secret.seal_seed).seal(
        pack(labels.LOCK, own, SILO, GENESIS), labels.LOCK_SEAL, SILO, USER, b"password", id_bytes(lock.id)
    )
    assert _code(_opened, msgspec.structs.replace(lock, sealed=b64(sealed)), secret) == "forged"
    moved = msgspec.structs.replace(lock, public=b64(recipient_of(own).public))
    assert _code(_opened, moved, secret) == "forged"
    named = msgspec.structs.replace(lock, account=b32(recipient_of(own).fingerprint))
    assert _code(_opened, named, secret) == "forged"


@given(
    st.sampled_from(["password", "recovery", "prf", "device"]),
    st.sampled_from(["sealed", "mac", "account", "manifest", "public", "id"]),
    st.integers(0, 10**6),
    st.integers(1, 255),
)
def test_any_change_to_a_lock_is_refused(kind: str, name: str, at: int, change: int):
    lock, secret = _locks()[kind]
    if getattr(lock, name) is None:
        return
    if name == "manifest":
        bent = msgspec.structs.replace(lock, manifest=(lock.manifest or 0) + change)
    else:
        decode, encode = {"id": (id_bytes, b32), "sealed": (unb64, b64), "public": (unb64, b64)}.get(
            name, (hash_bytes, b32)
        )
        data = bytearray(decode(getattr(lock, name)))
        data[at % len(data)] ^= change
        bent = msgspec.structs.replace(lock, **{name: encode(bytes(data))})
    assert _code(_opened, bent, secret) in ("no_match", "forged")


def test_a_lock_is_one_users():
    lock, secret = _lock()
    assert _code(_opened, lock, secret, SILO, GENESIS, b"v" * 16) == "no_match"


def test_nobody_can_ask_for_less_work():
    assert (locks.MEMORY, locks.PASSES) == (64 * 1024 * 1024, 3)
    assert {field.name for field in msgspec.structs.fields(Lock)} == {
        *("version", "id", "kind", "salt", "proof_hash", "public", "sealed", "account", "manifest", "mac"),
    }
    assert len(lock_salt(_lock()[0])) == 16
    with pytest.raises(ValueError):
        lock_salt(_locks()["prf"][0])


# --- key files ---


@given(st.binary(min_size=32, max_size=32), st.text(max_size=40))
def test_a_key_file_comes_back(seed: bytes, comment: str):
    text = write_admin_key(AdminKey(seed), comment)
    assert read_admin_key(text).seed == seed
    assert not is_locked(text)
    # Whatever stands in the comment, it is one line of comment.
    lines = text.splitlines()
    assert len(lines) == 4
    assert [line.split(" ")[0] for line in lines] == ["#", "#", "public", "secret"]


def test_a_key_file_under_a_passphrase_comes_back():
    text = write_admin_key(KEY, "admin key", "a pelican's fish")
    assert is_locked(text)
    assert read_admin_key(text, "a pelican's fish").seed == KEY.seed
    assert _code(read_admin_key, text, "another") == "wrong_passphrase"
    assert _code(read_admin_key, text) == "wrong_passphrase"
    assert KEY.seed.hex() not in text


@given(st.data())
def test_any_changed_letter_of_a_key_file_is_refused(data: st.DataObject):
    text = write_admin_key(KEY, "admin key")
    start = text.index("public")
    at = data.draw(st.integers(start, len(text) - 2))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    bent = text[:at] + letter + text[at + 1 :]
    if bent == text or text[at] == " ":
        return
    assert _code(read_admin_key, bent) == "bad_key_file"


@given(st.text(max_size=200))
def test_noise_is_no_key_file(text: str):
    assert _code(read_admin_key, text, "x") == "bad_key_file"


def test_nothing_is_locked_under_no_passphrase():
    assert _code(write_admin_key, KEY, "admin key", "") == "bad_password"
    assert _code(lock_bytes, b"seed", "", labels.DEVICE_SECRETS) == "bad_password"
    assert _code(make_password_lock, "", ACCOUNT, SILO, GENESIS, USER) == "bad_password"
    text = write_admin_key(KEY, "admin key", "a pelican")
    assert _code(read_admin_key, text, "") == "bad_password"
    assert _code(read_admin_key, text) == "wrong_passphrase"


def test_a_password_without_utf_8_is_said_to_be_one():
    text = write_admin_key(KEY, "admin key", "a pelican")
    assert _code(write_admin_key, KEY, "admin key", "a \ud800") == "bad_password"
    assert _code(read_admin_key, text, "a \udfff") == "bad_password"
    assert _code(make_password_lock, "a \udcff", ACCOUNT, SILO, GENESIS, USER) == "bad_password"
    assert _code(stretch, "a \udcff", lock_salt(_lock()[0]), SILO, GENESIS) == "bad_password"


@settings(max_examples=5)
@given(st.binary(max_size=80), st.text(min_size=1, max_size=20).filter(is_assigned))
def test_bytes_under_a_passphrase_come_back(secret: bytes, passphrase: str):
    locked = lock_bytes(secret, passphrase, labels.KEY_FILE)
    assert unlock_bytes(locked, passphrase, labels.KEY_FILE) == secret
    assert _code(unlock_bytes, locked, passphrase + "x", labels.KEY_FILE) == "wrong_passphrase"
    with pytest.raises(ValueError):
        unlock_bytes(locked, passphrase, labels.LOCK)
