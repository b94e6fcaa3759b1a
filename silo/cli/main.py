"""`silo`: the verbs together, and what every end of them looks like."""

import os
import sys
from typing import Any

import click
from click_default_group import DefaultGroup

from silo import __version__
from silo.cli import chat, init, logs, models, prompt, recover, screen, status
from silo.errors import USAGE, SiloError

INTERRUPTED = 130
PIPE_CLOSED = 141


class PipeClosed(Exception):
    """Whoever read our answer has enough."""


class Verbs(DefaultGroup):
    """`silo "prompt"` is `silo prompt "prompt"`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. Raises PipeClosed, which click would turn into exit code 1."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            raise PipeClosed from None


@click.group(
    cls=Verbs,
    default="prompt",
    default_if_no_args=True,
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

    SILO_HOME names the folder where this device's identity is kept.
    """


for verb in (prompt.prompt, chat.chat, init.init, logs.logs, models.models, recover.recover, status.status):
    cli.add_command(verb)


def main() -> None:
    """Run, and end with the exit code of the table in silo/errors.py."""
    sys.exit(ended())


def ended() -> int:
    """Run a command; gives its exit code. Every failure that a person can mend becomes one or two lines."""
    try:
        code = cli.main(prog_name="silo", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SiloError as error:
        return screen.fail(error)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        screen.misuse(error.format_message().rstrip("."), f"{context.command_path} --help" if context else "")
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except PipeClosed:
        # The interpreter must not try to flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


if __name__ == "__main__":
    main()
