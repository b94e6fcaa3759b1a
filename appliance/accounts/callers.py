"""Who is asking: the device that signed a request, its account, and what the request accepts (SPEC 4.3)."""

from dataclasses import dataclass

from appliance.accounts.devices import Devices
from appliance.accounts.trust import Trust, signed
from appliance.store import keyrings, people, records
from appliance.store.rows import Account, EnrolledDevice
from silo.crypto.channel import OpenedRequest
from silo.crypto.encoding import b32, b64, hash_bytes
from silo.crypto.keyring import Keyring
from silo.crypto.keys import Recipient, fingerprint
from silo.errors import SiloError

WINDOW = 10 * 60_000
"""How far a request's time may be from the silo's clock, in milliseconds, either way."""


@dataclass(frozen=True)
class Caller:
    """An authenticated request's account and device."""

    account: Account
    device: EnrolledDevice


@dataclass(frozen=True)
class Trusted:
    """The keys that a signed request named and that the silo may therefore seal to."""

    keyring: Keyring
    recipients: list[Recipient]
    """Account key, vault epoch, extras: the order of the receipt."""


def check_clock(time: int, now: int) -> None:
    """Raises SiloError `clock` with the silo's `now`."""
    if abs(time - now) > WINDOW:
        raise SiloError("clock", now=now)


async def authenticate(opened: OpenedRequest, devices: Devices) -> Caller:
    """The device that signed this request, and its account. Raises SiloError `unknown_device`, `forged`."""
    found = await people.caller(b32(opened.device)) if opened.has_device else None
    if found is None or found[0].revoked is not None:
        raise SiloError("unknown_device")
    device, account = found
    opened.check_signature(device.sign)
    named = opened.header.account
    if not await devices.holds(account, device, hash_bytes(named) if named else None):
        raise SiloError("unknown_device")
    return Caller(account, device)


async def check_trust(opened: OpenedRequest, caller: Caller, trust: Trust) -> Trusted:
    """Compare what the request accepts with what the silo has (SPEC 4.3, step 6).

    Raises SiloError `keyring_broken`, `account_changed`, `keyring_changed`, `stale_head`.
    """
    header = opened.header
    keyring = await trust.keyring()
    if header.account != b32(fingerprint(caller.account.account)):
        raise SiloError("account_changed", account=b64(caller.account.account))
    if header.keyring != keyring.seen:
        since = await keyrings.after(header.keyring.at if header.keyring else 0)
        raise SiloError("keyring_changed", keyrings=[signed(row) for row in since])
    if header.head and not await records.holds(caller.account.id, header.head.at, header.head.hash):
        head = await records.head(caller.account.id)
        raise SiloError("stale_head", head={"at": head.at, "hash": head.hash} if head.at else None)
    recipients = [Recipient(caller.account.account), keyring.vault, *keyring.extras(caller.account.id)]
    return Trusted(keyring, recipients)
