"""Deleting: what goes, what stays, and whether the bytes are gone (SPEC 7.7)."""

from collections.abc import Iterable

from tortoise.exceptions import IntegrityError, OperationalError

from appliance.store import bags, models, once
from appliance.store.database import replaced, whole
from appliance.store.records import ENTRY, entry_of
from appliance.store.rows import Conflict, Entry, StoredTombstone
from silo.errors import SiloError


def _stored(row: models.Tombstone, thread: str) -> StoredTombstone:
    receipt = bytes(row.receipt) if row.receipt is not None else None
    return StoredTombstone(row.user_id, row.index, thread, bytes(row.statement), bytes(row.signature), receipt)


async def erase(stones: list[StoredTombstone], now: int, request: tuple[str, str] | None = None) -> None:
    """Drop cores, receipts, wraps and bags, and leave the tombstones, in one transaction.

    It marks `request` (device, id) done. Raises Conflict, and changes nothing, where one of the records is deleted
    already or not there; SiloError `storage_full` where the disk does not take it.
    """

    async def write() -> None:
        for stone in stones:
            record = models.Record.filter(user_id=stone.user, index=stone.index, thread=stone.thread)
            if not await record.exclude(core=b"").update(core=b"", receipt=b""):
                raise Conflict
            await models.Wrap.filter(user_id=stone.user, index=stone.index).delete()
            await models.Tombstone.create(
                user_id=stone.user,
                index=stone.index,
                statement=stone.statement,
                signature=stone.signature,
                receipt=None,
                time=now,
            )
        for user, thread in {(stone.user, stone.thread) for stone in stones}:
            await bags.empty(user, thread)
        if request:
            await once.finish(*request)

    if replaced():
        raise SiloError("data_damaged", "the database was replaced")
    try:
        await whole(write)
    except IntegrityError:
        raise Conflict from None
    except OperationalError:
        raise SiloError("storage_full") from None


async def tombstones(user: str, threads: dict[int, str]) -> list[StoredTombstone]:
    """The tombstones at these indexes of a user's log (index -> thread), in order."""
    rows = await models.Tombstone.filter(user_id=user, index__in=list(threads)).order_by("index") if threads else []
    return [_stored(row, threads[row.index]) for row in rows]


async def unconfirmed(after: int, limit: int) -> tuple[list[tuple[StoredTombstone, Entry | None]], int | None]:
    """Tombstones without a deletion receipt, oldest first, at most `limit` after the one that `after` marks (0: all),
    each with the entry of its record where that has no bytes any more; and the mark to go on after, None at the end."""
    rows = await models.Tombstone.filter(id__gt=after, receipt=None).order_by("id").limit(limit)
    gone: dict[tuple[str, int], Entry] = {}
    for user in {row.user_id for row in rows}:
        indexes = [row.index for row in rows if row.user_id == user]
        for one in await models.Record.filter(user_id=user, index__in=indexes, core=b"", receipt=b"").only(*ENTRY):
            gone[user, one.index] = entry_of(one)
    found = [(_stored(row, ""), gone.get((row.user_id, row.index))) for row in rows]
    return found, rows[-1].id if len(rows) == limit else None


async def confirm(receipts: Iterable[tuple[StoredTombstone, bytes]]) -> None:
    """Keep deletion receipts beside their tombstones."""

    async def write() -> None:
        for stone, receipt in receipts:
            await models.Tombstone.filter(user_id=stone.user, index=stone.index, receipt=None).update(receipt=receipt)

    await whole(write)


async def older_than(time: int, after: int, limit: int) -> tuple[list[tuple[str, int]], int | None]:
    """Records that say that they were made before `time` (ms) and are not deleted, as (user, index) in the order in
    which they were stored: at most `limit` after the one that `after` marks (0: all); and the mark to go on after,
    None at the end."""
    query = models.Record.filter(id__gt=after, time__lte=time).exclude(core=b"").order_by("id").limit(limit)
    rows = await query.values_list("id", "user_id", "index")
    return [(user, index) for _, user, index in rows], rows[-1][0] if len(rows) == limit else None
