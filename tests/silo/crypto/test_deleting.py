"""Making tombstones, deletion receipts and key bags; opening them is the vectors' (SPEC 7.7, 7.8)."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto import bags
from silo.crypto.bags import MOST, SEALED_MOST, BagPlace, read_bag, seal_bag
from silo.crypto.encoding import padme, u64
from silo.crypto.keys import Signer, recipient_of
from silo.crypto.opening import Opener
from silo.crypto.tombstones import (
    NOBODY,
    PLACES,
    RETENTION,
    USER,
    Erased,
    Tombstone,
    check_deletion,
    make_deletion,
    read_tombstone,
)
from silo.errors import SiloError

SEED = secrets.token_bytes(32)
NUMBERS = st.integers(0, 2**53 - 1)
ERASED = Erased(bytes(16), bytes(16), 3, bytes(32), bytes(32))


def place(at: int) -> BagPlace:
    return BagPlace(bytes(16), bytes(16), bytes(16), 1, at, bytes(32))


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([USER, RETENTION]))
def test_a_statement_is_read_as_it_was_said(made: int, version: int, time: int, why: str) -> None:
    who = NOBODY if why == RETENTION else b"d" * 16
    said = Tombstone(ERASED, made, who, why, version, bytes(32), time)
    assert read_tombstone(said.statement()) == said


@given(st.integers(0, 249), st.integers(1, 255))
def test_no_changed_byte_is_the_same_tombstone(at: int, bit: int) -> None:
    said = Tombstone(ERASED, 1, b"d" * 16, USER, 1, bytes(32), 2)
    bent = bytearray(said.statement())
    bent[at] ^= bit
    try:
        read = read_tombstone(bytes(bent))
    except SiloError:
        return
    assert read != said


@given(NUMBERS, st.none() | NUMBERS, st.sets(st.sampled_from(PLACES)))
def test_a_deletion_receipt_says_what_it_was_given(time: int, until: int | None, also: set[str]) -> None:
    identity, statement = Signer(bytes(32)), b"statement"
    receipt = make_deletion(identity, statement, time, until, also)
    if until is not None and until < time:
        with pytest.raises(SiloError):
            check_deletion(receipt, statement, [identity.public])
        return
    said = check_deletion(receipt, statement, [Signer().public, identity.public])
    assert (said.time, said.until, set(said.also)) == (time, until, also)
    with pytest.raises(SiloError):
        check_deletion(receipt, b"another", [identity.public])


def test_a_receipt_names_known_places_alone() -> None:
    with pytest.raises(ValueError):
        make_deletion(Signer(), b"", 1, None, ["tapes"])


@given(st.dictionaries(st.integers(1, 1000), st.binary(min_size=32, max_size=32), max_size=30))
def test_a_bag_gives_back_what_was_put_in(keys: dict[int, bytes]) -> None:
    sealed = seal_bag(place(1000), keys, recipient_of(SEED))
    assert Opener(SEED).open_bag(sealed, place(1000)) == keys


def test_a_bag_holds_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    account = recipient_of(SEED)
    for keys in ({0: bytes(32)}, {11: bytes(32)}, {3: bytes(31)}):
        with pytest.raises(ValueError):
            seal_bag(place(10), keys, account)
    largest = seal_bag(place(MOST), {index: bytes(32) for index in range(1, MOST + 1)}, account)
    assert len(largest) == SEALED_MOST
    monkeypatch.setattr(bags, "MOST", 2)
    sealed = seal_bag(place(10), {index: bytes([index]) * 32 for index in (1, 2, 3)}, account)
    assert set(Opener(SEED).open_bag(sealed, place(10))) == {2, 3}
    # A bag with more is none.
    with pytest.raises(ValueError):
        read_bag(_padded(b"".join(u64(index) + bytes(32) for index in (1, 2, 3))), 10)


def _padded(content: bytes) -> bytes:
    return (u64(len(content)) + content).ljust(padme(8 + len(content)), b"\0")


@given(st.binary(max_size=600))
def test_whatever_is_no_bag_is_refused_in_one_way(data: bytes) -> None:
    try:
        keys = read_bag(data, 10)
    except ValueError:
        return
    assert _padded(b"".join(u64(index) + key for index, key in keys.items())) == data
