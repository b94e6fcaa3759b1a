"""Every keyring version that was accepted. Whether one may be trusted is decided elsewhere, from the pin."""

from appliance.store import models
from appliance.store.dialect import ask
from appliance.store.rows import StoredKeyring

_MOST = 2**31 - 1
"""The highest version that the column holds. PostgreSQL refuses to compare it with more."""


async def after(version: int) -> list[StoredKeyring]:
    """The versions above `version`, in order."""
    rows = await models.Keyring.filter(version__gt=min(version, _MOST)).order_by("version")
    return [StoredKeyring(row.version, row.document, row.signer, row.signature) for row in rows]


async def first() -> StoredKeyring | None:
    """Version 1."""
    return next(iter(await after(0)), None)


async def newest() -> StoredKeyring | None:
    """The highest version."""
    for row in await ask("SELECT version, document, signer, signature FROM keyring ORDER BY version DESC LIMIT 1"):
        return StoredKeyring(**row)
    return None
