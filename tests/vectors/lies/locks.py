"""Lies about what keeps a secret: key files and locks (SPEC 8.6, 9.2)."""

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

# --- locks (SPEC 9.2) ---

PASSWORD = "a pelican’s ﬁsh at the café"
_UNICODE_14, _UNICODE_15 = "a pelican\U00010781", "a pelican\U0001e030"
"""With a character that this Unicode was the first to have, and that NFKC makes another of."""
SALT = ident("lock salt")
LOCK, OTHER_LOCK = ident("lock"), ident("another lock")
SECRETS = {kind: secret(f"secret of a {kind} lock") for kind in ("recovery", "prf", "device")}
OTHER_GENESIS = OTHER_ADMIN.public.fingerprint


@cache
def stretched(password: str = PASSWORD, silo: bytes = SILO, genesis: bytes = GENESIS) -> bytes:
    """K: Argon2id over the password, written out once more."""
    salt = digest(labels.LOCK_SALT, silo, genesis, SALT)[:16]
    text = unicodedata.normalize("NFKC", password).encode()
    return argon2id.kdf(32, text, salt, opslimit=3, memlimit=64 * 1024 * 1024)


def derived(key: bytes, label: str, kind: str = "password", silo: bytes = SILO, genesis: bytes = GENESIS) -> bytes:
    """What K derives for one purpose."""
    return derive(key, label, kind.encode(), silo, genesis)


def quoted(text: str) -> str:
    """A JSON string; what cannot be shown, or has no UTF-8, stands there escaped."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def lock(
    kind: str = "password",
    seed: bytes = ACCOUNT_SEED,
    silo: bytes = SILO,
    genesis: bytes = GENESIS,
    user: bytes = USER,
    to: bytes | None = None,
    sealed_kind: str | None = None,
    sealed_id: bytes = LOCK,
    label: str = labels.LOCK_SEAL,
    inner: bytes | None = None,
    mac_seed: bytes = ACCOUNT_SEED,
    mac_user: bytes = USER,
    mac_id: bytes = LOCK,
    mac_manifest: int = 1,
    password: str = PASSWORD,
    key: bytes | None = None,
    derived_kind: str | None = None,
    derived_silo: bytes = SILO,
    derived_genesis: bytes = GENESIS,
    **changes: Any,
) -> str:
    """A lock's JSON; every argument can be a lie, and what is changed to `...` is left out."""
    if key is None:
        key = stretched(password) if kind == "password" else SECRETS[kind]
    alone = kind == "device"

    def made(label: str) -> bytes:
        return derived(key, label, derived_kind or kind, derived_silo, derived_genesis)

    pair = key if alone else made(labels.LOCK_SEAL)
    plain = pack(labels.LOCK, seed, silo, genesis) if inner is None else inner
    account = fingerprint(public(mac_seed))
    said = pack(labels.LOCK_MAC, SILO, mac_user, mac_id, account, u64(mac_manifest))
    context = (SILO, user, (sealed_kind or kind).encode(), sealed_id)
    proof = digest(labels.LOCK_PROOF_HASH, made(labels.LOCK_PROOF)) if kind in ("password", "recovery") else None
    fields: dict[str, Any] = {
        "version": 1,
        "id": b32(LOCK),
        "kind": kind,
        "salt": b32(SALT) if kind == "password" else None,
        "proof_hash": b32(proof) if proof else None,
        "public": b64(public(pair)),
        "sealed": b64(recipient(to or pair).seal(plain, label, *context)),
        "account": None if alone else b32(account),
        "manifest": None if alone else 1,
        "mac": None if alone else b32(hmac.digest(made(labels.LOCK_MAC_KEY), said, "sha256")),
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


def shown(kind: str, text: str, key: bytes | None = None, silo: bytes = SILO, genesis: bytes = GENESIS) -> Fields:
    """A lock that is no password's, with the 32 bytes that should open it."""
    return [("secret", key or SECRETS[kind]), ("silo", silo), ("genesis", genesis), ("user", USER), ("lock", text)]


def _steps(key: bytes, kind: str, proof: bool) -> Fields:
    fields: Fields = [
        ("seal-seed", derived(key, labels.LOCK_SEAL, kind)),
        ("mac-key", derived(key, labels.LOCK_MAC_KEY, kind)),
    ]
    if proof:
        sent = derived(key, labels.LOCK_PROOF, kind)
        fields += [("proof", sent), ("proof-hash", digest(labels.LOCK_PROOF_HASH, sent))]
    return [*fields, ("account-seed", ACCOUNT_SEED), ("least", 1)]


@lie("lock", "success", "an account key behind a password")
def lock_password() -> Fields:
    return [
        *_lock(lock()),
        ("salt", SALT),
        ("argon2-salt", digest(labels.LOCK_SALT, SILO, GENESIS, SALT)[:16]),
        ("stretched", stretched()),
        *_steps(stretched(), "password", proof=True),
    ]


@lie("lock", "success", "an account key behind a recovery sheet")
def lock_recovery() -> Fields:
    return [*shown("recovery", lock("recovery")), *_steps(SECRETS["recovery"], "recovery", proof=True)]


@lie("lock", "success", "an account key behind a passkey's PRF, which needs no proof")
def lock_prf() -> Fields:
    return [*shown("prf", lock("prf")), *_steps(SECRETS["prf"], "prf", proof=False)]


def _accepted(fields: Fields, seed: bytes = ACCOUNT_SEED) -> Fields:
    return [*fields, ("accepted", fingerprint(public(seed)))]


@lie("lock", "success", "an account key sealed to a device, which knows the account key that it accepted last")
def lock_device() -> Fields:
    key = SECRETS["device"]
    shows: Fields = [("seal-seed", key), ("account-seed", ACCOUNT_SEED), ("least", 0)]
    return [*_accepted(shown("device", lock("device"))), *shows]


@lie("lock", "success", "the same password, typed in another normal form")
def lock_password_decomposed() -> Fields:
    return [*_lock(lock(), unicodedata.normalize("NFD", PASSWORD)), ("account-seed", ACCOUNT_SEED)]


@lie("lock", "success", "a password with a character that Unicode 14 was the first to have, in its compatible form")
def lock_password_unicode_14() -> Fields:
    plain = unicodedata.normalize("NFKC", _UNICODE_14)
    assert plain != _UNICODE_14
    return [*_lock(lock(password=plain), _UNICODE_14), ("account-seed", ACCOUNT_SEED)]


_LOCKS: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    ("other-password", "no match", "another password", lambda: _lock(lock(), "six herons")),
    ("shown-by-other-silo", "no match", "asked for by a silo with another id", lambda: _lock(lock(), silo=OTHER_SILO)),
    (
        "shown-by-other-genesis",
        "no match",
        "asked for by a silo with another genesis pin",
        lambda: _lock(lock(), genesis=OTHER_GENESIS),
    ),
    (
        "recovery-shown-by-other-silo",
        "no match",
        "a recovery sheet's lock, asked for by a silo with another id",
        lambda: shown("recovery", lock("recovery"), silo=OTHER_SILO),
    ),
    (
        "recovery-shown-by-other-genesis",
        "no match",
        "a recovery sheet's lock, asked for by a silo with another genesis pin",
        lambda: shown("recovery", lock("recovery"), genesis=OTHER_GENESIS),
    ),
    (
        "recovery-other-code",
        "no match",
        "another recovery sheet",
        lambda: shown("recovery", lock("recovery"), secret("another sheet")),
    ),
    ("prf-other-output", "no match", "another passkey", lambda: shown("prf", lock("prf"), secret("another passkey"))),
    (
        "prf-as-recovery",
        "no match",
        "the bytes of a recovery sheet, used as a passkey's",
        lambda: shown("prf", lock("prf", key=SECRETS["recovery"], derived_kind="recovery"), SECRETS["recovery"]),
    ),
    (
        "device-other-device",
        "no match",
        "another device's key",
        lambda: _accepted(shown("device", lock("device"), secret("seal of another device"))),
    ),
    (
        "device-derived",
        "no match",
        "a pair derived from the device's key, which is the pair itself",
        lambda: _accepted(shown("device", lock("device", to=derived(SECRETS["device"], labels.LOCK_SEAL, "device")))),
    ),
    (
        "device-other-account",
        "forged",
        "the silo sealed a seed of its own to the device",
        lambda: _accepted(shown("device", lock("device", seed=OTHER_ACCOUNT_SEED))),
    ),
    (
        "device-accepted-nothing",
        "forged",
        "a device's lock, shown to who never accepted an account key",
        lambda: shown("device", lock("device")),
    ),
    ("other-user", "no match", "another user's lock with the same password", lambda: _lock(lock(user=OTHER_USER))),
    ("other-kind", "no match", "sealed as a lock of another kind", lambda: _lock(lock(sealed_kind="recovery"))),
    ("other-id", "no match", "sealed as another lock", lambda: _lock(lock(sealed_id=OTHER_LOCK))),
    ("other-label", "no match", "sealed for another purpose", lambda: _lock(lock(label=labels.LOCK))),
    ("sealed-to-other", "no match", "sealed to another pair", lambda: _lock(lock(to=secret("another pair")))),
    ("other-salt", "no match", "another salt", lambda: _lock(lock(salt=b32(ident("another salt"))))),
    (
        "seed-replaced",
        "forged",
        "the silo sealed a seed of its own to the lock's public key",
        lambda: _lock(lock(seed=OTHER_ACCOUNT_SEED)),
    ),
    (
        "account-replaced",
        "forged",
        "the same, and the lock names that account key, which its secret never did",
        lambda: _lock(lock(seed=OTHER_ACCOUNT_SEED, account=b32(fingerprint(public(OTHER_ACCOUNT_SEED))))),
    ),
    ("inner-silo", "forged", "another silo's id inside", lambda: _lock(lock(silo=OTHER_SILO))),
    ("inner-genesis", "forged", "another genesis pin inside", lambda: _lock(lock(genesis=OTHER_GENESIS))),
    ("inner-seed-alone", "forged", "the seed alone inside", lambda: _lock(lock(inner=ACCOUNT_SEED))),
    ("inner-short-seed", "forged", "a seed of 31 bytes inside", lambda: _lock(lock(seed=ACCOUNT_SEED[1:]))),
    ("mac-of-other-account", "forged", "proves another account key", lambda: _lock(lock(mac_seed=OTHER_ACCOUNT_SEED))),
    (
        "mac-of-other-user",
        "forged",
        "proves the account key for another user",
        lambda: _lock(lock(mac_user=OTHER_USER)),
    ),
    ("mac-of-other-lock", "forged", "the proof of another lock", lambda: _lock(lock(mac_id=OTHER_LOCK))),
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
        "device-public-replaced",
        "forged",
        "another public half in a device's lock",
        lambda: _accepted(shown("device", lock("device", public=b64(public(secret("another pair")))))),
    ),
    (
        "lone-surrogate",
        "bad password",
        "a lone surrogate in the password, where it was locked under the sign that lax writers put there",
        lambda: _lock(lock(password="a pelican\ufffd"), "a pelican\ud800"),
    ),
    ("empty-password", "bad password", "it was locked under an empty password", lambda: _lock(lock(password=""), "")),
    (
        "unassigned",
        "bad password",
        "a character that Unicode 15 was the first to have: NFKC leaves it alone before, and makes another of it since",
        lambda: _lock(lock(password=_UNICODE_15), _UNICODE_15),
    ),
    (
        "noncharacter",
        "bad password",
        "a code point that no Unicode will ever assign",
        lambda: _lock(lock(password="a pelican\ufffe"), "a pelican\ufffe"),
    ),
    ("cheaper", "refused", "it asks for less memory", lambda: _lock(lock(memory=8192))),
    ("fewer-passes", "refused", "it asks for one pass", lambda: _lock(lock(passes=1))),
    ("version-2", "refused", "version 2", lambda: _lock(lock(version=2))),
    (
        "unknown-kind",
        "refused",
        "a kind that nobody knows",
        lambda: _lock(lock(kind="pin", key=stretched())),
    ),
    ("no-mac", "refused", "no proof", lambda: _lock(lock(mac=...))),
    ("null-mac", "refused", "null for a proof, as a device has it", lambda: _lock(lock(mac=None))),
    (
        "null-proven",
        "refused",
        "a password's lock that proves nothing, as a device's",
        lambda: _lock(lock(mac=None, account=None, manifest=None)),
    ),
    ("no-salt", "refused", "a password without a salt", lambda: _lock(lock(salt=None))),
    ("prf-salt", "refused", "a passkey with a salt", lambda: shown("prf", lock("prf", salt=b32(SALT)))),
    (
        "prf-proof",
        "refused",
        "a passkey that would be released for a proof",
        lambda: shown("prf", lock("prf", proof_hash=b32(bytes(32)))),
    ),
    (
        "recovery-no-proof",
        "refused",
        "a recovery sheet that would be released for none",
        lambda: shown("recovery", lock("recovery", proof_hash=None)),
    ),
    (
        "device-mac",
        "refused",
        "a device's lock with a proof",
        lambda: _accepted(shown("device", lock("device", mac=b32(bytes(32))))),
    ),
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


def _changed_space(space: str) -> str:
    return _SECRET.replace("  ", space)


def _with_line_ends() -> Fields:
    lines = f"# one\r\n\r# two\n \t\n\t{_PUBLIC}\r{_SECRET}".replace("  ", " \t")
    return [("file", json.dumps(lines)), ("seed", _SEED), ("fingerprint", GENESIS)]


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
    ("line-ends", "success", "line ends of three kinds, tabs, and lines of spaces", _with_line_ends),
    (
        "vertical-tab",
        "bad key file",
        "another white space between the words",
        lambda: _file(_PUBLIC, _changed_space("\v")),
    ),
    (
        "no-break-space",
        "bad key file",
        "a space between the words that is not U+0020",
        lambda: _file(_PUBLIC, _changed_space("\u00a0")),
    ),
    ("line-separator", "bad key file", "lines parted by U+2028", lambda: _file(f"{_PUBLIC}\u2028{_SECRET}")),
    (
        "space-before-comment",
        "bad key file",
        "a comment that does not begin its line",
        lambda: _file(" # x", _PUBLIC, _SECRET),
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
    ("locked-empty", "bad password", "under an empty passphrase", lambda: _under(locked(passphrase=""), "")),
    (
        "locked-unassigned",
        "bad password",
        "a character in the passphrase that Unicode 15 was the first to have",
        lambda: _under(locked(passphrase=_UNICODE_15), _UNICODE_15),
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
