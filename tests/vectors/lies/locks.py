"""Lies about what keeps a secret: key files and the password lock (SPEC 8.6, 9)."""

import hmac
import json
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

from bech32 import bech32_encode, convertbits
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from form import Fields
from nacl.pwhash import argon2id

from lies import (
    ACCOUNT_SEED,
    ADMIN,
    GENESIS,
    OTHER_ACCOUNT_SEED,
    OTHER_ADMIN,
    OTHER_SILO,
    OTHER_USER,
    SILO,
    USER,
    ident,
    lie,
    public,
    recipient,
    secret,
    tell,
)
from silo.crypto import labels
from silo.crypto.encoding import b32, b64, u64
from silo.crypto.keyfile import HUMAN_PART
from silo.crypto.keys import derive, fingerprint
from silo.crypto.labels import digest, pack

# --- the password lock (SPEC 9) ---

PASSWORD = "a pelican’s ﬁsh at the café"
SALT = ident("lock salt")


@cache
def stretched(password: str = PASSWORD, silo: bytes = SILO, genesis: bytes = GENESIS) -> bytes:
    """K: Argon2id over the password, written out once more."""
    salt = digest(labels.LOCK_SALT, silo, genesis, SALT)[:16]
    text = unicodedata.normalize("NFKC", password).encode()
    return argon2id.kdf(32, text, salt, opslimit=3, memlimit=64 * 1024 * 1024)


def quoted(text: str) -> str:
    """A JSON string; what has no UTF-8 can only stand there escaped."""
    return json.dumps(text, ensure_ascii=any("\ud800" <= one <= "\udfff" for one in text))


def lock(
    seed: bytes = ACCOUNT_SEED,
    silo: bytes = SILO,
    genesis: bytes = GENESIS,
    user: bytes = USER,
    to: bytes | None = None,
    sealed_kind: bytes = b"password",
    label: str = labels.LOCK_SEAL,
    inner: bytes | None = None,
    mac_seed: bytes = ACCOUNT_SEED,
    mac_user: bytes = USER,
    mac_manifest: int = 1,
    password: str = PASSWORD,
    **changes: Any,
) -> str:
    """A lock's JSON; every argument can be a lie, and what is changed to `...` is left out."""
    key = stretched(password)
    pair = derive(key, labels.LOCK_SEAL)
    plain = pack(labels.LOCK, seed, silo, genesis) if inner is None else inner
    said = pack(labels.LOCK_MAC, SILO, mac_user, fingerprint(public(mac_seed)), u64(mac_manifest))
    fields: dict[str, Any] = {
        "version": 1,
        "kind": "password",
        "salt": b32(SALT),
        "proof_hash": b32(digest(labels.LOCK_PROOF_HASH, derive(key, labels.LOCK_PROOF))),
        "public": b64(public(pair)),
        "sealed": b64(recipient(to or pair).seal(plain, label, SILO, user, sealed_kind)),
        "mac": b32(hmac.digest(derive(key, labels.LOCK_MAC_KEY), said, "sha256")),
        "manifest": 1,
    } | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}, separators=(",", ":"))


def _lock(text: str, password: str = PASSWORD, silo: bytes = SILO, genesis: bytes = GENESIS) -> Fields:
    return [
        ("password", quoted(password)),
        ("silo", silo),
        ("genesis", genesis),
        ("user", USER),
        ("lock", text),
    ]


@lie("lock", "success", "an account key behind a password")
def lock_password() -> Fields:
    key = stretched()
    return [
        *_lock(lock()),
        ("salt", SALT),
        ("argon2-salt", digest(labels.LOCK_SALT, SILO, GENESIS, SALT)[:16]),
        ("stretched", key),
        ("proof", derive(key, labels.LOCK_PROOF)),
        ("seal-seed", derive(key, labels.LOCK_SEAL)),
        ("mac-key", derive(key, labels.LOCK_MAC_KEY)),
        ("proof-hash", digest(labels.LOCK_PROOF_HASH, derive(key, labels.LOCK_PROOF))),
        ("account-seed", ACCOUNT_SEED),
    ]


@lie("lock", "success", "the same password, typed in another normal form")
def lock_password_decomposed() -> Fields:
    return [*_lock(lock(), unicodedata.normalize("NFD", PASSWORD)), ("account-seed", ACCOUNT_SEED)]


_LOCKS: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    ("other-password", "no match", "another password", lambda: _lock(lock(), "six herons")),
    ("shown-by-other-silo", "no match", "asked for by a silo with another id", lambda: _lock(lock(), silo=OTHER_SILO)),
    (
        "shown-by-other-genesis",
        "no match",
        "asked for by a silo with another genesis pin",
        lambda: _lock(lock(), genesis=OTHER_ADMIN.public.fingerprint),
    ),
    ("other-user", "no match", "another user's lock with the same password", lambda: _lock(lock(user=OTHER_USER))),
    ("other-kind", "no match", "sealed as a lock of another kind", lambda: _lock(lock(sealed_kind=b"recovery"))),
    ("other-label", "no match", "sealed for another purpose", lambda: _lock(lock(label=labels.LOCK))),
    ("sealed-to-other", "no match", "sealed to another pair", lambda: _lock(lock(to=secret("another pair")))),
    ("other-salt", "no match", "another salt", lambda: _lock(lock(salt=b32(ident("another salt"))))),
    (
        "seed-replaced",
        "forged",
        "the silo sealed a seed of its own to the lock's public key",
        lambda: _lock(lock(seed=OTHER_ACCOUNT_SEED)),
    ),
    ("inner-silo", "forged", "another silo's id inside", lambda: _lock(lock(silo=OTHER_SILO))),
    (
        "inner-genesis",
        "forged",
        "another genesis pin inside",
        lambda: _lock(lock(genesis=OTHER_ADMIN.public.fingerprint)),
    ),
    ("inner-seed-alone", "forged", "the seed alone inside", lambda: _lock(lock(inner=ACCOUNT_SEED))),
    ("inner-short-seed", "forged", "a seed of 31 bytes inside", lambda: _lock(lock(seed=ACCOUNT_SEED[1:]))),
    ("mac-of-other-account", "forged", "proves another account key", lambda: _lock(lock(mac_seed=OTHER_ACCOUNT_SEED))),
    (
        "mac-of-other-user",
        "forged",
        "proves the account key for another user",
        lambda: _lock(lock(mac_user=OTHER_USER)),
    ),
    ("mac-of-other-manifest", "forged", "proves it in another manifest", lambda: _lock(lock(mac_manifest=2))),
    ("mac-zeros", "forged", "zeros for a proof", lambda: _lock(lock(mac=b32(bytes(32))))),
    ("manifest-changed", "forged", "another number of the manifest", lambda: _lock(lock(manifest=2))),
    (
        "public-replaced",
        "forged",
        "another public half, to which a later seed would be sealed",
        lambda: _lock(lock(public=b64(public(secret("another pair"))))),
    ),
    (
        "lone-surrogate",
        "bad password",
        "a lone surrogate in the password, where it was locked under the sign that lax writers put there",
        lambda: _lock(lock(password="a pelican\ufffd"), "a pelican\ud800"),
    ),
    ("cheaper", "refused", "it asks for less memory", lambda: _lock(lock(memory=8192))),
    ("fewer-passes", "refused", "it asks for one pass", lambda: _lock(lock(passes=1))),
    ("version-2", "refused", "version 2", lambda: _lock(lock(version=2))),
    (
        "unknown-kind",
        "refused",
        "a kind that nobody knows",
        lambda: _lock(lock(kind="pin")),
    ),
    ("no-mac", "refused", "no proof", lambda: _lock(lock(mac=...))),
    ("salt-spare-bits", "refused", "a second spelling of the salt", lambda: _lock(lock(salt=b32(SALT)[:-1] + "b"))),
)

for _name, _expect, _lie, _make in _LOCKS:
    tell(f"lock-{_name}", "lock", _expect, _lie, _make)


# --- key files (SPEC 8.6) ---

PASSPHRASE = "a pelican’s ﬁsh"
_SEED = secret("admin")
_PUBLIC = f"public  {b32(ADMIN.public.fingerprint)}"
_COMMENT = "# admin key of a test vector\n"


def spelled(seed: bytes = _SEED, human: str = HUMAN_PART) -> str:
    """A seed in Bech32."""
    return bech32_encode(human, convertbits(seed, 8, 5) or []).upper()


_SECRET = f"secret  {spelled()}"


@cache
def _stretched_file(passphrase: str = PASSPHRASE) -> bytes:
    text = unicodedata.normalize("NFKC", passphrase).encode()
    return argon2id.kdf(32, text, SALT, opslimit=3, memlimit=64 * 1024 * 1024)


def locked(
    seed: bytes = _SEED,
    salt: bytes = SALT,
    context: bytes | None = None,
    nonce: bytes = bytes(12),
    label: str = labels.KEY_FILE,
    passphrase: str = PASSPHRASE,
) -> bytes:
    """A seed under the passphrase."""
    said = pack(labels.KEY_FILE, salt) if context is None else context
    return pack(label, salt, AESGCM(_stretched_file(passphrase)).encrypt(nonce, seed, said))


def _file(*lines: str, passphrase: str | None = None) -> Fields:
    fields: Fields = [("file", json.dumps(_COMMENT + "\n".join(lines) + "\n", ensure_ascii=False))]
    if passphrase is not None:
        fields.append(("passphrase", quoted(passphrase)))
    return fields


def _under(data: bytes, passphrase: str = PASSPHRASE) -> Fields:
    return _file(_PUBLIC, f"locked  {b64(data)}", passphrase=passphrase)


@lie("keyfile", "success", "a public and a secret line")
def keyfile() -> Fields:
    return [*_file(_PUBLIC, _SECRET), ("seed", _SEED), ("fingerprint", GENESIS)]


@lie("keyfile", "success", "under a passphrase")
def keyfile_locked() -> Fields:
    data = locked()
    return [*_under(data), ("salt", SALT), ("stretched", _stretched_file()), ("locked", data), ("seed", _SEED)]


@lie("keyfile", "success", "under a passphrase, typed in another normal form")
def keyfile_locked_composed() -> Fields:
    return [*_under(locked(), unicodedata.normalize("NFKC", PASSPHRASE)), ("seed", _SEED)]


def _changed(text: str) -> str:
    # Another letter, from which the checksum no longer follows.
    return text[:-10] + ("Q" if text[-10] != "Q" else "P") + text[-9:]


_FILES: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    ("no-public", "bad key file", "no public line", lambda: _file(_SECRET)),
    ("no-secret", "bad key file", "no secret line", lambda: _file(_PUBLIC)),
    ("empty", "bad key file", "comments alone", lambda: _file()),
    ("two-publics", "bad key file", "a second public line", lambda: _file(_PUBLIC, _PUBLIC, _SECRET)),
    ("two-secrets", "bad key file", "a second secret line", lambda: _file(_PUBLIC, _SECRET, _SECRET)),
    (
        "secret-and-locked",
        "bad key file",
        "a secret line and a locked one",
        lambda: _file(_PUBLIC, _SECRET, f"locked  {b64(locked())}", passphrase=PASSPHRASE),
    ),
    ("unknown-line", "bad key file", "a line that nobody knows", lambda: _file(_PUBLIC, _SECRET, "owner  admin")),
    ("word-more", "bad key file", "a third word on the secret line", lambda: _file(_PUBLIC, _SECRET + " x")),
    ("checksum", "bad key file", "a letter changed in the secret line", lambda: _file(_PUBLIC, _changed(_SECRET))),
    ("letter-missing", "bad key file", "a letter is missing in the secret line", lambda: _file(_PUBLIC, _SECRET[:-1])),
    (
        "mixed-case",
        "bad key file",
        "a secret line in both cases",
        lambda: _file(_PUBLIC, _SECRET[:-5] + _SECRET[-5:].lower()),
    ),
    (
        "other-human-part",
        "bad key file",
        "a secret of another kind",
        lambda: _file(_PUBLIC, f"secret  {spelled(human='silo-backup-key-')}"),
    ),
    ("short-seed", "bad key file", "a seed of 31 bytes", lambda: _file(_PUBLIC, f"secret  {spelled(_SEED[:31])}")),
    ("long-seed", "bad key file", "a seed of 33 bytes", lambda: _file(_PUBLIC, f"secret  {spelled(_SEED + b'x')}")),
    (
        "public-of-other",
        "bad key file",
        "the public line of another key",
        lambda: _file(f"public  {b32(OTHER_ADMIN.public.fingerprint)}", _SECRET),
    ),
    ("public-cut", "bad key file", "half a public line", lambda: _file(_PUBLIC[:-26], _SECRET)),
    (
        "locked-public-of-other",
        "bad key file",
        "the public line of another key, under the passphrase",
        lambda: _under(locked(secret("another admin"))),
    ),
    (
        "locked-short-seed",
        "bad key file",
        "a seed of 31 bytes under the passphrase",
        lambda: _under(locked(_SEED[:31])),
    ),
    (
        "locked-other-label",
        "bad key file",
        "something else than a key file under the passphrase",
        lambda: _under(locked(label=labels.LOCK)),
    ),
    ("locked-byte-after", "bad key file", "a byte after the locked seed", lambda: _under(locked() + b"\0")),
    ("locked-short-salt", "bad key file", "a salt of 15 bytes", lambda: _under(locked(salt=SALT[:15]))),
    (
        "locked-padded",
        "bad key file",
        "the locked line with its padding",
        lambda: _file(_PUBLIC, f"locked  {b64(locked())}=", passphrase=PASSPHRASE),
    ),
    ("wrong-passphrase", "wrong passphrase", "another passphrase", lambda: _under(locked(), "a heron’s fish")),
    ("no-passphrase", "wrong passphrase", "no passphrase", lambda: _file(_PUBLIC, f"locked  {b64(locked())}")),
    (
        "locked-lone-surrogate",
        "bad password",
        "a lone surrogate in the passphrase, where it was locked under the sign that lax writers put there",
        lambda: _under(locked(passphrase="a pelican\ufffd"), "a pelican\ud800"),
    ),
    (
        "locked-flipped",
        "wrong passphrase",
        "a changed byte in the tag",
        lambda: _under(locked()[:-1] + bytes([locked()[-1] ^ 1])),
    ),
    (
        "locked-other-salt",
        "wrong passphrase",
        "the salt is bound, and another stands there",
        lambda: _under(locked(context=pack(labels.KEY_FILE, ident("another salt")))),
    ),
    ("locked-no-context", "wrong passphrase", "sealed without associated data", lambda: _under(locked(context=b""))),
)

for _name, _expect, _lie, _make in _FILES:
    tell(f"keyfile-{_name}", "keyfile", _expect, _lie, _make)
