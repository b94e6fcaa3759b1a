"""Requests that run once: written down before they begin, whatever key or host they came to (SPEC 4.3)."""

from collections.abc import Collection

from tortoise.exceptions import IntegrityError, OperationalError

from appliance.store import hosts, models
from appliance.store.database import replaced
from appliance.store.dialect import on_postgres
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
            if row := await known(device, request, host):
                return row
        except OperationalError:
            raise SiloError("storage_full") from None
        else:
            return None


async def known(device: str, request: str, host: str) -> OnceRow | None:
    """What is written of a request, as the process `host` is to see it.

    `running` means that this process has it, or another that is alive. What a dead one had is `lost` from now on:
    should that one come back, it can keep nothing of it.
    """
    row = await models.Once.get_or_none(device=device, request=request)
    return await _settled(row, host) if row else None


async def _settled(row: models.Once, host: str) -> OnceRow:
    state = row.state
    if state == "running" and row.host != host and not on_postgres():
        state = "lost"  # a process before this one had it
    elif state == "running" and row.host != host and not await hosts.alive(row.host):
        await models.Once.filter(id=row.id, state="running").update(state="lost")
        # It may have been done in that moment.
        now = await models.Once.get_or_none(id=row.id)
        state = now.state if now else "lost"
    return OnceRow(state, row.host, row.turn)


async def end(device: str, request: str, state: str) -> None:
    """Mark a request `failed` (it ran, and was not kept) or `refused` (before the first word)."""
    await models.Once.filter(device=device, request=request, state="running").update(state=state)


async def running(user: str, turn: str, host: str) -> OnceRow | None:
    """What is known of the request that made, or makes, this turn; as `known`."""
    devices = await models.Device.filter(user_id=user).values_list("id", flat=True)
    row = await models.Once.filter(device__in=list(devices), turn=turn).order_by("-id").first()
    return await _settled(row, host) if row else None


async def finish(device: str, request: str) -> None:
    """Mark a request done, in the caller's transaction. Raises SiloError `lost` where another host gave it up."""
    mine = models.Once.filter(device=device, request=request)
    if not await mine.filter(state="running").update(state="done") and await mine.filter(state="lost").exists():
        raise SiloError("lost")


async def give_up(host: str, turns: Collection[str], before: int) -> None:
    """Mark as lost what `host` wrote down as running before a time (ms) and that is none of its `turns`.

    For where the database was away when it ended: another host would take it for running.
    """
    if not on_postgres():
        return
    rows = await models.Once.filter(host=host, state="running", time__lt=before)
    gone = [row.id for row in rows if row.turn not in turns]
    if gone:
        await models.Once.filter(id__in=gone, state="running").update(state="lost")


async def sweep(now: int) -> None:
    """Drop what is older than any request that the door would still take."""
    await models.Once.filter(time__lt=now - KEPT).delete()
    await hosts.sweep()
