"""Keys, signatures, fingerprints, enrolments (SPEC 2.4, 2.5, 6)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto import labels
from silo.crypto.keys import (
    AdminKey,
    Enrolment,
    Recipient,
    Signer,
    derive,
    fingerprint,
    read_enrolment,
    recipient_of,
    setup_bearer,
    setup_hash,
    spoken,
    verify,
)
from silo.errors import SiloError

SIGNER = Signer(bytes(range(32)))
SEAL = recipient_of(bytes(range(32)))
ENROLMENT = Enrolment(b"s" * 16, b"u" * 16, b"d" * 16, SIGNER.public, SEAL.public, 1)


def _forged(act: object, *args: object) -> bool:
    assert callable(act)
    with pytest.raises(SiloError) as error:
        act(*args)
    return error.value.code == "forged"


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_what_is_signed_is_verified_under_its_label_alone(fields: list[bytes]):
    signature = SIGNER.sign(labels.TURN, *fields)
    verify(SIGNER.public, signature, labels.TURN, *fields)
    assert _forged(verify, SIGNER.public, signature, labels.KEYS, *fields)
    assert _forged(verify, SIGNER.public, signature, labels.TURN, *fields, b"")
    assert _forged(verify, Signer().public, signature, labels.TURN, *fields)


@given(st.integers(0, 63), st.integers(1, 255))
def test_any_changed_byte_of_a_signature_is_forged(at: int, change: int):
    bent = bytearray(SIGNER.sign(labels.TURN, b"pelican"))
    bent[at] ^= change
    assert _forged(verify, SIGNER.public, bytes(bent), labels.TURN, b"pelican")


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_noise_verifies_nothing(public: bytes, signature: bytes):
    assert _forged(verify, public, signature, labels.TURN)


def test_fresh_keys_differ():
    assert Signer().seed != Signer().seed
    assert AdminKey().seed != AdminKey().seed
    again = AdminKey(AdminKey(bytes(32)).seed)
    assert again.public == AdminKey(bytes(32)).public


def test_an_admin_keys_halves_are_two_keys():
    key = AdminKey(bytes(32))
    seeds = {key.seed, key.signer.seed, key.seal_seed}
    assert len(seeds) == 3


@pytest.mark.parametrize("make", [Signer, AdminKey, recipient_of])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_seeds_have_32_bytes(make: object, size: int):
    assert callable(make)
    with pytest.raises(ValueError):
        make(bytes(size))


def test_reprs_show_a_fingerprint_and_no_secret():
    key = AdminKey(bytes(range(32)))
    for one, seed in ((key, key.seed), (SIGNER, SIGNER.seed), (SEAL, bytes(range(32)))):
        said = repr(one)
        assert seed.hex() not in said
        assert str(seed) not in said
        assert len(said) < 40


def test_fingerprints_are_spoken_in_fours():
    said = spoken(fingerprint(SIGNER.public))
    assert [len(group) for group in said.split(" ")] == [4] * 13


def test_derivations_are_apart():
    secret = bytes(32)
    made = [
        derive(secret, labels.LOCK_PROOF),
        derive(secret, labels.LOCK_SEAL),
        derive(secret, labels.LOCK_PROOF, b""),
        derive(secret, labels.LOCK_PROOF, salt=b"x"),
        setup_bearer(secret),
        setup_hash(secret),
    ]
    assert len(set(made)) == len(made)


def test_enrolments_come_back():
    statement = ENROLMENT.statement()
    assert read_enrolment(statement, SIGNER.sign(labels.ENROLMENT, statement)) == ENROLMENT


@given(st.data())
def test_any_changed_byte_of_an_enrolment_is_forged(data: st.DataObject):
    statement = bytearray(ENROLMENT.statement())
    signature = SIGNER.sign(labels.ENROLMENT, bytes(statement))
    statement[data.draw(st.integers(0, len(statement) - 1))] ^= data.draw(st.integers(1, 255))
    assert _forged(read_enrolment, bytes(statement), signature)


@given(st.binary(max_size=100), st.binary(max_size=70))
def test_noise_enrols_nobody(statement: bytes, signature: bytes):
    assert _forged(read_enrolment, statement, signature)


def test_a_device_is_named_by_both_keys():
    others = (replace(ENROLMENT, sign=Signer().public), replace(ENROLMENT, seal=recipient_of(bytes(32)).public))
    assert len({ENROLMENT.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_recipients_take_keys_alone():
    for public in (b"", bytes(1216), SEAL.public + b"\0"):
        with pytest.raises(ValueError):
            Recipient(public)
