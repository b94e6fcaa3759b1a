"""`silo logs`: my history, opened on this device."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from silo.cli import screen
from silo.cli.common import json_option, now, passphrase_option, run, session
from silo.client.history import Deleted, Opened, Turn
from silo.errors import PARTLY, SiloError


async def _history(count: int | None, thread: str | None, passphrase_file: Path | None) -> list[Opened]:
    async with session(passphrase_file) as opened:
        return await opened.history(count, thread)


@click.command()
@click.option("-n", "--count", type=click.IntRange(min=1), default=10, show_default=True, help="How many turns.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--cid", metavar="THREAD", help="Those of one chat alone.")
@click.option("--short", is_flag=True, help="One line a turn.")
@json_option("Print one JSON object a line, oldest first.")
@passphrase_option
@click.pass_context
def logs(
    context: click.Context,
    count: int,
    everything: bool,
    cid: str | None,
    short: bool,
    as_json: bool,
    passphrase_file: Path | None,
) -> None:
    """Your history, opened on this device; the newest stands last.

    The whole log is checked each time: that nothing is missing, changed or out of order.

    \b
    Examples:
      silo logs
      silo logs --all --short
      silo logs --cid THREAD --json
    """
    if everything and context.get_parameter_source("count") is ParameterSource.COMMANDLINE:
        raise click.UsageError("-n and --all exclude each other", context)
    found = run(_history(None if everything else count, cid, passphrase_file))
    if as_json:
        for one in found:
            screen.answer_json(_as_json(one))
    elif short:
        _short(found)
    else:
        _long(found)
    failed = [one for one in found if one.error is not None]
    for one in failed:
        if one.error is not None and not as_json:
            screen.misuse(f"turn {one.entry.index} does not open: {one.error.sentence()}")
    if not found:
        if cid is not None:
            raise SiloError("not_found", "no chat with that id; silo logs --short lists them")
        screen.talk("no turns yet", style="dim")
    context.exit(PARTLY if failed else 0)


def _asked(turn: Turn) -> str:
    return "\n\n".join(one.content for one in turn.asked.messages if one.role == "user")


def _as_json(one: Opened) -> dict[str, Any]:
    entry, turn = one.entry, one.turn
    line: dict[str, Any] = {
        "index": entry.index,
        "thread": entry.thread,
        "turn": entry.id,
        "parent": entry.parent,
        "time": entry.time,
        "core": entry.core,
    }
    if turn is not None:
        line |= {
            "device": turn.device,
            "messages": [{"role": one.role, "content": one.content} for one in turn.asked.messages],
            "options": msgspec.to_builtins(turn.asked.options),
            "model": turn.reply.model,
            "reply": turn.reply.content,
            "finish": turn.reply.finish,
            "usage": {"prompt": turn.reply.prompt_tokens, "completion": turn.reply.completion_tokens},
        }
    if one.deleted is not None:
        line["deleted"] = deleted_json(one.deleted)
    if one.error is not None:
        line["error"] = one.error.code
    return line


def deleted_json(gone: Deleted) -> dict[str, Any]:
    """Who deleted it, and the silo's word that it is gone."""
    said = gone.receipt
    receipt = {"time": said.time, "until": said.until, "also": list(said.also)} if said else None
    return {"device": gone.device, "time": gone.time, "receipt": receipt}


def _gone(gone: Deleted) -> str:
    by = f"device {gone.device[:8]}…" if gone.device else "the silo's retention policy"
    return f"deleted by {by} on {datetime.fromtimestamp(gone.time / 1000).astimezone():%Y-%m-%d %H:%M}"


def _short(found: list[Opened]) -> None:
    rows = []
    for one in found:
        text = _gone(one.deleted) if one.deleted else " ".join(_asked(one.turn).split()) if one.turn else ""
        cut = text if len(text) <= 60 else text[:59] + "…"
        rows.append((str(one.entry.index), screen.when(one.entry.time, now()), one.entry.thread, cut))
    if rows:
        screen.table(("turn", "when", "chat", "asked"), rows, right=[0])


def _long(found: list[Opened]) -> None:
    thread = None
    for one in found:
        if one.turn is None and one.deleted is None:
            continue
        if one.entry.thread != thread:
            if thread is not None:
                screen.answer("")
            thread = one.entry.thread
            screen.heading(f"chat {thread}", screen.when(one.entry.time, now()))
        if one.turn is None:
            screen.note(f"turn {one.entry.index}: {_gone(one.deleted)}" if one.deleted else "")
            continue
        screen.answer("")
        for message in one.turn.asked.messages:
            screen.quoted(message.content, message.role)
        screen.answer("")
        screen.markdown(one.turn.reply.content)
        if one.turn.reply.finish in ("cut", "failed"):
            screen.note("(stopped here)")
