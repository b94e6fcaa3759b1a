"""HPKE base mode with X-Wing, HKDF-SHA256 and AES-256-GCM (RFC 9180, KEM 0x647a; SPEC 2.4).

A private key is its 32-byte X-Wing seed. Only silo.crypto calls this.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

SEED_SIZE = 32
PUBLIC_SIZE = 1216
ENC_SIZE = 1120
OVERHEAD = ENC_SIZE + 16

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_PUBLIC = 1184
_ANY_X25519 = X25519PrivateKey.from_private_bytes(bytes(32))


class CannotOpen(Exception):
    """It does not open: another key, another context or changed bytes; HPKE does not say which."""


class PrivateKey:
    """An X-Wing private key, parsed once. Its repr shows nothing."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise ValueError("an X-Wing seed has 32 bytes")
        # X-Wing's key derivation: SHAKE-256 gives the ML-KEM seed (64) and the X25519 key (32).
        expanded = hashlib.shake_256(seed).digest(96)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        """ML-KEM-768 public key (1,184 bytes), then X25519 (32)."""

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext sealed to this key under `info`. Raises CannotOpen."""
        try:
            return _SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError):
            raise CannotOpen from None

    def __repr__(self) -> str:
        return "<PrivateKey>"


def check_public(public: bytes) -> None:
    """Raises ValueError for a public key that nothing can be sealed to: a wrong size, a coefficient out of range,
    an X25519 point of low order."""
    try:
        _parse(public)
        # Any private key will do: a point of low order gives zero with all of them, which the library refuses.
        _ANY_X25519.exchange(X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]))
    except ValueError:
        raise ValueError("not an X-Wing public key") from None


def _parse(public: bytes) -> MLKEM768X25519PublicKey:
    if len(public) != PUBLIC_SIZE:
        raise ValueError("an X-Wing public key has 1216 bytes")
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]),
        X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]),
    )


def seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """`enc` (1,120 bytes) and ciphertext (plaintext + 16). Raises ValueError for a bad public key."""
    try:
        return _SUITE.encrypt(plaintext, _parse(public), info)
    except InvalidTag:
        # What the library raises for an X25519 point of low order.
        raise ValueError("this public key cannot be sealed to") from None
