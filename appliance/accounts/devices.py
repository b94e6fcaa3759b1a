"""Whether a device's row may be believed (SPEC 4.3, step 4): whoever writes to the database can write one too."""

from collections import OrderedDict

from appliance.accounts.box import Box
from appliance.accounts.trust import Trust
from appliance.log import logger
from appliance.store import people
from appliance.store.rows import Account, EnrolledDevice
from silo.crypto.directory import Entry, SignedEntry, newest, read_entry
from silo.crypto.encoding import id_bytes, read_json
from silo.crypto.keyring import Keyring
from silo.crypto.keys import check_vouch, fingerprint, read_enrolment
from silo.crypto.rotation import Rotation, follow
from silo.errors import SiloError

_REMEMBERED = 2000


class Devices:
    """Checks devices, and remembers those that held: a later request of one costs a comparison."""

    def __init__(self, box: Box, trust: Trust) -> None:
        self._box = box
        self._trust = trust
        self._held: OrderedDict[str, tuple[EnrolledDevice, bytes, bytes]] = OrderedDict()
        """device -> its row, and its account's two keys, as they were when they held"""

    async def holds(self, account: Account, device: EnrolledDevice, named: bytes | None = None) -> bool:
        """Whether the device signed its statement and the account vouched for it, as live or as revoked as the row
        says; and, where an administrator has said whose account that is, whether its signing key is that account's.

        The vouch names the account key in the database, or else the one that the request names (`named`, its
        fingerprint): where these two differ it is the next step that says so. Where the keyring is broken nobody's
        word counts, and nothing is remembered. Raises nothing of its own.
        """
        row = device, account.account, account.sign
        if self._held.get(device.id) == row:
            self._held.move_to_end(device.id)
            return True
        try:
            keyring = await self._trust.keyring()
        except SiloError:
            keyring = None
        try:
            self._check(account, device, named)
            if keyring:
                await self._check_account(account, keyring)
        except (SiloError, ValueError):
            logger().error("a device's row has no proof")
            return False
        if keyring:
            self._held[device.id] = row
            self._held.move_to_end(device.id)
            if len(self._held) > _REMEMBERED:
                self._held.popitem(last=False)
        return True

    async def of(self, user: str) -> dict[bytes, list[bytes]]:
        """This user's devices that hold, revoked or not: id -> Ed25519 public keys."""
        account = await people.user(user)
        if account is None:
            return {}
        return {id_bytes(one.id): [one.sign] for one in await people.devices(user) if await self.holds(account, one)}

    def _check(self, account: Account, device: EnrolledDevice, accepted: bytes | None) -> None:
        said = read_enrolment(device.statement, device.signature)
        named = (self._box.silo, id_bytes(account.id), id_bytes(device.id), device.sign)
        if (said.silo, said.user, said.device, said.sign) != named or device.user != account.id:
            raise SiloError("forged")
        vouched = device.vouch, device.statement, device.signature, device.revoked
        try:
            check_vouch(account.sign, fingerprint(account.account), *vouched)
        except SiloError:
            if accepted is None:
                raise
            check_vouch(account.sign, accepted, *vouched)

    async def _check_account(self, account: Account, keyring: Keyring) -> None:
        user = id_bytes(account.id)
        listed = newest(await self._entries(account.id, keyring)).get(user)
        if listed is None:
            return
        rotations = [read_json(one.encode(), Rotation) for one in await people.rotations(account.id)]
        _, sign = follow(rotations, self._box.silo, user, listed.account, listed.sign)
        if sign != account.sign:
            raise SiloError("forged")

    async def _entries(self, user: str, keyring: Keyring) -> list[Entry]:
        # One that its administrator's key did not sign is as good as none: whoever put it there could take all away.
        found: list[Entry] = []
        for one in await people.entries(user):
            try:
                found.append(read_entry(read_json(one.encode(), SignedEntry), keyring))
            except (SiloError, ValueError):
                continue
        return found
