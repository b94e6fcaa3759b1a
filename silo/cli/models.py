"""`silo models`: what the silo serves."""

from pathlib import Path

import click

from silo.cli import screen
from silo.cli.common import json_option, passphrase_option, run, session
from silo.messages import Models


async def _models(passphrase_file: Path | None) -> Models:
    async with session(passphrase_file) as opened:
        return await opened.models()


@click.command()
@json_option("Print one JSON object a line: id, context, default.")
@passphrase_option
def models(as_json: bool, passphrase_file: Path | None) -> None:
    """The models that the silo serves.

    \b
    Example:
      silo models
    """
    found = run(_models(passphrase_file))
    if as_json:
        for one in found.models:
            screen.answer_json({"id": one.id, "context": one.context, "default": one.id == found.default})
        return
    rows = [
        (one.id, f"{one.context:,}" if one.context else "", "default" if one.id == found.default else "")
        for one in found.models
    ]
    screen.table(("model", "context, tokens", ""), rows, right=[1])
