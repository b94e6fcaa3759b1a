"""Labels and pack (SPEC 2.1, 2.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto import labels
from silo.crypto.labels import digest, pack, unpack

ALL = {name: value for name, value in vars(labels).items() if name.isupper() and isinstance(value, str)}
FIELDS = st.lists(st.binary(max_size=20), max_size=5)


def test_labels_are_ascii_and_say_whose_they_are():
    assert len(ALL) > 25
    for label in ALL.values():
        assert label.isascii()
        assert label.startswith("securesilo/1 ")


def test_no_two_purposes_share_a_label():
    assert len(set(ALL.values())) == len(ALL)


@given(FIELDS)
def test_unpack_is_packs_inverse(fields: list[bytes]):
    assert list(unpack(labels.TURN, pack(labels.TURN, *fields), len(fields))) == fields


@given(FIELDS, FIELDS)
def test_two_lists_never_give_the_same_bytes(one: list[bytes], other: list[bytes]):
    assert (pack(labels.TURN, *one) == pack(labels.TURN, *other)) == (one == other)
    assert digest(labels.TURN, *one) != digest(labels.KEYS, *one)


@given(st.binary(max_size=120), st.integers(0, 6))
def test_whatever_unpack_takes_is_what_pack_makes(data: bytes, count: int):
    try:
        fields = unpack(labels.TURN, data, count)
    except ValueError:
        return
    assert pack(labels.TURN, *fields) == data


@given(FIELDS, st.data())
def test_nothing_may_stand_before_or_after(fields: list[bytes], data: st.DataObject):
    packed = pack(labels.TURN, *fields)
    extra = data.draw(st.binary(min_size=1, max_size=8))
    for bad in (extra + packed, packed + extra, packed[:-1]):
        with pytest.raises(ValueError):
            unpack(labels.TURN, bad, len(fields))
