"""`silo delete` where somebody who can write to the database, and holds no key, says otherwise of the records."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.harness import Served
from tests.silo.cli.conftest import Cli, to_its_end

YEAR = 365 * 86_400_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Cli]]:
    """A silo of this file's own."""
    served = Served(tmp_path_factory.mktemp("served") / "data", SILO_SHAPE="fast")
    served.start()
    cli = Cli(tmp_path_factory.mktemp("cli"))
    assert cli.init(served.link, "--admin-key", "admin.key").code == 0
    yield served, cli
    served.stop()


@pytest.fixture
def served(house: tuple[Served, Cli]) -> Served:
    return house[0]


@pytest.fixture
def turns(house: tuple[Served, Cli]) -> Iterator[list[dict]]:
    """Three turns of one chat, the newest of all."""
    served, cli = house
    for words in (["one"], ["-c", "two"], ["-c", "three"]):
        assert cli(*words).code == 0
    made = cli("logs", "--json", "-n", "3").lines
    yield made
    # What is left altered would be told in every other test.
    for one in made:
        alter(served, one, "turn", f"{one['index']}")
    for one in made:
        alter(served, one, "turn", one["turn"])
        alter(served, one, "time", one["time"])


@pytest.fixture
def silo(house: tuple[Served, Cli]) -> Cli:
    return Cli(house[1].folder)


def alter(served: Served, turn: dict, column: str, value: object) -> None:
    with closing(sqlite3.connect(served.data / "silo.db", timeout=10)) as database, database:
        put = f'UPDATE record SET {column} = ? WHERE "index" = ?'
        assert database.execute(put, (value, turn["index"])).rowcount == 1


def gone(silo: Cli) -> list[bool]:
    """Which of the last three turns have been deleted."""
    return ["deleted" in one for one in silo("logs", "--json", "-n", "3").lines]


def test_an_age_that_the_database_made_up_chooses_nothing(silo: Cli, served: Served, turns: list[dict]) -> None:
    alter(served, turns[2], "time", turns[2]["time"] - 2 * YEAR)
    ended = silo("delete", "--older-than", "365", "--yes")
    assert ended.code == 11
    assert ended.out == ""
    assert f"turn {turns[2]['index']} does not open" in ended.err
    assert "1 turn left alone, because the age is not known" in ended.err
    # What opens goes by its own time, and what does not open stays.
    assert silo("delete", "--older-than", "0", "--yes").code == 11
    assert gone(silo) == [True, True, False]


def test_an_id_names_what_opens_under_it(silo: Cli, served: Served, turns: list[dict]) -> None:
    first, second, _ = turns
    alter(served, first, "turn", "for a moment")
    alter(served, second, "turn", first["turn"])
    alter(served, first, "turn", second["turn"])
    ended = silo("delete", first["turn"], "--yes")
    assert ended.code == 2
    assert "goes by its number" in ended.err
    assert gone(silo) == [False] * 3


def test_one_that_was_deleted_does_not_stand_for_another(silo: Cli, served: Served, turns: list[dict]) -> None:
    first, second, _ = turns
    assert silo("delete", str(second["index"]), "--yes").code == 0
    assert silo("delete", second["turn"], "--yes").err == "nothing to delete\n"
    alter(served, second, "turn", "for a moment")
    alter(served, first, "turn", second["turn"])
    alter(served, second, "turn", first["turn"])
    ended = silo("delete", first["turn"], "--yes")
    assert ended.code == 2
    assert "nothing to delete" not in ended.err


def test_of_what_does_not_open_one_is_told_and_asked_apart(silo: Cli, served: Served, turns: list[dict]) -> None:
    alter(served, turns[1], "time", 1)
    told = f"turn {turns[1]['index']} does not open: a signature or a proof is missing or wrong"
    chat = ("delete", "--cid", turns[0]["thread"])
    child = silo.typed(*chat)
    child.expect(re.escape(told))
    child.expect(re.escape("Delete 2 turns for good? [y/N]: "))
    child.sendline("n")
    to_its_end(child)
    assert child.exitstatus == 130
    number = str(turns[1]["index"])
    ended = silo("delete", number, "--yes")
    assert (ended.code, ended.out) == (11, "")
    assert told in " ".join(ended.err.split())
    assert gone(silo) == [False] * 3
    assert silo(*chat).code == 2
    ended = silo(*chat, "--yes")
    assert ended.code == 11
    assert ended.out.startswith("2 turns are deleted")
    assert gone(silo) == [True, False, True]
    # The silo goes by what it signed, so nobody's word on a changed row deletes the record under it.
    for answer, code in (("n", 11), ("y", 2)):
        child = silo.typed("delete", number)
        child.expect(re.escape("Delete 1 turn for good without knowing of what? [y/N]: "))
        child.sendline(answer)
        to_its_end(child)
        assert child.exitstatus == code
        assert gone(silo) == [True, False, True]
