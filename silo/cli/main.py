"""`silo`: the verbs together, and what every end of them looks like."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import click
from click_default_group import DefaultGroup

from silo import __version__
from silo.cli import chat, delete, init, logs, models, prompt, recover, screen, status
from silo.errors import USAGE, SiloError

INTERRUPTED = 130
PIPE_CLOSED = 141


WORD = re.compile("[a-z]+")
NEAR = 0.75
"""How alike a word and a verb are (0 to 1) before it is questioned."""
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What a write to stdout fails with; everything else that is opened has a name."""


class NotAVerb(click.UsageError):
    """A word that is nearly a verb; `verb` is what was meant."""

    def __init__(self, sentence: str, verb: str) -> None:
        super().__init__(sentence)
        self.verb = verb


class PipeClosed(Exception):
    """Whoever read our answer has enough."""


class Verbs(DefaultGroup):
    """`silo "prompt"` is `silo prompt "prompt"`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The verb. Raises UsageError for a word that looks like a verb misspelled, which no model should get."""
        word = args[0]
        if word not in self.commands and WORD.fullmatch(word):
            near = ["--help"] if word == "help" else get_close_matches(word, self.commands, 1, NEAR)
            if near:
                meant = f"{word!r} is no verb; if you meant it as a question: {screen.program} prompt {word}"
                raise NotAVerb(meant, f"{screen.program} {near[0]}")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the command line; prints the help where it is asked for."""
        with _writing():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        with _writing():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextmanager
def _writing() -> Iterator[None]:
    """Raises PipeClosed and SiloError `stdout_failed` for what click would turn into exit code 1."""
    try:
        yield
    except BrokenPipeError:
        raise PipeClosed from None
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        raise SiloError("stdout_failed", (error.strerror or "").lower()) from None


@click.group(
    cls=Verbs,
    default="prompt",
    default_if_no_args=True,
    subcommand_metavar="PROMPT | COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="silo")
def cli() -> None:
    """Chat with the models of your own silo.

    \b
    Examples:
      silo init 'http://localhost:6006/#setup.…'
      silo "Three names for a pelican"
      silo -c "And for a heron?"
      cat notes.txt | silo "What is still to do?"
      silo chat

    \b
    With a prompt:
      -c, --continue     go on with the last chat; --cid THREAD with another
      -s, --system TEXT  what the model should keep to
      -m, --model ID     another model than the silo's first
      -o KEY VALUE       temperature, top_p, seed, max_tokens or stop
      --no-stream, --json, and more: silo prompt --help

    SILO_HOME names the folder where this device's identity is kept.
    """


for verb in (
    prompt.prompt,
    chat.chat,
    delete.delete,
    init.init,
    logs.logs,
    models.models,
    recover.recover,
    status.status,
):
    cli.add_command(verb)


def main(program: str = "silo") -> None:
    """Run, and end with the exit code of the table in silo/errors.py. `program` is what the person typed."""
    screen.program = program
    sys.exit(ended())


def ended() -> int:
    """Run a command; gives its exit code. Every failure that a person can mend becomes one or two lines."""
    closed = _fill_streams()
    try:
        if closed:
            raise SiloError("stdout_failed", "it is closed")
        code = cli.main(prog_name=screen.program, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SiloError as error:
        if error.code == "stdout_failed":
            _drop_stdout()
        return screen.fail(error)
    except NotAVerb as error:
        screen.misuse(error.format_message(), error.verb)
        return USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        screen.misuse(error.format_message().rstrip("."), f"{context.command_path} --help" if context else "")
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        if sys.stderr.isatty():
            screen.talk("stopped", style="dim")
        return INTERRUPTED
    except PipeClosed:
        _drop_stdout()
        return PIPE_CLOSED


def _fill_streams() -> bool:
    """Put nothing where a stream was closed before we began; gives whether stdout was."""
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    return closed


def _drop_stdout() -> None:
    """The interpreter must not try to flush what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
