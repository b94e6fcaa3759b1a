"""Who appears in the vectors, and the list of lies that are told about them.

The keys of these people are hashes of their names: everybody can make them, nobody may use them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from form import Fields

from silo.crypto import _hpke
from silo.crypto.keys import AdminKey, Recipient, Signer, fingerprint, recipient_of


def secret(name: str) -> bytes:
    """32 bytes that everybody can make."""
    return hashlib.sha256(b"securesilo test vectors: " + name.encode()).digest()


def ident(name: str) -> bytes:
    """A 16-byte id that everybody can make."""
    return secret(name)[:16]


def flip(data: bytes, at: int, bit: int = 1) -> bytes:
    """`data` with a changed byte."""
    out = bytearray(data)
    out[at] ^= bit
    return bytes(out)


SILO, OTHER_SILO = ident("silo"), ident("another silo")
USER, OTHER_USER = ident("user"), ident("another user")
DEVICE, OTHER_DEVICE = ident("device"), ident("another device")
THREAD, OTHER_THREAD = ident("thread"), ident("another thread")
TURN, OTHER_TURN = ident("turn"), ident("another turn")

IDENTITY, OTHER_IDENTITY = Signer(secret("identity")), Signer(secret("another identity"))
DEVICE_KEY, OTHER_DEVICE_KEY = Signer(secret("device")), Signer(secret("another device"))
ADMIN, OTHER_ADMIN = AdminKey(secret("admin")), AdminKey(secret("another admin"))
IDENTITY_MARK = fingerprint(IDENTITY.public)
GENESIS = ADMIN.public.fingerprint

ACCOUNT_SEED, OTHER_ACCOUNT_SEED = secret("account"), secret("another account")
EPOCH_SEED, OTHER_EPOCH_SEED = secret("epoch"), secret("another epoch")
TRANSPORT_SEED, OTHER_TRANSPORT_SEED = secret("transport"), secret("another transport")

NOW = 1_767_225_600_000
"""The first moment of 2026, in milliseconds."""
HOUR = 3_600_000


@cache
def public(seed: bytes) -> bytes:
    """The X-Wing public key of a seed."""
    return _hpke.PrivateKey(seed).public


@cache
def recipient(seed: bytes) -> Recipient:
    """The same, to be sealed to."""
    return recipient_of(seed)


def low_order(public_key: bytes, point: bytes) -> bytes:
    """An X-Wing public key with another X25519 half."""
    return public_key[:1184] + point


# X25519 points that give zero with every private key: 0, 1, p - 1, and one of order 8.
ZERO_POINT = bytes(32)
ONE_POINT = (1).to_bytes(32, "little")
MINUS_ONE_POINT = (2**255 - 20).to_bytes(32, "little")
ORDER_8_POINT = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")


@dataclass(frozen=True)
class Lie:
    """One scenario: what is told, about which structure, and what a reader must say."""

    name: str
    what: str
    expect: str
    comment: str
    make: Callable[[], Fields]

    def fields(self) -> Fields:
        """Everything that stands in its file."""
        return [("what", self.what), ("expect", self.expect), ("comment", self.comment), *self.make()]


LIES: dict[str, Lie] = {}


def tell(name: str, what: str, expect: str, comment: str, make: Callable[[], Fields]) -> None:
    """Put a lie (or, with `success`, a truth) on the list."""
    if name in LIES:
        raise ValueError(f"told twice: {name}")
    LIES[name] = Lie(name, what, expect, comment, make)


def lie(what: str, expect: str, comment: str) -> Callable[[Callable[[], Fields]], Callable[[], Fields]]:
    """The same as a decorator; the function's name names the file."""

    def add(make: Callable[[], Fields]) -> Callable[[], Fields]:
        tell(make.__name__.replace("_", "-"), what, expect, comment, make)
        return make

    return add
