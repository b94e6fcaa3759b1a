"""Frames (SPEC 3): any split opens the same, and nothing but the authentic prefix is ever released."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from silo.crypto.encoding import padme
from silo.crypto.frames import (
    FRAME,
    FrameSealer,
    ReplyFrames,
    WholeOpener,
    reply_plaintext,
    seal_whole,
    whole_size,
)
from silo.errors import SiloError

KEY, CONTEXT = bytes(32), b"context"
PAYLOADS = st.lists(st.binary(max_size=600), min_size=1, max_size=5)


def _seal(payloads: list[bytes], key: bytes = KEY) -> list[bytes]:
    sealer = FrameSealer(key, CONTEXT)
    end = len(payloads) - 1
    sizes = [-(-(4 + len(payload)) // 256) * 256 for payload in payloads]
    return [
        sealer.seal(reply_plaintext(payload, size), at == end)
        for at, (payload, size) in enumerate(zip(payloads, sizes, strict=True))
    ]


def _read(stream: bytes, cuts: list[int], opener: ReplyFrames | WholeOpener) -> tuple[str, bytes]:
    """(verdict, what was released) when the stream comes in these pieces."""
    out = b""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    try:
        for start, end in pairwise(edges):
            out += b"".join(opener.push(stream[start:end]))
        out += opener.finish() or b""
    except SiloError as error:
        return error.code, out
    return "success", out


def _reply(stream: bytes, *cuts: int) -> tuple[str, bytes]:
    return _read(stream, list(cuts), ReplyFrames(KEY, CONTEXT))


CUTS = st.lists(st.integers(0, 10**6), max_size=6)


@given(PAYLOADS, CUTS)
def test_any_split_of_a_reply_opens_the_same(payloads: list[bytes], cuts: list[int]):
    assert _reply(b"".join(_seal(payloads)), *cuts) == ("success", b"".join(payloads))


@given(st.binary(max_size=3000), CUTS)
def test_any_split_of_a_whole_message_opens_the_same(content: bytes, cuts: list[int]):
    stream = seal_whole(KEY, CONTEXT, content)
    assert len(stream) == whole_size(len(content))
    assert _read(stream, cuts, WholeOpener(KEY, CONTEXT, 1 << 20)) == ("success", content)


@pytest.mark.parametrize("size", [0, 248, 249, FRAME - 9, FRAME - 8, FRAME - 7, 3 * FRAME])
def test_whole_messages_of_many_frames(size: int):
    content = bytes(at % 253 for at in range(size))
    stream = seal_whole(KEY, CONTEXT, content)
    assert len(stream) == whole_size(size)
    opener = WholeOpener(KEY, CONTEXT, padme(8 + size))
    assert opener.push(stream) == []
    assert opener.finish() == content


def _bend(frames: list[bytes], data: st.DataObject) -> bytes:
    """What a lying carrier makes of these frames."""
    stream = b"".join(frames)
    at = data.draw(st.integers(0, len(stream) - 1))
    one, other = (data.draw(st.integers(0, len(frames) - 1)) for _ in range(2))
    how = data.draw(
        st.sampled_from(
            ["flip", "drop byte", "add byte", "append", "cut", "swap", "repeat", "drop frame", "repeat at the end"]
        )
    )
    byte = data.draw(st.integers(1, 255))
    if how == "flip":
        return stream[:at] + bytes([stream[at] ^ byte]) + stream[at + 1 :]
    if how == "drop byte":
        return stream[:at] + stream[at + 1 :]
    if how == "add byte":
        return stream[:at] + bytes([byte]) + stream[at:]
    if how == "append":
        return stream + bytes([byte])
    if how == "cut":
        return stream[:at]
    if how == "swap":
        bent = list(frames)
        bent[one], bent[other] = bent[other], bent[one]
        return b"".join(bent)
    if how == "repeat":
        return b"".join(frames[: one + 1] + frames[one:])
    if how == "drop frame":
        return b"".join(frames[:one] + frames[one + 1 :])
    return stream + frames[one]


@given(PAYLOADS, CUTS, st.data())
def test_whatever_a_carrier_does_to_a_reply_only_the_authentic_prefix_comes_out(
    payloads: list[bytes], cuts: list[int], data: st.DataObject
):
    frames = _seal(payloads)
    bent = _bend(frames, data)
    assume(bent != b"".join(frames))
    verdict, out = _reply(bent, *cuts)
    assert verdict in ("payload_failure", "truncated")
    assert (verdict, out) == _reply(bent) == _reply(bent, *range(0, len(bent), 97))
    # Whole frames alone are released, in order, from the first one on, however the bytes came.
    assert out == b"".join(payloads[: _count(frames, bent)])


def _count(frames: list[bytes], stream: bytes) -> int:
    """How many whole frames the stream begins with, in order."""
    at = 0
    for count, frame in enumerate(frames):
        if not stream.startswith(frame, at):
            return count
        at += len(frame)
    return len(frames)


@given(st.binary(max_size=2000), CUTS, st.data())
def test_whatever_a_carrier_does_to_a_whole_message_nothing_comes_out(
    content: bytes, cuts: list[int], data: st.DataObject
):
    stream = seal_whole(KEY, CONTEXT, content)
    bent = _bend([stream], data)
    assume(bent != stream)
    verdict, out = _read(bent, cuts, WholeOpener(KEY, CONTEXT, 1 << 20))
    assert verdict in ("payload_failure", "truncated")
    assert out == b""


@given(st.data())
def test_frames_of_two_streams_do_not_mix(data: st.DataObject):
    payloads = [b"a", b"b", b"c"]
    mine, other = _seal(payloads), _seal(payloads, key=bytes([1]) * 32)
    picks = data.draw(st.lists(st.booleans(), min_size=3, max_size=3).filter(lambda picks: not all(picks)))
    verdict, out = _reply(b"".join(m if pick else o for m, o, pick in zip(mine, other, picks, strict=True)))
    assert verdict == "payload_failure"
    assert out == b"".join(payloads[: picks.index(False)])


@given(st.binary(max_size=600))
def test_noise_is_refused(noise: bytes):
    assert _reply(noise)[0] in ("payload_failure", "truncated")
    assert _read(noise, [], WholeOpener(KEY, CONTEXT, 1 << 20))[0] in ("payload_failure", "truncated")


def test_a_length_is_refused_before_anything_follows_it():
    for length in (0, 16, 271, 273, FRAME + 17, 2**32 - 1):
        with pytest.raises(SiloError) as error:
            ReplyFrames(KEY, CONTEXT).push(length.to_bytes(4, "big"))
        assert error.value.code == "payload_failure"


def test_a_fault_stays():
    opener = ReplyFrames(KEY, CONTEXT)
    good = _seal([b"word", b"end"])
    assert opener.push(good[0] + bytes(4)) == [b"word"]
    for _ in range(2):
        with pytest.raises(SiloError):
            opener.push(good[1])
        with pytest.raises(SiloError):
            opener.finish()


def test_a_body_is_held_to_its_limit():
    stream = seal_whole(KEY, CONTEXT, bytes(5000))
    opener = WholeOpener(KEY, CONTEXT, padme(5008) - 1)
    with pytest.raises(SiloError) as error:
        opener.push(stream)
    assert error.value.code == "too_large"


def test_a_sealer_stops_after_the_last_frame():
    sealer = FrameSealer(KEY, CONTEXT)
    sealer.seal(bytes(256), last=True)
    with pytest.raises(ValueError, match="ended"):
        sealer.seal(bytes(256))


@pytest.mark.parametrize(("payload", "size"), [(b"", 255), (b"", 0), (bytes(253), 256), (b"", FRAME + 256)])
def test_a_reply_frame_holds_its_payload_in_a_multiple_of_256(payload: bytes, size: int):
    with pytest.raises(ValueError):
        reply_plaintext(payload, size)
