"""Locks: the account key's seed sealed to what a person knows or has, and the manifest that lists them (SPEC 9).

Asymmetric: a lock's secret derives an X-Wing pair, so that the account key can be rotated without the secret at
hand. What the silo keeps of a password can be guessed offline as far as the password is weak.
"""

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from nacl.pwhash import argon2id

from silo.crypto import _hpke, labels
from silo.crypto.assigned import is_assigned
from silo.crypto.encoding import (
    Blob,
    Count,
    Hash,
    Id,
    b32,
    b64,
    hash_bytes,
    id_bytes,
    read_json,
    u64,
    unb64,
    write_json,
)
from silo.crypto.keys import SEED_SIZE, AccountKey, Recipient, derive, mac, recipient_of, same
from silo.crypto.labels import digest, pack
from silo.errors import SiloError

# Constants of lock version 1: nobody who serves a lock can ask for less (SPEC 9.2).
MEMORY = 64 * 1024 * 1024
PASSES = 3
FIRST_MANIFEST = 1
MANIFEST_FORMAT = "securesilo/1 lock manifest"
SEALED_SIZE = _hpke.OVERHEAD + len(pack(labels.LOCK, bytes(SEED_SIZE), bytes(16), bytes(32)))
"""Bytes of a lock's `sealed`."""

Kind = Literal["password", "recovery", "prf", "device"]
_SALTED = {"password"}
_RELEASED_FOR_PROOF = {"password", "recovery"}
_MACED = {"password", "recovery", "prf"}


class Lock(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A lock as the silo keeps it. Every field but `proof_hash` is released to whoever may have it.

    `salt` stands for a password alone, `proof_hash` for password and recovery; `account`, `manifest` and `mac` for all
    kinds but device. Elsewhere they are null.
    """

    version: Literal[1]
    id: Id
    """Of a device's lock: the device's id."""
    kind: Kind
    salt: Id | None
    proof_hash: Hash | None
    public: Blob
    sealed: Blob
    account: Hash | None
    """Fingerprint of the account key that the secret's holder accepted when it was last at hand."""
    manifest: Count | None
    """The manifest's version then."""
    mac: Hash | None

    def __post_init__(self) -> None:
        """Raises ValueError for a field that its kind does not have, or lacks."""
        if (self.salt is not None) != (self.kind in _SALTED):
            raise ValueError("a salt that does not fit the lock's kind")
        if (self.proof_hash is not None) != (self.kind in _RELEASED_FOR_PROOF):
            raise ValueError("a proof that does not fit the lock's kind")
        if {one is not None for one in (self.account, self.manifest, self.mac)} != {self.kind in _MACED}:
            raise ValueError("a mac that does not fit the lock's kind")


@dataclass(frozen=True, repr=False)
class LockSecret:
    """What a lock's secret derives on the device: a pair to seal to, mostly a MAC key, and sometimes a proof to send.

    Made by `stretch`, `recovery_secret`, `prf_secret` and `device_secret` alone.
    """

    kind: Kind
    seal_seed: bytes
    mac_key: bytes | None
    """None for a device: it knows itself which account key it accepted last."""
    proof: bytes | None
    """Sent to have the lock released; the silo keeps its hash. None where something else releases it."""

    @property
    def proof_hash(self) -> bytes | None:
        """What the silo keeps of the proof."""
        return None if self.proof is None else digest(labels.LOCK_PROOF_HASH, self.proof)

    def mac(self, silo: bytes, user: bytes, lock: bytes, account: bytes, manifest: int) -> bytes | None:
        """32 bytes that only this secret makes: which account key it locks, in which manifest; `lock` is its id."""
        if self.mac_key is None:
            return None
        return mac(self.mac_key, labels.LOCK_MAC, silo, user, lock, account, u64(manifest))


def stretch_text(password: str, salt: bytes) -> bytes:
    """32 bytes by Argon2id (64 MiB, 3 passes) from a password in NFKC and UTF-8; `salt` has 16 bytes.

    About a fifth of a second. Raises SiloError `bad_password` for an empty one, for a lone surrogate, which has no
    UTF-8, and for what Unicode 14.0 does not assign: another Unicode may put another character in its place, and who
    has that would be locked out.
    """
    if not password:
        raise SiloError("bad_password", "it is empty")
    if not is_assigned(password):
        raise SiloError("bad_password", "not every device knows one of its characters")
    text = unicodedata.normalize("NFKC", password).encode()
    return argon2id.kdf(32, text, salt, opslimit=PASSES, memlimit=MEMORY)


def _secret(kind: Kind, key: bytes, silo: bytes, genesis: bytes) -> LockSecret:
    # Silo id and genesis pin are in every derivation, so that a proof given to a false silo is worth nothing at the
    # true one; the kind, so that no kind's bytes pass for another's.
    def made(label: str) -> bytes:
        return derive(key, label, kind.encode(), silo, genesis)

    proof = made(labels.LOCK_PROOF) if kind in _RELEASED_FOR_PROOF else None
    return LockSecret(kind, made(labels.LOCK_SEAL), made(labels.LOCK_MAC_KEY), proof)


def stretch(password: str, stored_salt: bytes, silo: bytes, genesis: bytes) -> LockSecret:
    """What a password derives; `stored_salt` has 16 bytes. Raises as `stretch_text`."""
    salt = digest(labels.LOCK_SALT, silo, genesis, stored_salt)[: argon2id.SALTBYTES]
    return _secret("password", stretch_text(password, salt), silo, genesis)


def recovery_secret(code: bytes, silo: bytes, genesis: bytes) -> LockSecret:
    """What a recovery sheet's 32 random bytes derive. Raises ValueError for another size."""
    return _secret("recovery", _whole(code), silo, genesis)


def prf_secret(output: bytes, silo: bytes, genesis: bytes) -> LockSecret:
    """What the 32 bytes derive that a passkey's PRF gives for the silo's salt. Raises ValueError for another size."""
    return _secret("prf", _whole(output), silo, genesis)


def device_secret(seal_seed: bytes) -> LockSecret:
    """The device's own X-Wing key (its 32-byte seed) is the pair. Raises ValueError for another size."""
    return LockSecret("device", _whole(seal_seed), None, None)


def _whole(secret: bytes) -> bytes:
    if len(secret) != SEED_SIZE:
        raise ValueError("a lock's secret has 32 bytes")
    return secret


def lock_context(silo: bytes, user: bytes, kind: str, lock: bytes) -> tuple[bytes, ...]:
    """What a lock's `sealed` is bound to, beside its label; `lock` is its id (SPEC 9.2)."""
    return silo, user, kind.encode(), lock


def seal_to(
    to: Recipient, kind: str, lock: bytes, account: AccountKey, silo: bytes, genesis: bytes, user: bytes
) -> str:
    """A lock's `sealed`: the account key sealed to the lock's public half; `lock` is its id (SPEC 9.2)."""
    inner = pack(labels.LOCK, account.seed, silo, genesis)
    return b64(to.seal(inner, labels.LOCK_SEAL, *lock_context(silo, user, kind, lock)))


def make_lock(
    secret: LockSecret,
    lock: bytes,
    account: AccountKey,
    silo: bytes,
    genesis: bytes,
    user: bytes,
    manifest: int = FIRST_MANIFEST,
    salt: bytes | None = None,
) -> Lock:
    """The account key behind a secret that is at hand; `lock` is the lock's id (16 bytes), `manifest` the version that
    lists it, `salt` what a password was stretched with."""
    pair = recipient_of(secret.seal_seed)
    said = secret.mac(silo, user, lock, account.fingerprint, manifest)
    hashed = secret.proof_hash
    return Lock(
        version=1,
        id=b32(lock),
        kind=secret.kind,
        salt=None if salt is None else b32(salt),
        proof_hash=None if hashed is None else b32(hashed),
        public=b64(pair.public),
        sealed=seal_to(pair, secret.kind, lock, account, silo, genesis, user),
        account=None if said is None else b32(account.fingerprint),
        manifest=None if said is None else manifest,
        mac=None if said is None else b32(said),
    )


def make_password_lock(
    password: str, account: AccountKey, silo: bytes, genesis: bytes, user: bytes, manifest: int = FIRST_MANIFEST
) -> Lock:
    """The account key behind a password, under a fresh id and salt. `silo` and `user` are 16 bytes, `genesis` 32.

    Raises SiloError `bad_password` for an empty one; as `stretch_text`.
    """
    if not password:
        raise SiloError("bad_password", "it is empty")
    salt = secrets.token_bytes(16)
    secret = stretch(password, salt, silo, genesis)
    return make_lock(secret, secrets.token_bytes(16), account, silo, genesis, user, manifest, salt)


def lock_salt(lock: Lock) -> bytes:
    """The 16 bytes that `stretch` wants. Raises ValueError for a lock that is no password's."""
    if lock.salt is None:
        raise ValueError("no password's lock")
    return id_bytes(lock.salt)


# --- the manifest (SPEC 9.3) ---


class ListedLock(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A lock as the manifest names it: whoever rotates the account key seals the new one to this public half."""

    id: Id
    kind: Kind
    public: Blob


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All of an account key's locks, at one version."""

    format: Literal["securesilo/1 lock manifest"]
    silo: Id
    user: Id
    version: Count
    account: Hash
    """The account key's fingerprint."""
    locks: list[ListedLock]


class SignedManifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A manifest as it travels and as it is stored."""

    manifest: str
    """The JSON text that the MAC covers, to the byte."""
    mac: Hash


def list_locks(locks: Sequence[Lock | ListedLock]) -> list[ListedLock]:
    """What a manifest says of these locks."""
    return [ListedLock(id=one.id, kind=one.kind, public=one.public) for one in locks]


def state_manifest(
    account: AccountKey, silo: bytes, user: bytes, version: int, locks: Sequence[Lock | ListedLock]
) -> SignedManifest:
    """The manifest that lists these locks, in this order."""
    listed = list_locks(locks)
    document = Manifest(MANIFEST_FORMAT, b32(silo), b32(user), version, b32(account.fingerprint), listed)
    text = write_json(document)
    return SignedManifest(manifest=text.decode(), mac=b32(account.mac(labels.LOCK_MANIFEST, text)))


def parse_manifest(signed: SignedManifest) -> Manifest:
    """What a manifest says, not yet proven: all that a silo can check of it. Raises SiloError `header_failure`."""
    try:
        manifest = read_json(signed.manifest.encode(), Manifest)
        if manifest.version < FIRST_MANIFEST or not manifest.locks:
            raise ValueError("it lists no lock")
        for names in ([one.id for one in manifest.locks], [one.public for one in manifest.locks]):
            if len(set(names)) != len(names):
                raise ValueError("a lock stands twice")
        for one in manifest.locks:
            Recipient(unb64(one.public))
    except ValueError as error:
        raise SiloError("header_failure", str(error)) from None
    return manifest


def read_manifest(signed: SignedManifest, account: AccountKey, silo: bytes, user: bytes, least: int = 0) -> Manifest:
    """The manifest, if this account key's holder wrote it and none newer than `least` was seen.

    Raises SiloError `forged` for another silo's, user's or account key's and for a MAC that does not fit,
    `header_failure` where it is not well formed, `stale` for a version below `least`.
    """
    try:
        fits = same(account.mac(labels.LOCK_MANIFEST, signed.manifest.encode()), hash_bytes(signed.mac))
    except ValueError:
        fits = False
    if not fits:
        raise SiloError("forged", "the manifest of the locks")
    manifest = parse_manifest(signed)
    if (manifest.silo, manifest.user, manifest.account) != (b32(silo), b32(user), b32(account.fingerprint)):
        raise SiloError("forged", "the manifest is another's")
    if manifest.version < least:
        raise SiloError("stale", f"version {manifest.version} of the manifest, and {least} was seen")
    return manifest
