"""`silo chat`: a conversation at the prompt."""

import asyncio
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from silo.cli import screen
from silo.cli.common import chat_options, parse_options, passphrase_option, session
from silo.cli.prompt import Talk, ask, remark, resume
from silo.client.session import End, Session
from silo.errors import TRUST, SiloError

FENCE = '"""'
COMMAND = re.compile("/[a-z]*")
"""What looks like a command; a path, or a sentence that begins with one, does not."""
HELP = f"""/new    begin another chat
/exit   leave (Ctrl-D too); Ctrl-C stops a reply
{FENCE}     begins and ends a message of several lines; a \\ at the end of a line goes on too"""


class Lines:
    """Reads what is typed. Recall with the arrow keys, which is forgotten at the end."""

    def __init__(self) -> None:
        self.typed = sys.stdin.isatty()
        if self.typed:
            with suppress(ImportError):
                # Importing it is what gives input() its editing; its history stays in memory.
                import readline  # noqa: F401

    def read(self, mark: str = "> ") -> str:
        """One line. Raises EOFError, KeyboardInterrupt."""
        if self.typed and not sys.stdout.isatty():
            # The answers go elsewhere; the prompt must not go with them.
            sys.stderr.write(mark)
            sys.stderr.flush()
        return input(mark if self.typed and sys.stdout.isatty() else "")

    def message(self) -> str:
        """One message, of one line or more. Raises EOFError, KeyboardInterrupt."""
        line = self.read()
        if line.strip().startswith(FENCE):
            first = line.strip().removeprefix(FENCE)
            if first.endswith(FENCE):
                return first.removesuffix(FENCE)
            lines = [first] if first else []
            while not (line := self.read("… ")).rstrip().endswith(FENCE):
                lines.append(line)
            last = line.rstrip().removesuffix(FENCE)
            return "\n".join([*lines, last] if last else lines)
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self.read("… "))
        return "\n".join(lines)


class Conversation:
    """Question and answer until the person leaves."""

    def __init__(self, runner: asyncio.Runner, opened: Session, talk: Talk, asks: dict[str, Any]) -> None:
        self._runner = runner
        self._session = opened
        self._talk = talk
        self._system: str | None = asks["system"]
        self._model: str | None = asks["model"]
        self._options: dict[str, Any] = asks["options"]
        self._lines = Lines()
        self._failed = 0
        """Exit code of the last refusal, which a script must learn of."""

    def go(self) -> int:
        """Talk. Gives the exit code. Raises SiloError where the silo is not to be trusted any more."""
        if self._lines.typed:
            screen.talk("/new begins another chat, /exit leaves, /help says more", style="dim")
        while True:
            try:
                text = self._lines.message().strip()
            except EOFError:
                if self._lines.typed:
                    screen.talk()
                return self._end()
            except KeyboardInterrupt:
                screen.talk()
                continue
            if text == "/exit":
                return self._end()
            if text == "/new":
                self._talk = Talk()
                screen.talk("a new chat", style="dim")
            elif COMMAND.fullmatch(text):
                if text not in ("/", "/help"):
                    screen.warn(f"there is no {text}")
                screen.talk(HELP, style="dim")
            elif text:
                self._ask(text)

    def _ask(self, text: str) -> None:
        system = None if self._talk.line else self._system
        before = self._session.profile.last
        try:
            end = self._runner.run(ask(self._session, self._talk, text, system, self._model, self._options, show=True))
            self._next(end)
        except KeyboardInterrupt:
            last = self._session.profile.last
            if last is not None and last != before:
                self._stopped(last.thread, last.turn)
            screen.talk("stopped", style="dim")
        except SiloError as error:
            if error.row.exit == TRUST:
                raise
            self._failed = screen.fail(error)
        if self._lines.typed:
            screen.talk()

    def _end(self) -> int:
        # A person has read of it already.
        return 0 if self._lines.typed else self._failed

    def _next(self, end: End) -> None:
        self._failed = remark(end) or self._failed
        if end.opened is not None:
            self._talk = Talk(end.thread, (*self._talk.line, end.opened))
        elif end.kept is None:
            screen.warn("the next question will not know of this one")

    def _stopped(self, thread: str, turn: str) -> None:
        """What was said until the stop is kept, and belongs to the chat."""
        with suppress(SiloError, KeyboardInterrupt):
            kept = self._runner.run(self._session.stopped(thread, turn))
            if kept is not None:
                self._talk = Talk(thread, (*self._talk.line, kept))


@click.command()
@chat_options
@passphrase_option
@click.pass_context
def chat(
    context: click.Context,
    system: str | None,
    model: str | None,
    go_on: bool,
    cid: str | None,
    pairs: tuple[tuple[str, str], ...],
    passphrase_file: Path | None,
) -> None:
    """A conversation at the prompt.

    \b
    /new begins another chat, /exit or Ctrl-D leaves, Ctrl-C stops a reply.
    A message of several lines stands between \"\"\" and \"\"\", or has a \\ at each line's end.

    \b
    Examples:
      silo chat
      silo chat -c
      silo chat -s "You are a patient teacher of Latin"
    """
    asks = {"system": system, "model": model, "options": parse_options(pairs)}
    with asyncio.Runner() as runner:
        held = session(passphrase_file)
        opened = runner.run(held.__aenter__())
        try:
            talk = runner.run(resume(opened, go_on, cid))
            code = Conversation(runner, opened, talk, asks).go()
        finally:
            runner.run(held.__aexit__(None, None, None))
    context.exit(code)
