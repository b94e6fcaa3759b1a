"""Spelling, JSON and Padmé (SPEC 2.3, 3.3)."""

import json
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto.encoding import (
    Blob,
    Hash,
    Id,
    b32,
    b64,
    hash_bytes,
    id_bytes,
    is_name,
    new_id,
    padme,
    parse_json,
    read_json,
    unb32,
    unb64,
    write_json,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def _fits(text: str, spelled: object) -> bool:
    try:
        msgspec.convert(text, spelled)
    except msgspec.ValidationError:
        return False
    return True


@given(st.binary(max_size=40))
def test_bytes_have_one_spelling(data: bytes):
    assert unb32(b32(data), len(data)) == data
    assert unb64(b64(data)) == data
    assert _fits(b64(data), Blob)
    assert _fits(b32(data), Id) == (len(data) == 16)
    assert _fits(b32(data), Hash) == (len(data) == 32)


@given(st.text(alphabet="aAbq4_-+/=\n 27Z", max_size=54))
def test_what_is_read_is_what_would_be_written(text: str):
    for size in (16, 32):
        try:
            assert b32(unb32(text, size)) == text
        except ValueError:
            assert not _fits(text, Id if size == 16 else Hash)
    try:
        assert b64(unb64(text)) == text
    except ValueError:
        assert not _fits(text, Blob)


@given(st.binary(min_size=16, max_size=16), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_the_last_letter_has_no_spare_bits(data: bytes, letter: str):
    text = b32(data)[:-1] + letter
    assert _fits(text, Id) == (letter in "aeimquy4")
    if letter in "aeimquy4":
        assert b32(id_bytes(text)) == text


def test_fresh_ids_differ():
    assert len({new_id() for _ in range(100)}) == 100
    assert len(id_bytes(new_id())) == 16


def test_a_hash_has_32_bytes():
    assert hash_bytes(b32(bytes(32))) == bytes(32)
    with pytest.raises(ValueError):
        hash_bytes(b32(bytes(31)))


@given(JSON)
def test_json_comes_back_as_it_was(value: object):
    assert parse_json(write_json(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@given(
    st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ud8eE+-0123456789.tfnNaI \ufeff', max_size=40).map(str.encode)
)
def test_whatever_comes_json_is_refused_in_one_way(data: bytes):
    try:
        value = parse_json(data)
    except ValueError:
        return
    # What is taken can be written as UTF-8 again, and is the same to a reader that is less strict.
    assert json.loads(json.dumps(value, ensure_ascii=False).encode()) == value


def test_deep_json_is_refused():
    with pytest.raises(ValueError, match="deep"):
        parse_json(b"[" * 100_000)
    with pytest.raises(ValueError, match="deep"):
        parse_json(b'{"a":' * 100_000)


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    kind: Id


class _Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: _Inner


@pytest.mark.parametrize(
    "text",
    [
        '{"inner":{"kind":"canary"}}',
        '{"inner":{"kind":"' + b32(bytes(16)) + '","canary":1}}',
        '{"canary":1,"inner":null}',
        '{"x` - at `$.canary":1,"inner":null}',
        '{"inner":"canary"}',
        '"canary"',
        '{"canary"}',
        '["canary\\ud800"]',
        '{"canary":1,"canary":2}',
    ],
)
def test_what_is_said_of_bad_json_repeats_nothing_of_it(text: str):
    with pytest.raises(ValueError) as error:
        read_json(text.encode(), _Outer)
    assert "canary" not in str(error.value)


def test_what_is_said_of_bad_json_names_the_place():
    with pytest.raises(ValueError, match=r"\$\.inner\.kind"):
        read_json(b'{"inner":{"kind":"x"}}', _Outer)
    with pytest.raises(ValueError, match=r"at \$$"):
        read_json(b"{}", _Outer)


@given(st.integers(0, 2**40))
def test_padme_holds_little_and_costs_little(size: int):
    padded = padme(size)
    assert padded >= max(size, 256)
    assert padme(padded) == padded
    assert padme(size + 1) >= padded
    if size > 256:
        assert padded - size <= size * 0.12
        # Only the leading bits of a size are left: as many as the exponent's own size, and one.
        exponent = padded.bit_length() - 1
        assert padded % (1 << (exponent - exponent.bit_length() - 1)) == 0


@given(st.text(min_size=1, max_size=70))
def test_names_can_be_printed_and_stand_alone(text: str):
    if is_name(text):
        assert len(text) <= 64
        assert text == text.strip()
        # What the reader's Unicode has no name for yet is all that may be unprintable.
        assert all(letter.isprintable() or unicodedata.category(letter) == "Cn" for letter in text)
    else:
        assert len(text) > 64 or not text.isprintable() or text != text.strip()


def test_names_are_those_of_unicode():
    # The list in SPEC 5.6 against this Python's Unicode: only what that does not know yet may differ.
    hidden = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
    for code in range(0x110000):
        letter = chr(code)
        category = unicodedata.category(letter)
        if category != "Cn" or unicodedata.unidata_version >= "17":
            assert is_name(f"a{letter}b") == (letter == " " or category not in hidden), hex(code)
