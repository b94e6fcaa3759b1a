"""What keeps a secret under a password, a passphrase or on paper (SPEC 8.6, 9)."""

from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo.crypto import labels, locks
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, read_json, unb64, write_json
from silo.crypto.keyfile import is_locked, lock_bytes, read_admin_key, unlock_bytes, write_admin_key
from silo.crypto.keys import AdminKey, recipient_of
from silo.crypto.labels import pack
from silo.crypto.locks import Lock, PasswordSecret, lock_salt, make_password_lock, stretch
from silo.crypto.opening import open_lock
from silo.errors import SiloError

SILO, USER, GENESIS = b"s" * 16, b"u" * 16, b"g" * 32
ACCOUNT = bytes(range(32))
KEY = AdminKey(bytes(range(32)))


def _code(act: object, *args: object) -> str:
    assert callable(act)
    with pytest.raises(SiloError) as error:
        act(*args)
    return error.value.code


@cache
def _lock() -> tuple[Lock, PasswordSecret]:
    lock = make_password_lock("six pelicans", ACCOUNT, SILO, GENESIS, USER)
    return lock, stretch("six pelicans", lock_salt(lock), SILO, GENESIS)


# --- the password lock ---


def test_the_password_opens_its_lock():
    lock, secret = _lock()
    assert open_lock(lock, secret, SILO, GENESIS, USER) == ACCOUNT
    assert read_json(write_json(lock), Lock) == lock
    assert b32(secret.proof_hash) == lock.proof_hash
    assert recipient_of(secret.seal_seed).public == unb64(lock.public)


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
        assert _code(open_lock, lock, other, SILO, GENESIS, USER) == "no_match"


def test_the_proof_says_nothing_of_the_rest():
    _, secret = _lock()
    assert len({secret.proof, secret.seal_seed, secret.mac_key, secret.proof_hash}) == 4
    assert secret.proof.hex() not in repr(secret)
    assert str(secret.proof) not in repr(secret)


def test_whoever_keeps_the_lock_cannot_put_a_key_into_it():
    lock, secret = _lock()
    own = bytes(32)
    sealed = recipient_of(secret.seal_seed).seal(
        pack(labels.LOCK, own, SILO, GENESIS), labels.LOCK_SEAL, SILO, USER, b"password"
    )
    assert _code(open_lock, msgspec.structs.replace(lock, sealed=b64(sealed)), secret, SILO, GENESIS, USER) == "forged"
    moved = msgspec.structs.replace(lock, public=b64(recipient_of(own).public))
    assert _code(open_lock, moved, secret, SILO, GENESIS, USER) == "forged"


@given(st.sampled_from(["sealed", "mac", "manifest", "public"]), st.integers(0, 10**6), st.integers(1, 255))
def test_any_change_to_a_lock_is_refused(name: str, at: int, change: int):
    lock, secret = _lock()
    if name == "manifest":
        bent = msgspec.structs.replace(lock, manifest=lock.manifest + change)
    else:
        data = bytearray(unb64(getattr(lock, name)) if name != "mac" else hash_bytes(lock.mac))
        data[at % len(data)] ^= change
        bent = msgspec.structs.replace(lock, **{name: b32(bytes(data)) if name == "mac" else b64(bytes(data))})
    assert _code(open_lock, bent, secret, SILO, GENESIS, USER) in ("no_match", "forged")


def test_a_lock_is_one_users():
    lock, secret = _lock()
    assert _code(open_lock, lock, secret, SILO, GENESIS, b"v" * 16) == "no_match"


def test_nobody_can_ask_for_less_work():
    assert (locks.MEMORY, locks.PASSES) == (64 * 1024 * 1024, 3)
    assert {field.name for field in msgspec.structs.fields(Lock)} == {
        *("version", "kind", "salt", "proof_hash", "public", "sealed", "mac", "manifest"),
    }
    assert len(id_bytes(_lock()[0].salt)) == 16


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


def test_a_password_without_utf_8_is_said_to_be_one():
    text = write_admin_key(KEY, "admin key", "a pelican")
    assert _code(write_admin_key, KEY, "admin key", "a \ud800") == "bad_password"
    assert _code(read_admin_key, text, "a \udfff") == "bad_password"
    assert _code(make_password_lock, "a \udcff", ACCOUNT, SILO, GENESIS, USER) == "bad_password"
    assert _code(stretch, "a \udcff", lock_salt(_lock()[0]), SILO, GENESIS) == "bad_password"


@settings(max_examples=5)
@given(st.binary(max_size=80), st.text(min_size=1, max_size=20))
def test_bytes_under_a_passphrase_come_back(secret: bytes, passphrase: str):
    locked = lock_bytes(secret, passphrase, labels.KEY_FILE)
    assert unlock_bytes(locked, passphrase, labels.KEY_FILE) == secret
    assert _code(unlock_bytes, locked, passphrase + "x", labels.KEY_FILE) == "wrong_passphrase"
    with pytest.raises(ValueError):
        unlock_bytes(locked, passphrase, labels.LOCK)
