"""What the programs of the box share: where settings come from, the clock, what is said to the person."""

import os
import time
from contextlib import suppress
from pathlib import Path

import click

from appliance.config import Config, load, read_environment
from silo.errors import SiloError

ROOT = Path(__file__).resolve().parent.parent


def default_data() -> Path:
    """`silo-data` in the checkout this runs from, or in the current folder."""
    return (ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()) / "silo-data"


def settings(overrides: dict[str, str | None]) -> Config:
    """The settings from `.env`, the environment and the command line. Raises SiloError `bad_settings`."""
    # Whatever is made from here on is for its owner alone, the database among it.
    os.umask(0o077)
    return load(read_environment([Path.cwd(), ROOT], overrides), default_data())


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def say(text: str) -> None:
    """One line for the person at the terminal, or in a file on a disk that may be full."""
    with suppress(OSError):
        click.echo(text, err=True)


def fail(error: SiloError) -> int:
    """Say what is wrong and what to do, one line each; the exit code."""
    if error.code == "bad_settings":
        for line in error.detail.splitlines():
            say(f"error: {line}")
    else:
        hint = f"; {error.row.hint}" if error.row.hint else ""
        say(f"error: {error.sentence()}{hint}")
    return error.row.exit
