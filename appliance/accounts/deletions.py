"""Deleting records: at their person's wish, or because the policy keeps them no longer (SPEC 7.7).

`erase` drops and leaves tombstones; `settle` gives the deletion receipts, once the bytes are gone.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from appliance.accounts.box import Box
from appliance.accounts.callers import WINDOW, Caller
from appliance.accounts.devices import Devices
from appliance.accounts.trust import Trust
from appliance.log import logger
from appliance.store import database, deletions, records
from appliance.store.rows import Conflict, Entry, StoredTombstone
from silo.crypto.encoding import b32, hash_bytes, id_bytes, unb64
from silo.crypto.keyring import Keyring
from silo.crypto.sealing import Place, check_receipt, read_place
from silo.crypto.tombstones import (
    DAY,
    NOBODY,
    RETENTION,
    Erased,
    Tombstone,
    check_tombstone,
    make_deletion,
    read_tombstone,
    sign_tombstone,
)
from silo.errors import SiloError
from silo.messages import NewTombstone

BATCH = 200
"""How many records one step of the retention sweep drops."""
RECEIPTS = 2000
"""How many receipts are given between two clearings of the files."""
_settling = asyncio.Lock()


@dataclass(frozen=True)
class Wish:
    """Tombstones that a device brought, checked: what is still to be done, and what stands already."""

    user: str
    threads: dict[int, str]
    """index -> thread, of all that were named, in their order"""
    fresh: list[StoredTombstone]

    async def standing(self) -> list[StoredTombstone]:
        """The tombstones of all that were named and are deleted, in the order named."""
        found = {stone.index: stone for stone in await deletions.tombstones(self.user, self.threads)}
        return [found[index] for index in self.threads if index in found]


async def read_wish(
    box: Box, trust: Trust, keyring: Keyring, caller: Caller, brought: list[NewTombstone], now: int
) -> Wish:
    """Check tombstones as an opener will. Raises SiloError `forbidden` by policy, `not_found`, `forged`,
    `bad_request`, `data_damaged` for a record that is not what the silo signed, or that is there beside a tombstone."""
    if not keyring.document.policy.user_deletion:
        raise SiloError("forbidden", "the policy of this silo does not let people delete")
    user = caller.account.id
    said: dict[int, tuple[NewTombstone, Tombstone]] = {}
    for one in brought:
        stone = read_tombstone(unb64(one.statement))
        if said.setdefault(stone.erased.index, (one, stone))[0] is not one:
            raise SiloError("bad_request", "tombstones: one record twice")
        if abs(stone.time - now) > WINDOW:
            raise SiloError("bad_request", "tombstones: time")
    entries = {one.index: one for one in await records.all_at(user, list(said))}
    threads = {index: one.thread for index, one in entries.items()}
    stands = {stone.index for stone in await deletions.tombstones(user, threads)}
    # Looked for after the tombstones: a deletion meanwhile is none of what is damaged.
    alive = await records.alive(user, list(said))
    accepted = await trust.accepted()
    fresh: list[StoredTombstone] = []
    for index, (one, stone) in said.items():
        if index not in entries:
            raise SiloError("not_found", "tombstones")
        if index not in alive:
            continue
        kept = await _kept(box, accepted, user, index)
        if kept is None and index not in await records.alive(user, [index]):
            continue
        if kept is None or index in stands or b32(kept.place.thread) != threads[index]:
            raise SiloError("data_damaged", "a record that does not fit its row")
        if stone.made != kept.place.time:
            raise SiloError("bad_request", "tombstones: made")
        statement, signature = unb64(one.statement), unb64(one.signature)
        signers = {id_bytes(caller.device.id): [caller.device.sign]}
        check_tombstone(statement, signature, kept.erased, [keyring], signers)
        fresh.append(StoredTombstone(user, index, threads[index], statement, signature, None))
    return Wish(user, {index: threads[index] for index in said}, fresh)


@dataclass(frozen=True)
class _Kept:
    """A record as its own bytes and the silo's receipt for them say it is, whatever stands in the row beside them."""

    place: Place
    erased: Erased


async def _kept(box: Box, accepted: list[Keyring], user: str, index: int) -> _Kept | None:
    """What the silo signed of the record at that index; None where it signed nothing of what is there, or the record
    was deleted meanwhile."""
    found = await records.sealed(user, index)
    if found is None:
        return None
    core, receipt = found
    # A receipt may be as old as the identity before; every one of them was certified.
    for identity in {one for keyring in accepted for one in keyring.identities()}:
        with suppress(SiloError):
            read = check_receipt(receipt, identity, core)
            if (read.silo, read.user, read.index) == (box.silo, id_bytes(user), index):
                return _Kept(read_place(core), Erased(read.silo, read.user, index, read.core_hash, read.entry_hash))
    return None


async def drop(wish: Wish, now: int, request: tuple[str, str]) -> bool:
    """Carry a wish out, all or nothing. False where something of it was deleted meanwhile: read it again.

    Raises SiloError `storage_full`.
    """
    try:
        await deletions.erase(wish.fresh, now, request)
    except Conflict:
        return False
    return True


async def retain(box: Box, trust: Trust, now: int) -> int:
    """Drop what the signed policy keeps no longer; how many records that were. Raises SiloError `keyring_broken`,
    `not_ready`, `storage_full`."""
    accepted = await trust.accepted()
    keyring = accepted[-1]
    days = keyring.document.policy.retention_days
    certified = (keyring.document.identity, keyring.document.spare)
    if days is None or b32(box.identity.public) not in certified:
        return 0
    count, damaged, mark = 0, 0, 0
    while mark is not None:
        old, mark = await deletions.older_than(now - days * DAY, mark, BATCH)
        stones: list[StoredTombstone] = []
        for user, index in old:
            kept = await _kept(box, accepted, user, index)
            if kept and kept.place.time <= now - days * DAY:
                stones.append(_retired(box, keyring, user, kept, now))
            elif kept or await records.alive(user, [index]):
                damaged += 1
        count += await _retire(stones, now)
    if damaged:
        logger().error("records do not fit their rows, and stay", count=damaged)
    return count


async def _retire(stones: list[StoredTombstone], now: int) -> int:
    """Drop what these stand for; how many that were."""
    try:
        await deletions.erase(stones, now)
        return len(stones)
    except Conflict:
        if len(stones) < 2:
            return 0
    # Its person was faster with one of them, or its row is damaged: that one alone stays.
    return sum([await _retire([one], now) for one in stones])


def _retired(box: Box, keyring: Keyring, user: str, kept: _Kept, now: int) -> StoredTombstone:
    version, thread = keyring.document.version, b32(kept.place.thread)
    statement = Tombstone(kept.erased, kept.place.time, NOBODY, RETENTION, version, keyring.hash, now).statement()
    signature = sign_tombstone(box.identity, statement)
    return StoredTombstone(user, kept.place.index, thread, statement, signature, None)


async def settle(box: Box, trust: Trust, devices: Devices, now: int, days: int | None) -> bool:
    """Clear the files of what was deleted, and give the receipts for it; False where that has to wait.

    A tombstone that an opener would refuse, or whose record is there, gets none. `days` is how long backups are kept,
    None where the operator has not said. Raises SiloError `keyring_broken`.
    """
    also = [*database.keeps(), *(["backups"] if days != 0 else [])]
    until = None if days is None else now + days * DAY
    damaged, mark = 0, 0
    async with _settling:
        while mark is not None:
            # Asked for before the files are cleared: what is deleted meanwhile waits for the next round.
            found, mark = await deletions.unconfirmed(mark, RECEIPTS)
            true = await _true(box, trust, devices, found)
            damaged += len(found) - len(true)
            if true and not await database.scrub():
                return False
            given = [(one, make_deletion(box.identity, one.statement, now, until, also)) for one in true]
            await deletions.confirm(given)
    if damaged:
        logger().error("tombstones do not fit their records, and get no receipt", count=damaged)
    return True


async def _true(
    box: Box, trust: Trust, devices: Devices, found: list[tuple[StoredTombstone, Entry | None]]
) -> list[StoredTombstone]:
    """Those that an opener would take, and whose record has no bytes any more."""
    true: list[StoredTombstone] = []
    signers: dict[str, dict[bytes, list[bytes]]] = {}
    accepted = await trust.accepted() if found else []
    for stone, entry in found:
        if entry is None:
            continue
        if stone.user not in signers:
            signers[stone.user] = await devices.of(stone.user)
        hashes = hash_bytes(entry.core_hash), hash_bytes(entry.entry_hash)
        with suppress(SiloError):
            erased = Erased(box.silo, id_bytes(stone.user), stone.index, *hashes)
            check_tombstone(stone.statement, stone.signature, erased, accepted, signers[stone.user])
            true.append(stone)
        await asyncio.sleep(0)  # there may be many of them
    return true


async def settle_soon(box: Box, trust: Trust, devices: Devices, now: int, days: int | None, patience: float) -> None:
    """`settle`, again and again for up to `patience` seconds; what is not done by then, a sweep does."""
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + patience, 0.05
    try:
        while not await settle(box, trust, devices, now, days) and loop.time() + pause < end:
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)
    except SiloError:
        raise
    except Exception as error:
        logger().error("deletion receipts have to wait", kind=type(error).__name__)
