"""`silo delete` at a real silo, and what logs and recover say of what was deleted."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness import Served
from tests.silo.cli.conftest import Cli, to_its_end


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Cli]]:
    """A silo of this file's own."""
    served = Served(tmp_path_factory.mktemp("served") / "data", SILO_SHAPE="fast", SILO_BACKUP_DAYS="30")
    served.start()
    cli = Cli(tmp_path_factory.mktemp("cli"))
    assert cli.init(served.link, "--admin-key", "admin.key").code == 0
    yield served, cli
    served.stop()


@pytest.fixture
def served(house: tuple[Served, Cli]) -> Served:
    return house[0]


@pytest.fixture
def silo(house: tuple[Served, Cli]) -> Cli:
    return Cli(house[1].folder)


def newest(silo: Cli, count: int = 1) -> list[dict]:
    """The last turns as `silo logs --json` tells them."""
    ended = silo("logs", "--json", "-n", str(count))
    return ended.lines


def behind(served: Served, *statement: object) -> None:
    """Change the database behind the silo's back."""
    with closing(sqlite3.connect(served.data / "silo.db", timeout=10)) as database, database:
        assert database.execute(*statement).rowcount == 1  # pyright: ignore[reportArgumentType]


def test_a_turn_goes_and_a_line_stays(silo: Cli) -> None:
    assert silo("the canary sings").code == 0
    assert silo("-c", "and again").code == 0
    first, second = newest(silo, 2)
    ended = silo("delete", str(first["index"]), "--yes")
    assert ended.code == 0, ended.err
    assert re.fullmatch(
        r"1 turn is deleted, and gone from the silo's files; sealed copies may be in backups until \d{4}-\d\d-\d\d\n",
        ended.out,
    )
    gone, left = newest(silo, 2)
    assert gone["deleted"]["device"]
    assert gone["deleted"]["receipt"]["also"] == ["backups"]
    assert "reply" not in gone
    assert left == second
    shown = silo("logs", "-n", "2")
    assert shown.code == 0
    assert f"turn {first['index']}: deleted by device" in shown.out
    assert "canary" not in shown.out
    assert "deleted by device" in silo("logs", "--short", "-n", "2").out
    # Asked again there is nothing left to do, and the chat goes on without it.
    assert silo("delete", first["turn"], "--yes").err == "nothing to delete\n"
    assert silo("-c", "what did I say?").code == 0
    third = newest(silo)[0]
    assert (third["thread"], third["parent"]) == (second["thread"], second["core"])


def test_a_chat_or_what_is_old(silo: Cli) -> None:
    silo("one")
    silo("-c", "two")
    thread = newest(silo)[0]["thread"]
    ended = silo("delete", "--cid", thread, "--yes", "--json")
    assert [set(one) for one in ended.lines] == [{"index", "turn", "deleted"}] * 2
    assert all(one["deleted"] for one in silo("logs", "--cid", thread, "--json").lines)
    ended = silo("--cid", thread, "three")
    assert ended.code == 2
    assert "all turns of that chat were deleted" in ended.err
    assert silo("delete", "--older-than", "1", "--yes").err == "nothing to delete\n"
    silo("four")
    assert silo("delete", "--older-than", "0", "--yes").code == 0
    assert all(one.get("deleted") for one in silo("logs", "--all", "--json").lines)


def test_it_asks_first(silo: Cli) -> None:
    silo("kept")
    index = str(newest(silo)[0]["index"])
    ended = silo("delete", index)
    assert ended.code == 2
    assert "--yes" in ended.err
    child = silo.typed("delete", index)
    child.expect(re.escape("Delete 1 turn for good? [y/N]: "))
    child.sendline("n")
    to_its_end(child)
    assert child.exitstatus == 130
    assert "reply" in newest(silo)[0]
    child = silo.typed("delete", index)
    child.expect("y/N")
    child.sendline("y")
    assert "1 turn is deleted" in to_its_end(child)
    for words in ([], ["1", "--cid", "a"], ["99999", "--yes"], ["--cid", "x" * 26, "--yes"]):
        assert silo("delete", *words).code == 2


def test_a_bag_is_written_by_the_first_reading_and_judged_by_every_other(silo: Cli, served: Served) -> None:
    silo("one")
    silo("-c", "two")
    thread = newest(silo)[0]["thread"]
    before = silo("logs", "--cid", thread, "--json").lines

    def bag() -> tuple[int, bytes]:
        with closing(sqlite3.connect(served.data / "silo.db", timeout=10)) as database:
            return database.execute("SELECT version, sealed FROM bag WHERE thread = ?", (thread,)).fetchone()

    version, sealed = bag()
    assert sealed
    assert silo("logs", "--cid", thread, "--json").lines == before
    assert bag() == (version, sealed)
    # A damaged one is ignored, and written anew.
    behind(served, "UPDATE bag SET sealed = ? WHERE thread = ?", (sealed[:-1] + bytes([sealed[-1] ^ 1]), thread))
    assert silo("logs", "--cid", thread, "--json").lines == before
    assert bag()[0] == version + 1


def test_recover_knows_what_was_deleted(silo: Cli, served: Served, tmp_path: Path) -> None:
    silo("kept")
    silo("gone")
    kept, gone = newest(silo, 2)
    assert silo("delete", gone["turn"], "--yes").code == 0
    out = tmp_path / "silo.export"
    command = [sys.executable, "-m", "appliance.siloctl", "--data", str(served.data), "export", str(out)]
    subprocess.run(command, check=True, capture_output=True, env=served.environment)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["index"] for line in lines if line["type"] in ("record", "tombstone")] == [
        *range(1, gone["index"] + 1)
    ]
    ended = silo("recover", str(out), "--key", "admin.key", "--out", str(tmp_path / "readable"))
    assert ended.code == 0, ended.err
    report = json.loads((tmp_path / "readable" / "report.json").read_text())
    assert report["faults"] == []
    assert report["deleted"] == len([line for line in lines if line["type"] == "tombstone"])
    [page] = (tmp_path / "readable").glob(f"*/{gone['thread']}.md")
    assert f"Deleted by device {gone['deleted']['device'] if 'deleted' in gone else ''}" in page.read_text()
    assert kept["reply"] in next((tmp_path / "readable").glob(f"*/{kept['thread']}.md")).read_text()
    # One that is missing, or moved to another record, is a hole in the log.
    last = lines[-2]
    assert last["type"] == "tombstone"
    for number, change in enumerate(
        ({"index": last["index"] + 1}, {"signature": lines[-3].get("receipt", "")[:86]}, {"thread": kept["thread"]})
    ):
        bent = [*lines[:-2], last | change, lines[-1]]
        out.write_text("".join(json.dumps(line) + "\n" for line in bent))
        ended = silo("recover", str(out), "--key", "admin.key", "--out", str(tmp_path / f"readable{number}"))
        assert ended.code == 11
        faults = json.loads((tmp_path / f"readable{number}" / "report.json").read_text())["faults"]
        assert {"forged"} <= {fault["code"] for fault in faults}


def test_a_hole_without_a_valid_tombstone_is_forged(silo: Cli, served: Served) -> None:
    silo("one")
    silo("two")
    first, second = newest(silo, 2)
    assert silo("delete", first["turn"], second["turn"], "--yes").code == 0
    with closing(sqlite3.connect(served.data / "silo.db", timeout=10)) as database:
        rows = database.execute(
            'SELECT statement, signature, receipt FROM tombstone WHERE "index" IN (?, ?) ORDER BY "index"',
            (first["index"], second["index"]),
        ).fetchall()
    cases = {
        "statement": rows[0][0],
        "signature": rows[0][1],
        "receipt": rows[0][2],
    }
    for column, other in cases.items():
        put = f'UPDATE tombstone SET {column} = ? WHERE "index" = ?'
        behind(served, put, (other, second["index"]))
        ended = silo("logs", "--json", "-n", "1")
        assert ended.code == 11
        assert ended.lines[0]["error"] == "forged"
        behind(served, put, (rows[1][list(cases).index(column)], second["index"]))
        assert silo("logs", "-n", "1").code == 0
    behind(served, 'DELETE FROM tombstone WHERE "index" = ?', (second["index"],))
    ended = silo("logs", "-n", "2")
    assert ended.code == 11
    assert f"turn {second['index']} does not open" in ended.err
