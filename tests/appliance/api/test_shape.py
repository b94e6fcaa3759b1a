"""The shape of generated answers on the wire (SPEC 4.6): what anyone between the two ends can see."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from silo.crypto.channel import BODY, END, HEAD, SALT_SIZE
from silo.crypto.encoding import write_json
from silo.crypto.frames import TAG
from tests.conftest import Serve
from tests.harness import Device

STOPS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
NewDevice = Callable[[str], Device]


@dataclass
class Watched:
    """An answer as its client and a bystander see it."""

    body: bytes = b""
    frames: list[int] = field(default_factory=list)
    """Their plaintexts' sizes, in bytes."""
    times: list[float] = field(default_factory=list)
    """Seconds from the first frame to each."""
    first_after_end: int = 0
    """How many frames had come when END had."""


def watch(device: Device, prompt: str) -> Watched:
    """One turn, frame by frame."""
    destination = device.fetch_keys()
    data, opener = device.seal(device.request("POST", "/chat"), write_json(device.chat_body(prompt)))
    seen = Watched()
    wire = bytearray()
    at = SALT_SIZE
    with device.http.stream("POST", f"{device.url}/silo/1/{destination.key_id}", content=data) as response:
        for piece in response.iter_raw():
            wire += piece
            while len(wire) >= at + 4 and len(wire) >= at + 4 + (size := int.from_bytes(wire[at : at + 4], "big")):
                seen.frames.append(size - TAG)
                seen.times.append(time.monotonic())
                at += 4 + size
            for part in opener.push(piece):
                if part.kind == HEAD:
                    assert json.loads(part.data)["status"] == 200
                elif part.kind == BODY:
                    seen.body += part.data
                elif part.kind == END:
                    assert json.loads(part.data)["error"] is None
                    seen.first_after_end = len(seen.frames)
    opener.finish()
    assert at == len(wire)
    return seen


@pytest.mark.parametrize(("pieces", "gap"), [(1, 0), (40, 30), (3000, 0)], ids=["one word", "slow", "at once"])
def test_steady_frames_tell_neither_words_nor_pace(serve: Serve, new_device: NewDevice, pieces: int, gap: int) -> None:
    device = new_device(serve(SILO_SHAPE="steady").link).set_up()
    seen = watch(device, f"chunks {pieces} gap {gap} räksmörgås")
    assert len(seen.body.split()) == pieces
    assert set(seen.frames) == {2048}
    assert len(seen.frames) in STOPS
    # Cover to the next stop, and no further.
    assert seen.first_after_end > max((stop for stop in STOPS if stop < len(seen.frames)), default=0)
    # Never ahead of the beat, whatever there is to say. Frames that were held up on the way arrive together.
    assert seen.times[-1] - seen.times[0] >= (len(seen.frames) - 1) * 0.05 - 0.1


@pytest.mark.parametrize(("pieces", "gap"), [(1, 0), (40, 30), (3000, 0)], ids=["one word", "slow", "at once"])
def test_fast_frames_are_padded_and_hold_what_there_is(
    serve: Serve, new_device: NewDevice, pieces: int, gap: int
) -> None:
    device = new_device(serve(SILO_SHAPE="fast").link).set_up()
    seen = watch(device, f"chunks {pieces} gap {gap} räksmörgås")
    assert len(seen.body.split()) == pieces
    assert all(size % 256 == 0 for size in seen.frames)
    # No cover: nothing comes after END but the rest of it.
    assert seen.first_after_end == len(seen.frames)
    assert len(seen.frames) <= pieces + 3


@pytest.mark.parametrize("shape", ["steady", "fast"])
def test_a_client_that_does_not_read_loses_nothing_and_holds_nobody_up(
    serve: Serve, new_device: NewDevice, shape: str
) -> None:
    device = new_device(serve(SILO_SHAPE=shape).link).set_up()
    destination = device.fetch_keys()
    # More than the sockets between the two ends hold.
    count = 4000 if shape == "fast" else 200
    prompt = f"chunks 4000 {' '.join(['x' * 900] * 8)}" if shape == "fast" else "chunks 200 gap 10 räksmörgås"
    data, opener = device.seal(device.request("POST", "/chat"), write_json(device.chat_body(prompt)))
    url = urlsplit(device.url)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((url.hostname, url.port))
        head = f"POST /silo/1/{destination.key_id} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
        slow.sendall(head.encode() + b"connection: close\r\n\r\n" + data)
        assert slow.recv(16)
        time.sleep(1)
        assert device.chat("and me").end["kept"]["index"] in (1, 2)
        slow.settimeout(30)
        answer = bytearray()
        while piece := slow.recv(1 << 20):
            answer += piece
    assert answer.endswith(b"\r\n0\r\n\r\n")
    body = answer.partition(b"\r\n\r\n")[2]
    parts = []
    while (size := int(body.partition(b"\r\n")[0], 16)) > 0:
        start = body.index(b"\r\n") + 2
        parts += opener.push(bytes(body[start : start + size]))
        body = body[start + size + 2 :]
    opener.finish()
    words = b"".join(part.data for part in parts if part.kind == BODY).split()
    assert len(words) == count
    assert parts[-1].kind == END
