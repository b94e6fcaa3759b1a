"""The sealed door, both ends (SPEC 4, 5.1)."""

from dataclasses import replace
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto import _hpke, labels
from silo.crypto.channel import (
    BODY,
    END,
    HEAD,
    PREFIX_SIZE,
    Destination,
    Part,
    ReplyOpener,
    Request,
    Seen,
    TransportKey,
    part,
    read_keys,
    seal_request,
    state_keys,
)
from silo.crypto.encoding import b32, padme
from silo.crypto.frames import FRAME
from silo.crypto.keys import Recipient, Signer, fingerprint
from silo.crypto.opening import Opener
from silo.crypto.sealing import NO_HASH, Place, seal_record
from silo.errors import SiloError

SILO, DEVICE = b"s" * 16, b"d" * 16
IDENTITY, SIGNER = Signer(bytes(range(32))), Signer(bytes(range(1, 33)))
HOUR = 3_600_000
KEY = TransportKey(SILO, fingerprint(IDENTITY.public), 0, 24 * HOUR)
REQUEST = Request("POST", "/chat", 1_000, account=b"a" * 32, keyring=Seen(at=1, hash=b32(bytes(32))))
ANSWER = (Part(HEAD, b'{"status":200,"headers":{}}'), Part(BODY, b"One, "), Part(BODY, b"two."), Part(END, b"{}"))


def _code(act: object, *args: object) -> str:
    assert callable(act)
    with pytest.raises(SiloError) as error:
        act(*args)
    return error.value.code


def _ask(content: bytes = b"{}") -> tuple[bytes, ReplyOpener]:
    return seal_request(KEY.destination, REQUEST, content, DEVICE, SIGNER)


# --- requests ---


@given(st.binary(max_size=2000))
def test_a_request_arrives_as_it_was_asked(content: bytes):
    data, _ = _ask(content)
    opened = KEY.open_header(data[:PREFIX_SIZE])
    opened.check_signature(SIGNER.public)
    header = opened.header
    assert (header.id, header.time, header.method, header.path) == (REQUEST.id, 1_000, "POST", "/chat")
    assert (header.account, header.keyring, header.head) == (b32(b"a" * 32), REQUEST.keyring, None)
    assert (opened.device, opened.has_device) == (DEVICE, True)
    body = opened.body(1 << 20)
    assert body.push(data[PREFIX_SIZE:]) == []
    assert body.finish() == content


def test_a_retry_is_sealed_anew():
    one, other = (KEY.open_header(_ask()[0][:PREFIX_SIZE]) for _ in range(2))
    assert (one.header.id, one.header.time) == (other.header.id, other.header.time)
    assert one.header.request != other.header.request
    assert one.header.reply != other.header.reply
    assert one.signature != other.signature


def test_every_header_has_one_size():
    short = seal_request(KEY.destination, replace(REQUEST, path="/"), b"")[0]
    long = seal_request(KEY.destination, replace(REQUEST, path="/" + "a" * 1000), b"")[0]
    assert len(short) == len(long) == PREFIX_SIZE + 4 + 256 + 16


def test_a_header_that_does_not_fit_is_too_large():
    text = KEY.open_header(seal_request(KEY.destination, replace(REQUEST, path=""), b"")[0][:PREFIX_SIZE])._text
    room = 2048 - 16 - 64 - len(text)
    full = seal_request(KEY.destination, replace(REQUEST, path="a" * room), b"")[0]
    assert KEY.open_header(full[:PREFIX_SIZE]).header.path == "a" * room
    assert _code(seal_request, KEY.destination, replace(REQUEST, path="a" * (room + 1)), b"") == "too_large"
    assert _code(seal_request, KEY.destination, replace(REQUEST, path="/" + "a" * 2000), b"") == "too_large"


@given(st.data())
def test_any_changed_byte_of_the_header_opens_nothing(data: st.DataObject):
    bent = bytearray(_ask()[0][:PREFIX_SIZE])
    at = data.draw(st.integers(0, PREFIX_SIZE - 1))
    bent[at] ^= data.draw(st.integers(1, 255))
    assert _code(KEY.open_header, bytes(bent)) == ("bad_version" if at == 0 else "cannot_open")


@given(st.binary(max_size=PREFIX_SIZE + 10))
def test_noise_opens_nothing(noise: bytes):
    assert _code(KEY.open_header, noise) in ("cannot_open", "bad_version")
    assert _code(KEY.open_header, (b"\1" + noise).ljust(PREFIX_SIZE, b"\0")[:PREFIX_SIZE]) == "cannot_open"


def test_another_transport_key_opens_nothing():
    other = TransportKey(SILO, fingerprint(IDENTITY.public), 0, 1)
    assert _code(other.open_header, _ask()[0][:PREFIX_SIZE]) == "cannot_open"


def test_the_signature_is_the_devices():
    opened = KEY.open_header(_ask()[0][:PREFIX_SIZE])
    assert _code(opened.check_signature, IDENTITY.public) == "forged"
    assert _code(opened.check_signature, None) == "forged"


def test_without_a_device_there_is_no_signature():
    data, _ = seal_request(KEY.destination, REQUEST, b"")
    opened = KEY.open_header(data[:PREFIX_SIZE])
    opened.check_signature(None)
    assert not opened.has_device
    assert _code(opened.check_signature, SIGNER.public) == "forged"
    data, _ = seal_request(KEY.destination, REQUEST, b"", DEVICE)
    assert _code(KEY.open_header(data[:PREFIX_SIZE]).check_signature, None) == "forged"


# --- what the door opens, and what it does not (SPEC 2.1, 7.2) ---


def test_a_transport_key_opens_no_wrap():
    place = Place(SILO, b"u" * 16, 1, NO_HASH, b"t" * 16, NO_HASH, 1, b"i" * 16, 1)
    to = Recipient(KEY.destination.public)
    sealed = seal_record(place, b"canary", [to])
    # The wrap stands where the sealed header key belongs, under a header that the record key seals.
    wrap = sealed.wraps[0][1]
    record_key = b"k" * 32
    own = to.seal(record_key, labels.RECORD_WRAP, sealed.core_hash, to.fingerprint)
    for one in (wrap, own):
        head = b"\1" + one
        header = AESGCM(record_key).encrypt(bytes(12), bytes(2048), head)
        assert _code(KEY.open_header, head + header) == "cannot_open"
    # With an opener of records the very same bytes open: the label is what keeps them apart.
    opener = Opener.__new__(Opener)
    opener._key, opener.fingerprint = KEY._key, to.fingerprint
    assert opener.open_wrap(own, sealed.core_hash) == record_key
    # And no opener of records opens a door header.
    sealed_key = _ask()[0][1 : 1 + 1168]
    for core in (sealed.core_hash, bytes(32), fingerprint(IDENTITY.public)):
        assert _code(opener.open_wrap, sealed_key, core) == "no_match"


def test_a_transport_key_can_do_nothing_else():
    can = {name for name in dir(KEY) if not name.startswith("_")}
    assert can == {"destination", "id", "open_header"}


def test_reprs_show_no_secret():
    data, reply = _ask()
    opened = KEY.open_header(data[:PREFIX_SIZE])
    secrets = [opened.header.request, opened.header.reply, opened.header.id, "/chat", str(opened.signature)]
    for one in (opened, KEY, reply, opened.reply(), opened.body(1), KEY._key):
        assert not [secret for secret in secrets if secret in repr(one)]


# --- replies ---


def _read(opener: ReplyOpener, data: bytes, cuts: list[int]) -> tuple[str, list[Part]]:
    parts: list[Part] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, end in pairwise(edges):
            parts += opener.push(data[start:end])
        opener.finish()
    except SiloError as error:
        return error.code, parts
    return "success", parts


def _again(opener: ReplyOpener) -> ReplyOpener:
    return ReplyOpener(opener._secret, opener._transcript)


def _answer(frames: list[int]) -> tuple[list[bytes], ReplyOpener]:
    """Salt and frames of one answer, its parts cut into payloads of these sizes, and a fresh opener."""
    data, opener = _ask()
    sealer = KEY.open_header(data[:PREFIX_SIZE]).reply()
    payload = b"".join(part(one.kind, one.data) for one in ANSWER)
    out = [sealer.salt]
    for size in frames:
        out.append(sealer.frame(payload[:size], 256))
        payload = payload[size:]
    out.append(sealer.frame(payload, 256, last=True))
    return out, opener


CUTS = st.lists(st.integers(0, 10**6), max_size=6)
FRAMES = st.lists(st.integers(0, 30), max_size=4)


@given(FRAMES, CUTS)
def test_a_reply_arrives_however_it_was_cut(frames: list[int], cuts: list[int]):
    wire, opener = _answer(frames)
    assert _read(opener, b"".join(wire), cuts) == ("success", list(ANSWER))
    assert opener.complete


@given(FRAMES, CUTS, st.data())
def test_whatever_a_carrier_does_to_a_reply_only_true_parts_come_out(
    frames: list[int], cuts: list[int], data: st.DataObject
):
    wire, opener = _answer(frames)
    whole = b"".join(wire)
    bent = bytearray(whole)
    at = data.draw(st.integers(0, len(bent) - 1))
    how = data.draw(st.sampled_from(["flip", "drop", "add", "cut", "repeat frame", "drop frame"]))
    one = data.draw(st.integers(1, len(wire) - 1))
    if how == "flip":
        bent[at] ^= data.draw(st.integers(1, 255))
    elif how == "drop":
        del bent[at]
    elif how == "add":
        bent.insert(at, data.draw(st.integers(0, 255)))
    elif how == "cut":
        del bent[at:]
    elif how == "repeat frame":
        bent = bytearray(b"".join(wire[: one + 1] + wire[one:]))
    else:
        bent = bytearray(b"".join(wire[:one] + wire[one + 1 :]))
    if bytes(bent) == whole:
        return
    verdict, parts = _read(_again(opener), bytes(bent), cuts)
    assert verdict in ("payload_failure", "truncated")
    assert parts == list(ANSWER[: len(parts)])
    assert (verdict, parts) == _read(_again(opener), bytes(bent), list(range(len(bent))))
    assert (verdict, parts) == _read(_again(opener), bytes(bent), [])


@given(st.lists(st.sampled_from([HEAD, BODY, END, 0, 9]), max_size=6), st.integers(0, 9), CUTS)
def test_parts_have_one_order(kinds: list[int], size: int, cuts: list[int]):
    data, opener = _ask()
    payload = b"".join(part(kind, b"x" * size) for kind in kinds)
    wire = KEY.open_header(data[:PREFIX_SIZE]).reply().whole(payload)
    good = kinds[:1] == [HEAD] and kinds[-1:] == [END] and set(kinds[1:-1]) <= {BODY} and len(kinds) > 1
    verdict, parts = _read(_again(opener), wire, cuts)
    assert verdict == ("success" if good else "payload_failure")
    assert (verdict, parts) == _read(_again(opener), wire, list(range(len(wire))))


def test_parts_may_be_empty():
    data, opener = _ask()
    parts = [Part(HEAD, b""), Part(BODY, b""), Part(END, b"")]
    wire = KEY.open_header(data[:PREFIX_SIZE]).reply().whole(b"".join(part(one.kind, one.data) for one in parts))
    assert _read(opener, wire, []) == ("success", parts)


def test_an_answer_belongs_to_one_sealing_of_one_request():
    first, first_opener = _ask()
    second, second_opener = _ask()
    answer = KEY.open_header(first[:PREFIX_SIZE]).reply().whole(b"".join(part(p.kind, p.data) for p in ANSWER))
    assert _read(second_opener, answer, []) == ("payload_failure", [])
    assert _read(first_opener, answer, []) == ("success", list(ANSWER))
    assert second != first


def test_each_answer_has_a_key_of_its_own():
    data, opener = _ask()
    opened = KEY.open_header(data[:PREFIX_SIZE])
    one, other = (opened.reply().whole(part(HEAD, b"{}") + part(END, b"{}")) for _ in range(2))
    assert one[:32] != other[:32]
    assert _read(_again(opener), one[:32] + other[32:], [])[0] == "payload_failure"


@given(st.integers(0, 400) | st.integers(0, 3 * FRAME))
def test_answers_sent_at_once_are_padded_together(size: int):
    data, opener = _ask()
    payload = part(HEAD, b"{}") + part(BODY, bytes(size)) + part(END, b"{}")
    wire = KEY.open_header(data[:PREFIX_SIZE]).reply().whole(payload)
    count = -(-(len(wire) - 32) // (FRAME + 20))
    plain = len(wire) - 32 - 20 * count
    assert plain % 256 == 0
    # Padmé over all of it, and one step more where the frames' own lengths need it.
    expected = -(-padme(len(payload) + 4) // 256) * 256
    assert plain == expected + (256 if expected - 4 * -(-expected // FRAME) < len(payload) else 0)
    assert _read(opener, wire, [])[0] == "success"


# --- transport keys ---


def _stated(nonce: str | None = "n" * 51 + "a", now: int = HOUR, *keys: Destination) -> bytes:
    return state_keys(IDENTITY, SILO, list(keys) or [KEY.destination], now, nonce)


def test_stated_keys_are_read_back():
    keys = read_keys(_stated(), SILO, fingerprint(IDENTITY.public), "n" * 51 + "a")
    assert keys.now == HOUR
    assert keys.identity == IDENTITY.public
    assert [key.key_id for key in keys.destinations] == [KEY.id]
    assert seal_request(keys.destinations[0], REQUEST, b"")[0][:1] == b"\1"


def test_keys_that_nobody_asked_for_are_compared_with_no_nonce():
    for nonce in (None, "n" * 51 + "a"):
        assert read_keys(_stated(nonce), SILO, fingerprint(IDENTITY.public), None).now == HOUR
    assert _code(read_keys, _stated(None), SILO, fingerprint(IDENTITY.public), "n" * 51 + "a") == "replay"


@given(st.data())
def test_any_changed_byte_of_the_statement_is_refused(data: st.DataObject):
    good = _stated()
    bent = bytearray(good)
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= data.draw(st.integers(1, 127))
    code = _code(read_keys, bytes(bent), SILO, fingerprint(IDENTITY.public), "n" * 51 + "a")
    assert code in ("bad_reply", "wrong_silo", "forged")


@given(st.binary(max_size=200))
def test_noise_states_no_key(noise: bytes):
    assert _code(read_keys, noise, SILO, fingerprint(IDENTITY.public), None) == "bad_reply"


def test_a_transport_key_is_fresh():
    other = TransportKey(SILO, fingerprint(IDENTITY.public), 0, 1)
    assert other.id != KEY.id
    assert len(_hpke.PrivateKey(bytes(32)).public) == len(other.destination.public)
