"""Key bags: opaque, one a thread, replaced by compare-and-set (SPEC 7.8)."""

from tortoise.exceptions import IntegrityError, OperationalError
from tortoise.expressions import F

from appliance.store import models, once
from appliance.store.database import replaced, whole
from appliance.store.rows import Conflict, StoredBag
from silo.errors import SiloError


async def bag(user: str, thread: str) -> StoredBag:
    """The bag of a thread; version 0 where none ever was."""
    row = await models.Bag.get_or_none(user_id=user, thread=thread)
    return StoredBag(row.version, row.at, row.entry_hash, bytes(row.sealed)) if row else StoredBag(0, 0, "", b"")


async def put(user: str, thread: str, new: StoredBag, request: tuple[str, str]) -> None:
    """Replace the bag whose version is one lower, if its last record is one of the thread and not deleted; marks
    `request` (device, id) done.

    Raises Conflict where another version stands, LookupError where there is no such record, SiloError `storage_full`.
    """

    async def write() -> None:
        last = models.Record.filter(user_id=user, thread=thread, index=new.at, entry_hash=new.entry_hash)
        if not await last.exclude(core=b"").exists():
            raise LookupError
        fields = {"version": new.version, "at": new.at, "entry_hash": new.entry_hash, "sealed": new.sealed}
        if new.version == 1:
            await models.Bag.create(user_id=user, thread=thread, **fields)
        elif not await models.Bag.filter(user_id=user, thread=thread, version=new.version - 1).update(**fields):
            raise Conflict
        await once.finish(*request)

    if replaced():
        raise SiloError("data_damaged", "the database was replaced")
    try:
        await whole(write)
    except IntegrityError:
        raise Conflict from None
    except OperationalError:
        raise SiloError("storage_full") from None


async def empty(user: str, thread: str) -> None:
    """Drop a bag's content inside the caller's transaction. It counts as a version, and where no bag is one is made:
    whoever read the thread before cannot put back a key that has to go."""
    rows = models.Bag.filter(user_id=user, thread=thread)
    if not await rows.update(version=F("version") + 1, at=0, entry_hash="", sealed=b""):
        await models.Bag.create(user_id=user, thread=thread, version=1, at=0, entry_hash="", sealed=b"")
