"""HPKE with X-Wing: the library's against one written out from RFC 9180 and the X-Wing draft (SPEC 2.4)."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto import _hpke

SEED = bytes(range(32))
KEM, KDF, AEAD = 0x647A, 0x0001, 0x0002
SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (KEM, KDF, AEAD))
XWING = rb"\.//^\ "[:6]


def _extract(salt: bytes, label: bytes, keying: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE + label + keying, "sha256")


def _expand(key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    said = size.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info
    return hmac.digest(key, said + b"\x01", "sha256")[:size]


def _open(seed: bytes, sealed: bytes, info: bytes) -> bytes:
    expanded = hashlib.shake_256(seed).digest(96)
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
    text, point = sealed[:1088], sealed[1088:1120]
    shared = hashlib.sha3_256(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).decapsulate(text)
        + x25519.exchange(X25519PublicKey.from_public_bytes(point))
        + point
        + x25519.public_key().public_bytes_raw()
        + XWING
    ).digest()
    context = b"\0" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key, nonce = _expand(secret, b"key", context, 32), _expand(secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, sealed[1120:], b"")


@given(st.binary(max_size=100), st.binary(max_size=60))
def test_the_library_speaks_rfc_9180(plaintext: bytes, info: bytes):
    key = _hpke.PrivateKey(SEED)
    sealed = _hpke.seal(key.public, plaintext, info)
    assert len(sealed) == len(plaintext) + _hpke.OVERHEAD
    assert _open(SEED, sealed, info) == plaintext
    assert key.open(sealed, info) == plaintext


@given(st.data())
def test_any_change_is_refused_in_one_way(data: st.DataObject):
    key = _hpke.PrivateKey(SEED)
    sealed = bytearray(_hpke.seal(key.public, b"pelican", b"info"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(_hpke.CannotOpen):
        key.open(bytes(sealed), b"info")


@given(st.binary(max_size=1400))
def test_whatever_comes_is_refused_in_one_way(sealed: bytes):
    with pytest.raises(_hpke.CannotOpen):
        _hpke.PrivateKey(SEED).open(sealed, b"")


def test_a_seed_has_32_bytes():
    for size in (0, 31, 33, 64):
        with pytest.raises(ValueError):
            _hpke.PrivateKey(bytes(size))


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little")])
def test_nothing_is_sealed_to_a_point_of_low_order(point: bytes):
    public = _hpke.PrivateKey(SEED).public[:1184] + point
    with pytest.raises(ValueError):
        _hpke.check_public(public)
    with pytest.raises(ValueError):
        _hpke.seal(public, b"pelican", b"")
