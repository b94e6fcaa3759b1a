"""An export: everything that was sealed, as it lies in the store, in one file (SPEC 7.5)."""

import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO

from appliance.accounts.box import Box
from appliance.accounts.trust import signed
from appliance.store import keyrings, people, records
from silo.crypto.encoding import b32, b64, hash_bytes, write_json
from silo.crypto.sealing import state_heads
from silo.errors import SiloError


async def lines(box: Box, now: int) -> AsyncIterator[dict[str, Any]]:
    """The export's lines, in order. Call it inside one transaction, so that they belong together."""
    pin = box.pin()
    yield {
        "type": "silo",
        "format": "securesilo/1 export",
        "silo": b32(box.silo),
        "identity": b32(box.identity.public),
        "genesis": b32(pin) if pin else None,
        "time": now,
    }
    for row in await keyrings.after(0):
        yield {"type": "keyring", "signed": signed(row)}
    heads: list[tuple[str, int, bytes]] = []
    count = 0
    for user in await people.users():
        account = b64(user.account)
        yield {
            "type": "user",
            "id": user.id,
            "name": user.name,
            "role": user.role,
            "account": account,
            "time": user.time,
        }
        for device in await people.devices(user.id):
            yield {
                "type": "enrolment",
                "user": user.id,
                "device": device.id,
                "statement": b64(device.statement),
                "signature": b64(device.signature),
                "revoked": device.revoked,
            }
        async for record in records.all_of(user.id):
            count += 1
            wraps = [{"recipient": recipient, "sealed": b64(sealed)} for recipient, sealed in record.wraps]
            yield {
                "type": "record",
                "user": user.id,
                "index": record.entry.index,
                "core": b64(record.core),
                "wraps": wraps,
                "receipt": b64(record.receipt),
            }
        head = await records.head(user.id)
        if head.hash:
            heads.append((user.id, head.at, hash_bytes(head.hash)))
    statement, signature = state_heads(box.identity, box.silo, now, heads)
    yield {"type": "end", "records": count, "statement": statement, "signature": signature}


async def write(box: Box, out: Path, now: int, progress: Callable[[int], None]) -> dict[str, Any]:
    """Write the export to `out`, whole or not at all; never over a file that exists. Raises SiloError `bad_file`."""
    counts: dict[str, int] = {}
    try:
        part, file = _fresh(out)
        try:
            with file:
                async for line in lines(box, now):
                    file.write(write_json(line) + b"\n")
                    counts[line["type"]] = counts.get(line["type"], 0) + 1
                    progress(counts.get("record", 0))
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            _publish(part, out)
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError:
        raise SiloError("bad_file", f"{out} exists already") from None
    except OSError as error:
        raise SiloError("bad_file", f"{out} ({error.strerror})") from None
    return {"export": str(out), "bytes": size, "users": counts.get("user", 0), "records": counts.get("record", 0)}


def _fresh(out: Path) -> tuple[Path, BinaryIO]:
    if os.path.lexists(out):
        raise FileExistsError
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    return part, open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _publish(part: Path, out: Path) -> None:
    try:
        # A link, where a rename would do, refuses to take the place of a file that came meanwhile.
        os.link(part, out)
    except FileExistsError:
        raise
    except OSError:
        # Sticks and shares often have no links.
        if os.path.lexists(out):
            raise FileExistsError from None
        part.rename(out)
    folder = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
