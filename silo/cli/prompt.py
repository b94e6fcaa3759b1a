"""`silo "prompt"`: one question, its answer as it comes."""

import sys
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from silo.cli import screen
from silo.cli.common import chat_options, json_option, parse_options, passphrase_option, read_stdin, run, session
from silo.client.history import Turn, context_of
from silo.client.session import End, Session
from silo.errors import NOT_KEPT, SiloError
from silo.messages import Message


@dataclass
class Talk:
    """A chat as it goes on: which thread, and the line of turns so far."""

    thread: str | None = None
    line: tuple[Turn, ...] = ()

    def next(self, text: str, system: str | None) -> tuple[list[Message], list[Message], str | None]:
        """(new messages, context, parent) of the next turn. A system message replaces those before."""
        new = [Message(role="system", content=system)] if system else []
        new.append(Message(role="user", content=text))
        parent = self.line[-1].core if self.line else None
        return new, context_of(list(self.line), system=not system), parent


async def resume(opened: Session, go_on: bool, cid: str | None) -> Talk:
    """The chat to go on with. Raises SiloError `not_found`; as Session.thread."""
    if cid is not None and go_on:
        raise click.UsageError("-c and --cid exclude each other", click.get_current_context())
    if cid is None:
        if not go_on:
            return Talk()
        if opened.profile.last is None:
            raise SiloError("not_found", "no chat was begun on this device")
        cid = opened.profile.last.thread
    return Talk(cid, tuple(await opened.thread(cid)))


async def ask(
    opened: Session, talk: Talk, text: str, system: str | None, model: str | None, options: dict[str, Any], show: bool
) -> End:
    """Ask, print the reply as it comes where `show`, and give its End. Raises as Session.chat."""
    new, context, parent = talk.next(text, system)
    printer = screen.ReplyPrinter()
    end: End | None = None
    replies = opened.chat(new, context, talk.thread, parent, model, options)
    try:
        async with aclosing(replies):
            async for piece in replies:
                if isinstance(piece, End):
                    end = piece
                elif show:
                    printer.push(piece)
    finally:
        # Also where it breaks off: what was said ends its line before anything else is.
        printer.finish()
    if end is None:
        raise SiloError("truncated")
    return end


def remark(end: End) -> int:
    """Say what a person should know of how the reply ended; gives the exit code."""
    if end.error is not None:
        code = screen.fail(end.error)
        return code if end.kept is not None else NOT_KEPT
    if end.finish == "length":
        screen.warn("the reply reached its longest length")
    elif end.finish == "cut":
        screen.warn("the connection broke off, and the model stopped; this is what the silo kept")
    return 0


def as_json(end: End) -> dict[str, Any]:
    """A turn for machines."""
    return {
        "thread": end.thread,
        "turn": end.turn,
        "model": end.opened.reply.model if end.opened else None,
        "reply": end.text,
        "finish": end.finish,
        "usage": {"prompt": end.usage.prompt, "completion": end.usage.completion} if end.usage else None,
        "kept": {"index": end.kept.index, "core": end.kept.core} if end.kept else None,
        "error": end.error.code if end.error else None,
    }


def full_prompt(typed: str | None) -> str | None:
    """What is asked: stdin, then what was typed; None where there is neither."""
    piped = "" if sys.stdin.isatty() else read_stdin()
    parts = [part for part in (piped.rstrip("\n"), typed) if part]
    return "\n\n".join(parts) or None


@click.command()
@click.argument("text", metavar="[PROMPT]", required=False)
@chat_options
@click.option("--no-stream", is_flag=True, help="Print the reply when all of it has come.")
@json_option("Print one JSON object: thread, turn, model, reply, finish, usage, kept, error.")
@passphrase_option
@click.pass_context
def prompt(
    context: click.Context,
    text: str | None,
    system: str | None,
    model: str | None,
    go_on: bool,
    cid: str | None,
    pairs: tuple[tuple[str, str], ...],
    no_stream: bool,
    as_json: bool,
    passphrase_file: Path | None,
) -> None:
    """Ask, and print the reply. Needs no verb: silo "PROMPT".

    What comes on stdin is asked too, before PROMPT.

    \b
    Examples:
      silo "Three names for a pelican"
      silo -c "And for a heron?"
      git diff | silo -s "You review code" "What is wrong here?"
      silo -o temperature 0 --json "Say yes"
    """
    options = parse_options(pairs)
    asked = full_prompt(text)
    if asked is None:
        given = any((system, model, go_on, cid, pairs, no_stream, as_json))
        if given or not sys.stdin.isatty():
            raise click.UsageError("there is nothing to ask", context)
        click.echo((context.parent or context).get_help())
        return
    context.exit(run(_prompt(asked, system, model, go_on, cid, options, no_stream, as_json, passphrase_file)))


async def _prompt(
    text: str,
    system: str | None,
    model: str | None,
    go_on: bool,
    cid: str | None,
    options: dict[str, Any],
    no_stream: bool,
    json_wanted: bool,
    passphrase_file: Path | None,
) -> int:
    async with session(passphrase_file) as opened:
        talk = await resume(opened, go_on, cid)
        end = await ask(opened, talk, text, system, model, options, show=not (no_stream or json_wanted))
    if json_wanted:
        screen.answer_json(as_json(end))
    elif no_stream:
        printer = screen.ReplyPrinter()
        printer.push(end.text)
        printer.finish()
    return remark(end)
