"""Users, their devices and locks, and the setup link that lets the first of them in."""

from tortoise.exceptions import IntegrityError, OperationalError

from appliance.store import models
from appliance.store.database import whole
from appliance.store.dialect import alone, ask
from appliance.store.rows import Account, Conflict, EnrolledDevice, FirstRun, StoredLock, StoredManifest
from silo.errors import SiloError

_CALLER = """
    SELECT device.user_id, device.sign, device.statement, device.signature, device.vouch, device.time, device.revoked,
        account.name, account.role, account.account, account.sign AS account_sign, account.time AS account_time
    FROM device JOIN "user" AS account ON account.id = device.user_id
    WHERE device.id = $1"""


def _account(row: models.User) -> Account:
    return Account(row.id, row.name, row.role, bytes(row.account), bytes(row.sign), row.time)


def _device(row: models.Device) -> EnrolledDevice:
    return EnrolledDevice(
        row.id,
        row.user_id,
        bytes(row.sign),
        bytes(row.statement),
        bytes(row.signature),
        bytes(row.vouch),
        row.time,
        row.revoked,
    )


async def user(user_id: str) -> Account | None:
    """The account with that id."""
    row = await models.User.get_or_none(id=user_id)
    return _account(row) if row else None


async def users() -> list[Account]:
    """All accounts, oldest first."""
    return [_account(row) for row in await models.User.all().order_by("time", "id")]


async def caller(device_id: str) -> tuple[EnrolledDevice, Account] | None:
    """The device with that id, revoked or not, and its account."""
    for row in await ask(_CALLER, device_id):
        enrolled = EnrolledDevice(
            device_id,
            row["user_id"],
            row["sign"],
            row["statement"],
            row["signature"],
            row["vouch"],
            row["time"],
            row["revoked"],
        )
        return enrolled, Account(
            row["user_id"], row["name"], row["role"], row["account"], row["account_sign"], row["account_time"]
        )
    return None


async def devices(user_id: str) -> list[EnrolledDevice]:
    """All devices that this user ever enrolled, oldest first."""
    return [_device(row) for row in await models.Device.filter(user_id=user_id).order_by("time", "id")]


async def lock(user_id: str, lock_id: str) -> StoredLock | None:
    """This user's lock with that id."""
    row = await models.Lock.get_or_none(id=lock_id, user_id=user_id)
    return StoredLock(row.id, row.kind, row.document) if row else None


async def manifest(user_id: str) -> StoredManifest | None:
    """What lists this user's locks."""
    row = await models.Manifest.get_or_none(user_id=user_id)
    return StoredManifest(row.version, row.document) if row else None


async def rotations(user_id: str) -> list[str]:
    """All rotations of this user's account key, oldest first."""
    return [row.document for row in await models.Rotation.filter(user_id=user_id).order_by("version")]


async def directory() -> list[str]:
    """All entries of the directory, oldest first."""
    return [row.document for row in await models.Directory.all().order_by("time", "id")]


async def entries(user_id: str) -> list[str]:
    """The directory's entries of this user, oldest first."""
    return [row.document for row in await models.Directory.filter(user_id=user_id).order_by("time", "id")]


async def setup_hash(not_before: int) -> str | None:
    """The hash that the live setup link answers to, unless it was made before `not_before` (ms)."""
    row = await models.Setup.get_or_none(id=1)
    return row.hash if row and row.time >= not_before else None


async def renew_setup(hashed: str, now: int) -> None:
    """Make this the one live setup link; the one before is void."""

    async def write() -> None:
        await alone("setup")
        await models.Setup.filter(id=1).delete()
        await models.Setup.create(id=1, hash=hashed, time=now)

    await whole(write)


async def first_run(brought: FirstRun, hashed: str) -> None:
    """Keyring version 1, the first account, its device, locks and entry, the setup link used up: all or nothing.

    Raises Conflict where the link with that hash is not live any more or there is a keyring, SiloError
    `storage_full` where the disk does not take it.
    """
    keyring, account, enrolled = brought.keyring, brought.account, brought.device

    async def write() -> None:
        if not await models.Setup.filter(id=1, hash=hashed).delete() or await models.Keyring.exists():
            raise Conflict
        await models.Keyring.create(
            version=keyring.version,
            document=keyring.document,
            signer=keyring.signer,
            signature=keyring.signature,
            time=account.time,
        )
        await models.User.create(
            id=account.id,
            name=account.name,
            role=account.role,
            account=account.account,
            sign=account.sign,
            time=account.time,
        )
        await models.Device.create(
            id=enrolled.id,
            user_id=enrolled.user,
            sign=enrolled.sign,
            statement=enrolled.statement,
            signature=enrolled.signature,
            vouch=enrolled.vouch,
            time=enrolled.time,
        )
        for one in brought.locks:
            await models.Lock.create(id=one.id, user_id=account.id, kind=one.kind, document=one.document)
        await models.Manifest.create(
            user_id=account.id, version=brought.manifest.version, document=brought.manifest.document
        )
        await models.Directory.create(user_id=account.id, time=brought.entry.time, document=brought.entry.document)

    try:
        await whole(write)
    except IntegrityError:
        raise Conflict from None
    except OperationalError:
        raise SiloError("storage_full") from None


async def bound_silo() -> str | None:
    """The id of the silo that this database belongs to."""
    row = await models.Silo.first()
    return row.id if row else None


async def bind_silo(silo_id: str, now: int) -> None:
    """Make this database that silo's, unless it is some silo's already."""

    async def write() -> None:
        await alone("silo")
        if await bound_silo() is None:
            await models.Silo.create(id=silo_id, time=now)

    await whole(write)
