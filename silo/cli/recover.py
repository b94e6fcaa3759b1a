"""`silo recover`: an export opened offline with the admin key."""

from pathlib import Path

import click

from silo.cli import screen
from silo.cli.common import FILE, json_option, passphrase_from
from silo.client.recover import Report
from silo.client.recover import recover as work
from silo.client.setup import load_admin_key
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
    admin = load_admin_key(key, passphrase_from(passphrase_file, f"passphrase of {key}"))
    try:
        total = export.stat().st_size
    except OSError as error:
        raise SiloError("bad_file", f"{export}: {(error.strerror or 'cannot be read').lower()}") from None
    with screen.progress("opening", total) as progress:
        report = work(export, admin, out, progress)
    if as_json:
        screen.answer_json(report.as_json())
    _show(report, out)
    if not report.whole:
        context.exit(screen.fail(SiloError("partly", f"see {out / 'report.json'}")))


def _show(report: Report, out: Path) -> None:
    rows = [
        (one["name"] or one["id"], str(one["threads"]), str(one["opened"]), str(one["failed"])) for one in report.users
    ]
    screen.table(("who", "chats", "turns opened", "failed"), rows, right=[1, 2, 3], out=False)
    for fault in report.faults[:SHOWN]:
        where = f" {fault.index}" if fault.index else f" in line {fault.line}" if fault.line else ""
        screen.warn(f"{fault.what}{where}: {fault.why}{' (written, not proven)' if fault.opened else ''}")
    if len(report.faults) > SHOWN:
        screen.warn(f"and {len(report.faults) - SHOWN} more")
    if report.trust == "listed":
        screen.warn("this key signed none of the keyrings; compare the silo's fingerprint with one that you know")
    screen.talk(f"{report.opened} of {report.records} turns are in {out}")
