"""Which processes serve this silo: with PostgreSQL there may be several, and one must tell another's work from its end.

On SQLite there is one, which holds the data folder: nothing is written, and nobody else is alive.
"""

import math
import time

from tortoise import connections

from appliance.store import models
from appliance.store.dialect import on_postgres

EVERY = 3
"""Seconds between two signs of life."""
ALIVE = 10_000
"""Milliseconds for which one counts."""
_DAY = 24 * 3_600_000
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
"""The database's clock: the hosts' may differ."""


class _Sight:
    """Since when, by this process's clock in seconds, its own signs of life have come through."""

    since = -math.inf
    last = -math.inf


async def beat(host: str) -> None:
    """A sign of life. Raises SiloError `storage_away`."""
    if not on_postgres():
        return
    query = f'INSERT INTO "host" ("id", "seen") VALUES ($1, {_NOW})'
    query += ' ON CONFLICT ("id") DO UPDATE SET "seen" = excluded."seen"'
    await connections.get("default").execute_query(query, [host])
    now = time.monotonic()
    if now - _Sight.last > ALIVE / 1000:
        _Sight.since = now
    _Sight.last = now


async def alive(host: str) -> bool:
    """Whether that process is to be taken for alive. PostgreSQL alone can tell.

    After the database was away nobody has been seen for a while, and all get the time to be seen again.
    """
    query = f'SELECT "seen" > {_NOW} - {ALIVE} AS lately FROM "host" WHERE "id" = $1'
    found = await connections.get("default").execute_query_dict(query, [host])
    return bool(found) and (found[0]["lately"] or time.monotonic() - _Sight.since < ALIVE / 1000)


async def any_alive() -> bool:
    """Whether any process gave a sign of life lately."""
    query = f'SELECT 1 FROM "host" WHERE "seen" > {_NOW} - {ALIVE}'
    return bool(await connections.get("default").execute_query_dict(query))


async def leave(host: str) -> None:
    """That process serves no more."""
    if on_postgres():
        await models.Host.filter(id=host).delete()


async def sweep() -> None:
    """Forget those that were not seen for a day."""
    if on_postgres():
        await connections.get("default").execute_query(f'DELETE FROM "host" WHERE "seen" < {_NOW} - {_DAY}')
