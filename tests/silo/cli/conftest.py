"""The command line as a process of its own, at a real silo with the deterministic engine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.harness import Served, clean_environment

PASSWORD = "correct horse battery staple otter"


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one line of JSON."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def lines(self) -> list[Any]:
        """Its lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Cli:
    """`silo` with a home of its own, run in `folder`."""

    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """No colours asked for, no keyring of whoever runs the tests."""
        kept = clean_environment(
            SILO_HOME=str(self.home),
            PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring",
            TERM="xterm-256color",
            PYTHONWARNINGS="error",
        )
        kept = {name: value for name, value in kept.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
        return kept | self.more

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a command without a terminal, its output in pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "silo.cli", *words],
            env=self.environment | {"PYTHONPATH": os.getcwd()},
            cwd=self.folder,
            # Away from the terminal of whoever runs the tests, which a passphrase would be asked at.
            start_new_session=True,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *words: str, piped: bytes | None = None) -> Ended:
        """Run a command to its end, `piped` on its stdin."""
        with self.start(*words, stdin=subprocess.DEVNULL if piped is None else subprocess.PIPE) as process:
            out, err = process.communicate(piped, timeout=60)
        return Ended(process.returncode, out.decode(), err.decode())

    def typed(self, *words: str, columns: int = 100) -> pexpect.spawn:
        """Run a command at a terminal."""
        return pexpect.spawn(
            sys.executable,
            ["-m", "silo.cli", *words],
            env=self.environment | {"PYTHONPATH": os.getcwd()},  # pyright: ignore[reportArgumentType]
            cwd=str(self.folder),
            encoding="utf-8",
            timeout=20,
            dimensions=(40, columns),
        )

    def init(self, link: str, *words: str) -> Ended:
        """Set the silo up without a question."""
        (self.folder / "password").write_text(PASSWORD + "\n")
        return self("init", link, "--name", "alice", "--password-file", "password", "--yes", *words)


def to_its_end(child: pexpect.spawn) -> str:
    """Waits until the command has ended; gives what it printed since it was last looked at."""
    child.expect(pexpect.EOF)
    child.close()
    return str(child.before)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Served]:
    """One silo for all tests that do not change it for others."""
    one = Served(tmp_path_factory.mktemp("served") / "data", SILO_SHAPE="fast")
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="package")
def set_up(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Its administrator's device."""
    cli = Cli(tmp_path_factory.mktemp("cli"))
    ended = cli.init(served.link, "--admin-key", "admin.key")
    assert ended.code == 0, ended.err
    return cli


@pytest.fixture
def silo(set_up: Cli) -> Cli:
    """The same for one test, whose environment may be changed."""
    return Cli(set_up.folder)


@pytest.fixture
def stranger(tmp_path: Path) -> Cli:
    """A device that belongs to no silo."""
    return Cli(tmp_path)
