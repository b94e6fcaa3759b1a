"""`silo status`: which silo this device belongs to, and how it stands."""

from pathlib import Path
from typing import Any

import click

from silo.cli import screen
from silo.cli.common import home, json_option, now, passphrase_option, run, session
from silo.client.home import Profile
from silo.crypto.encoding import hash_bytes
from silo.crypto.keys import fingerprint, spoken
from silo.errors import SiloError

KEPT = {
    "keyring": "in this system's keyring",
    "passphrase": "in {folder}, under a passphrase",
    "file": "in {folder}, readable for you alone",
}


async def _online(passphrase_file: Path | None) -> None:
    async with session(passphrase_file) as opened:
        await opened.refresh()


@click.command()
@json_option("Print one JSON object.")
@passphrase_option
@click.pass_context
def status(context: click.Context, as_json: bool, passphrase_file: Path | None) -> None:
    """Which silo this device belongs to, and whether it answers.

    Asks the silo for its newest keyring and for the end of your log, and checks both.

    \b
    Example:
      silo status
    """
    here = home()
    here.read()
    trouble: SiloError | None = None
    try:
        run(_online(passphrase_file))
    except SiloError as error:
        trouble = error
    profile = here.read()
    if as_json:
        screen.answer_json(_as_json(profile, trouble))
    else:
        screen.facts(_facts(profile, str(here.folder), trouble))
    if trouble is not None:
        context.exit(screen.fail(trouble))


def _mark(profile: Profile) -> bytes:
    return fingerprint(hash_bytes(profile.identity))


def _as_json(profile: Profile, trouble: SiloError | None) -> dict[str, Any]:
    from silo.crypto.encoding import b32

    keyring = profile.keyring()
    return {
        "url": profile.url,
        "silo": profile.silo,
        "fingerprint": b32(_mark(profile)),
        "genesis": profile.genesis,
        "keyring": keyring.document.version,
        "backup": keyring.document.waiver is None,
        "user": profile.user,
        "name": profile.name,
        "device": profile.device,
        "since": profile.since,
        "head": profile.head.at if profile.head else 0,
        "secrets": profile.secrets,
        "answers": trouble is None,
        "error": trouble.code if trouble else None,
    }


def _answers(trouble: SiloError | None) -> str:
    if trouble is None:
        return "yes"
    # Without this device's keys nobody was asked.
    return "not asked" if trouble.code == "wrong_passphrase" else "no"


def _facts(profile: Profile, folder: str, trouble: SiloError | None) -> list[tuple[str, str]]:
    keyring = profile.keyring().document
    holders = sum(one.revoked is None and one.role == "backup" for one in keyring.holders)
    backups = "no backup key yet" if keyring.waiver else f"{holders} backup keys"
    return [
        ("silo", profile.url),
        ("fingerprint", spoken(_mark(profile))),
        ("keyring", f"version {keyring.version}, {backups}"),
        ("you", profile.name),
        ("device", f"enrolled {screen.when(profile.since, now())}"),
        ("log", f"{profile.head.at if profile.head else 0} records seen"),
        ("keys", KEPT[profile.secrets].format(folder=folder)),
        ("answers", _answers(trouble)),
    ]
