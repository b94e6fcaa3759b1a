"""100,000 bent requests against a running silo: no crash, no 5xx, one answer for all that does not open.

HOSTILE_REQUESTS sets another number, HOSTILE_SEED another seed; HOSTILE_CASE=SEED:NUMBER sends one case alone.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from silo.crypto.channel import BODY, HEAD, read_keys
from silo.crypto.encoding import b64, write_json
from silo.errors import SiloError
from tests.harness import Device, Served
from tests.hostile.cases import HONEST, HTTP, NONE, ONE, SEALED, STALE, VERSION, Case, Maker, name_of, reopen
from tests.hostile.wire import Heard, Line, decapsulations, watched

REQUESTS = int(os.environ.get("HOSTILE_REQUESTS", "100000"))
SEED = int(os.environ.get("HOSTILE_SEED", "5"))
CASE = os.environ.get("HOSTILE_CASE", "")
LINES = 4
WARM = 5_000
GROWTH = 20 * 1024 * 1024
"""Bytes that the silo may grow by after the warm-up."""


class Judge:
    """Looks at every answer."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.counts: Counter[str] = Counter()
        self.unopened: dict[str, set[tuple[bytes, bytes]]] = {ONE: set(), VERSION: set()}
        """Every answer in the clear that there was, heads and bodies, by what it says."""

    def judge(self, case: Case, heard: Heard | None) -> None:
        """Raises AssertionError for an answer that the case must not get."""
        kind = self._kind(case, heard)
        self.counts[kind] += 1
        if kind == HONEST:
            assert case.may & {HONEST, SEALED}, (kind, case.may)
        else:
            assert kind in case.may, (kind, case.may, heard)

    def _kind(self, case: Case, heard: Heard | None) -> str:
        if heard is None:
            return NONE
        if heard.header("content-type") == "application/octet-stream":
            return self._sealed(case, heard)
        assert heard.status < 500, heard
        assert b"canary7f3kq" not in heard.head + heard.body, heard
        if heard.status == 409:
            read_keys(json.loads(heard.body)["keys"].encode(), self._device.silo, self._device.pin, None)
            return STALE
        if heard.body in (b'{"error":{"code":"cannot_open"}}', b'{"error":{"code":"bad_version"}}'):
            kind = ONE if b"cannot" in heard.body else VERSION
            assert heard.status == 400
            self.unopened[kind].add((heard.head, heard.body))
            return kind
        return HTTP

    def _sealed(self, case: Case, heard: Heard) -> str:
        assert heard.status == 200
        if case.opener is None:
            return SEALED  # the secret that opens it was itself what was bent
        opener = reopen(case.opener)
        try:
            parts = opener.push(heard.body)
            opener.finish()
        except SiloError as error:
            raise AssertionError(f"the answer does not open: {error}") from None
        status = next(json.loads(part.data)["status"] for part in parts if part.kind == HEAD)
        body = b"".join(part.data for part in parts if part.kind == BODY)
        if status < 400:
            return HONEST
        assert status < 500 or status in (503, 507), body
        error = json.loads(body)["error"]
        assert set(error) >= {"code", "message", "hint", "detail"}
        assert b"canary7f3kq" not in body, body
        self.counts[f"{status} {error['code']}"] += 1
        return SEALED


@pytest.fixture
def silo(tmp_path: Path) -> Iterator[Served]:
    """A silo whose own limit is out of the way."""
    served = watched(tmp_path / "silo", SILO_DOOR_RATE="100000")
    yield served
    served.stop()


def setup_body(served: Served, device: Device) -> dict[str, Any]:
    """An honest body of `POST /setup`, which comes too late."""
    other = Device(served.url + "/#setup." + b64(device.secret + device.pin + device.silo))
    body = other.setup_body()
    other.http.close()
    return json.loads(write_json(body))


class Run:
    """Sends cases over a few connections that stay, and judges what comes back."""

    def __init__(self, url: str, maker: Maker, judge: Judge) -> None:
        self._url = url
        self._maker = maker
        self._judge = judge
        self._lines = [Line(url) for _ in range(LINES)]
        self.connections = LINES

    def batch(self, numbers: list[int]) -> None:
        """One case a connection."""
        cases = [self._maker.case(number) for number in numbers]
        for line, case in zip(self._lines, cases, strict=False):
            line.send(case.wire)
        for at, (number, case) in enumerate(zip(numbers, cases, strict=True)):
            try:
                stays = self._hear(self._lines[at], case)
            except (AssertionError, TimeoutError, ValueError, KeyError) as error:
                raise AssertionError(f"HOSTILE_CASE={SEED}:{number} ({case.name}): {error!r}") from error
            if not stays:
                self._lines[at].close()
                self._lines[at] = Line(self._url)
                self.connections += 1

    def _hear(self, line: Line, case: Case) -> bool:
        if case.open:
            line.end()
            answers = line.answers()
            assert len(answers) <= 2, answers
            self._judge.judge(case, answers[0] if answers else None)
            return False
        for _ in range(case.answers):
            heard = line.answer()
            self._judge.judge(case, heard)
            if heard is None or heard.closes:
                return False
        assert line.quiet(), "an answer that nobody asked for"
        return True

    def close(self) -> None:
        """Let go."""
        for line in self._lines:
            line.close()


def test_bent_requests(silo: Served) -> None:
    device = Device(silo.link).set_up()
    seed, _, alone = (CASE or f"{SEED}:").partition(":")
    maker, judge = Maker(device, setup_body(silo, device), int(seed)), Judge(device)
    run = Run(silo.url, maker, judge)
    process = psutil.Process(silo.pid)
    numbers = [int(alone)] if alone else list(range(REQUESTS))
    warm = 0
    for at in range(0, len(numbers), LINES):
        run.batch(numbers[at : at + LINES])
        if at < WARM:
            warm = process.memory_info().rss
    after = process.memory_info().rss
    run.close()
    print(f"\n{len(numbers)} requests, {run.connections} connections, {(after - warm) / 2**20:.1f} MiB more")
    print(dict(judge.counts.most_common()))
    # What does not open is told in one way, to the byte, and the log tells nobody anything.
    assert all(len(answers) <= 1 for answers in judge.unopened.values()), judge.unopened
    assert device.ask("GET", "/me").status == 200
    assert device.chat("hello").status == 200
    device.http.close()
    assert silo.stop() in (0, 130)
    said = silo.log.read_text()
    for word in (*name_of(device), "127.0.0.1", "Traceback", '"level": "error"', '"level": "critical"', "internal"):
        assert word not in said, (word, [line for line in said.splitlines() if word in line][:3])
    print(decapsulations(silo), "decapsulations")
    assert alone or after - warm < GROWTH
    assert alone or len(numbers) < 1000 or {ONE, VERSION, SEALED, HONEST, STALE, HTTP} <= set(judge.counts)
