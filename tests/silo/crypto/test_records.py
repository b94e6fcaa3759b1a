"""Writing records and reading them back (SPEC 7)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto.encoding import b32, hash_bytes, parse_json, unb64
from silo.crypto.keys import Signer, recipient_of, verify
from silo.crypto.labels import HEADS
from silo.crypto.opening import (
    Envelope,
    Log,
    OpenedRecord,
    Opener,
    check_receipt,
    open_core,
    open_record,
    read_place,
)
from silo.crypto.sealing import (
    NO_HASH,
    Place,
    TurnPlace,
    check_turn,
    make_receipt,
    read_receipt,
    seal_record,
    sign_turn,
    state_heads,
    wrap,
)
from silo.errors import SiloError

SILO, USER = b"s" * 16, b"u" * 16
IDENTITY, DEVICE = Signer(bytes(range(32))), Signer(bytes(range(1, 33)))
ACCOUNT, EPOCH = bytes(range(2, 34)), bytes(range(3, 35))
RECIPIENTS = [recipient_of(ACCOUNT), recipient_of(EPOCH)]
OPENERS = [Opener(ACCOUNT), Opener(EPOCH)]
PLACE = Place(SILO, USER, 1, NO_HASH, b"t" * 16, NO_HASH, 1, b"i" * 16, 1_000)

PLACES = st.builds(
    Place,
    st.just(SILO),
    st.just(USER),
    st.integers(1, 2**64 - 1),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 255),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**64 - 1),
)


def _envelope(content: bytes = b"pelican", place: Place = PLACE) -> Envelope:
    sealed = seal_record(place, content, RECIPIENTS)
    return Envelope(sealed.core, dict(sealed.wraps), make_receipt(IDENTITY, sealed))


def _open(envelope: Envelope, *openers: Opener) -> OpenedRecord:
    return open_record(envelope, list(openers or OPENERS), SILO, USER, IDENTITY.public)


def _code(act: object, *args: object) -> str:
    assert callable(act)
    with pytest.raises(SiloError) as error:
        act(*args)
    return error.value.code


GOOD = _envelope()


@given(PLACES, st.binary(max_size=1000))
def test_a_record_comes_back_to_each_recipient(place: Place, content: bytes):
    envelope = _envelope(content, place)
    for opener in OPENERS:
        opened = _open(envelope, opener)
        assert (opened.place, opened.content) == (place, content)
        assert opened.receipt.recipients == tuple(one.fingerprint for one in RECIPIENTS)
        assert opened.entry_hash == opened.receipt.entry_hash


def test_nobody_else_opens_it():
    assert _code(_open, GOOD, Opener(bytes(32))) == "no_match"
    assert _code(open_record, GOOD, [], SILO, USER, IDENTITY.public) == "no_match"


@given(st.data())
def test_any_change_to_a_core_is_refused(data: st.DataObject):
    at = data.draw(st.integers(0, len(GOOD.core) - 1))
    change = data.draw(st.integers(1, 255))
    how = data.draw(st.sampled_from(["flip", "drop", "add", "cut", "append"]))
    core = GOOD.core
    bent = {
        "flip": core[:at] + bytes([core[at] ^ change]) + core[at + 1 :],
        "drop": core[:at] + core[at + 1 :],
        "add": core[:at] + bytes([change]) + core[at:],
        "cut": core[:at],
        "append": core + bytes([change]),
    }[how]
    if bent == core:
        return
    # Without the key: no wrap is for it. With the key: the commitment or a frame does not fit.
    assert _code(_open, replace(GOOD, core=bent)) in ("no_match", "header_failure", "truncated")
    key = OPENERS[0].open_wrap(GOOD.wraps[OPENERS[0].fingerprint], _open(GOOD).core_hash)
    assert _code(open_core, bent, key) in ("header_failure", "payload_failure", "truncated")


@given(st.integers(0, 1167), st.integers(1, 255))
def test_any_changed_byte_of_a_wrap_opens_nothing(at: int, change: int):
    mark = OPENERS[0].fingerprint
    bent = bytearray(GOOD.wraps[mark])
    bent[at] ^= change
    assert _code(_open, replace(GOOD, wraps={mark: bytes(bent)})) == "no_match"


@given(st.data())
def test_any_change_to_a_receipt_is_forged(data: st.DataObject):
    bent = bytearray(GOOD.receipt)
    at = data.draw(st.integers(0, len(bent) - 1))
    if data.draw(st.booleans()):
        bent[at] ^= data.draw(st.integers(1, 255))
    else:
        del bent[at:]
    assert _code(check_receipt, bytes(bent), IDENTITY.public, GOOD.core) == "forged"


@given(st.binary(max_size=500))
def test_noise_is_refused_with_a_verdict(noise: bytes):
    assert _code(read_place, noise[:196]) in ("truncated", "header_failure")
    assert _code(open_core, noise, bytes(32)) in ("truncated", "header_failure")
    assert _code(read_receipt, noise, IDENTITY.public) == "forged"


def test_every_record_has_a_key_of_its_own():
    one, other = _envelope(), _envelope()
    assert one.core != other.core
    mark = OPENERS[0].fingerprint
    assert _code(_open, replace(one, wraps={mark: other.wraps[mark]})) == "no_match"
    assert _code(_open, replace(one, receipt=other.receipt)) == "forged"


def test_a_record_is_sealed_to_somebody():
    with pytest.raises(ValueError):
        seal_record(PLACE, b"", [])


def test_what_is_opened_shows_nothing():
    opened = _open(_envelope(b"canary"))
    assert "canary" not in repr(opened)
    assert opened.content == b"canary"


def test_a_wrap_is_for_one_core_and_one_recipient():
    sealed = wrap(b"k" * 32, b"c" * 32, RECIPIENTS[0])
    assert OPENERS[0].open_wrap(sealed, b"c" * 32) == b"k" * 32
    assert _code(OPENERS[0].open_wrap, sealed, b"d" * 32) == "no_match"
    assert _code(OPENERS[1].open_wrap, sealed, b"c" * 32) == "no_match"


@given(st.lists(st.tuples(st.sampled_from([b"t" * 16, b"v" * 16]), st.binary(max_size=9)), min_size=1, max_size=4))
def test_the_log_follows_the_records(turns: list[tuple[bytes, bytes]]):
    log, previous = Log(SILO, USER), NO_HASH
    for index, (thread, content) in enumerate(turns, 1):
        place = replace(PLACE, index=index, previous=previous, thread=thread)
        sealed = seal_record(place, content, RECIPIENTS[:1])
        log.step(index, thread, sealed.core_hash)
        log.check(sealed.entry_hash)
        previous = sealed.entry_hash
    assert (log.at, log.hash) == (len(turns), previous)
    assert _code(log.check, NO_HASH) == "forged"
    assert _code(log.step, len(turns) + 2, b"t" * 16, b"c" * 32) == "forged"
    later = Log(SILO, USER, log.at, log.hash)
    later.step(log.at + 1, b"t" * 16, b"c" * 32)
    assert later.at == log.at + 1


def test_heads_are_stated_for_exports():
    text, signature = state_heads(IDENTITY, SILO, 7, [(b32(USER), 3, b"h" * 32)])
    verify(IDENTITY.public, unb64(signature), HEADS, text.encode())
    assert parse_json(text.encode()) == {
        "silo": b32(SILO),
        "time": 7,
        "heads": [{"user": b32(USER), "at": 3, "hash": b32(b"h" * 32)}],
    }
    assert hash_bytes(parse_json(text.encode())["heads"][0]["hash"]) == b"h" * 32


@given(st.integers(0, 4), st.binary(max_size=40))
def test_a_turns_signature_is_for_one_place_and_one_text(which: int, text: bytes):
    place = TurnPlace(SILO, USER, b"t" * 16, b"i" * 16, NO_HASH)
    signature = sign_turn(DEVICE, place, text)
    check_turn(DEVICE.public, signature, place, text)
    name = ("silo", "user", "thread", "id", "parent")[which]
    moved = replace(place, **{name: bytes(len(getattr(place, name)))[:-1] + b"\x7f"})
    assert _code(check_turn, DEVICE.public, signature, moved, text) == "forged"
    assert _code(check_turn, DEVICE.public, signature, place, text + b" ") == "forged"
    assert _code(check_turn, IDENTITY.public, signature, place, text) == "forged"
