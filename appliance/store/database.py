"""Opening the database, and its migrations, which go forward and back."""

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

from tortoise import Tortoise, connections
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.sqlite.client import SqliteClient
from tortoise.exceptions import BaseORMException, DBConnectionError, OperationalError
from tortoise.migrations.executor import MigrationExecutor, MigrationTarget
from tortoise.migrations.graph import MigrationKey
from tortoise.migrations.recorder import MigrationRecorder
from tortoise.transactions import in_transaction

from appliance.log import logger
from appliance.store import hosts
from appliance.store.dialect import on_postgres
from silo.errors import SiloError

APP = "store"
_MIGRATIONS = "appliance.store.migrations"

T = TypeVar("T")


def tortoise_config(url: str) -> dict[str, Any]:
    """Tortoise's settings for `sqlite:///…` or `postgres://…`."""
    if url.startswith("sqlite://"):
        credentials = {
            "file_path": url.removeprefix("sqlite://"),
            "journal_mode": "WAL",
            # An acknowledged record outlives a power cut: every commit waits for the disk.
            "synchronous": "FULL",
            # What is deleted is overwritten with zeros.
            "secure_delete": "ON",
            "busy_timeout": 10_000,
        }
        connection = {"engine": "tortoise.backends.sqlite", "credentials": credentials}
    else:
        # The other name that Tortoise knew it by.
        dsn = url.replace("asyncpg://", "postgres://", 1)
        connection = {"engine": "appliance.store.postgres", "credentials": {"dsn": dsn}}
    return {
        "connections": {"default": connection},
        "apps": {
            APP: {"models": ["appliance.store.models"], "default_connection": "default", "migrations": _MIGRATIONS}
        },
        "use_tz": False,
    }


# For `tortoise -c appliance.store.database.TORTOISE makemigrations`; it is never opened.
TORTOISE = tortoise_config("sqlite://:memory:")


def _told(error: Exception, url: str) -> SiloError:
    if isinstance(error, SiloError):
        return SiloError("database_away", error.detail)
    # SQLite's sentences hold no values.
    said = str(error)
    where = Path(url.removeprefix("sqlite://")).name
    if not url.startswith("sqlite://"):
        if isinstance(error, BaseORMException):
            # It answers, and has not what this silo put there. By its kind: its sentences may hold values.
            return SiloError("data_damaged", f"the database ({type(error.__cause__ or error).__name__})")
        return SiloError("database_away", type(error).__name__)
    if "locked" in said:
        return SiloError("data_locked", f"{where} ({said})")
    if any(word in said for word in ("full", "readonly", "unable to open", "I/O error")):
        return SiloError("data_unwritable", f"{where} ({said})")
    return SiloError("data_damaged", f"{where} ({said:.80})")


def _try_file(path: str) -> None:
    """Raises sqlite3.DatabaseError where there is no database, nor can be one.

    Found here and not by aiosqlite: its thread would still be ending, loudly, when the program does.
    """
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[dict[str, Any]]:
    """Tortoise's settings, while it is connected to `url`. Trouble with the database comes out as `_told` says it."""
    config = tortoise_config(url)
    try:
        if url.startswith("sqlite://"):
            _try_file(url.removeprefix("sqlite://"))
        await Tortoise.init(config=config)
        # At once: left to the first query, a connection that cannot be made leaves Tortoise's lock held for good.
        await connections.get("default").create_connection(with_db=True)
        yield config
    except (BaseORMException, DBConnectionError, sqlite3.DatabaseError) as error:
        raise _told(error, url) from None
    except SiloError as error:
        raise _told(error, url) if error.code == "storage_away" else error from None
    except OSError as error:
        if url.startswith("sqlite://"):
            raise
        raise _told(error, url) from None
    finally:
        await Tortoise.close_connections()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[None]:
    """Tortoise connected to `url` and brought up to date.

    Raises SiloError `newer_database`, `data_damaged`, `data_unwritable`, `data_locked`, `database_away`; so does what
    is done inside and not caught there.
    """
    async with _connected(url) as config:
        await _migrate(config)
        path = url.removeprefix("sqlite://")
        _files.update({file: _mark(file) for file in (path, f"{path}-wal") if path != url})
        try:
            yield
        finally:
            _files.clear()


_files: dict[str, tuple[int, int] | None] = {}
"""What the open database lies in: path -> device and inode."""


def _mark(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def replaced() -> bool:
    """Whether the database's files were put away or exchanged: what is written now would be gone at the next start."""
    return any(_mark(path) != mark for path, mark in _files.items())


async def migrate(url: str, target: str | None = None) -> list[str]:
    """Bring the schema to `target` (a migration's name, `zero` for none, None for the newest); its applied names.

    Raises SiloError as `opened`, `bad_file` for an unknown name, `database_used` while a silo of any host does.
    """
    async with _connected(url) as config:
        if await _used():
            raise SiloError("database_used")
        return await _migrate(config, target)


@asynccontextmanager
async def _migrating() -> AsyncIterator[None]:
    """One host at a time."""
    if not on_postgres():
        yield
        return
    connection: Any
    # Of the session, not of a transaction: every migration has its own. It ends with the connection.
    async with connections.get("default").acquire_connection() as connection:
        await connection.execute("SELECT pg_advisory_lock(hashtext('securesilo migrations'))")
        yield


async def _used() -> bool:
    if not on_postgres():
        return False
    there = await connections.get("default").execute_query_dict("SELECT to_regclass('host') IS NOT NULL AS yes")
    return there[0]["yes"] and await hosts.any_alive()


async def _migrate(config: dict[str, Any], target: str | None = None) -> list[str]:
    async with _migrating():
        return await _migrated(config, target)


async def _migrated(config: dict[str, Any], target: str | None) -> list[str]:
    executor = MigrationExecutor(connections.get("default"), config["apps"])
    await executor.loader.build_graph()
    known = {key.name for key in executor.loader.graph.nodes if key.app_label == APP}
    recorder = MigrationRecorder(connections.get("default"))
    await recorder.ensure_schema(executor._schema_editor(atomic=False))  # pyright: ignore[reportPrivateUsage]
    unknown = {key.name for key in await recorder.applied_migrations() if key.app_label == APP} - known
    if unknown:
        raise SiloError("newer_database", ", ".join(sorted(unknown)))
    if target is not None and target != "zero" and target not in known:
        raise SiloError("bad_file", f"no migration is named {target}")
    name = {"zero": "__first__", None: "__latest__"}.get(target, target)
    await executor.migrate([MigrationTarget(APP, str(name))])
    return sorted(key.name for key in await recorder.applied_migrations() if isinstance(key, MigrationKey))


_TRIES = 10


def _again(error: OperationalError) -> bool:
    """Whether a transaction that ended so may go through when it is done again."""
    return on_postgres() and type(error).__name__ == "Again"


async def whole(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` in one transaction: all of it is on the disk when this returns, or nothing of it when it raises.

    It goes on when the caller is cancelled, and `work` is done again where PostgreSQL takes it back because of
    another transaction. Raises what `work` does; tortoise's OperationalError where the disk does not take it;
    SiloError `storage_away` where the database goes away: then all of it may be there, or nothing.
    """

    async def inside() -> T:
        for left in reversed(range(_TRIES)):
            try:
                async with in_transaction():
                    return await work()
            except sqlite3.OperationalError as error:
                # From the commit, where Tortoise does not translate it; SQLite has taken everything back by then.
                raise OperationalError(error) from None
            except OperationalError as error:
                if not (left and _again(error)):
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.05))
        raise AssertionError

    # Tortoise holds a lock for good where a transaction is cancelled while it begins.
    return await asyncio.shield(asyncio.create_task(inside()))


VACUUM = "VACUUM (FULL, VERBOSE)"
"""Rewrites the table: a plain VACUUM leaves the bytes of dead rows in its pages. It says how many it had to keep."""
_LONG = 6 * 3600
"""Seconds that it may take."""
SCRUBBED = ("record", "wrap", "bag")
REST = 10
"""After rewriting the tables, as many times as long as that took nothing is rewritten: it locks them."""
_scrubbing = asyncio.Lock()
_rested = 0.0


def keeps() -> tuple[str, ...]:
    """Where this database may keep bytes beyond their deletion, backups aside (SPEC 7.7): PostgreSQL's log may be
    archived and its tables replicated without the silo's knowing."""
    return () if not on_postgres() else ("wal", "replicas")


async def scrub() -> bool:
    """Take the bytes of what was deleted out of the database's files.

    False where something still reads them, or a lock is held: try again later. On SQLite deleted content is zeros in
    its pages already (secure_delete), and older pages lie in the write-ahead file, which this ends. On PostgreSQL
    it rewrites the tables that had deleted rows, each under a lock of its own. Raises nothing.
    """
    connection = connections.get("default")
    async with _scrubbing:
        try:
            if isinstance(connection, SqliteClient):
                return await asyncio.to_thread(_checkpoint, connection.filename)
            return await _vacuum(connection)
        except Exception as error:
            logger().error("deleted bytes were not cleared", kind=type(error).__name__)
            return False


def _checkpoint(path: str) -> bool:
    # A connection of its own, which waits for nobody: the store's one thread must not stand still behind a reader.
    with closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as connection:
        try:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False
        return not busy


async def _vacuum(connection: BaseDBAsyncClient) -> bool:
    # One of the pool's own connections, which is in no transaction: VACUUM runs in none. It gives up soon where a
    # table is being read, for everybody else would wait behind it; the next sweep tries again.
    global _rested
    if time.monotonic() < _rested:
        return False
    own: Any
    said: list[str] = []
    spent = 0.0
    try:
        async with connection.acquire_connection() as own:
            await own.execute("SET lock_timeout = '2s'")
            own.add_log_listener(heard := lambda _, message: said.append(message.detail or ""))
            try:
                for table in SCRUBBED:
                    begun = time.monotonic()
                    await own.execute(f'{VACUUM} "{table}"', timeout=_LONG)
                    spent += time.monotonic() - begun
            finally:
                own.remove_log_listener(heard)
    finally:
        _rested = time.monotonic() + REST * spent
    # "0 dead row versions cannot be removed yet.", in the server's language: else an older transaction may still see
    # them, though it holds no lock, and the new file has them as the old one had.
    kept = [one for one in said if one]
    return len(kept) == len(SCRUBBED) and all(one.startswith("0 ") for one in kept)


@asynccontextmanager
async def snapshot() -> AsyncIterator[None]:
    """What is read inside belongs together, whatever is written meanwhile."""
    async with in_transaction() as connection:
        if on_postgres():
            await connection.execute_query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
