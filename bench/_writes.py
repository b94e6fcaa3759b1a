"""How long a turn takes to be let in, and its record to be kept: sealed, signed for and written, until the disk has it.

The silo is a real one, asked through its door, with the deterministic engine and SQLite on a disk. This module is
also the program that runs it: it holds a watch to the door and to the writer of turns and is otherwise
`python -m appliance`.

    python -m bench._writes OUT up …

At the end OUT gets lists of milliseconds: `open`, decapsulation and the header; `admit`, from there until the device's
signature, its role and the keys that it names are checked; `write`, from before a record is sealed until its
transaction is on the disk; `keep`, all that the appliance does to keep a turn, which looks at the keyring and the log's
head first.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.__main__ import main
from appliance.api import door, turns
from appliance.store import records
from bench._processes import Failed
from silo.crypto.channel import TransportKey
from tests.harness import ROOT, Device, clean_environment

PROMPT = "chunks 400 one two three four five six"
"""Its reply has 400 words, some 2,000 characters."""


def writes(folder: Path, count: int, step: Callable[[], None]) -> dict[str, list[float]]:
    """The lists of `count` turns one after the other, in a silo in `folder`. `step` is called after each.

    Raises Failed.
    """
    out = folder / "times.json"
    command = [sys.executable, "-P", "-m", "bench._writes", str(out), "up", "--port", "0"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--data", str(folder / "data"), "--engine", "fake"],
            cwd=ROOT,
            env=clean_environment(SILO_SHAPE="fast", SILO_HOST="127.0.0.1"),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout
        ready = process.stdout.readline()
        if not ready.startswith("ready "):
            raise Failed("the silo did not start")
        device = Device(ready.removeprefix("ready ").strip()).set_up()
        for _ in range(count):
            if not device.chat(PROMPT).end["kept"]:
                raise Failed("a record was not kept")
            step()
        device.http.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    return json.loads(out.read_text())


def flushes(folder: Path, count: int = 50) -> list[float]:
    """Milliseconds that the disk takes for 8 KiB by itself."""
    times: list[float] = []
    with (folder / "flushed").open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(bytes(8192))
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    return times


def watched() -> None:
    """`python -m appliance`, with a watch on its writer."""
    out = Path(sys.argv.pop(1))
    began: list[float] = []
    took: dict[str, list[float]] = {"open": [], "admit": [], "write": [], "keep": []}
    opened: list[float] = []
    open_header: Any = TransportKey.open_header
    check: Any = door.check_trust
    seal: Any = turns.seal_record
    add: Any = records.add
    keep: Any = turns.Turn._keep  # pyright: ignore[reportPrivateUsage]

    def seal_record(*args: Any) -> Any:
        began.append(time.perf_counter())
        return seal(*args)

    async def add_record(*args: Any) -> Any:
        await add(*args)
        took["write"].append((time.perf_counter() - began.pop()) * 1e3)

    async def keep_turn(*args: Any) -> Any:
        start = time.perf_counter()
        kept = await keep(*args)
        took["keep"].append((time.perf_counter() - start) * 1e3)
        return kept

    def open_prefix(*args: Any) -> Any:
        start = time.perf_counter()
        header = open_header(*args)
        opened.append(time.perf_counter())
        took["open"].append((opened[-1] - start) * 1e3)
        return header

    async def check_trust(*args: Any) -> Any:
        trusted = await check(*args)
        took["admit"].append((time.perf_counter() - opened[-1]) * 1e3)
        return trusted

    watch: Any = turns.Turn
    key: Any = TransportKey
    key.open_header, door.check_trust = open_prefix, check_trust
    turns.seal_record, records.add, watch._keep = seal_record, add_record, keep_turn
    try:
        main()
    finally:
        out.write_text(json.dumps(took))


if __name__ == "__main__":
    watched()
