"""The store: migrations both ways, what the database promises of its disk, pages."""

import secrets
import sys
import types
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tortoise import Tortoise, connections, fields
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.models import Model

from appliance.store import database as store
from appliance.store import keyrings, models, people, records
from appliance.store.rows import Entry, StoredRecord
from silo.crypto.encoding import b32, new_id
from silo.errors import SiloError
from tests import postgres


@pytest.fixture
def url(tmp_path: Path, database: str) -> str:
    """A database that is not there yet; on PostgreSQL, an empty one."""
    return empty(tmp_path / "silo.db", database)


def empty(path: Path, kind: str) -> str:
    """Another one."""
    return f"sqlite://{path}" if kind == "sqlite" else postgres.cluster().create(postgres.EMPTY)


@pytest.fixture
async def opened(url: str) -> AsyncIterator[None]:
    """It is open and up to date."""
    async with store.opened(url):
        yield


def schema(url: str) -> set[tuple[str, str]]:
    """(name, SQL or what else tells it) of everything in it, but for what the database and the migrations keep."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    if not url.startswith("sqlite"):
        query = """
            SELECT table_name, concat_ws(' ', column_name, data_type, character_maximum_length, is_nullable)
            FROM information_schema.columns WHERE table_schema = 'public'
            UNION SELECT tablename, '' FROM pg_tables WHERE schemaname = 'public'
            UNION SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
        """
    with postgres.behind(url) as opened:
        rows = opened.execute(query).fetchall()
    return {(name, sql) for name, sql in rows if name not in ("sqlite_sequence", "tortoise_migrations")}


# --- migrations ---


async def test_migrations_go_both_ways(url: str, tmp_path: Path, database: str) -> None:
    applied = await store.migrate(url)
    assert applied == sorted(path.stem for path in Path(store.__file__).parent.glob("migrations/0*.py"))
    fresh = schema(url)
    tables = {name for name, _ in fresh}
    assert {"keyring", "user", "device", "lock", "manifest", "rotation", "directory"} <= tables
    assert {"record", "wrap", "once", "setup", "silo"} <= tables
    assert await store.migrate(url, "zero") == []
    assert schema(url) == set()
    assert await store.migrate(url, applied[-1]) == applied
    assert schema(url) == fresh
    # Each step by itself, from the newest to the first and back.
    for name in reversed(applied):
        assert (await store.migrate(url, name))[-1] == name
    assert await store.migrate(url) == applied
    assert schema(url) == fresh
    other = empty(tmp_path / "other.db", database)
    async with store.opened(other):
        pass
    assert schema(other) == fresh


async def test_going_to_where_it_is_changes_nothing(url: str) -> None:
    async with store.opened(url):
        await people.bind_silo("a" * 26, 1)
    await store.migrate(url)
    async with store.opened(url):
        assert await people.bound_silo() == "a" * 26


async def test_migrations_that_do_not_exist(url: str) -> None:
    with pytest.raises(SiloError) as caught:
        await store.migrate(url, "0999_later")
    assert caught.value.code == "bad_file"
    await store.migrate(url)
    with postgres.behind(url) as opened:
        opened.execute(
            "INSERT INTO tortoise_migrations (app, name, applied_at) VALUES ('store', '0999_later', '2027-01-01')"
        )
    for target in (None, "zero"):
        with pytest.raises(SiloError) as caught:
            await store.migrate(url, target)
        assert (caught.value.code, caught.value.detail) == ("newer_database", "0999_later")
    with pytest.raises(SiloError) as caught:
        async with store.opened(url):
            pass
    assert caught.value.code == "newer_database"


class Later(Model):
    """A table that no migration makes."""

    id = fields.IntField(primary_key=True)


async def changes(url: str, *modules: str) -> int:
    """How many migrations `tortoise makemigrations` would write for the models of these modules."""
    config = store.tortoise_config(url)
    config["apps"][store.APP]["models"] = list(modules)
    await Tortoise.init(config=config)
    try:
        assert Tortoise.apps
        return len(await MigrationAutodetector(Tortoise.apps, config["apps"]).changes())
    finally:
        await Tortoise.close_connections()


async def test_models_and_migrations_agree(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [ours] = store.tortoise_config(url)["apps"][store.APP]["models"]
    assert await changes(url, ours) == 0
    # It would find something.
    later = types.ModuleType("later")
    vars(later)["Later"] = Later
    monkeypatch.setitem(sys.modules, "later", later)
    assert await changes(url, ours, "later") == 1


# --- the disk ---


async def pragma(name: str) -> object:
    """A pragma's value on the connection that is open."""
    _, rows = await connections.get("default").execute_query(f"PRAGMA {name}")
    return next(iter(dict(rows[0]).values()))


@pytest.mark.usefixtures("opened")
async def test_what_the_connection_promises() -> None:
    values = {name: await pragma(name) for name in ("journal_mode", "synchronous", "secure_delete", "busy_timeout")}
    # 2 is FULL: every commit waits for the disk.
    assert values == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "busy_timeout": 10_000}


def holds(folder: Path, text: str) -> bool:
    """Whether a text stands in a file there."""
    return any(text.encode() in path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("size", [200, 20_000])
async def test_what_is_deleted_is_overwritten(url: str, size: int) -> None:
    canary = secrets.token_hex(16)
    path = Path(url.removeprefix("sqlite://"))
    async with store.opened(url):
        await models.Lock.create(id="l", user_id="u", kind="k", document=canary * (size // 32))
        await connections.get("default").execute_query("PRAGMA wal_checkpoint(TRUNCATE)")
        assert holds(path.parent, canary)
        await models.Lock.all().delete()
        await connections.get("default").execute_query("PRAGMA wal_checkpoint(TRUNCATE)")
        assert not holds(path.parent, canary)
    assert not holds(path.parent, canary)


async def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "silo.db").write_bytes(secrets.token_bytes(40_000))
    (tmp_path / "folder").mkdir()
    for name, code in (("silo.db", "data_damaged"), ("folder", "data_unwritable"), ("no/silo.db", "data_unwritable")):
        for work in (store.migrate, read):
            with pytest.raises(SiloError) as caught:
                await work(f"sqlite://{tmp_path / name}")
            assert caught.value.code == code
            assert Path(name).name in caught.value.detail


async def read(url: str) -> None:
    """Open it and ask it something."""
    async with store.opened(url):
        await people.users()


# --- pages ---

USER = new_id()
MIB = 1024 * 1024


def record(index: int, size: int, thread: str) -> StoredRecord:
    """A record of `size` bytes."""
    entry = Entry(index, new_id(), thread, None, 1, 1, b32(secrets.token_bytes(32)), b32(index.to_bytes(32, "big")))
    wraps = ((b32(bytes(32)), b"account"), (b32(bytes([1]) * 32), b"vault"))
    return StoredRecord(entry, secrets.token_bytes(size), wraps, b"receipt")


async def filled(*sizes: int) -> list[StoredRecord]:
    """Records of these sizes, stored; every second one in a thread of its own."""
    threads = new_id(), new_id()
    made = [record(number, size, threads[number % 2]) for number, size in enumerate(sizes, 1)]
    for one in made:
        await records.add(USER, one, "device", "request")
    return made


@pytest.mark.usefixtures("opened")
async def test_pages_are_cut_by_bytes() -> None:
    made = await filled(100, 200, 300, 5000, 10, 10)

    async def indexes(after: int, limit: int, most: int, thread: str | None = None) -> list[int]:
        return [one.entry.index for one in await records.page(USER, after, limit, most, thread)]

    assert await records.page(USER, 0, 500, 10**9) == made
    assert await indexes(0, 500, 600) == [1, 2, 3]
    assert await indexes(0, 500, 599) == [1, 2]
    assert await indexes(0, 2, 600) == [1, 2]
    # At least one, however large: else nobody would get beyond it.
    assert await indexes(3, 500, 100) == [4]
    assert await indexes(0, 500, 0) == [1]
    assert await indexes(4, 500, 20) == [5, 6]
    assert await indexes(6, 500, 10**9) == []
    assert await indexes(0, 500, 10**9, made[0].entry.thread) == [1, 3, 5]
    assert await indexes(1, 500, 299, made[0].entry.thread) == [3]
    assert await indexes(0, 500, 10**9, new_id()) == []
    assert [one async for one in records.all_of(USER)] == made
    assert await records.page(new_id(), 0, 500, 10**9) == []
    assert [await records.follow(USER, at) for at in (0, 5, 6)] == [True, True, False]
    assert [await records.follow(USER, at, made[0].entry.thread) for at in (4, 5)] == [True, False]


@pytest.mark.usefixtures("opened")
async def test_pages_are_not_read_whole_before_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(*[4 * MIB] * 6)
    seen: list[int] = []
    connection = connections.get("default")
    execute = connection.execute_query

    async def watched(query: str, values: list[object] | None = None) -> tuple[int, Sequence[Any]]:
        count, rows = await execute(query, values)
        seen.extend(len(value) for row in rows for value in tuple(row) if isinstance(value, bytes))
        return count, rows

    monkeypatch.setattr(connection, "execute_query", watched)
    assert len(await records.page(USER, 0, 500, 1)) == 1
    assert 4 * MIB <= sum(seen) < 5 * MIB


@pytest.mark.usefixtures("opened")
async def test_no_number_is_larger_than_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not mind; PostgreSQL fails, and a client may ask for anything below 2^53."""
    connection = connections.get("default")
    execute = connection.execute_query
    # Of the columns that a client's numbers are compared with; a number of rows has 64 bits everywhere.
    bits = {'"version"': 31, '"index"': 63}
    most = 2**53 - 1
    seen: list[str] = []

    async def watched(query: str, values: list[object] | None = None) -> tuple[int, Sequence[Any]]:
        [column] = [name for name in bits if f"{name}>" in query or f"{name}=" in query]
        numbers = [value for value in values or [] if isinstance(value, int)]
        assert numbers
        assert max(numbers) < 2 ** bits[column], query
        seen.append(column)
        return await execute(query, values)

    monkeypatch.setattr(connection, "execute_query", watched)
    for version in (2**31 - 1, 2**31, 2**31 + 5, most):
        assert await keyrings.after(version) == []
    assert await records.entries(USER, most, 5000) == []
    assert await records.page(USER, most, 500, MIB) == []
    assert not await records.follow(USER, most)
    assert not await records.holds(USER, most, "a" * 52)
    assert set(seen) == set(bits)
