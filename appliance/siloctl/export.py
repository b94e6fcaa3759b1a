"""An export: everything that was sealed, as it lies in the store, in one file (SPEC 7.5)."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from appliance.accounts.box import Box
from appliance.accounts.trust import signed
from appliance.api.routes import record_message, tombstone_message
from appliance.store import deletions, keyrings, people, records
from silo.crypto.directory import SignedEntry
from silo.crypto.encoding import b32, b64, hash_bytes, read_json, write_json
from silo.crypto.rotation import Rotation
from silo.crypto.sealing import state_heads
from silo.errors import SiloError
from silo.files import private_file
from silo.messages import (
    ExportEnd,
    ExportEnrolment,
    ExportEntry,
    ExportKeyring,
    ExportLine,
    ExportRecord,
    ExportRotation,
    ExportSilo,
    ExportTombstone,
    ExportUser,
)


async def lines(box: Box, now: int) -> AsyncIterator[ExportLine]:
    """The export's lines, in order. Call it inside one transaction, so that they belong together."""
    pin = box.pin()
    yield ExportSilo(silo=b32(box.silo), identity=b32(box.identity.public), genesis=b32(pin) if pin else None, time=now)
    for row in await keyrings.after(0):
        yield ExportKeyring(signed=signed(row))
    for entry in await people.directory():
        yield ExportEntry(entry=read_json(entry.encode(), SignedEntry))
    users = await people.users()
    for user in users:
        yield ExportUser(
            id=user.id,
            name=user.name,
            role=user.role,
            account=b64(user.account),
            sign=b32(user.sign),
            time=user.time,
        )
    for user in users:
        for rotation in await people.rotations(user.id):
            yield ExportRotation(user=user.id, rotation=read_json(rotation.encode(), Rotation))
    for user in users:
        for device in await people.devices(user.id):
            yield ExportEnrolment(
                user=user.id,
                device=device.id,
                statement=b64(device.statement),
                signature=b64(device.signature),
                vouch=b64(device.vouch),
                revoked=device.revoked,
            )
    heads: list[tuple[str, int, bytes]] = []
    count = 0
    for user in users:
        async for record in records.all_of(user.id):
            if not record.core:
                for stone in await deletions.tombstones(user.id, {record.entry.index: record.entry.thread}):
                    gone = tombstone_message(stone)
                    yield ExportTombstone(
                        user=user.id,
                        index=gone.index,
                        thread=gone.thread,
                        statement=gone.statement,
                        signature=gone.signature,
                        receipt=gone.receipt,
                    )
                continue
            count += 1
            sealed = record_message(record)
            yield ExportRecord(
                user=user.id, index=sealed.index, core=sealed.core, wraps=sealed.wraps, receipt=sealed.receipt
            )
        head = await records.head(user.id)
        if head.hash:
            heads.append((user.id, head.at, hash_bytes(head.hash)))
    statement, signature = state_heads(box.identity, box.silo, now, heads)
    yield ExportEnd(records=count, statement=statement, signature=signature)


async def write(box: Box, out: Path, now: int, progress: Callable[[int], None]) -> dict[str, Any]:
    """Write the export to `out`, whole or not at all; never over a file that exists. Raises SiloError `bad_file`."""
    counts: Counter[str] = Counter()
    try:
        with private_file(out, new=True) as file:
            async for line in lines(box, now):
                file.write(write_json(line) + b"\n")
                counts[line.type] += 1
                progress(counts["record"])
            size = file.tell()
    except FileExistsError:
        raise SiloError("bad_file", f"{out} exists already; name another file, or remove that one") from None
    except OSError as error:
        raise SiloError("bad_file", f"{out} ({error.strerror})") from None
    return {"export": str(out), "bytes": size, "users": counts["user"], "records": counts["record"]}
