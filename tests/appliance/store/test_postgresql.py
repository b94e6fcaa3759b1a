"""What PostgreSQL alone can do to a silo: go away and come back, refuse, take transactions back, keep old rows."""

import asyncio
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tortoise import connections

from appliance.store import database as store
from appliance.store import hosts, models, once, people, records
from appliance.store.rows import Conflict, Entry, StoredRecord
from silo.crypto.encoding import b32, new_id
from silo.errors import SiloError
from tests import postgres
from tests.appliance.company import Listening, OwnEngine, until
from tests.conftest import Serve
from tests.harness import ROOT, Device, Served

NewDevice = Callable[[str], Device]
SECOND = 1000


class Road:
    """A port in front of the cluster that can be closed, and opened again: the database goes away and comes back."""

    def __init__(self, cluster: postgres.Cluster) -> None:
        self._cluster = cluster
        self._open = True
        self._held = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """The same database, over this road."""
        return url.replace(f":{self._cluster.port}/", f":{self.port}/")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                if not self._open:
                    one.close()
                    continue
                other = socket.create_connection(("127.0.0.1", self._cluster.port))
                self._pairs.append((one, other))
                for source, target in ((one, other), (other, one)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut every connection, and take no more."""
        self._open = False
        for pair in self._pairs:
            for one in pair:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Take connections again."""
        self._open = True

    def end(self) -> None:
        """For good."""
        self.close()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs:
            for one in pair:
                one.close()


@pytest.fixture
def road(cluster: postgres.Cluster) -> Iterator[Road]:
    """A road to the cluster, open."""
    road = Road(cluster)
    yield road
    road.end()


@pytest.fixture
def url(cluster: postgres.Cluster) -> str:
    """A database that is up to date, with nothing in it."""
    return cluster.create(cluster.migrated())


@pytest.fixture
async def opened(url: str) -> AsyncIterator[None]:
    """It is open."""
    async with store.opened(url):
        yield


# --- away, and back ---


BAD: dict[str, tuple[Callable[[str], str], str]] = {
    "nobody there": (lambda _: "postgres://postgres@127.0.0.1:1/silo", "does not answer: ConnectionRefusedError"),
    "no such database": (lambda url: f"{url}x", "does not answer: InvalidCatalogNameError"),
    "another password": (lambda url: url.replace("@", "x@"), "does not answer: InvalidPasswordError"),
    "another parameter": (lambda url: f"{url}?nonsense=1", "does not answer: "),
    "no address": (lambda _: "postgres://[::/silo", "SILO_DATABASE_URL cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_start_without_it_is_one_line(url: str, tmp_path: Path, name: str) -> None:
    spoil, words = BAD[name]
    silo = Served(tmp_path / "silo", SILO_DATABASE_URL=spoil(url))
    with pytest.raises(RuntimeError) as caught:
        silo.start()
    silo.stop()
    said = str(caught.value)
    assert said.count("\n") == 1
    assert words in said
    # Nor does it tell what is in the URL.
    assert (urlsplit(url).password or "") not in said


def health(served: Served) -> dict[str, bool]:
    """What `GET /silo/health` says."""
    return httpx.get(f"{served.url}/silo/health", trust_env=False).json()


def test_away_and_back_while_it_serves(
    serve: Serve, new_device: NewDevice, own_engine: Callable[..., OwnEngine], url: str, road: Road, tmp_path: Path
) -> None:
    served = serve(own_engine().spec, data=tmp_path / "silo", SILO_DATABASE_URL=road.url(url), SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    assert device.chat("before").end["kept"]["index"] == 1
    for round_ in range(3):
        road.close()
        for path in ("/me", "/history", "/log"):
            answered = device.ask("GET", path)
            assert (answered.sealed, answered.status, answered.code) == (True, 503, "storage_away")
        refused = device.chat("while it is away")
        assert (refused.sealed, refused.status, refused.code) == (True, 503, "storage_away")
        # More often than there are connections in its pool: none may stay behind.
        for _ in range(25):
            assert device.ask("GET", "/me").code == "storage_away"
        if round_ == 0:
            # A balancer is told, too.
            until(lambda: not health(served)["ready"], 10)
            assert health(served)["live"]
        road.open()
        if round_ == 0:
            until(lambda: health(served)["ready"], 10)
        assert device.ask("GET", "/me").status == 200
        assert device.chat("after").end["kept"]["index"] == 2 + round_
    assert served.log.read_text().count("Traceback") == 0


def test_away_while_a_reply_is_made(
    serve: Serve, new_device: NewDevice, own_engine: Callable[..., OwnEngine], url: str, road: Road, tmp_path: Path
) -> None:
    """It waits for a while, and keeps the reply when the database is back; else it says that it did not."""
    served = serve(own_engine().spec, data=tmp_path / "silo", SILO_DATABASE_URL=road.url(url), SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    for back, index in ((True, 1), (False, None), (True, 2)):
        request, body = device.request("POST", "/chat"), device.chat_body("chunks 20 gap 20 words")
        reply = Listening(device, request, body).until_words(2)
        road.close()
        if back:
            while len(reply.heard.split()) < 20:
                assert reply.more()
            road.open()
        answered = reply.rest()
        road.open()
        assert len(answered.text.split()) == 20
        if index:
            assert answered.end["kept"]["index"] == index
        else:
            assert (answered.end["kept"], answered.end["error"]["code"]) == (None, "not_kept")
            assert device.ask("POST", "/chat", body, id=request.id, time=request.time).code == "lost"
    assert [record.place.index for record in device.history()] == [1, 2]


def test_a_commit_whose_answer_is_lost_is_no_failure(
    serve: Serve, new_device: NewDevice, own_engine: Callable[..., OwnEngine], url: str, road: Road, tmp_path: Path
) -> None:
    """Cut at any moment around the commit: what END says is so, and each turn is kept once at most."""
    served = serve(own_engine().spec, data=tmp_path / "silo", SILO_DATABASE_URL=road.url(url), SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    kept: list[int] = []
    for round_ in range(24):
        reply = Listening(device, device.request("POST", "/chat"), device.chat_body("chunks 3 gap 1 words"))
        reply.until_words(2)
        timer = threading.Timer(0.001 * round_, road.close)
        timer.start()
        again = threading.Timer(0.001 * round_ + 0.1, road.open)
        again.start()
        end = reply.rest().end
        for one in (timer, again):
            one.join()
        assert end["error"] is None, end
        kept.append(end["kept"]["index"])
    assert kept == list(range(1, 25))
    assert [record.place.index for record in device.history()] == kept


# --- the test run's own cluster ---


def test_a_killed_test_run_leaves_nothing(cluster: postgres.Cluster) -> None:
    program = (
        "import sys, time; from tests import postgres; cluster = postgres.Cluster(); "
        "print(cluster.folder.parent, cluster.port, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        folder, port = run.stdout.readline().split()
        assert (Path(folder) / "data").is_dir()
        run.kill()
    until(lambda: not Path(folder).exists(), 30)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port)))


# --- transactions ---


def record(index: int) -> StoredRecord:
    entry = Entry(index, new_id(), new_id(), None, 1, 1, b32(bytes(32)), b32(index.to_bytes(32, "big")))
    return StoredRecord(entry, b"core", ((b32(bytes(32)), b"account"),), b"receipt")


@pytest.mark.usefixtures("opened")
async def test_what_the_connection_promises() -> None:
    connection = connections.get("default")
    for name, value in (("synchronous_commit", "on"), ("default_transaction_isolation", "read committed")):
        assert await connection.execute_query_dict(f"SHOW {name}") == [{name: value}]


@pytest.mark.usefixtures("opened")
async def test_deadlocks_and_conflicts_of_transactions_are_done_again() -> None:
    user = new_id()
    rows = [await models.Lock.create(id=new_id(), user_id=user, kind="k", document="0") for _ in range(2)]
    met = 0
    tries = 0

    async def crossing(first: models.Lock, second: models.Lock) -> None:
        async def work() -> None:
            nonlocal tries
            tries += 1
            for row in (first, second):
                found = await models.Lock.filter(id=row.id).select_for_update().get()
                await asyncio.sleep(0.05)
                await models.Lock.filter(id=row.id).update(document=str(int(found.document) + 1))

        await store.whole(work)

    for _ in range(3):
        met += 2
        await asyncio.gather(crossing(rows[0], rows[1]), crossing(rows[1], rows[0]))
    assert [row.document for row in await models.Lock.all()] == [str(met)] * 2
    # At least one of the pairs was in each other's way.
    assert tries > met

    async def serial() -> None:
        await connections.get("default").execute_query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        found = await models.Lock.get(id=rows[0].id)
        await asyncio.sleep(0.02)
        await models.Lock.filter(id=rows[0].id).update(document=str(int(found.document) + 1))

    await asyncio.gather(*[store.whole(serial) for _ in range(4)])
    assert (await models.Lock.get(id=rows[0].id)).document == str(met + 4)


@pytest.mark.usefixtures("opened")
async def test_many_at_one_place_leave_one() -> None:
    user, device, request = new_id(), new_id(), new_id()
    results = await asyncio.gather(
        *[records.add(user, record(1), device, new_id()) for _ in range(12)], return_exceptions=True
    )
    assert results.count(None) == 1
    assert [isinstance(one, Conflict) for one in results].count(True) == 11
    began = await asyncio.gather(*[once.begin(device, request, None, "host", 1) for _ in range(12)])
    assert began.count(None) == 1
    assert len({row.state for row in began if row}) == 1


@pytest.mark.usefixtures("opened")
async def test_who_is_taken_for_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = new_id(), new_id()
    monkeypatch.setattr(hosts._Sight, "since", -1e9)
    assert not await hosts.alive(there)
    await hosts.beat(there)
    assert await hosts.alive(there)
    await models.Host.filter(id=there).update(seen=1)
    monkeypatch.setattr(hosts._Sight, "since", -1e9)
    assert not await hosts.alive(there)
    # After the database was away all get the time to be seen again.
    monkeypatch.setattr(hosts._Sight, "last", -1e9)
    await hosts.beat(here)
    assert await hosts.alive(there)
    await hosts.leave(there)
    assert not await hosts.alive(there)
    await models.Host.all().update(seen=1)
    await hosts.sweep()
    assert await models.Host.all().count() == 0


@pytest.mark.usefixtures("opened")
async def test_what_a_host_does_not_run_any_more_is_not_running() -> None:
    host, device = new_id(), new_id()
    turns = [new_id() for _ in range(3)]
    for number, turn in enumerate(turns):
        await once.begin(device, f"request {number}", turn, host, number * SECOND)
    await once.give_up(host, {turns[0]}, 2 * SECOND)
    states = [(await models.Once.get(request=f"request {number}")).state for number in range(3)]
    assert states == ["running", "lost", "running"]
    # What another host gave up keeps nothing.
    with pytest.raises(SiloError) as caught:
        await records.add(new_id(), record(1), device, "request 1")
    assert caught.value.code == "lost"
    assert await models.Record.all().count() == 0


async def test_migrations_wait_for_each_other_and_for_silos(cluster: postgres.Cluster) -> None:
    url = cluster.create(postgres.EMPTY)
    command = (
        "import asyncio, sys; from appliance.store import database as store; asyncio.run(store.migrate(sys.argv[1]))"
    )

    running = [await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", command, url) for _ in range(3)]
    assert [await one.wait() for one in running] == [0, 0, 0]
    async with store.opened(url):
        await hosts.beat("h" * 26)
    with pytest.raises(SiloError) as caught:
        await store.migrate(url, "zero")
    assert caught.value.code == "database_used"
    async with store.opened(url):
        await hosts.leave("h" * 26)
    assert await store.migrate(url, "zero") == []


async def test_two_silos_do_not_share_an_empty_database(cluster: postgres.Cluster) -> None:
    async with store.opened(cluster.create(cluster.migrated())):
        await asyncio.gather(*[people.bind_silo(letter * 26, 1) for letter in "abcdefgh"])
        assert await models.Silo.all().count() == 1


# --- what is deleted ---


def holds(url: str, text: bytes) -> bool:
    """Whether it stands in one of the database's files."""
    return any(text in path.read_bytes() for path in postgres.files(url))


@pytest.mark.parametrize("size", [200, 20_000])
async def test_what_is_deleted_is_gone_from_the_tables_files(url: str, size: int) -> None:
    # In the table's own pages, or beside it.
    core = secrets.token_bytes(size)
    canary = core[100:130]
    async with store.opened(url):
        one = record(1)
        await records.add("user", StoredRecord(one.entry, core, one.wraps, b"receipt"), "device", "request")
        await records.add("user", record(2), "device", "request")
        assert holds(url, canary)
        # Somebody's older look, though at something else, and holding no lock on the table, keeps the bytes there.
        with postgres.reading(url, "SELECT 1 FROM silo"):
            await models.Record.filter(index=1).update(core=b"")
            assert holds(url, canary)
            assert not await store.scrub()
            assert holds(url, canary)
        for _ in range(150):
            if await store.scrub():
                break
            await asyncio.sleep(0.2)  # it rests in between
        assert not holds(url, canary)
