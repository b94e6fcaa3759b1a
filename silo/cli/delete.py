"""`silo delete`: turns, chats, or what is old, for good."""

from datetime import datetime
from pathlib import Path

import click

from silo.cli import screen
from silo.cli.common import json_option, now, passphrase_option, run, session
from silo.cli.logs import deleted_json
from silo.client.history import Opened
from silo.errors import PARTLY, SiloError

DAY = 86_400_000


@click.command()
@click.argument("turns", nargs=-1, metavar="TURN...")
@click.option("--cid", metavar="THREAD", help="A whole chat.")
@click.option("--older-than", type=click.IntRange(min=0), metavar="DAYS", help="Every turn older than so many days.")
@click.option("--yes", is_flag=True, help="Do not ask, and delete only what opens.")
@json_option("Print one JSON object a line for each turn: what was deleted, and the silo's receipt.")
@passphrase_option
@click.pass_context
def delete(
    context: click.Context,
    turns: tuple[str, ...],
    cid: str | None,
    older_than: int | None,
    yes: bool,
    as_json: bool,
    passphrase_file: Path | None,
) -> None:
    """Delete turns from the silo, for good. Nobody can bring them back, you neither.

    TURN is the number that silo logs --short shows, or the turn's id. What stays is a line that says who deleted it
    and when; backups may hold the sealed bytes for a while, as the silo's receipt says.

    Of a turn that does not open, the id and the time are only what the database says. It can be named by its number or
    with its chat; you are asked about it apart, and --yes leaves it alone.

    \b
    Examples:
      silo delete 12
      silo delete --cid THREAD
      silo delete --older-than 365 --yes
    """
    if bool(turns) + (cid is not None) + (older_than is not None) != 1:
        raise click.UsageError("name turns, or a chat with --cid, or an age with --older-than", context)
    done = run(_delete(turns, cid, older_than, yes, passphrase_file))
    gone = [one for one in done if one.deleted]
    for one in gone:
        if as_json and one.deleted:
            screen.answer_json({"index": one.entry.index, "turn": one.entry.id, "deleted": deleted_json(one.deleted)})
    if not as_json and gone:
        _tell(gone)
    context.exit(PARTLY if len(gone) < len(done) else 0)


async def _delete(
    turns: tuple[str, ...], cid: str | None, older_than: int | None, yes: bool, passphrase_file: Path | None
) -> list[Opened]:
    """What was deleted, and behind it what was not because it does not open."""
    async with session(passphrase_file) as opened:
        found = await opened.history(thread=cid)
        if cid is not None and not found:
            raise SiloError("not_found", "no chat with that id; silo logs --short lists them")
        if turns:
            found = [_named(found, turn) for turn in dict.fromkeys(turns)]
        sure = [one for one in found if one.turn is not None]
        unsure = [one for one in found if one.turn is None and one.deleted is None]
        if older_than is not None:
            sure = [one for one in sure if one.turn is not None and one.turn.time <= now() - older_than * DAY]
        for one in unsure:
            screen.warn(f"turn {one.entry.index} does not open: {one.error.sentence() if one.error else ''}")
        if not sure and not unsure:
            screen.talk("nothing to delete", style="dim")
            return []
        if sure and not yes and not _agreed(f"Delete {_count(sure)} for good?"):
            raise click.Abort
        by_age = older_than is not None
        if unsure and not yes and not by_age and _agreed(f"Delete {_count(unsure)} for good without knowing of what?"):
            sure, unsure = [*sure, *unsure], []
        if unsure:
            screen.warn(f"{_count(unsure)} left alone{', because the age is not known' if by_age else ''}")
        return [*(await opened.delete([one.entry for one in sure]) if sure else []), *unsure]


def _agreed(question: str) -> bool:
    if not screen.can_ask():
        raise click.UsageError("nobody is there to be asked; --yes deletes without asking")
    return screen.confirm(question)


def _count(some: list[Opened]) -> str:
    return "1 turn" if len(some) == 1 else f"{len(some)} turns"


def _named(found: list[Opened], turn: str) -> Opened:
    for one in found:
        if turn == str(one.entry.index) or (one.turn is not None and turn == one.turn.id):
            return one
    # What a deleted one was called is the database's word: it counts while nothing else may be the one that is meant.
    whole = not any(one.error for one in found)
    for one in found:
        if whole and one.deleted and turn == one.entry.id:
            return one
    known = "silo logs --short lists them" if whole else "what does not open goes by its number in silo logs --short"
    raise SiloError("not_found", f"no turn {turn:.40}; {known}")


def _tell(done: list[Opened]) -> None:
    what = "1 turn is" if len(done) == 1 else f"{len(done)} turns are"
    receipts = [one.deleted.receipt for one in done if one.deleted and one.deleted.receipt]
    if len(receipts) < len(done):
        screen.answer(f"{what} deleted; the silo has not confirmed yet that the bytes are gone from its files")
        return
    places = {"wal": "the database's log", "replicas": "replicas", "backups": "backups"}
    also = ", ".join(dict.fromkeys(places[place] for receipt in receipts for place in receipt.also))
    ends = [receipt.until for receipt in receipts if receipt.until is not None]
    until = f"until {datetime.fromtimestamp(max(ends) / 1000).astimezone():%Y-%m-%d}" if len(ends) == len(done) else ""
    rest = f"; sealed copies may be in {also} {until or 'for as long as the operator keeps them'}" if also else ""
    screen.answer(f"{what} deleted, and gone from the silo's files{rest}")
