"""Which database is open, and what only one of the two needs."""

from tortoise import connections


def on_postgres() -> bool:
    """Whether the open database is PostgreSQL: other silos of the same name may be using it."""
    return connections.get("default").capabilities.dialect == "postgres"


async def alone(name: str) -> None:
    """Wait, in a transaction, until no other one of any host is in work of that name. SQLite has one writer anyhow."""
    if on_postgres():
        await connections.get("default").execute_query("SELECT pg_advisory_xact_lock(hashtext($1))", [name])
