"""What the verbs share: the clock, the home, the passphrase, options, and how async work is run."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from silo.cli import screen
from silo.client.home import Home, default_folder, default_passphrase_file, read_secret_line
from silo.client.session import Session
from silo.errors import SiloError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: dict[str, Callable[[str], Any]] = {
    "temperature": float,
    "top_p": float,
    "seed": int,
    "max_tokens": int,
    "stop": str,
}
"""What -o takes (SPEC 5.6)."""


def now() -> int:
    """This device's clock, in milliseconds."""
    return time.time_ns() // 1_000_000


def home() -> Home:
    """This device's folder."""
    return Home(default_folder())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run async work to its end."""
    return asyncio.run(work)


def passphrase_from(path: Path | None, question: str) -> Callable[[], str]:
    """Gives the passphrase when it is wanted: from a file, else asked at the terminal."""

    def get() -> str:
        if path is not None:
            return read_secret_line(path)
        if not screen.can_ask_secret():
            raise SiloError("wrong_passphrase", "none was given; --passphrase-file names a file with it")
        return screen.ask_secret(question)

    return get


@asynccontextmanager
async def session(passphrase_file: Path | None) -> AsyncIterator[Session]:
    """This device's session. Raises SiloError `no_identity`, `wrong_passphrase`, `bad_file`."""
    get = passphrase_from(passphrase_file or default_passphrase_file(), "passphrase of this device")
    async with Session.open(home(), get, now, screen.warn) as opened:
        yield opened


def parse_options(pairs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """`-o` pairs as the silo takes them; `stop` may be given more than once."""
    options: dict[str, Any] = {}
    for name, value in pairs:
        if name not in OPTIONS:
            raise click.BadParameter(f"there is no option {name!r}; there are {', '.join(OPTIONS)}", param_hint="-o")
        try:
            parsed = OPTIONS[name](value)
        except ValueError:
            raise click.BadParameter(f"{name} is a number, not {value!r}", param_hint="-o") from None
        if name == "stop":
            options.setdefault("stop", []).append(parsed)
        else:
            options[name] = parsed
    return options


# --- options of more than one verb ---

FILE = click.Path(path_type=Path, dir_okay=False)


def passphrase_option(function: F) -> F:
    """--passphrase-file"""
    return click.option(
        "--passphrase-file",
        type=FILE,
        help="File with the passphrase that locks this device's keys (SILO_PASSPHRASE_FILE).",
    )(function)


def json_option(text: str) -> Callable[[F], F]:
    """--json"""
    return click.option("--json", "as_json", is_flag=True, help=text)


def chat_options(function: F) -> F:
    """-s -m -c --cid -o"""
    for option in (
        click.option(
            "-o", "--option", "pairs", type=(str, str), multiple=True, metavar="KEY VALUE",
            help="temperature, top_p, seed, max_tokens or stop."
        ),
        click.option("--cid", metavar="THREAD", help="Go on with the chat of this id."),
        click.option("-c", "--continue", "go_on", is_flag=True, help="Go on with the last chat of this device."),
        click.option("-m", "--model", help="A model's id; without it, the silo's default. See: silo models"),
        click.option("-s", "--system", help="What the model should keep to."),
    ):  # fmt: skip
        function = option(function)
    return function


def read_stdin() -> str:
    """All of stdin. Raises SiloError `bad_file` where it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        raise SiloError("bad_file", "stdin is not UTF-8") from None
