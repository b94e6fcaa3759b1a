"""Requests that run once: written down before they begin, whatever key or host they came to (SPEC 4.3)."""

from tortoise.exceptions import IntegrityError, OperationalError

from appliance.store import models
from appliance.store.database import replaced
from appliance.store.rows import OnceRow
from silo.errors import SiloError

KEPT = 30 * 60_000
"""Milliseconds; a request's own time is good for 20 minutes at most, and a clock may be set back a little."""


async def begin(device: str, request: str, turn: str | None, host: str, now: int) -> OnceRow | None:
    """Write a request down as running; None if it was not there, else what is known of it.

    Raises SiloError `storage_full` where the disk does not take it, `data_damaged` where the files were exchanged.
    """
    return await _write(device, request, turn, host, now, "running")


async def refuse(device: str, request: str, host: str, time: int) -> OnceRow | None:
    """Write a request down as refused before it came, so that it never runs; it is kept until `time` and `KEPT` more.

    None if it was not there, else what is known of it, and nothing is changed. Raises as `begin`.
    """
    return await _write(device, request, None, host, time, "refused")


async def _write(device: str, request: str, turn: str | None, host: str, time: int, state: str) -> OnceRow | None:
    if replaced():
        raise SiloError("data_damaged", "the database was replaced")
    while True:
        try:
            await models.Once.create(device=device, request=request, time=time, host=host, state=state, turn=turn)
        except IntegrityError:
            # It may be forgotten between the two: then it is free again.
            if row := await known(device, request):
                return row
        except OperationalError:
            raise SiloError("storage_full") from None
        else:
            return None


async def known(device: str, request: str) -> OnceRow | None:
    """What is written of a request."""
    row = await models.Once.get_or_none(device=device, request=request)
    return OnceRow(row.state, row.host, row.turn) if row else None


async def end(device: str, request: str, state: str) -> None:
    """Mark a request `failed` (it ran, and was not kept) or `refused` (before the first word)."""
    await models.Once.filter(device=device, request=request).update(state=state)


async def running(user: str, turn: str) -> OnceRow | None:
    """What is known of the request that made, or makes, this turn."""
    devices = await models.Device.filter(user_id=user).values_list("id", flat=True)
    row = await models.Once.filter(device__in=list(devices), turn=turn).order_by("-id").first()
    return OnceRow(row.state, row.host, row.turn) if row else None


async def sweep(now: int) -> None:
    """Drop what is older than any request that the door would still take."""
    await models.Once.filter(time__lt=now - KEPT).delete()
