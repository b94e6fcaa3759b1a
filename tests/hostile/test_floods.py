"""Too many, too slow, too large: bounded, ended, and the honest beside it are served."""

import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from appliance.api.sources import Buckets, Sources
from appliance.api.strict import Crowd
from silo.crypto.channel import PREFIX_SIZE
from tests.appliance.api.forge import Forged
from tests.appliance.company import until
from tests.harness import Device, Served
from tests.hostile.wire import WATCHED, Heard, Line, decapsulations, watched

MIB = 1024 * 1024
RATE, BURST = 50, 400
SECONDS = 4.0
FILES = 256
"""What the small silo may open; three quarters of it may be connections."""
CROWD = FILES * 3 // 4
# The same program with less patience and room.
SMALL = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
from appliance.api import door, strict
door._STALLED, door._SLOWEST, strict._HEAD_TIME, strict._LEFT_TIME = 1.0, 1000, 1.0, 0.5
{WATCHED}"""
# Linux answers on all of 127.0.0.0/8, macOS on the first alone.
ELSEWHERE = "127.0.0.2" if sys.platform == "linux" else ""


def post(device: Device, data: bytes, size: int | None = None, source: str = "") -> bytes:
    """A request to the door; `size` is what its head says, `source` who a proxy says sent it."""
    key = (device.destination or device.fetch_keys()).key_id.encode()
    hop = b"x-forwarded-for: %b\r\n" % source.encode() if source else b""
    head = b"POST /silo/1/%b HTTP/1.1\r\nhost: silo\r\n%bcontent-length: %d\r\n\r\n"
    return head % (key, hop, len(data) if size is None else size) + data


@contextmanager
def honest(device: Device, **headers: str) -> Iterator[list[int]]:
    """Somebody who asks ten times a second meanwhile; gives the statuses. Raises what went wrong."""
    statuses: list[int] = []
    faults: list[Exception] = []
    ended = threading.Event()
    key = (device.destination or device.fetch_keys()).key_id

    def ask() -> None:
        with httpx.Client(timeout=20, trust_env=False, headers=headers) as client:
            while not ended.wait(0.1):
                try:
                    data, opener = Forged(device, {"path": "/me"}).data()
                    answer = client.post(f"{device.url}/silo/1/{key}", content=data)
                    sealed = answer.headers["content-type"] == "application/octet-stream"
                    opened = b"".join(part.data for part in opener.push(answer.content)) if sealed else b""
                    statuses.append(200 if b'"keyring"' in opened else answer.status_code)
                except Exception as error:
                    faults.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield statuses
    finally:
        ended.set()
        asking.join(timeout=60)
    assert not faults, faults[:3]


# --- decapsulations ---


def flood(device: Device, source: str, seconds: float, out: list[int]) -> None:
    """As many decapsulations as one connection can ask for, eight at a time; their statuses."""
    line = Line(device.url)
    data = post(device, b"\x01" + secrets.token_bytes(PREFIX_SIZE - 1), source=source)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line.send(data * 8)
        for _ in range(8):
            heard = line.answer()
            assert heard is not None
            out.append(heard.status)
    line.close()


def test_a_flood_of_decapsulations(tmp_path: Path) -> None:
    served = watched(tmp_path / "silo", SILO_DOOR_RATE=str(RATE), SILO_TRUSTED_PROXIES="127.0.0.1")
    try:
        device = Device(served.link).set_up()
        statuses: list[int] = []
        # Two connections, and each lies about who was before it.
        lies = ("198.51.100.1, 203.0.113.7", "203.0.113.9,203.0.113.7")
        threads = [threading.Thread(target=flood, args=(device, lie, SECONDS, statuses)) for lie in lies]
        began = time.monotonic()
        with honest(device, **{"x-forwarded-for": "203.0.113.8"}) as served_ones:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=60)
        took = time.monotonic() - began
        assert device.ask("GET", "/me").status == 200
        device.http.close()
    finally:
        served.stop()
    opened = statuses.count(400)
    print(f"\n{len(statuses)} in {took:.1f} s: {opened} opened, {statuses.count(503)} busy; {len(served_ones)} honest")
    assert set(statuses) == {400, 503}
    assert BURST <= opened <= BURST + RATE * took + 1
    assert statuses.count(503) > BURST
    assert len(served_ones) >= 5
    assert set(served_ones) == {200}
    # The setup, the last question, and what the bucket let through: no more was ever opened.
    assert decapsulations(served) == opened + len(served_ones) + 2


def test_an_address_more_is_no_source_more() -> None:
    sources, clock = Sources(("10.0.0.0/8",)), time.monotonic
    buckets = Buckets(1, 10, clock)
    taken = [buckets.take(sources.name(f"2001:db8:1:2:{number:x}::1", [])) for number in range(200)]
    assert sum(taken) == 10
    # The next network is another, and so is each address of IPv4, however it is spelled.
    names = [sources.name(one, []) for one in ("2001:db8:1:2::", "2001:db8:1:3::", "192.0.2.1", "192.0.2.2")]
    assert len(set(names)) == 4
    assert sources.name("::ffff:192.0.2.1", []) == names[2]
    assert sources.name("10.0.0.1", ["2001:db8:1:2:ffff::"]) == names[0]
    assert sources.name("unknown", []) not in names


# --- slowness ---


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Served, Device]]:
    """A silo that waits a second, for 1,000 bytes a second, and has room for 192 connections."""
    served = watched(tmp_path / "silo", SMALL)
    with ExitStack() as stack:
        stack.callback(served.stop)
        device = Device(served.link)
        stack.callback(device.http.close)
        yield served, device.set_up()
    said = served.log.read_text()
    assert "Traceback" not in said, said[said.index("Traceback") :][:3000]
    assert '"level": "error"' not in said


def open_connections(served: Served) -> int:
    """To the silo, as the system sees them."""
    found = psutil.Process(served.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def drip(line: Line, seconds: float) -> tuple[float, list[Heard]]:
    """A byte every 0.1 s, for as long as the other end takes them; when it ended, and what it said."""
    began, said = time.monotonic(), threading.Event()
    heard: list[Heard] = []

    def listen() -> None:
        heard.extend(line.answers())
        said.set()

    listening = threading.Thread(target=listen)
    listening.start()
    while not said.wait(0.1) and time.monotonic() - began < seconds:
        line.send(b"x")
    took = time.monotonic() - began
    if not said.is_set():
        line.end()
    listening.join(timeout=30)
    return took, heard


BEGINNINGS: dict[str, tuple[Callable[[Device], bytes], int]] = {
    "a head": (lambda _: b"POST /silo/1/", 408),
    "a header": (lambda _: b"GET / HTTP/1.1\r\nhost: silo\r\nx: ", 408),
    "a body": (lambda device: post(device, b"\x01", 16 * MIB), 408),
    "a body whose header opened": (lambda device: post(device, honest_prefix(device), 16 * MIB), 408),
    "a chunk": (
        lambda device: post(device, b"").replace(b"content-length: 0", b"transfer-encoding: chunked") + b"ffff\r\n",
        408,
    ),
    "a body that nobody reads": (lambda _: b"GET / HTTP/1.1\r\nhost: silo\r\ncontent-length: 999999999\r\n\r\n", 413),
    "a body to no path": (lambda _: b"POST /x HTTP/1.1\r\nhost: silo\r\ncontent-length: 999999999\r\n\r\n", 404),
}


def honest_prefix(device: Device) -> bytes:
    """What opens, and is let in."""
    return Forged(device, {"method": "POST", "path": "/chat"}).data()[0][:PREFIX_SIZE] + b"\0\1\0\x10"


@pytest.mark.parametrize("what", BEGINNINGS)
def test_a_byte_now_and_then_keeps_nothing_open(small: tuple[Served, Device], what: str) -> None:
    served, device = small
    start, status = BEGINNINGS[what]
    lines = [Line(served.url) for _ in range(10)]
    for line in lines:
        line.send(start(device))
    with honest(device) as statuses:
        ends = [drip(line, 20) for line in lines[:1]]
        # The others were as slow, and silent.
        ends += [(0.0, line.answers()) for line in lines[1:]]
    for took, heard in ends:
        assert took < 15, took
        assert [one.status for one in heard] == [status], what
    assert set(statuses) == {200}
    for line in lines:
        line.close()
    device.http.close()
    until(lambda: open_connections(served) == 0, 10)


@pytest.mark.parametrize("what", ["silent", "a head", "a body", "a body whose header opened"])
def test_more_connections_than_there_is_room_for(small: tuple[Served, Device], what: str) -> None:
    served, device = small
    start = b"" if what == "silent" else BEGINNINGS[what][0](device)
    process = psutil.Process(served.pid)
    before = process.memory_info().rss
    with ExitStack() as stack, honest(device) as statuses:
        for number in range(3 * CROWD):
            line = Line(served.url, source=ELSEWHERE)
            stack.callback(line.close)
            line.send(start)
            if number % 50 == 49:
                assert process.num_fds() < FILES
                # An aborted one is there until the loop comes round.
                assert open_connections(served) <= CROWD + 8
        # Long enough to be asked once more, from a connection of its own.
        until(lambda: len(statuses) >= 5, 20)
        if ELSEWHERE:
            fresh = Line(served.url)
            fresh.send(b"GET /silo/health HTTP/1.1\r\nhost: silo\r\n\r\n")
            assert (heard := fresh.answer()) is not None
            assert heard.status == 200
            fresh.close()
    if ELSEWHERE:
        assert set(statuses) == {200}
    device.http.close()
    until(lambda: open_connections(served) == 0, 20)
    again = Device(served.url + "/#setup." + served.link.partition("#setup.")[2])
    assert again.fetch_keys()
    again.http.close()
    assert process.memory_info().rss - before < 30 * MIB


def test_what_strangers_may_leave_in_memory(small: tuple[Served, Device]) -> None:
    served, device = small
    process = psutil.Process(served.pid)
    nobody = Forged(device, {"method": "POST", "path": "/setup"}, name=bytes(16), sign=lambda *_: bytes(64))
    before = process.memory_info().rss
    sent = 0
    with ExitStack() as stack:
        for _ in range(40):
            data, _ = nobody.bend(content=bytes(MIB - 1000)).data()
            line = Line(served.url)
            stack.callback(line.close)
            # All but the end, so that nothing can be answered.
            line.send(post(device, data[:-1], len(data)))
            sent += len(data)
        assert process.memory_info().rss - before < sent / 2
    assert device.ask("GET", "/me").status == 200


class One:
    """A connection as the crowd sees it."""

    def __init__(self, busy: bool) -> None:
        self.http = busy
        self.ended = False
        self.transport = self

    def abort(self) -> None:
        """Called by the crowd."""
        self.ended = True


def test_who_has_most_loses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.api.strict._MOST", 4)
    crowd = Crowd()
    first, waiting, second, other, late = One(True), One(False), One(True), One(False), One(False)
    for one, source in ((first, "a"), (waiting, "a"), (second, "a"), (other, "b")):
        crowd.join(one, source)  # pyright: ignore[reportArgumentType]
    assert not any(one.ended for one in (first, waiting, second, other))
    crowd.join(late, "c")  # pyright: ignore[reportArgumentType]
    assert [one.ended for one in (first, waiting, second, other, late)] == [False, True, False, False, False]
    crowd.leave(waiting, "a")  # pyright: ignore[reportArgumentType]
    crowd.leave(waiting, "a")  # pyright: ignore[reportArgumentType]
    # Nothing of the largest waits: its oldest goes for a newcomer from elsewhere, and no newcomer of its own gets in.
    later = One(False)
    crowd.join(later, "d")  # pyright: ignore[reportArgumentType]
    assert first.ended
    crowd.leave(first, "a")  # pyright: ignore[reportArgumentType]
    third = One(True)
    crowd.join(third, "a")  # pyright: ignore[reportArgumentType]
    assert third.ended
    assert not second.ended
