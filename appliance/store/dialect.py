"""Which database is open, and what only one of the two needs."""

from typing import Any

from tortoise import connections


def on_postgres() -> bool:
    """Whether the open database is PostgreSQL: other silos of the same name may be using it."""
    return connections.get("default").capabilities.dialect == "postgres"


async def alone(name: str) -> None:
    """Wait, in a transaction, until no other one of any host is in work of that name. SQLite has one writer anyhow."""
    if on_postgres():
        await connections.get("default").execute_query("SELECT pg_advisory_xact_lock(hashtext($1))", [name])


async def ask(sql: str, *values: object) -> list[dict[str, Any]]:
    """The rows of a query that is written out, with $1, $2 … for `values`: for what every request asks, since building
    a query takes Tortoise longer than the database takes to answer it."""
    connection = connections.get("default")
    return await connection.execute_query_dict(sql if on_postgres() else sql.replace("$", "?"), list(values))
