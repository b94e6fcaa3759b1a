"""Deleting, through the door of a real silo: what goes, what stays, and that the bytes are gone (SPEC 7.7, 7.8)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.accounts import deletions
from appliance.accounts.box import Box, open_box
from appliance.accounts.devices import Devices
from appliance.api.turns import stored as as_row
from appliance.store import database as store
from appliance.store import deletions as stored
from appliance.store import records
from silo.crypto.bags import BagPlace, seal_bag
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, new_id, unb64
from silo.crypto.keyring import Keyring, SignedKeyring, first_keyring, sign_keyring, verify_keyring
from silo.crypto.keys import AdminKey, Signer, recipient_of
from silo.crypto.opening import Log, Opener, open_with_key
from silo.crypto.sealing import NO_HASH, Place, seal_record
from silo.crypto.tombstones import (
    DAY,
    Erased,
    Tombstone,
    check_deletion,
    check_tombstone,
    sign_tombstone,
)
from tests import postgres
from tests.appliance.company import another_device, another_person, behind, until
from tests.harness import Answered, Device, Served, envelope, now


def stone(device: Device, entry: dict[str, Any], entry_hash: bytes, **bent: Any) -> dict[str, str]:
    """A tombstone for an entry of `GET /log`, signed; `bent` replaces any of its fields."""
    assert device.keyring
    fields: dict[str, Any] = {
        "erased": Erased(device.silo, device.user, entry["index"], hash_bytes(entry["core"]), entry_hash),
        "made": entry["time"],
        "who": device.device,
        "why": "user",
        "keyring_version": device.keyring.at,
        "keyring_hash": hash_bytes(device.keyring.hash),
        "time": now(),
    }
    statement = Tombstone(**fields | bent).statement()
    return {"statement": b64(statement), "signature": b64(sign_tombstone(device.signer, statement))}


def entries(device: Device) -> list[tuple[dict[str, Any], bytes]]:
    """The user's log: each entry, and its entry hash."""
    log = Log(device.silo, device.user)
    found: list[tuple[dict[str, Any], bytes]] = []
    for one in device.ask("GET", "/log").json["entries"]:
        log.step(one["index"], id_bytes(one["thread"]), hash_bytes(one["core"]))
        found.append((one, log.hash))
    return found


def delete(device: Device, *indexes: int, **bent: Any) -> Answered:
    """Delete these records; `request` gives another request."""
    log = {entry["index"]: (entry, hashed) for entry, hashed in entries(device)}
    request = bent.pop("request", None) or device.request("POST", "/deletions")
    data, opener = device.seal(
        request, json.dumps({"tombstones": [stone(device, *log[at], **bent) for at in indexes]}).encode()
    )
    return device.post(data, opener)


def keyring_of(device: Device) -> Keyring:
    """The keyring in force."""
    [signed] = device.ask("GET", "/keyrings").json["keyrings"]
    return verify_keyring(SignedKeyring(**signed), device.silo, device.admin.public.fingerprint)


def checked(device: Device, gone: dict[str, Any]) -> Tombstone:
    """A tombstone and its receipt, as an opener checks them."""
    entry, hashed = entries(device)[gone["index"] - 1]
    erased = Erased(device.silo, device.user, gone["index"], hash_bytes(entry["core"]), hashed)
    statement = unb64(gone["statement"])
    assert gone["thread"] == entry["thread"]
    said = check_deletion(unb64(gone["receipt"]), statement, [device.identity])
    assert said.also == (*((), ("wal", "replicas"))[postgres.current == "postgresql"], "backups")
    assert said.until is None
    devices = {device.device: [device.signer.public]}
    return check_tombstone(statement, unb64(gone["signature"]), erased, [keyring_of(device)], devices)


def test_a_deleted_record_leaves_a_tombstone_and_a_whole_log(device: Device) -> None:
    thread = new_id()
    for number in range(3):
        assert device.chat(f"question {number}", thread=thread).end["kept"]
    before = entries(device)
    answered = delete(device, 2)
    assert answered.status == 200, answered
    [gone] = answered.json["deleted"]
    assert checked(device, gone).who == device.device
    # The log is the same to the byte; the record's place in the history has the tombstone.
    assert entries(device) == before
    page = device.ask("GET", "/history").json
    assert [one["index"] for one in page["records"]] == [1, 3]
    assert page["tombstones"] == [gone]
    assert [one.place.index for one in device.history()] == [1, 3]
    assert device.ask("GET", "/history", {"after": 1, "limit": 1}).json == {
        "records": [],
        "tombstones": [gone],
        "next": 2,
    }
    assert device.ask("GET", "/history", {"thread": thread}).json["tombstones"] == [gone]
    assert device.ask("GET", f"/turns/{before[1][0]['id']}").json == {"state": "deleted", "kept": None}
    # The next one goes on behind it, and the turn cannot come back.
    assert device.chat("another").end["kept"]["index"] == 4
    again = device.chat("once more", turn=before[1][0]["id"])
    assert (again.code, again.json["error"]["kept"]) == ("already_done", None)


def test_it_runs_once_and_says_the_same_again(device: Device) -> None:
    device.chat("one")
    device.chat("two")
    request = device.request("POST", "/deletions")
    first = delete(device, 1, 2, request=request)
    assert [one["index"] for one in first.json["deleted"]] == [1, 2]
    again = delete(device, 1, 2, request=request)
    assert again.code == "already_done"
    assert again.json["error"]["deleted"] == first.json["deleted"]
    # Another request for what is gone already tells what stands, whatever it brought itself.
    later = delete(device, 2)
    assert later.json["deleted"] == first.json["deleted"][1:]


@pytest.mark.parametrize(
    ("bent", "code"),
    [
        ({"made": 5}, "bad_request"),
        ({"time": 5}, "bad_request"),
        ({"who": bytes(16)}, "forged"),
        ({"who": bytes(range(16))}, "forged"),
        ({"why": "retention", "who": bytes(16)}, "forged"),
        ({"keyring_version": 2}, "forged"),
        ({"keyring_hash": bytes(32)}, "forged"),
    ],
)
def test_the_silo_takes_no_tombstone_that_an_opener_would_refuse(device: Device, bent: Any, code: str) -> None:
    device.chat("kept")
    assert delete(device, 1, **bent).code == code
    assert len(device.history()) == 1


def test_nobody_deletes_for_somebody_else(silo_server: Served, device: Device) -> None:
    device.chat("mine")
    other = another_person(silo_server, device, "bob")
    entry, hashed = entries(device)[0]
    for who in (other, device):
        # Bob has no such record; in Alice's name he has no key.
        brought = stone(other, entry, hashed, erased=Erased(who.silo, who.user, 1, hash_bytes(entry["core"]), hashed))
        assert other.ask("POST", "/deletions", {"tombstones": [brought]}).code == "not_found"
    second = another_device(silo_server, device)
    stolen = stone(second, entry, hashed, who=device.device)
    assert second.ask("POST", "/deletions", {"tombstones": [stolen]}).code == "forged"
    twice = stone(device, entry, hashed)
    assert device.ask("POST", "/deletions", {"tombstones": [twice, twice]}).code == "bad_request"
    missing = stone(device, entry | {"index": 9}, hashed)
    assert device.ask("POST", "/deletions", {"tombstones": [missing]}).code == "not_found"
    assert device.ask("POST", "/deletions", {"tombstones": []}).code == "bad_request"
    assert device.ask("POST", "/deletions", {"tombstones": [twice]}, keyring=None).code == "keyring_changed"
    other.http.close()
    second.http.close()
    assert len(device.history()) == 1


# --- the bytes ---


def needles(device: Device) -> dict[str, bytes]:
    """What must be found nowhere once record 1 is deleted: pieces of its core, its wraps and its receipt."""
    [record] = [one for one in device.ask("GET", "/history").json["records"] if one["index"] == 1]
    found = {"receipt": unb64(record["receipt"])[-48:]}
    core = unb64(record["core"])
    for at in range(220, len(core) - 24, max(24, len(core) // 40)):
        found[f"core at {at}"] = core[at : at + 24]
    for number, wrap in enumerate(record["wraps"]):
        sealed = unb64(wrap["sealed"])
        found |= {f"wrap {number} at {at}": sealed[at : at + 24] for at in (0, 600, 1144)}
    return found


def where(served: Served, sought: dict[str, bytes]) -> set[str]:
    """Which of them stand in a file of the database, or of the data folder."""
    folder = [path for path in served.data.rglob("*") if path.is_file()]
    return {
        name
        for path in {*folder, *postgres.files(served.database)}
        for data in [path.read_bytes()]
        for name, needle in sought.items()
        if needle in data
    }


@pytest.mark.parametrize("size", [40, 36_000])
def test_the_bytes_are_gone_with_the_receipt(silo_server: Served, device: Device, size: int) -> None:
    assert device.chat("long" * (size // 4)).end["kept"]
    device.chat("another")
    sought = needles(device)
    assert where(silo_server, sought) == set(sought)
    [gone] = delete(device, 1).json["deleted"]
    assert gone["receipt"]
    assert where(silo_server, sought) == set()
    # Nor does it come back with what is written later.
    device.chat("a third")
    assert where(silo_server, sought) == set()


def test_a_reader_delays_the_receipt_and_nothing_else(silo_server: Served, device: Device) -> None:
    assert device.chat("long" * 9000).end["kept"]
    sought = needles(device)
    with postgres.reading(silo_server.database, "SELECT count(*) FROM record") as found:
        assert found == [(1,)]
        [gone] = delete(device, 1).json["deleted"]
        assert gone["receipt"] is None
        assert device.history() == []
        # The silo serves on meanwhile, and says nothing that is not so.
        assert device.chat("another").end["kept"]
        assert device.ask("GET", "/history").json["tombstones"][0]["receipt"] is None
        assert where(silo_server, sought)
    [gone] = delete(device, 1).json["deleted"]
    assert checked(device, gone)
    assert where(silo_server, sought) == set()


def test_a_start_gives_the_receipts_that_had_to_wait(
    serve: Callable[..., Served], new_device: Callable[[str], Device], tmp_path: Path
) -> None:
    data = tmp_path / "silo"
    served = serve(data=data, SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    assert device.chat("to be deleted").end["kept"]
    sought = needles(device)
    with postgres.reading(served.database, "SELECT * FROM record"):
        [gone] = delete(device, 1).json["deleted"]
        assert gone["receipt"] is None
        served.kill()
        assert where(served, sought)
    device.moved(serve(data=data, SILO_SHAPE="fast").url)
    [gone] = until(lambda: [one for one in device.ask("GET", "/history").json["tombstones"] if one["receipt"]], 20)
    assert checked(device, gone)
    assert where(served, sought) == set()


# --- bags ---


def make_bag(device: Device, thread: str, version: int, keys: dict[int, bytes]) -> dict[str, Any]:
    """The body of `PUT /bags/<thread>`."""
    entry, hashed = [one for one in entries(device) if one[0]["thread"] == thread][-1]
    place = BagPlace(device.silo, device.user, id_bytes(thread), version, entry["index"], hashed)
    sealed = seal_bag(place, keys, device.account)
    return {"version": version, "last": {"at": entry["index"], "hash": b32(hashed)}, "sealed": b64(sealed)}


def test_a_bag_is_kept_opened_replaced_and_emptied(silo_server: Served, device: Device) -> None:
    thread, opener = new_id(), Opener(device.account_seed)
    device.chat("one", thread=thread)
    device.chat("elsewhere")
    device.chat("two", thread=thread)
    page = device.ask("GET", "/history", {"thread": thread}).json["records"]
    keys: dict[int, bytes] = {}
    for one in page:
        sealed = next(unb64(w["sealed"]) for w in one["wraps"] if hash_bytes(w["recipient"]) == opener.fingerprint)
        keys[one["index"]] = opener.open_wrap(sealed, hash_bytes(entries(device)[one["index"] - 1][0]["core"]))
    nothing = {"version": 0, "last": None, "sealed": None}
    assert device.ask("GET", f"/bags/{thread}").json == nothing
    body = make_bag(device, thread, 1, keys)
    assert device.ask("PUT", f"/bags/{thread}", body).json == {"version": 1}
    assert device.ask("GET", f"/bags/{thread}").json == body
    place = BagPlace(device.silo, device.user, id_bytes(thread), 1, 3, hash_bytes(body["last"]["hash"]))
    held = opener.open_bag(unb64(body["sealed"]), place)
    assert held == keys
    for one in page:
        opened = open_with_key(envelope(one), held[one["index"]], device.silo, device.user, device.identity)
        assert opened.place.index == one["index"]
    # Only the next version is taken, and only for an entry of the thread.
    for version in (1, 3):
        assert device.ask("PUT", f"/bags/{thread}", make_bag(device, thread, version, keys)).code == "bag_changed"
    assert (
        device.ask("PUT", f"/bags/{thread}", body | {"version": 2, "last": {"at": 2, "hash": "a" * 52}}).code
        == "bad_request"
    )
    assert (
        device.ask("PUT", f"/bags/{thread}", body | {"version": 2, "sealed": b64(bytes(700_000))}).code == "bad_request"
    )
    assert device.ask("PUT", f"/bags/{new_id()}", body).code == "bad_request"
    second = make_bag(device, thread, 2, keys)
    assert device.ask("PUT", f"/bags/{thread}", second).json == {"version": 2}
    # Other people have bags of their own.
    other = another_person(silo_server, device, "bob")
    assert other.ask("GET", f"/bags/{thread}").json == nothing
    other.http.close()
    sought = {"bag": unb64(second["sealed"])[-40:]}
    assert where(silo_server, sought)
    delete(device, 1)
    assert device.ask("GET", f"/bags/{thread}").json == nothing | {"version": 3}
    assert not where(silo_server, sought)
    # Who read the thread before cannot put the deleted record's key back.
    assert device.ask("PUT", f"/bags/{thread}", make_bag(device, thread, 3, keys)).code == "bag_changed"
    assert device.ask("PUT", f"/bags/{thread}", make_bag(device, thread, 4, {3: keys[3]})).json == {"version": 4}


def test_a_deletion_bars_the_bag_of_who_read_before(device: Device) -> None:
    thread = new_id()
    device.chat("one", thread=thread)
    device.chat("two", thread=thread)
    read_before = make_bag(device, thread, 1, {1: bytes(32), 2: bytes(32)})
    delete(device, 1)
    assert device.ask("PUT", f"/bags/{thread}", read_before).code == "bag_changed"


# --- retention, with the clock as an argument ---


NOW = 1_800_000_000_000


class Ring:
    """Stands where the keyrings are asked for: one is accepted."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def keyring(self) -> Keyring:
        """It."""
        return self._keyring

    async def accepted(self) -> list[Keyring]:
        """It alone."""
        return [self._keyring]


@pytest.fixture
async def box(tmp_path: Path, database: str) -> AsyncIterator[Box]:
    """A box with an open database."""
    made = open_box(tmp_path, create=True)
    async with store.opened(postgres.url_of(tmp_path)):
        yield made


def keyring(box: Box, **policy: Any) -> Keyring:
    """Version 1 with this policy."""
    admin = AdminKey()
    first = verify_keyring(
        first_keyring(admin, "admin", box.silo, box.identity.public, NOW), box.silo, admin.public.fingerprint
    ).document
    changed = msgspec.structs.replace(first, policy=msgspec.structs.replace(first.policy, **policy))
    return verify_keyring(sign_keyring(admin, changed), box.silo, admin.public.fingerprint)


async def keep(box: Box, user: str, times: list[int]) -> None:
    """Real records of these times."""

    class Beside:
        def __init__(self) -> None:
            self.box = box

    previous = NO_HASH
    thread = new_id()
    for index, time in enumerate(times, 1):
        place = Place(box.silo, id_bytes(user), index, previous, id_bytes(thread), NO_HASH, 1, id_bytes(new_id()), time)
        sealed = seal_record(place, b"{}", [ACCOUNT])
        previous = sealed.entry_hash
        await records.add(user, as_row(sealed, Beside()), "device", new_id())  # pyright: ignore[reportArgumentType]


async def settle(box: Box, ring: Keyring, days: int | None) -> bool:
    trust: Any = Ring(ring)
    return await deletions.settle(box, trust, Devices(box, trust), NOW, days)


async def until_settled(box: Box, ring: Keyring, days: int | None) -> bool:
    """The same, where PostgreSQL rests after it rewrote the tables."""
    for _ in range(100):
        if await settle(box, ring, days):
            return True
        await asyncio.sleep(0.2)
    return False


ACCOUNT = recipient_of(bytes(range(32)))


async def test_the_policy_deletes_what_is_old_and_nothing_else(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "BATCH", 3)
    user, other = new_id(), new_id()
    ages = [40, 31, 30, 30, 30, 29, 1]
    await keep(box, user, [NOW - days * DAY for days in ages])
    await keep(box, other, [NOW - 35 * DAY, NOW - 30 * DAY + 1])
    for free in (keyring(box), keyring(box, user_deletion=False)):
        assert await deletions.retain(box, Ring(free), NOW) == 0  # pyright: ignore[reportArgumentType]
    ring = keyring(box, retention_days=30)
    assert await deletions.retain(box, Ring(ring), NOW) == 6  # pyright: ignore[reportArgumentType]
    assert await deletions.retain(box, Ring(ring), NOW) == 0  # pyright: ignore[reportArgumentType]
    assert await records.alive(user, list(range(1, 8))) == {6, 7}
    assert await records.alive(other, [1, 2]) == {2}
    assert await until_settled(box, ring, 90)
    log = {one.index: one for one in await records.entries(user, 0, 100)}
    stones = await stored.tombstones(user, {index: one.thread for index, one in log.items()})
    assert [one.index for one in stones] == [1, 2, 3, 4, 5]
    for one in stones:
        entry = log[one.index]
        erased = Erased(box.silo, id_bytes(user), one.index, hash_bytes(entry.core_hash), hash_bytes(entry.entry_hash))
        assert check_tombstone(one.statement, one.signature, erased, [ring], {}).why == "retention"
        said = check_deletion(one.receipt or b"", one.statement, [box.identity.public])
        assert (said.time, said.until, said.also) == (NOW, NOW + 90 * DAY, (*store.keeps(), "backups"))


async def test_another_identity_deletes_nothing(box: Box) -> None:
    await keep(box, new_id(), [1])
    other = Box(box.folder, box.silo, Signer())
    ring = keyring(box, retention_days=1)
    assert await deletions.retain(other, Ring(ring), NOW) == 0  # pyright: ignore[reportArgumentType]


async def test_receipts_say_what_the_operator_says(box: Box) -> None:
    user = new_id()
    for days, end, also in ((0, NOW, ()), (7, NOW + 7 * DAY, ("backups",)), (None, None, ("backups",))):
        await keep(box, user, [1])
        ring = keyring(box, retention_days=1)
        await deletions.retain(box, Ring(ring), NOW)  # pyright: ignore[reportArgumentType]
        assert await until_settled(box, ring, days)
        [one] = await stored.tombstones(user, {1: ""})
        said = check_deletion(one.receipt or b"", one.statement, [box.identity.public])
        assert (said.until, said.also) == (end, (*store.keeps(), *also))
        user = new_id()


async def test_a_crash_before_the_receipt_is_made_good(box: Box) -> None:
    user = new_id()
    await keep(box, user, [1])
    ring = keyring(box, retention_days=1)
    # Somebody's view that is older than the deletion.
    with postgres.reading(postgres.url_of(box.folder), 'SELECT * FROM "user"'):
        await deletions.retain(box, Ring(ring), NOW)  # pyright: ignore[reportArgumentType]
        [one] = await stored.tombstones(user, {1: ""})
        assert one.receipt is None
        await keep(box, new_id(), [1])
        assert not await settle(box, ring, None)
    assert await until_settled(box, ring, None)
    [one] = await stored.tombstones(user, {1: ""})
    assert one.receipt


# --- whoever writes to the database (SPEC 7.7) ---


def change(box: Box, statement: str, *values: Any) -> None:
    """Behind the silo's back."""
    with postgres.behind(postgres.url_of(box.folder)) as connection:
        connection.execute(statement, values)


@pytest.mark.parametrize(
    "lie",
    [
        'UPDATE record SET time = 0 WHERE "index" = 2',
        # An old record's bytes, and all that belongs to them, in a new one's row.
        'UPDATE record SET time = 0, core = (SELECT core FROM record WHERE "index" = 1), receipt = (SELECT receipt'
        ' FROM record WHERE "index" = 1) WHERE "index" = 2',
        'UPDATE record SET time = 0, receipt = (SELECT receipt FROM record WHERE "index" = 1) WHERE "index" = 2',
        "UPDATE record SET time = 0, receipt = x'' WHERE \"index\" = 2",
        "UPDATE record SET time = 0, core = x'00' WHERE \"index\" = 2",
    ],
)
async def test_a_row_that_lies_of_its_time_deletes_nothing(box: Box, lie: str) -> None:
    user, ring = new_id(), keyring(box, retention_days=30)
    await keep(box, user, [NOW - 40 * DAY, NOW - DAY, NOW])
    change(box, lie)
    assert await deletions.retain(box, Ring(ring), NOW) == 1  # pyright: ignore[reportArgumentType]
    assert await records.alive(user, [1, 2, 3]) == {2, 3}


async def test_retention_states_what_was_signed_and_not_what_the_row_says(box: Box) -> None:
    user, ring = new_id(), keyring(box, retention_days=30)
    await keep(box, user, [NOW - 40 * DAY])
    [before] = await records.all_at(user, [1])
    change(box, "UPDATE record SET time = 7, core_hash = ?, entry_hash = ?", "a" * 52, "a" * 52)
    assert await deletions.retain(box, Ring(ring), NOW) == 1  # pyright: ignore[reportArgumentType]
    [stone] = await stored.tombstones(user, {1: ""})
    erased = Erased(box.silo, id_bytes(user), 1, hash_bytes(before.core_hash), hash_bytes(before.entry_hash))
    assert check_tombstone(stone.statement, stone.signature, erased, [ring], {}).made == NOW - 40 * DAY


async def test_a_planted_tombstone_stops_no_other_records_retention(box: Box) -> None:
    user, ring = new_id(), keyring(box, retention_days=30)
    await keep(box, user, [NOW - 40 * DAY] * 5)
    plant(box, user, 3)
    assert await deletions.retain(box, Ring(ring), NOW) == 4  # pyright: ignore[reportArgumentType]
    assert await records.alive(user, [1, 2, 3, 4, 5]) == {3}


def plant(box: Box, user: str, index: int, statement: bytes = b"anything", signature: bytes = b"") -> None:
    """A row in `tombstone`."""
    change(
        box,
        'INSERT INTO tombstone (user_id, "index", statement, signature, time) VALUES (?, ?, ?, ?, 1)',
        *(user, index, statement, signature),
    )


async def test_no_receipt_for_what_is_there_or_for_no_tombstone(box: Box) -> None:
    user, ring = new_id(), keyring(box, retention_days=30)
    await keep(box, user, [NOW - 40 * DAY, NOW, NOW, NOW])
    assert await deletions.retain(box, Ring(ring), NOW) == 1  # pyright: ignore[reportArgumentType]
    [true] = await stored.tombstones(user, {1: ""})
    # Beside a record that is there, and beside bytes that were taken away: nonsense, and another record's own.
    plant(box, user, 2)
    plant(box, user, 3, true.statement, true.signature)
    plant(box, user, 4, true.statement, true.signature)
    plant(box, user, 9, true.statement, true.signature)
    change(box, "UPDATE record SET core = x'', receipt = x'' WHERE \"index\" = 4")
    assert await until_settled(box, ring, None)
    stones = await stored.tombstones(user, {1: "", 2: "", 3: "", 4: "", 9: ""})
    assert [one.index for one in stones if one.receipt is not None] == [1]
    # One by a device that the database alone knows.
    await keep(box, other := new_id(), [NOW])
    [entry] = await records.all_at(other, [1])
    erased = Erased(box.silo, id_bytes(other), 1, hash_bytes(entry.core_hash), hash_bytes(entry.entry_hash))
    signer, device = Signer(), new_id()
    said = Tombstone(erased, NOW, id_bytes(device), "user", ring.document.version, ring.hash, NOW).statement()
    plant(box, other, 1, said, sign_tombstone(signer, said))
    change(box, "UPDATE record SET core = x'', receipt = x'' WHERE user_id = ?", other)
    change(box, "INSERT INTO user VALUES (?, 'x', 'user', ?, ?, 1)", other, ACCOUNT.public, signer.public)
    change(
        box,
        "INSERT INTO device (id, user_id, sign, statement, signature, vouch, time) VALUES (?, ?, ?, x'', x'', x'', 1)",
        *(device, other, signer.public),
    )
    assert await until_settled(box, ring, None)
    [one] = await stored.tombstones(other, {1: ""})
    assert one.receipt is None


def test_a_tombstone_beside_a_record_is_named_and_ends(silo_server: Served, device: Device) -> None:
    device.chat("one")
    device.chat("two")
    with behind(silo_server) as connection:
        connection.execute(
            'INSERT INTO tombstone (user_id, "index", statement, signature, time) VALUES (?, 1, ?, ?, 1)',
            (b32(device.user), b"anything", b""),
        )
    assert delete(device, 1).code == "internal"
    assert "data_damaged" in silo_server.log.read_text()
    assert delete(device, 1, 2).code == "internal"
    assert len(device.history()) == 2
    # The others can go.
    assert [one["receipt"] is not None for one in delete(device, 2).json["deleted"]] == [True]
    with behind(silo_server) as connection:
        assert connection.execute('SELECT receipt FROM tombstone WHERE "index" = 1').fetchall() == [(None,)]


@pytest.mark.parametrize("column", ["thread", "receipt", "core"])
def test_a_record_that_does_not_fit_its_row_is_not_deleted(silo_server: Served, device: Device, column: str) -> None:
    device.chat("one")
    with behind(silo_server) as connection:
        connection.execute(f"UPDATE record SET {column} = ?", (new_id() if column == "thread" else b"x",))
    assert delete(device, 1).code == "internal"
    with behind(silo_server) as connection:
        assert connection.execute("SELECT count(*) FROM tombstone").fetchone() == (0,)
