"""Deleting records: at their person's wish, or because the policy keeps them no longer (SPEC 7.7).

`erase` drops and leaves tombstones; `settle` gives the deletion receipts, once the bytes are gone.
"""

import asyncio
from dataclasses import dataclass

from appliance.accounts.box import Box
from appliance.accounts.callers import WINDOW, Caller
from appliance.accounts.trust import Trust
from appliance.log import logger
from appliance.store import database, deletions, records
from appliance.store.rows import Conflict, Doomed, Entry, StoredTombstone
from silo.crypto.encoding import b32, hash_bytes, id_bytes, unb64
from silo.crypto.keyring import Keyring
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


async def read_wish(box: Box, keyring: Keyring, caller: Caller, brought: list[NewTombstone], now: int) -> Wish:
    """Check tombstones as an opener will. Raises SiloError `forbidden` by policy, `not_found`, `forged`,
    `bad_request`."""
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
    alive = await records.alive(user, list(said))
    fresh: list[StoredTombstone] = []
    for index, (one, stone) in said.items():
        entry = entries.get(index)
        if entry is None:
            raise SiloError("not_found", "tombstones")
        if index in alive:
            if stone.made != entry.time:
                raise SiloError("bad_request", "tombstones: made")
            statement, signature = unb64(one.statement), unb64(one.signature)
            devices = {id_bytes(caller.device.id): [caller.device.sign]}
            check_tombstone(statement, signature, _erased(box, user, entry), [keyring], devices)
            fresh.append(StoredTombstone(user, index, entry.thread, statement, signature, None))
    return Wish(user, {index: entries[index].thread for index in said}, fresh)


def _erased(box: Box, user: str, entry: Entry | Doomed) -> Erased:
    return Erased(box.silo, id_bytes(user), entry.index, hash_bytes(entry.core_hash), hash_bytes(entry.entry_hash))


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
    keyring = await trust.keyring()
    days = keyring.document.policy.retention_days
    certified = (keyring.document.identity, keyring.document.spare)
    if days is None or b32(box.identity.public) not in certified:
        return 0
    count, mark = 0, 0
    while mark is not None:
        doomed, mark = await deletions.older_than(now - days * DAY, mark, BATCH)
        stones = [_retired(box, keyring, one, now) for one in doomed]
        try:
            await deletions.erase(stones, now)
            count += len(stones)
        except Conflict:
            # Its person was faster with one of them; the next sweep takes the rest.
            continue
    return count


def _retired(box: Box, keyring: Keyring, one: Doomed, now: int) -> StoredTombstone:
    statement = Tombstone(
        _erased(box, one.user, one), one.time, NOBODY, RETENTION, keyring.document.version, keyring.hash, now
    ).statement()
    return StoredTombstone(one.user, one.index, one.thread, statement, sign_tombstone(box.identity, statement), None)


async def settle(box: Box, now: int, days: int | None) -> bool:
    """Clear the files of what was deleted, and give the receipts for it; False where that has to wait.

    `days` is how long backups are kept, None where the operator has not said.
    """
    also = [*database.keeps(), *(["backups"] if days != 0 else [])]
    until = None if days is None else now + days * DAY
    async with _settling:
        # Asked for before the files are cleared: what is deleted meanwhile waits for the next round.
        while stones := await deletions.unconfirmed(RECEIPTS):
            if not await database.scrub():
                return False
            given = [(one, make_deletion(box.identity, one.statement, now, until, also)) for one in stones]
            await deletions.confirm(given)
    return True


async def settle_soon(box: Box, now: int, days: int | None, patience: float) -> None:
    """`settle`, again and again for up to `patience` seconds; what is not done by then, a sweep does."""
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + patience, 0.05
    try:
        while not await settle(box, now, days) and loop.time() + pause < end:
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)
    except SiloError:
        raise
    except Exception as error:
        logger().error("deletion receipts have to wait", kind=type(error).__name__)
