"""`silo recover`: an export opened offline with the admin key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from silo.cli import screen
from silo.cli.common import FILE, json_option, passphrase_from
from silo.client.recover import Fault, Report
from silo.client.recover import recover as work
from silo.client.setup import load_admin_key
from silo.crypto.keys import AdminKey
from silo.errors import SiloError

SHOWN = 20
"""The most faults that are named on the screen; the report names all."""


@click.command()
@click.argument("export", type=FILE)
@click.option("--key", type=FILE, required=True, help="The admin key's file.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new folder.")
@click.option("--passphrase-file", type=FILE, help="File with the passphrase that locks the admin key's file.")
@json_option("Print the report as one JSON object.")
@click.pass_context
def recover(
    context: click.Context, export: Path, key: Path, out: Path, passphrase_file: Path | None, as_json: bool
) -> None:
    """Open everything in an export with the admin key. Uses no network: do it offline.

    Every record is tried; OUT/report.json names each that fails and why. Exit code 11 where one did.

    \b
    Examples:
      siloctl export silo.export
      silo recover silo.export --key admin.key --out readable
    """
    try:
        total = export.stat().st_size
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise SiloError("bad_file", f"{export}: {reason}; name the file that siloctl export wrote") from None
    admin = _key(key, passphrase_from(passphrase_file, f"passphrase of {key}"))
    with screen.progress("opening", total) as progress:
        report = work(export, admin, out, progress)
    if as_json:
        screen.answer_json(report.as_json())
    _show(report, out)
    if not report.whole:
        context.exit(screen.fail(SiloError("partly", f"see {out / 'report.json'}")))


def _key(path: Path, passphrase: Callable[[], str]) -> AdminKey:
    """The admin key. Raises as `load_admin_key`, and says which file and what to do."""
    step = "name the admin key's file with --key; silo init made it"
    try:
        return load_admin_key(path, passphrase)
    except SiloError as error:
        if error.code == "bad_key_file":
            reason = f": {error.detail}" if error.detail and error.detail != str(path) else ""
            raise SiloError(error.code, f"{path}{reason}; {step}") from None
        if error.code == "bad_file" and error.detail.startswith(f"{path}:"):
            raise SiloError(error.code, f"{error.detail}; {step}") from None
        if error.code == "wrong_passphrase" and not error.detail:
            raise SiloError(error.code, str(path)) from None
        raise


def _show(report: Report, out: Path) -> None:
    names = {one["id"]: _name(one) for one in report.users}
    rows = [(names[one["id"]], str(one["threads"]), str(one["opened"]), str(one["failed"])) for one in report.users]
    screen.table(("who", "chats", "turns opened", "failed"), rows, right=[1, 2, 3], out=False)
    for fault in report.faults[:SHOWN]:
        where = _where(fault, names)
        screen.warn(f"{where}{': ' if where else ''}{fault.why}{' (written, not proven)' if fault.opened else ''}")
    if len(report.faults) > SHOWN:
        screen.warn(f"and {len(report.faults) - SHOWN} more")
    unsure = [names[one["id"]] for one in report.users if one["vouched"] == "export"]
    if unsure:
        who = unsure[0] if len(unsure) == 1 else f"{len(unsure)} people"
        screen.warn(f"whose devices signed the turns of {who}, nobody says but the export itself")
    if report.trust == "listed":
        screen.warn("this key signed none of the keyrings; compare the silo's fingerprint with one that you know")
    screen.talk(_sum(report, out))


def _name(user: dict[str, Any]) -> str:
    """The id stands beside a name that no administrator signed: it may be anybody's."""
    if user["vouched"] == "directory":
        return user["name"]
    return f"{user['name']} ({user['id']})" if user["name"] else user["id"]


def _where(fault: Fault, names: dict[str, str]) -> str:
    """Whose, which, in which chat. A fault of the export itself names its line."""
    if fault.what == "export":
        return ""
    what = fault.what
    if fault.what == "record" and fault.index:
        what += f" {fault.index}"
    elif fault.line:
        what += f" in line {fault.line}"
    chat = f" of chat {fault.thread}" if fault.thread else ""
    who = f"{names.get(fault.user, fault.user)}, " if fault.user else ""
    return f"{who}{what}{chat}"


def _sum(report: Report, out: Path) -> str:
    """How much is there, and what is known to be missing."""
    opened, doubtful = report.opened, sum(fault.opened for fault in report.faults)
    whole = opened == report.promised
    of = "" if whole and report.cut else f" of at least {report.promised}" if report.cut else f" of {report.promised}"
    unproven = f", {doubtful} of them not proven" if doubtful else ""
    return f"{opened}{of} turns are in {out}{unproven}{f'; {report.cut}' if report.cut else ''}"
