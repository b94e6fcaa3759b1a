"""A throw-away PostgreSQL for one test run, and a look into a silo's database whichever of the two it is.

The cluster is kept by a process of its own, which ends and removes it when its standard input closes: also after
a kill -9 of the test run. Its settings are PostgreSQL's own, `fsync` among them: what a commit promises is tested.
"""

import asyncio
import os
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg

T = TypeVar("T")

EMPTY = "template1"
"""The database that every new one is a copy of where nothing else is said."""

NAMES = ("sqlite", "postgresql")

ONLY_SQLITE = {
    "tests/appliance/engine/": "engines do not know the store",
    "tests/appliance/test_disk.py": "the disk that fills is the data folder's; PostgreSQL's is its operator's",
    "tests/appliance/test_start.py": "starting, settings and the data folder's files; a database that is away, and "
    "its schema: tests/appliance/store/test_postgresql.py",
    "tests/appliance/test_swapped_database.py::test_files_exchanged": "there is no file to exchange",
    "tests/appliance/test_kill.py::test_commits_that_did_not_reach_the_disk_are_found": "cuts SQLite's log",
    "tests/appliance/siloctl/test_siloctl.py::test_an_export_": "the file that it writes is the same",
    "tests/appliance/test_sealed_at_rest.py::test_a_crash_leaves": "about the processes",
    "tests/appliance/store/test_store.py::test_what_the_connection_promises": "SQLite's settings; PostgreSQL's: "
    "tests/appliance/store/test_postgresql.py",
    "tests/appliance/store/test_store.py::test_what_is_deleted_is_overwritten": "SQLite's file; PostgreSQL's: "
    "tests/appliance/store/test_postgresql.py",
    "tests/silo/cli/test_prompt.py": "what a terminal shows; its silo is asked what the other tests of cli ask",
    "tests/appliance/api/test_stalled.py": "the connection, before anything is looked up",
}
"""Tests that start a silo and yet run on SQLite alone -> why. By the beginning of their names."""


def only_sqlite(test: str) -> bool:
    """Whether a test is one of those."""
    return test.startswith(tuple(ONLY_SQLITE))


def only_postgresql(test: str) -> bool:
    """Whether a test is about what PostgreSQL alone does."""
    return test.startswith("tests/appliance/store/test_postgresql.py")


def homes() -> list[str]:
    """Where Debian keeps PostgreSQL's programs, out of everybody's PATH; the newest first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(path) for path in sorted(found, key=lambda path: -float(path.parent.name))]


def binary(name: str) -> str | None:
    """The path of one of PostgreSQL's programs, all of one version."""
    return shutil.which(name, path=os.pathsep.join([*homes(), os.environ.get("PATH", "")]))


class Cluster:
    """A PostgreSQL on loopback. Raises RuntimeError with what it said where it does not start."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._keeper = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the test run, which closes it.
            start_new_session=True,
        )
        assert self._keeper.stdout
        said = self._keeper.stdout.readline()
        if not said:
            raise RuntimeError(f"PostgreSQL did not start (exit {self._keeper.wait()})")
        folder, port, self._password = said.split()
        self.folder = Path(folder) / "data"
        self.port = int(port)
        self._made = 0
        self._migrated = ""

    def url(self, name: str) -> str:
        """What SILO_DATABASE_URL is to be."""
        return f"postgres://postgres:{self._password}@127.0.0.1:{self.port}/{name}"

    def migrated(self) -> str:
        """The URL of a database that is up to date, with nothing in it: to be copied, which is faster."""
        if not self._migrated:
            url = self.create(EMPTY)
            work = (
                "import asyncio, sys; from appliance.store import database; asyncio.run(database.migrate(sys.argv[1]))"
            )
            subprocess.run([sys.executable, "-P", "-c", work, url], check=True)
            self._migrated = url
        return self._migrated

    def create(self, like: str) -> str:
        """The URL of a copy of a database that nobody uses, by its URL or name."""
        self._made += 1
        name = f"silo{self._made}"
        self.execute(self.url("postgres"), f'CREATE DATABASE {name} TEMPLATE "{like.rpartition("/")[2]}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        self.execute(self.url("postgres"), f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, url: str, query: str, *values: object) -> list[Any]:
        """One statement on a connection of its own; its rows."""

        async def one() -> list[Any]:
            connection = await asyncpg.connect(url)
            try:
                return [tuple(row) for row in await connection.fetch(query, *values)]
            finally:
                await connection.close()

        return self.run(one())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do asyncpg's work from a test that has a loop of its own, or none."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server's first process."""
        os.kill(int((self.folder / "postmaster.pid").read_text().split()[0]), number)

    def close(self) -> None:
        """End and remove it."""
        assert self._keeper.stdin
        assert self._keeper.stdout
        self._keeper.stdin.close()
        self._keeper.wait(60)
        self._keeper.stdout.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Rows(list[Any]):
    """What a statement found; SQLite's cursors have these two names."""

    def fetchall(self) -> list[Any]:
        """All rows."""
        return list(self)

    def fetchone(self) -> Any:
        """The first row, or None."""
        return self[0] if self else None


class Database(Protocol):
    """A database, opened behind a silo's back; the parameters' place is `?`."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Any:
        """One statement; what comes back is its rows, and has `fetchone` and `fetchall`."""
        ...

    def executemany(self, query: str, values: Sequence[Sequence[Any]], /) -> Any:
        """The statement once for each."""
        ...


class _Behind:
    """The same over asyncpg: all of it in one transaction."""

    def __init__(self, cluster: Cluster, connection: Any) -> None:
        self._cluster, self._connection = cluster, connection

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
        return Rows(tuple(row) for row in self._cluster.run(self._connection.fetch(_numbered(query), *values)))

    def executemany(self, query: str, values: Sequence[Sequence[Any]], /) -> None:
        self._cluster.run(self._connection.executemany(_numbered(query), values))


def _numbered(query: str) -> str:
    """SQLite's words as PostgreSQL's: places, bytes, and a table that has a reserved name."""
    query = re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", query)
    query = re.sub(r"\b(FROM|INTO|UPDATE|JOIN) user\b", r'\1 "user"', query)
    first, *parts = query.split("?")
    return first + "".join(f"${at}{part}" for at, part in enumerate(parts, 1))


_cluster: Cluster | None = None
current = "sqlite"
"""Which of NAMES the test that runs is for; tests/conftest.py says so."""
_urls: dict[Path, str] = {}
"""Data folder -> the database of its silo, where that is PostgreSQL."""


def cluster() -> Cluster:
    """The test run's cluster; made when it is first asked for."""
    global _cluster
    if _cluster is None:
        _cluster = Cluster()
    return _cluster


def close() -> None:
    """At the end of the test run."""
    global _cluster
    if _cluster is not None:
        _cluster.close()
        _cluster = None


def url_of(data: Path) -> str:
    """The database of the silo in a data folder, by its URL; on PostgreSQL it is made now where there is none."""
    if current == "sqlite":
        return f"sqlite://{data / 'silo.db'}"
    if data not in _urls:
        _urls[data] = cluster().create(cluster().migrated())
    return _urls[data]


def use(data: Path, url: str) -> None:
    """Give the silo in a data folder another database."""
    _urls[data] = url


def settings_of(data: Path) -> dict[str, str]:
    """What a program needs to be told to use that database."""
    return {"SILO_DATABASE_URL": _urls[data]} if current != "sqlite" and data in _urls else {}


def copy_silo(source: Path, target: Path) -> None:
    """Copy a silo's data folder and database. It may be running, though not writing."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("silo.db*", "engine"))
    if current == "sqlite":
        with closing(sqlite3.connect(source / "silo.db")) as old, closing(sqlite3.connect(target / "silo.db")) as new:
            old.backup(new)
        return
    try:
        _urls[target] = cluster().create(url_of(source))
    except asyncpg.ObjectInUseError:
        dump, read = binary("pg_dump"), binary("psql")
        assert dump
        assert read
        _urls[target] = cluster().create(EMPTY)
        with subprocess.Popen([dump, url_of(source)], stdout=subprocess.PIPE) as dumped:
            command = [read, "--quiet", "--set", "ON_ERROR_STOP=1", _urls[target]]
            subprocess.run(command, stdin=dumped.stdout, stdout=subprocess.DEVNULL, check=True)
        assert dumped.returncode == 0
    with behind(url_of(target)) as database:
        # Nobody serves the copy.
        database.execute("DELETE FROM host")


@contextmanager
def behind(url: str) -> Iterator[Database]:
    """A silo's database, opened behind its back; what is changed is committed at the end."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite://"), timeout=10)) as database, database:
            yield database
        return
    server = cluster()
    connection = server.run(asyncpg.connect(url))
    try:
        transaction = connection.transaction()
        server.run(transaction.start())
        try:
            yield _Behind(server, connection)
        except BaseException:
            server.run(transaction.rollback())
            raise
        server.run(transaction.commit())
    finally:
        server.run(connection.close())


def tables(url: str) -> set[str]:
    """The names of its tables."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    if not url.startswith("sqlite"):
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    with behind(url) as database:
        return {name for (name,) in database.execute(query)}


def files(url: str) -> list[Path]:
    """The files that a database lies in, everything on them; not PostgreSQL's log (pg_wal)."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite://"))
        return sorted(path.parent.glob(f"{path.name}*"))
    server = cluster()
    server.execute(server.url("postgres"), "CHECKPOINT")
    name = url.rpartition("/")[2]
    ((oid,),) = server.execute(url, "SELECT oid FROM pg_database WHERE datname = $1", name)
    return sorted(path for path in (server.folder / "base" / str(oid)).rglob("*") if path.is_file())


def traces(url: str, since: float) -> dict[str, bytes]:
    """What PostgreSQL has on the disk of this database and of its log, and wrote after `since` (seconds)."""
    server = cluster()
    every = [*files(url), *(server.folder / "pg_wal").iterdir(), server.folder.parent / "log"]
    return {
        str(path.relative_to(server.folder if path.is_relative_to(server.folder) else server.folder.parent)): data
        for path in every
        if path.is_file() and path.stat().st_mtime >= since and (data := path.read_bytes().rstrip(b"\0"))
    }


@contextmanager
def reading(url: str, query: str) -> Iterator[Any]:
    """Somebody who looks at the database and keeps its transaction open; gives what the query found."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite://")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            yield reader.execute(query).fetchall()
        return
    server = cluster()
    connection = server.run(asyncpg.connect(url))
    try:
        transaction = connection.transaction(isolation="repeatable_read")
        server.run(transaction.start())
        yield [tuple(row) for row in server.run(connection.fetch(query))]
        server.run(transaction.rollback())
    finally:
        server.run(connection.close())


# --- the keeper's process ---


def keep() -> int:
    """Start a cluster, say where it is, wait until nobody listens any more, and remove it."""
    # Not pytest's own folder, which the database's user may not enter; a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="silo-pg-", dir="/tmp"))
    try:
        return _keep(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(folder: Path) -> int:
    # PostgreSQL refuses root.
    user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")
    (folder / "password").write_text(password := secrets.token_hex(16))
    (folder / "password").chmod(0o644 if user else 0o600)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    initdb, server = binary("initdb"), binary("postgres")
    assert initdb
    assert server
    command = [initdb, "--pgdata", "data", "--username", "postgres", "--encoding", "UTF8", "--no-locale"]
    command += ["--auth", "scram-sha-256", "--pwfile", "password"]
    made = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=False, **user)
    (folder / "password").unlink()
    if made.returncode:
        return made.returncode
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "max_connections": 200,
        "shared_buffers": "32MB",
        "log_min_messages": "fatal",
    }
    command = [server, "-D", str(folder / "data"), *(f"--{name}={value}" for name, value in options.items())]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=log, **user) as process,
    ):
        ready = folder / "data" / "postmaster.pid"
        tick = threading.Event()
        while process.poll() is None and not (ready.exists() and ready.read_text().split()[-1:] == ["ready"]):
            tick.wait(0.05)
        if process.poll() is None:
            print(folder, port, password, flush=True)
            sys.stdin.read()
            process.send_signal(signal.SIGQUIT)
        else:
            sys.stderr.write((folder / "log").read_text())
    return process.returncode


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    sys.exit(keep())
