"""Locks: the account key's seed sealed to what a person knows (SPEC 9).

Asymmetric: a lock's secret derives an X-Wing pair, so that the account key can be rotated without the
secret at hand. What the silo keeps of a password can be guessed offline as far as the password is weak.
"""

import hmac
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Literal

import msgspec
from nacl.pwhash import argon2id

from silo.crypto import labels
from silo.crypto.encoding import Blob, Count, Hash, Id, b32, b64, id_bytes, u64
from silo.crypto.keys import Recipient, derive, recipient_of
from silo.crypto.labels import digest, pack
from silo.errors import SiloError

# Constants of lock version 1: nobody who serves a lock can ask for less (SPEC 9.1).
MEMORY = 64 * 1024 * 1024
PASSES = 3
MANIFEST = 1


class Lock(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A lock as the silo keeps it. Every field but `proof_hash` is released to whoever gives the proof."""

    version: Literal[1]
    kind: Literal["password"]
    salt: Id
    proof_hash: Hash
    public: Blob
    sealed: Blob
    mac: Hash
    manifest: Count


@dataclass(frozen=True, repr=False)
class PasswordSecret:
    """What a password derives on the device: a proof to send, a pair to seal to, a MAC key."""

    proof: bytes
    """Sent to sign in; the silo keeps its hash."""
    seal_seed: bytes
    mac_key: bytes

    @property
    def proof_hash(self) -> bytes:
        """What the silo keeps of the proof."""
        return digest(labels.LOCK_PROOF_HASH, self.proof)

    def mac(self, silo: bytes, user: bytes, account: bytes, manifest: int) -> bytes:
        """32 bytes that only this secret makes: which account key it locks, in which manifest."""
        said = pack(labels.LOCK_MAC, silo, user, account, u64(manifest))
        return hmac.digest(self.mac_key, said, "sha256")


def stretch_text(password: str, salt: bytes) -> bytes:
    """32 bytes by Argon2id (64 MiB, 3 passes) from a password in NFKC and UTF-8; `salt` has 16 bytes.

    About a fifth of a second. Raises SiloError `bad_password` for a lone surrogate, which has no UTF-8: writers that
    put another character in its place would lock out those that do not.
    """
    try:
        text = unicodedata.normalize("NFKC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise SiloError("bad_password", "it is not UTF-8") from None
    return argon2id.kdf(32, text, salt, opslimit=PASSES, memlimit=MEMORY)


def stretch(password: str, stored_salt: bytes, silo: bytes, genesis: bytes) -> PasswordSecret:
    """What a password derives; `stored_salt` has 16 bytes. Raises as `stretch_text`.

    Silo id and genesis pin are in the salt, so that a proof given to a false silo is worth nothing elsewhere.
    """
    key = stretch_text(password, digest(labels.LOCK_SALT, silo, genesis, stored_salt)[: argon2id.SALTBYTES])
    return PasswordSecret(*(derive(key, label) for label in (labels.LOCK_PROOF, labels.LOCK_SEAL, labels.LOCK_MAC_KEY)))


def make_password_lock(password: str, account_seed: bytes, silo: bytes, genesis: bytes, user: bytes) -> Lock:
    """The account key's seed behind a password. `silo` and `user` are 16 bytes, `genesis` 32.

    Raises SiloError `bad_password` for an empty one; as `stretch_text`.
    """
    if not password:
        raise SiloError("bad_password", "it is empty")
    salt = secrets.token_bytes(16)
    secret = stretch(password, salt, silo, genesis)
    pair: Recipient = recipient_of(secret.seal_seed)
    sealed = pair.seal(pack(labels.LOCK, account_seed, silo, genesis), labels.LOCK_SEAL, silo, user, b"password")
    account = recipient_of(account_seed).fingerprint
    return Lock(
        version=1,
        kind="password",
        salt=b32(salt),
        proof_hash=b32(secret.proof_hash),
        public=b64(pair.public),
        sealed=b64(sealed),
        mac=b32(secret.mac(silo, user, account, MANIFEST)),
        manifest=MANIFEST,
    )


def lock_salt(lock: Lock) -> bytes:
    """The 16 bytes that `stretch` wants."""
    return id_bytes(lock.salt)
