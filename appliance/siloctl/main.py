"""The verbs of `siloctl`. On stdout one line of JSON, at a terminal one fact a line; talk goes to stderr."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from appliance.accounts import setup
from appliance.accounts.box import Box, check_database, open_box
from appliance.config import Config
from appliance.data import held, listens_at
from appliance.siloctl import export
from appliance.store import database, keyrings, people, records
from appliance.terminal import fail, now, say, settings
from silo import __version__
from silo.crypto.encoding import b32, hash_bytes
from silo.crypto.keys import spoken
from silo.errors import REFUSED, SiloError

Verb = Callable[[Config, Box], Awaitable[Any]]


def run(data: str | None, verb: Verb) -> Any:
    """Open the data folder and its database, do the verb, close them. Ends the program on a SiloError."""

    async def inside() -> Any:
        config = settings({"SILO_DATA": data})
        box = open_box(config.data, create=False)
        async with database.opened(config.database):
            await check_database(box)
            return await verb(config, box)

    return ending(lambda: asyncio.run(inside()))


def ending(work: Callable[[], Any]) -> Any:
    """What `work` gives. Ends the program, with a sentence and the table's code, on a SiloError."""
    try:
        return work()
    except SiloError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON line, at a terminal too.")


def show(facts: dict[str, Any], as_json: bool, **nicer: str) -> None:
    """Print what a verb found. `nicer` replaces facts for the eye of a person."""
    if as_json or not sys.stdout.isatty():
        click.echo(json.dumps(facts))
        return
    for name, value in (facts | nicer).items():
        text = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name:<{max(map(len, facts))}}  {'none yet' if text in (None, '') else text}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="siloctl")
@click.option("--data", help="The silo's data folder (SILO_DATA).")
@click.pass_context
def main(context: click.Context, data: str | None) -> None:
    """Look after a silo on its own machine. Nothing here can read what people wrote."""
    context.obj = data


def _address(config: Config) -> str:
    return config.url or listens_at(config.data) or config.address


@main.command("setup-link")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
@click.pass_obj
def setup_link(data: str | None, as_json: bool) -> None:
    """Make a new setup link; the one before is void.

    Example: siloctl setup-link --json
    """

    async def verb(config: Config, box: Box) -> str:
        if await people.users():
            raise SiloError("setup_used")
        return await setup.new_link(box, _address(config), now())

    link = run(data, verb)
    click.echo(json.dumps({"link": link, "hours": setup.LIFE // 3_600_000}) if as_json else link)


@main.command()
@json_option
@click.pass_obj
def status(data: str | None, as_json: bool) -> None:
    """What this silo is: id, fingerprint, keyring version, numbers of users and records.

    Example: siloctl --data silo-data status
    """

    async def verb(config: Config, box: Box) -> dict[str, Any]:
        users = await people.users()
        newest = await keyrings.newest()
        heads = [await records.head(user.id) for user in users]
        return {
            "silo": b32(box.silo),
            "fingerprint": b32(box.fingerprint),
            "url": _address(config),
            "keyring": newest.version if newest else None,
            "users": len(users),
            "records": sum(head.at for head in heads),
        }

    facts = run(data, verb)
    show(facts, as_json, fingerprint=spoken(hash_bytes(facts["fingerprint"])))


@main.command("export")
@click.argument("out", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def export_verb(data: str | None, out: Path, as_json: bool) -> None:
    """Write everything that was sealed into the file OUT, as it lies here: sealed.

    Example: siloctl export silo.export; then, offline: silo recover silo.export --key admin.key --out readable
    """

    def progress(count: int) -> None:
        if count and count % 1000 == 0:
            say(f"{count} records …")

    async def verb(config: Config, box: Box) -> dict[str, Any]:
        async with database.snapshot():
            return await export.write(box, out, now(), progress)

    show(run(data, verb), as_json)


@main.command()
@click.option("--to", help="A migration's name, or zero; without it, the newest.")
@click.option("--yes", is_flag=True, help="Do not ask before taking migrations back.")
@json_option
@click.pass_obj
def migrate(data: str | None, to: str | None, yes: bool, as_json: bool) -> None:
    """Bring the database's schema forward, or back, while no silo runs. Going back to zero drops everything in it.

    Example: siloctl migrate --to 0001_initial
    """
    if to == "zero" and not yes and not _agreed("This drops every record in the database. Go on?"):
        say("nothing was changed")
        sys.exit(REFUSED)

    def work() -> list[str]:
        config = settings({"SILO_DATA": data})
        open_box(config.data, create=False)
        # Not under a running silo's feet.
        with held(config.data):
            return asyncio.run(database.migrate(config.database, to))

    show({"migrations": ending(work)}, as_json)


def _agreed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        # Nobody is there to answer.
        click.echo(err=True)
        return False
