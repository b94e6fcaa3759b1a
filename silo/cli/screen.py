"""Everything that is printed, and every rule about it.

stdout   the answer alone, so that it pipes: a reply, a table, JSON
stderr   all talk: `error:` and `hint:` lines, warnings, questions, progress
colours  on a terminal only, and never where NO_COLOR is set
content  what a model or a silo wrote is made inert first, also when it goes into a pipe
tables   by rich on a terminal; elsewhere one row a line, its cells separated by tabs
JSON     one object a line, in ASCII, so that it needs no such care
secrets  never echoed, and printed only where one is made for the person to write down
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from silo.client.inert import InertStream, inert
from silo.errors import SiloError

if TYPE_CHECKING:
    from rich.console import Console

program = "silo"
"""What the person types; `./dev silo` in a checkout."""
READ = 100
"""Columns that a text to read takes at most."""
MUTE = 10
"""Seconds between lines of progress where there is no terminal."""


def console(stream: IO[str]) -> "Console":
    """A rich console that writes to `stream` by the rules above."""
    Console = _console_class()
    # FORCE_COLOR would put colours into a pipe, and NO_COLOR alone would leave bold and dim.
    options: dict[str, Any] = {
        "file": stream,
        "force_terminal": stream.isatty(),
        "highlight": False,
        "emoji": False,
        "markup": False,
        # Words wrap at a terminal's edge; in a pipe a line is a line.
        "soft_wrap": not stream.isatty(),
    }
    made = Console(**options)
    return Console(**options, color_system=None) if made.no_color else made


@cache
def _console_class() -> "type[Console]":
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            # rich's own ends the program with exit code 1.
            raise BrokenPipeError

    return Plain


def _below() -> None:
    """Talk in the middle of a reply begins a line of its own, where both go to one terminal."""
    if ReplyPrinter.open_line and sys.stdout.isatty() and sys.stderr.isatty():
        sys.stderr.write("\n")
        ReplyPrinter.open_line = False


def talk(text: str = "", style: str | None = None) -> None:
    """A line for the person, on stderr."""
    _below()
    console(sys.stderr).print(inert(text), style=style)


def warn(sentence: str) -> None:
    """A `warning:` line."""
    _marked("warning", "yellow", sentence)


def fail(error: SiloError) -> int:
    """The `error:` and `hint:` lines; gives the exit code."""
    _marked("error", "bold red", error.sentence())
    if hint := _hint(error):
        _marked("hint", "cyan", hint)
    return error.row.exit


def misuse(sentence: str, hint: str = "") -> None:
    """The same for a command that was not typed right."""
    _marked("error", "bold red", sentence)
    if hint:
        _marked("hint", "cyan", hint)


def _marked(mark: str, style: str, sentence: str) -> None:
    from rich.text import Text

    _below()
    console(sys.stderr).print(Text.assemble((f"{mark}:", style), " ", inert(sentence)))


def _hint(error: SiloError) -> str:
    wait = error.extra.get("retry_after")
    if isinstance(wait, int | float) and wait > 0:
        return f"try again in {wait:g} s"
    return as_typed(error.row.hint)


def as_typed(hint: str) -> str:
    """A hint whose commands are those that work here."""
    return (
        hint if program == "silo" else re.sub(r"\b(?:siloctl|silo) (?=[a-z])", lambda found: f"./dev {found[0]}", hint)
    )


# --- answers ---


class ReplyPrinter:
    """Prints a reply as it comes."""

    open_line = False
    """Whether the last line on stdout has not ended."""

    def __init__(self) -> None:
        self._inert = InertStream()

    def push(self, piece: str) -> None:
        """Print a piece now."""
        self._put(self._inert.push(piece))

    def finish(self) -> None:
        """Print what was held back, and end the line."""
        self._put(self._inert.finish())
        if ReplyPrinter.open_line:
            self._put("\n")

    def _put(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            ReplyPrinter.open_line = not text.endswith("\n")


def answer(text: str) -> None:
    """A line of an answer."""
    sys.stdout.write(inert(text) + "\n")


def answer_json(value: dict[str, Any]) -> None:
    """One JSON object on one line."""
    sys.stdout.write(json.dumps(value) + "\n")


def on_terminal() -> bool:
    """Whether the answer goes to a terminal."""
    return sys.stdout.isatty()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), out: bool = True) -> None:
    """Rows on stdout (or stderr): a table on a terminal, else lines with tabs and no heads. `right`: columns that
    hold numbers."""
    stream = sys.stdout if out else sys.stderr
    if not stream.isatty():
        # Beside other talk a row needs its heads; in a pipe they would be in the way.
        for row in rows if out else (heads, *rows):
            stream.write("\t".join(inert(cell).replace("\t", " ").replace("\n", " ") for cell in row) + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for at, head in enumerate(heads):
        made.add_column(head, justify="right" if at in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(inert(cell)) for cell in row))
    console(stream).print(made)


def facts(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values on stdout."""
    if not on_terminal():
        for name, value in rows:
            answer(f"{name}\t{value}")
        return
    from rich.text import Text

    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        console(sys.stdout).print(Text.assemble((name.ljust(width), "dim"), inert(value)))


def heading(text: str, note: str = "") -> None:
    """A line that begins a part of an answer on a terminal."""
    from rich.text import Text

    console(sys.stdout).print(Text.assemble((inert(text), "bold"), "  ", (inert(note), "dim")))


def note(text: str) -> None:
    """A remark inside an answer."""
    console(sys.stdout).print(inert(text), style="dim")


def quoted(text: str, role: str) -> None:
    """What somebody asked: behind a bar, so that it is told from the reply."""
    from rich.text import Text

    shown = Text(inert(text) if role == "user" else f"{role}: {inert(text)}")
    page = console(sys.stdout)
    width = min(page.width, READ) - 2 if on_terminal() else 1_000_000
    for line in shown.wrap(page, width):
        page.print(Text.assemble(("│ " if on_terminal() else "> ", "dim"), line))


def markdown(text: str) -> None:
    """A reply, laid out on a terminal; elsewhere as it is."""
    if not on_terminal():
        answer(text)
        return
    from rich.markdown import Markdown

    wide = console(sys.stdout)
    page = _console_class()(
        file=sys.stdout,
        force_terminal=True,
        color_system=wide.color_system if not wide.no_color else None,  # pyright: ignore[reportArgumentType]
        width=min(wide.width, READ),
        emoji=False,
    )
    # A link shows where it leads; a terminal's own links would not.
    page.print(Markdown(inert(text), hyperlinks=False, code_theme="ansi_dark"))


def when(time_ms: int, now_ms: int) -> str:
    """A time as people say it."""
    ago = max(0, now_ms - time_ms) // 1000
    if ago < 60:
        return "just now"
    for size, name in ((60, "min"), (3_600, "h"), (86_400, "days")):
        if ago < size * {"min": 60, "h": 24, "days": 14}[name]:
            count = ago // size
            return f"{count} {name[:-1] if name == 'days' and count == 1 else name} ago"
    return time.strftime("%Y-%m-%d", time.localtime(time_ms / 1000))


# --- progress ---


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how far a work on `total` bytes is, on stderr: a bar on a terminal, else a line every 10 s."""
    if sys.stderr.isatty():
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    begun = said = time.monotonic()

    def line(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= MUTE:
            said, speed = now, done / (now - begun)
            left = (total - done) / speed if speed else 0
            talk(f"{what}: {done / 1e6:.0f} of {total / 1e6:.0f} MB, {speed / 1e6:.1f} MB/s, {left:.0f} s left")

    yield line


# --- questions: the terminal, never stdin or stdout ---


def can_ask() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, default: str = "") -> str:
    """A line typed by the person; `default` for an empty one. Raises EOFError."""
    sys.stderr.write(f"{question}{f' [{default}]' if default else ''}: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip() or default


def confirm(question: str) -> bool:
    """Yes or no; no by default."""
    return ask(f"{question} [y/N]").lower() in ("y", "yes")


def ask_secret(question: str) -> str:
    """The same without echo."""
    from getpass import getpass

    return getpass(f"{question}: ")


def can_ask_secret() -> bool:
    """Whether there is a terminal to type a secret at, whatever stdin is."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
