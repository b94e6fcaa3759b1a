"""Two appliance hosts on one PostgreSQL, a balancer in front of them that routes on the key id (SPEC 4.1, 4.3)."""

import asyncio
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from silo.crypto.encoding import hash_bytes, new_id
from silo.crypto.opening import Log
from silo.errors import SiloError
from tests import postgres
from tests.appliance.company import Listening, another_device, send_only, until, walk_log
from tests.appliance.test_kill import Sent, Witness, send, witness
from tests.harness import Answered, Device, Served, now
from tests.middleman.company import Engine

LETTERS = ("abcdefghijklmnop", "qrstuvwxyz234567")
"""What the key ids of each host begin with: this is what the balancer looks at."""


class Balancer:
    """One address for several hosts, in a thread. A host that does not take a connection is passed over."""

    def __init__(self) -> None:
        self.hosts: list[Served] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait(10)
        self._next = 0

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._meet, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _order(self, path: str) -> list[Served]:
        """The hosts for a path, the right one first; for one without a key, any."""
        first = path.rpartition("/")[2][:1] if path.startswith("/silo/1/") else ""
        right = next((number for number, letters in enumerate(LETTERS) if first and first in letters), None)
        if right is None:
            self._next = right = self._next + 1
        return [self.hosts[(right + more) % len(self.hosts)] for more in range(len(self.hosts))]

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection, so that each is routed by itself."""
        with suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.partition(b"\r\n")
            for host in self._order(line.split()[1].decode().partition("?")[0]):
                with suppress(OSError):
                    port = int(host.url.rpartition(":")[2])
                    there = await asyncio.open_connection("127.0.0.1", port)
                    break
            else:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            there[1].write(line + b"\r\nconnection: close\r\n" + rest.replace(b"connection: keep-alive\r\n", b""))
            up = asyncio.create_task(self._carry(reader, there[1]))
            await self._carry(there[0], writer)
            up.cancel()
            there[1].close()
        writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    def end(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@dataclass
class Pair:
    """Two hosts of one silo, its administrator's device, and the engine of both, which counts."""

    hosts: list[Served]
    balancer: Balancer
    engine: Engine
    device: Device
    devices: list[Device] = field(default_factory=list)

    def at(self, device: Device, host: int) -> Device:
        """The device, at this host and past the balancer."""
        return device.moved(self.hosts[host].url)

    def through(self, device: Device) -> Device:
        """The device, at the balancer."""
        return device.moved(self.balancer.url)

    def another(self) -> Device:
        """A further device of the same account."""
        self.devices.append(another_device(self.hosts[0], self.device))
        return self.devices[-1]


SETTINGS = {"SILO_SHAPE": "fast", "SILO_PARALLEL": "64", "SILO_QUEUE": "100", "SILO_DOOR_RATE": "100000"}


def copy_box(source: Path, target: Path) -> None:
    """What the README says: identity and pin, nothing else."""
    target.mkdir(mode=0o700)
    for name in ("identity.key", "admin.pin"):
        shutil.copy2(source / name, target / name)


@pytest.fixture
def pair(cluster: postgres.Cluster, tmp_path: Path) -> Iterator[Pair]:
    """Both hosts serve, and the first run is over."""
    url = cluster.create(postgres.EMPTY)
    engine, balancer = Engine(), Balancer()
    hosts = [
        Served(tmp_path / f"host{number}", engine.spec, SILO_DATABASE_URL=url, SILO_KEY_LETTERS=letters, **SETTINGS)
        for number, letters in enumerate(LETTERS)
    ]
    device = Device(hosts[0].start().link).set_up()
    pair = Pair(hosts, balancer, engine, device)
    try:
        copy_box(hosts[0].data, hosts[1].data)
        hosts[1].start()
        balancer.hosts = hosts
        yield pair
    finally:
        for one in (device, *pair.devices):
            one.http.close()
        for host in hosts:
            host.kill()
        balancer.end()
        engine.end()


def chat(device: Device, prompt: str) -> Sent:
    """A turn to be sent, to whichever host the device is at."""
    return Sent(device, device.request("POST", "/chat"), device.chat_body(prompt))


def insisting(one: Sent, within: float = 60) -> Answered:
    """Send a request again, with its own id, until there is an answer to it: as clients do (SPEC 4.3, 5.4)."""
    end = time.monotonic() + within
    keys = 0
    while True:
        assert time.monotonic() < end, "no answer"
        try:
            answered = send(one)
        except (httpx.TransportError, SiloError):
            one.device.destination = None
            time.sleep(0.1)
            continue
        if answered.code == "stale_key":
            # Three keys at most: the one that was known, and two more.
            keys += 1
            assert keys < 3
            one.device.destination = None
        elif answered.code in ("in_progress", "storage_away", "busy", "not_ready"):
            keys = 0
            time.sleep(0.3)
        elif answered.sealed:
            return answered
        else:
            time.sleep(0.1)


def state(device: Device, turn: str) -> str:
    """What the host says of a turn; or the error's code."""
    answered = device.ask("GET", f"/turns/{turn}")
    return answered.code or answered.json["state"]


def test_a_second_host_is_told_by_its_files(pair: Pair) -> None:
    """Either answers for the silo, and each has keys of its own."""
    device = pair.device
    keys = [pair.at(device, number).fetch_keys() for number in (0, 1)]
    assert [key.key_id[0] in letters for key, letters in zip(keys, LETTERS, strict=True)] == [True, True]
    kept = [pair.at(device, number).chat(f"hello {number}").end["kept"] for number in (0, 1)]
    assert [one["index"] for one in kept] == [1, 2]
    assert [record.place.index for record in pair.at(device, 0).history()] == [1, 2]
    # Another box is another silo, and gets nothing of this one's database.
    stranger = Served(pair.hosts[0].data.with_name("other"), pair.engine.spec, SILO_DATABASE_URL=pair.hosts[0].database)
    with pytest.raises(RuntimeError, match="another silo's"):
        stranger.start()
    stranger.stop()


def test_what_runs_at_one_is_known_at_the_other(pair: Pair) -> None:
    device, other = pair.at(pair.device, 0), pair.at(pair.another(), 1)
    mark = new_id()
    request, body = device.request("POST", "/chat"), device.chat_body(f"chunks 60 gap 50 {mark}")
    reply = Listening(device, request, body).until_words(3)
    assert state(other, body["turn"]) == "running"
    # The same request by the other way is no second run.
    again = pair.at(device, 1).ask("POST", "/chat", body, id=request.id, time=request.time)
    assert again.code == "in_progress"
    answered = reply.rest()
    assert answered.end["kept"]
    assert state(other, body["turn"]) == "kept"
    again = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert (again.code, again.json["error"]["kept"]) == ("already_done", answered.end["kept"])
    assert pair.engine.jobs(mark) == 1


def test_what_died_with_its_host_is_lost_and_not_run_again(pair: Pair) -> None:
    device, other = pair.at(pair.device, 0), pair.at(pair.another(), 1)
    mark = new_id()
    request, body = device.request("POST", "/chat"), device.chat_body(f"chunks 600 gap 50 {mark}")
    reply = Listening(device, request, body).until_words(3)
    pair.hosts[0].kill()
    with suppress(httpx.TransportError, SiloError):
        reply.rest()
    reply.leave()
    # For a while nobody can know whether it lives.
    assert state(other, body["turn"]) in ("running", "lost")
    until(lambda: state(other, body["turn"]) == "lost", 30)
    pair.at(device, 1)
    assert device.ask("POST", "/chat", body, id=request.id, time=request.time).code == "lost"
    assert pair.engine.jobs(mark) == 1
    assert device.history() == []
    # It comes back, and says the same.
    pair.hosts[0].start()
    assert state(pair.at(other, 0), body["turn"]) == "lost"
    assert device.chat("more").end["kept"]["index"] == 1


def test_a_host_that_was_given_up_keeps_nothing_when_it_wakes(pair: Pair) -> None:
    """Stopped, as a virtual machine is while it is moved; what the other host said of its turn stays true."""
    device, other = pair.at(pair.device, 0), pair.at(pair.another(), 1)
    body = device.chat_body("chunks 30 gap 20 asleep")
    reply = Listening(device, device.request("POST", "/chat"), body).until_words(3)
    os.kill(pair.hosts[0].pid, signal.SIGSTOP)
    try:
        until(lambda: state(other, body["turn"]) == "lost", 30)
    finally:
        os.kill(pair.hosts[0].pid, signal.SIGCONT)
    end = reply.rest().end
    assert (end["kept"], end["error"]["code"]) == (None, "not_kept")
    assert state(other, body["turn"]) == "lost"
    assert other.history() == []
    # It serves on.
    assert pair.at(device, 0).chat("awake").end["kept"]["index"] == 1


def test_twenty_writers_over_both_leave_one_chain(pair: Pair) -> None:
    writers = [pair.device, *(pair.another() for _ in range(19))]
    turns = 3

    def write(number: int) -> list[int]:
        device = writers[number]
        pair.through(device)
        if number % 2:
            pair.at(device, 1)
        answers = [insisting(chat(device, f"writer {number} turn {turn}")) for turn in range(turns)]
        return [answered.end["kept"]["index"] for answered in answers]

    with ThreadPoolExecutor(len(writers)) as pool:
        kept = [index for found in pool.map(write, range(len(writers))) for index in found]
    assert sorted(kept) == list(range(1, turns * len(writers) + 1))
    log = Log(pair.device.silo, pair.device.user)
    head = walk_log(pair.device, log)
    assert head
    assert head.at == log.at == len(kept)
    assert [record.place.index for record in pair.device.history()] == sorted(kept)


@dataclass
class Load:
    """Writers who go on whatever happens, and what became of each of their requests."""

    pair: Pair
    over: threading.Event = field(default_factory=threading.Event)
    told: list[tuple[str, Sent, Answered]] = field(default_factory=list)

    def write(self, device: Device) -> None:
        """One turn after the other, each insisted on until it is answered."""
        self.pair.through(device)
        while not self.over.is_set():
            mark = new_id()
            one = chat(device, f"chunks 5 gap 10 {mark}")
            self.told.append((mark, one, insisting(one)))

    def kept_since(self, time_: int) -> int:
        """How many turns that were sent after a time (ms) were kept."""
        return sum(
            1 for _, one, answered in list(self.told) if one.request.time > time_ and outcome(answered) == "kept"
        )


def outcome(answered: Answered) -> str:
    """`kept` (now, or when it was sent before), or the error's code."""
    if answered.code == "already_done" or (not answered.code and answered.end.get("kept")):
        return "kept"
    return answered.code or answered.end["error"]["code"]


def test_nothing_is_lost_when_a_host_is_killed_under_load(pair: Pair) -> None:
    seen = witness(pair.device)
    writers = [pair.another() for _ in range(6)]
    load = Load(pair)
    with ThreadPoolExecutor(len(writers)) as pool:
        writing = [pool.submit(load.write, one) for one in writers]
        try:
            until(lambda: load.kept_since(0) >= 12, 60)
            for victim in (0, 1):
                pair.hosts[victim].kill()
                killed = now()
                # All of them get on at the other host, those who were at this one included.
                until(lambda killed=killed: load.kept_since(killed) >= 12, 60)
                pair.hosts[victim].start()
                started = now()
                until(lambda started=started: load.kept_since(started) >= 6, 60)
        finally:
            load.over.set()
        for one in writing:
            one.result()
    judge(load, seen)


def judge(load: Load, seen: Witness) -> None:
    """Exactly one run each, every acknowledged record there, the log whole, nothing else in it."""
    outcomes = Counter(outcome(answered) for _, _, answered in load.told)
    assert set(outcomes) <= {"kept", "lost"}, outcomes
    # Lost are at most those that ran on a host when it was killed.
    assert outcomes["kept"] > 30
    assert outcomes["lost"] <= 2 * 6
    load.pair.through(seen.device)
    seen.check()
    assert seen.log.at == len(seen.records)
    for mark, one, answered in load.told:
        there = one.body["turn"] in seen.records
        assert there == (outcome(answered) == "kept")
        # A dead host's turn may have begun or not; no other host ran it after that.
        assert load.pair.engine.jobs(mark) == 1 if there else load.pair.engine.jobs(mark) <= 1
        if there:
            kept = answered.json["error"]["kept"] if answered.code else answered.end["kept"]
            record = seen.records[one.body["turn"]]
            assert (kept["index"], hash_bytes(kept["core"])) == (record.place.index, record.core_hash)
    assert len(seen.records) == outcomes["kept"]


def test_a_request_that_nobody_waited_for_runs_once(pair: Pair) -> None:
    """Sent to one, the connection dropped at once, and then sent to both."""
    device = pair.at(pair.device, 0)
    for round_ in range(10):
        mark = new_id()
        request, body = device.request("POST", "/chat"), device.chat_body(mark)
        send_only(device, request, body, part=1.0 if round_ % 2 else 0.9).close()
        with ThreadPoolExecutor(2) as pool:
            twin = pair.at(pair.another(), 1)
            twin.device, twin.signer = device.device, device.signer
            answers = list(pool.map(insisting, [Sent(one, request, body) for one in (device, twin)]))
        assert {outcome(answered) for answered in answers} <= {"kept", "lost"}
        assert pair.engine.jobs(mark) <= 1
        assert sum(1 for record in device.history() if record.content and mark in str(record.content)) <= 1
