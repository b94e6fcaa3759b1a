"""Wycheproof's attacks on the primitives, as silo.crypto calls them (tests/vectors/wycheproof/README.md)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import BadSignatureError
from nacl.exceptions import ValueError as NaClValueError
from nacl.signing import VerifyKey

from silo.crypto import _hpke
from silo.crypto.encoding import unb64

FOLDER = Path(__file__).parents[2] / "vectors" / "wycheproof"
ANY_PUBLIC = _hpke.PrivateKey(bytes(32)).public


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of a file; what is spelled in base64url becomes bytes."""
    idle = {"id", "flags", "result"}
    read = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return [{key: one if key in idle else unb64(one) for key, one in case.items()} for case in read]


def check_public(public: bytes) -> bool:
    try:
        _hpke.check_public(public)
    except ValueError:
        return False
    return True


def test_aes_gcm():
    told: Counter[str] = Counter()
    for case in cases("aes-gcm"):
        aead, sealed = AESGCM(case["key"]), case["ct"] + case["tag"]
        try:
            assert aead.decrypt(case["iv"], sealed, case["aad"]) == case["msg"], case["id"]
            assert aead.encrypt(case["iv"], case["msg"], case["aad"]) == sealed
            told["valid"] += 1
        except InvalidTag:
            told["invalid"] += 1
            assert case["result"] == "invalid", case["id"]
    assert told == {"valid": 39, "invalid": 27}


def test_ed25519():
    told: Counter[str] = Counter()
    for case in cases("ed25519"):
        try:
            VerifyKey(case["pk"]).verify(case["msg"], case["sig"])
            found = "valid"
        except (BadSignatureError, NaClValueError, ValueError):
            found = "invalid"
        assert found == case["result"], case["id"]
        told[found] += 1
    assert told == {"valid": 88, "invalid": 63}


def test_hkdf():
    for case in cases("hkdf-sha256"):
        made = HKDF(hashes.SHA256(), 32, case["salt"] or None, case["info"]).derive(case["ikm"])
        assert made[: len(case["okm"])] == case["okm"], case["id"]


def test_x25519():
    refused = 0
    for case in cases("x25519"):
        own, public = X25519PrivateKey.from_private_bytes(case["private"]), case["public"]
        zero = not any(case["shared"])
        assert check_public(ANY_PUBLIC[:1184] + public) is not zero, case["id"]
        if zero:
            refused += 1
            with pytest.raises(ValueError):
                own.exchange(X25519PublicKey.from_public_bytes(public))
        else:
            assert own.exchange(X25519PublicKey.from_public_bytes(public)) == case["shared"], case["id"]
    assert refused > 20


def test_mlkem_keys():
    for case in cases("mlkem-768-keygen"):
        assert MLKEM768PrivateKey.from_seed_bytes(case["seed"]).public_key().public_bytes_raw() == case["ek"], case[
            "id"
        ]


def test_mlkem_opens():
    told: Counter[str] = Counter()
    for case in cases("mlkem-768-decaps"):
        try:
            found = MLKEM768PrivateKey.from_seed_bytes(case["seed"]).decapsulate(case["c"])
        except ValueError:
            assert case["result"] == "invalid", case["id"]
            told["invalid"] += 1
            continue
        assert case["result"] == "valid", case["id"]
        assert found == case["K"], case["id"]
        told["valid"] += 1
    assert told == {"valid": 153, "invalid": 40}


def test_mlkem_public_keys():
    for case in cases("mlkem-768-encaps"):
        public = case["ek"] + ANY_PUBLIC[1184:]
        assert check_public(public) is (case["result"] == "valid"), case["id"]
