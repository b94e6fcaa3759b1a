"""Ctrl-C while a program still loads."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness import clean_environment

# Stands in for a module that all programs import, and takes its time.
SLOW = """
import pathlib, time
pathlib.Path({began!r}).touch()
time.sleep(30)
"""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH. In it, `began` appears when the program has got to its imports."""
    (tmp_path / "click.py").write_text(SLOW.format(began=str(tmp_path / "began")))
    return tmp_path


@pytest.mark.parametrize("program", [["silo", "hello"], ["appliance", "up"], ["appliance.siloctl", "status"]])
def test_ctrl_c_while_it_loads(slow: Path, program: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", *program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=slow,
        env=clean_environment(PYTHONPATH=str(slow)),
        # As at a terminal, also where these tests run in the background of a shell.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        end = time.monotonic() + 20
        while not (slow / "began").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        assert process.communicate(timeout=10) == (b"", b"")
    assert process.returncode == 130


def test_where_ctrl_c_is_ignored_it_stays_so(slow: Path) -> None:
    (slow / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(7)\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "silo"],
        env=clean_environment(PYTHONPATH=str(slow)),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        timeout=20,
    )
    assert done.returncode == 7
