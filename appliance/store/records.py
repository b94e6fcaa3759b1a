"""Records: sealed bytes in, sealed bytes out, one log a user."""

from collections.abc import AsyncIterator

from tortoise.exceptions import IntegrityError, OperationalError
from tortoise.functions import Length

from appliance.store import models, once
from appliance.store.database import replaced, whole
from appliance.store.rows import Conflict, Entry, Head, StoredRecord
from silo.errors import SiloError

ENTRY = ("index", "turn", "thread", "parent", "kind", "time", "core_hash", "entry_hash")


def entry_of(row: models.Record) -> Entry:
    """The entry of a row that has the columns of `ENTRY`."""
    return Entry(row.index, row.turn, row.thread, row.parent, row.kind, row.time, row.core_hash, row.entry_hash)


async def head(user: str) -> Head:
    """The end of this user's log."""
    found = await models.Record.filter(user_id=user).order_by("-index").limit(1).values_list("index", "entry_hash")
    return Head(found[0][0], found[0][1]) if found else Head(0, None)


async def holds(user: str, index: int, entry_hash: str) -> bool:
    """Whether this user's log has that entry at that index."""
    return await models.Record.filter(user_id=user, index=index, entry_hash=entry_hash).exists()


async def add(user: str, record: StoredRecord, device: str, request: str) -> None:
    """Core, wraps and receipt in one transaction, which also marks the request done.

    Raises Conflict where another writer took that index, SiloError `not_kept` where the disk does not take it, `lost`
    where another host gave the request up meanwhile, `storage_away` where it may be there, or not.
    """
    entry = record.entry

    async def write() -> None:
        await models.Record.create(
            user_id=user,
            index=entry.index,
            turn=entry.turn,
            thread=entry.thread,
            parent=entry.parent,
            kind=entry.kind,
            time=entry.time,
            core_hash=entry.core_hash,
            entry_hash=entry.entry_hash,
            core=record.core,
            receipt=record.receipt,
        )
        await models.Wrap.bulk_create(
            models.Wrap(user_id=user, index=entry.index, place=place, recipient=recipient, sealed=sealed)
            for place, (recipient, sealed) in enumerate(record.wraps)
        )
        await once.finish(device, request)

    if replaced():
        raise SiloError("not_kept", "the database was replaced")
    try:
        await whole(write)
    except IntegrityError:
        raise Conflict from None
    except OperationalError as error:
        raise SiloError("not_kept", "the disk" if "full" in str(error) else "the database") from None


async def all_at(user: str, indexes: list[int]) -> list[Entry]:
    """The entries at these indexes, deleted or not."""
    rows = await models.Record.filter(user_id=user, index__in=_held(indexes)).order_by("index").only(*ENTRY)
    return [entry_of(row) for row in rows]


async def sealed(user: str, index: int) -> tuple[bytes, bytes] | None:
    """Core and receipt of a record that is not deleted."""
    row = await models.Record.filter(user_id=user, index=index).exclude(core=b"").only("core", "receipt").first()
    return (bytes(row.core), bytes(row.receipt)) if row else None


async def alive(user: str, indexes: list[int]) -> set[int]:
    """Which of these indexes hold records that are not deleted."""
    rows = models.Record.filter(user_id=user, index__in=_held(indexes)).exclude(core=b"").only("index")
    return {row.index for row in await rows}


def _held(indexes: list[int]) -> list[int]:
    return [index for index in indexes if index < 2**63]


async def by_turn(user: str, turn: str) -> StoredRecord | None:
    """The record of that turn."""
    row = await models.Record.get_or_none(user_id=user, turn=turn)
    return (await _with_wraps(user, [row]))[0] if row else None


async def entries(user: str, after: int, limit: int) -> list[Entry]:
    """Entries of the log after an index, in order, without their bytes."""
    rows = await models.Record.filter(user_id=user, index__gt=after).order_by("index").limit(limit).only(*ENTRY)
    return [entry_of(row) for row in rows]


async def page(user: str, after: int, limit: int, most: int, thread: str | None = None) -> list[StoredRecord]:
    """Records after an index, in order: at most `limit`, and at least one but else at most `most` bytes of cores.

    Those that were deleted are among them, empty.
    """
    query = models.Record.filter(user_id=user, index__gt=after)
    if thread is not None:
        query = query.filter(thread=thread)
    # Sizes first, so that a page of large records is not read whole before it is cut.
    sizes = await query.annotate(size=Length("core")).order_by("index").limit(limit).values_list("index", "size")
    chosen: list[int] = []
    for index, size in sizes:
        most -= size
        if chosen and most < 0:
            break
        chosen.append(index)
    rows = await models.Record.filter(user_id=user, index__in=chosen).order_by("index") if chosen else []
    return await _with_wraps(user, rows)


async def follow(user: str, index: int, thread: str | None = None) -> bool:
    """Whether there are records after an index."""
    query = models.Record.filter(user_id=user, index__gt=index)
    return await (query.filter(thread=thread) if thread is not None else query).exists()


async def all_of(user: str) -> AsyncIterator[StoredRecord]:
    """Every record of this user, in order; those that were deleted are empty."""
    after = 0
    while found := await page(user, after, 500, 4 * 1024 * 1024):
        for record in found:
            yield record
        after = found[-1].entry.index


async def _with_wraps(user: str, rows: list[models.Record]) -> list[StoredRecord]:
    wraps: dict[int, list[tuple[str, bytes]]] = {row.index: [] for row in rows}
    found = await models.Wrap.filter(user_id=user, index__in=list(wraps)).order_by("index", "place") if rows else []
    for wrap in found:
        wraps[wrap.index].append((wrap.recipient, bytes(wrap.sealed)))
    return [StoredRecord(entry_of(row), bytes(row.core), tuple(wraps[row.index]), bytes(row.receipt)) for row in rows]
