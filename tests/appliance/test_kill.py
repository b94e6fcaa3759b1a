"""kill -9 at 50 random moments while people write: what was acknowledged is there, and all of it opens.

A power cut is not a kill: the system still writes what the appliance handed to it. What that leaves to show is
that every commit waits for the disk, and that a commit which did not would be found (`test_…_is_found`).
"""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tortoise import connections

from appliance.store import database as store
from silo.crypto.channel import Request, Seen
from silo.crypto.encoding import b32, hash_bytes, write_json
from silo.crypto.keyring import SignedKeyring, verify_keyring
from silo.crypto.opening import Log, OpenedRecord, Opener, core_hash, open_epochs, open_record
from silo.errors import SiloError
from tests import postgres
from tests.appliance.company import OwnEngine, another_device, walk_log
from tests.harness import Answered, Device, Served, envelope

SILOS, KILLS, WRITERS = 2, 25, 4
"""Two silos side by side, one for each core: 50 kills."""


@dataclass
class Sent:
    """One request, and what is known of it."""

    device: Device
    request: Request
    body: dict[str, Any]
    kept: dict[str, Any] | None = None
    """What END acknowledged; None: no END came."""


@dataclass
class Witness:
    """Remembers what one account was told, and holds the silo to it."""

    device: Device
    vault: Opener
    sent: list[Sent] = field(default_factory=list)
    """Since the last check."""
    records: dict[str, OpenedRecord] = field(default_factory=dict)
    """turn id -> record, as checked."""
    outcomes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log = Log(self.device.silo, self.device.user)
        self.cores = Log(self.device.silo, self.device.user)

    def write(self, device: Device) -> bool:
        """One turn; whether its END came."""
        request, body = device.request("POST", "/chat"), device.chat_body("one two three four five")
        one = Sent(device, request, body)
        self.sent.append(one)
        try:
            answered = send(one)
        except (httpx.TransportError, SiloError):
            return False
        assert answered.status == 200, answered
        one.kept = answered.end["kept"]
        assert one.kept
        device.head = Seen(at=one.kept["index"], hash=one.kept["entry"])
        return True

    def check(self) -> None:
        """Hold the silo to everything since the last check. Raises AssertionError, SiloError."""
        self._follow()
        for one in self.sent:
            if one.kept:
                self._kept(one, one.kept)
            else:
                self._ended_by_a_crash(one)
        # What was acknowledged says so again.
        for one in [one for one in self.sent if one.kept][-1:]:
            again = send(one)
            assert again.code == "already_done"
            assert again.json["error"]["kept"] == one.kept
        self.sent.clear()
        self._follow()

    def _follow(self) -> None:
        """Take the log on to its head, and open every record on the way with both its keys."""
        device = self.device
        before = self.log.at
        head = walk_log(device, self.log)
        assert (head.at if head else 0) == self.log.at >= before
        after: int | None = before
        while after is not None:
            page = device.ask("GET", "/history", {"after": after, "limit": 500}).json
            for one in page["records"]:
                sealed = envelope(one)
                opened = [
                    open_record(sealed, [opener], device.silo, device.user, device.identity)
                    for opener in (Opener(device.account_seed), self.vault)
                ]
                assert opened[0] == opened[1]
                record = opened[0]
                assert list(sealed.wraps) == list(record.receipt.recipients)
                assert record.place.index == one["index"] == self.cores.at + 1
                assert record.place.previous == self.cores.hash
                self.cores.step(record.place.index, record.place.thread, core_hash(sealed.core))
                self.records[b32(record.place.id)] = record
            after = page["next"]
        assert (self.cores.at, self.cores.hash) == (self.log.at, self.log.hash)

    def _kept(self, one: Sent, kept: dict[str, Any]) -> None:
        record = self.records[one.body["turn"]]
        said = (kept["index"], hash_bytes(kept["core"]), hash_bytes(kept["entry"]))
        assert said == (record.place.index, record.core_hash, record.entry_hash)
        assert self.state(one) == {"state": "kept", "kept": kept}

    def _ended_by_a_crash(self, one: Sent) -> None:
        """No END came. The silo says which of three it is, and nothing contradicts it."""
        turn = one.body["turn"]
        there = turn in self.records
        before = self.state(one)
        answered = send(one)
        outcome = answered.code or "ran now"
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome == "already_done":
            assert there
            self._kept(one, answered.json["error"]["kept"])
        elif outcome == "lost":
            assert not there
            assert before == {"state": "lost", "kept": None}
        else:
            # The kill came before it was written down: it runs for the first time.
            assert outcome == "ran now", answered
            assert not there
            assert before is None
            assert answered.end["kept"]

    def state(self, one: Sent) -> dict[str, Any] | None:
        """What the silo says of a turn; None where it knows none."""
        answered = one.device.ask("GET", f"/turns/{one.body['turn']}")
        assert answered.code in ("", "not_found")
        return None if answered.code else answered.json


def send(one: Sent) -> Answered:
    """Seal and send a request, the first time or again."""
    data, opener = one.device.seal(one.request, write_json(one.body))
    return one.device.post(data, opener)


def witness(device: Device) -> Witness:
    """A witness who also holds the admin key."""
    answer = device.ask("GET", "/keyrings").json["keyrings"]
    keyring = verify_keyring(SignedKeyring(**answer[0]), device.silo, device.admin.public.fingerprint)
    return Witness(device, open_epochs(device.admin, keyring)[0])


def whole(served: Served) -> int:
    """How many records the database has, none of them half; it must not be in use."""
    with postgres.behind(served.database) as opened:
        if served.database.startswith("sqlite"):
            assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ((records,),) = opened.execute("SELECT count(*) FROM record")
        ((wraps,),) = opened.execute(
            'SELECT count(*) FROM wrap JOIN record ON wrap.user_id = record.user_id AND wrap."index" = record."index"'
        )
        assert opened.execute("SELECT count(*) FROM wrap").fetchone() == (wraps,)
        assert wraps == 2 * records
    return records


def test_kill_at_random_moments(own_engine: Callable[..., OwnEngine], tmp_path: Path, database: str) -> None:
    engine = own_engine("--chunks", "5")
    with ThreadPoolExecutor(SILOS) as pool:
        lives = [pool.submit(many_lives, tmp_path / f"silo{number}", engine.spec) for number in range(SILOS)]
        outcomes = [life.result() for life in lives]
    print(outcomes)
    # The kills met people at work: most of the time each of the writers.
    broken = sum(sum(one.values()) for one in outcomes)
    assert broken > SILOS * KILLS
    assert all(one.get("lost") for one in outcomes)


def many_lives(data: Path, engine: str) -> dict[str, int]:
    """One silo that is killed again and again; what became of the requests that the kills ended."""
    # What a kill leaves in the temporary folder goes with the test's.
    served = Served(data, engine, SILO_SHAPE="fast", SILO_PARALLEL="16", TMPDIR=str(data.parent)).start()
    device = Device(served.link).set_up()
    devices = [device, *(another_device(served, device) for _ in range(WRITERS - 1))]
    seen = witness(device)
    try:
        for _ in range(KILLS):
            with ThreadPoolExecutor(WRITERS) as pool:
                over = threading.Event()
                writing = [pool.submit(write_until, over, seen, one) for one in devices]
                over.wait(random.uniform(0.02, 0.25))
                served.kill()
                over.set()
            for one in writing:
                one.result()
            served.start()
            for one in devices:
                one.moved(served.url)
            seen.check()
        assert served.stop() == 0
        assert whole(served) == seen.log.at == len(seen.records)
        return seen.outcomes
    finally:
        served.kill()
        for one in devices:
            one.http.close()


def write_until(over: threading.Event, seen: Witness, device: Device) -> None:
    """Write turns until the silo is gone."""
    while not over.is_set() and seen.write(device):
        pass


# --- the check finds a loss ---


def last(opened: postgres.Database) -> None:
    """As a silo would leave it that acknowledges before the commit, or whose disk lies."""
    opened.execute('DELETE FROM wrap WHERE "index" = 6')
    opened.execute('DELETE FROM record WHERE "index" = 6')


def middle(opened: postgres.Database) -> None:
    """One in the middle, with all that belongs to it."""
    opened.execute('DELETE FROM wrap WHERE "index" = 3')
    opened.execute('DELETE FROM record WHERE "index" = 3')


def half(opened: postgres.Database) -> None:
    """A record whose wrap for the vault did not come in."""
    opened.execute('DELETE FROM wrap WHERE "index" = 6 AND place = 1')


def receipt(opened: postgres.Database) -> None:
    """A record whose receipt did not come in."""
    opened.execute('UPDATE record SET receipt = ? WHERE "index" = 6', (b"",))


def bit(opened: postgres.Database) -> None:
    """A core with one byte changed."""
    ((core,),) = opened.execute('SELECT core FROM record WHERE "index" = 4')
    changed = core[:-1] + bytes([core[-1] ^ 1])
    opened.execute('UPDATE record SET core = ? WHERE "index" = 4', (changed,))


def done(opened: postgres.Database) -> None:
    """Marked done, and not there."""
    last(opened)
    opened.execute("UPDATE once SET state = 'done'")


def untouched(_: postgres.Database) -> None:
    """Nothing."""


Serve = Callable[..., Served]
NewDevice = Callable[[str], Device]


def test_a_loss_is_found(
    own_engine: Callable[..., OwnEngine], serve: Serve, new_device: NewDevice, tmp_path: Path
) -> None:
    engine = own_engine("--chunks", "5")
    served = serve(engine.spec, SILO_SHAPE="fast", TMPDIR=str(tmp_path))
    device = new_device(served.link).set_up()
    seen = witness(device)
    assert all(seen.write(device) for _ in range(6))
    served.kill()
    found: dict[str, str] = {}
    for damage in (untouched, last, middle, half, receipt, bit, done):
        data = served.data.with_name(damage.__name__)
        postgres.copy_silo(served.data, data)
        with postgres.behind(postgres.url_of(data)) as opened:
            damage(opened)
        again = serve(engine.spec, data=data, SILO_SHAPE="fast", TMPDIR=str(tmp_path))
        device.moved(again.url)
        # A stranger to the log, so that it is not the silo's own refusal of a head it lacks that finds it.
        device.head = None
        try:
            Witness(device, seen.vault, seen.sent.copy()).check()
        except (AssertionError, KeyError, SiloError) as error:
            found[damage.__name__] = error.code if isinstance(error, SiloError) else type(error).__name__
        again.kill()
    assert found == {
        "last": "KeyError",  # the turn is not among the records
        "middle": "forged",
        "half": "no_match",
        "receipt": "forged",
        "bit": "no_match",  # the wraps are bound to another core
        "done": "KeyError",
    }


def test_commits_that_did_not_reach_the_disk_are_found(
    own_engine: Callable[..., OwnEngine], serve: Serve, new_device: NewDevice
) -> None:
    """As a power cut leaves it where commits do not wait for the disk: the log of the last ones is not there."""
    served = serve(own_engine("--chunks", "5").spec, SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    seen = witness(device)
    assert seen.write(device)
    wal = served.data / "silo.db-wal"
    size = wal.stat().st_size
    assert all(seen.write(device) for _ in range(3))
    served.kill()
    with wal.open("r+b") as file:
        file.truncate(size)
    served.start()
    device.moved(served.url)
    # The silo itself is sound; who was given a receipt knows better.
    assert device.chat("more").code == "stale_head"
    device.head = None
    with pytest.raises(KeyError):
        seen.check()


async def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    async with store.opened(f"sqlite://{tmp_path / 'silo.db'}"):
        connection = connections.get("default")
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)):
            _, rows = await connection.execute_query(f"PRAGMA {pragma}")
            assert rows[0][0] == value
