"""Where the appliance's CPU goes while it streams: py-spy's samples, sorted by the room that was at work."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RATE = 400
"""Samples a second."""
LEAD = 2.0
"""Seconds for the streams to begin, before the first sample."""

# Samples count while the thread holds Python's lock: waiting is left out, and so is the system's part of recv.
# The innermost frame of ours decides; what it calls outside of our code is its own cost.
ROOMS = (
    ("read", r"_look_in \(.*engine/openai\.py"),
    ("parse", r"engine/openai\.py"),
    ("seal", r"silo/crypto/"),
    ("write", r"api/wire\.py"),
    ("shape", r"api/(shape|turns)\.py|/beat\.py"),
)


def room(stack: str) -> str:
    """The room of one sampled stack, `outer;…;inner`."""
    for frame in reversed(stack.split(";")):
        for name, pattern in ROOMS:
            if re.search(pattern, frame):
                return name
        if "/appliance/" in frame or "/silo/" in frame:
            return "other"
    return "loop"


@contextmanager
def profiled(pid: int, seconds: float, out: Path) -> Iterator[Counter[str]]:
    """Samples a process while the block runs; the counter holds samples by room afterwards, none where it may not."""
    program = Path(sys.executable).with_name("py-spy")
    command = [program, "record", "--gil", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(RATE)]
    found: Counter[str] = Counter()
    script = 'sleep "$0"; exec "$@"'
    words = ["/bin/sh", "-c", script, str(LEAD), *map(str, command), "--format", "raw", "--output", str(out)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        yield found
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    finally:
        process.kill()
        process.wait()
    if out.exists():
        for line in out.read_text("utf-8").splitlines():
            stack, _, count = line.rpartition(" ")
            found[room(stack)] += int(count)
