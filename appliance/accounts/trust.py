"""The keyring in force, verified from the admin pin each time the database shows another one (SPEC 4.7)."""

from appliance.accounts.box import Box
from appliance.store import keyrings
from appliance.store.rows import StoredKeyring
from silo.crypto.keyring import Keyring, SignedKeyring, verify_keyring
from silo.errors import SiloError


def signed(row: StoredKeyring) -> SignedKeyring:
    """A stored keyring as it travels."""
    return SignedKeyring(document=row.document, signer=row.signer, signature=row.signature)


class Trust:
    """Gives the keyring in force, or refuses: nothing is sealed to a key that no administrator has signed."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._ready = False
        self._row: StoredKeyring | None = None
        self._accepted: list[Keyring] = []

    async def ready(self) -> bool:
        """Whether first run is over, which it is for good; what there is need not be a keyring to trust."""
        self._ready = self._ready or self._box.pin() is not None or await keyrings.newest() is not None
        return self._ready

    async def keyring(self) -> Keyring:
        """The highest keyring, verified. Raises SiloError `not_ready` before version 1, `keyring_broken`."""
        return (await self.accepted())[-1]

    async def accepted(self) -> list[Keyring]:
        """Every keyring up to the one in force, verified, in order. Raises as `keyring`."""
        row = await keyrings.newest()
        if row is None and self._box.pin() is None:
            raise SiloError("not_ready")
        if row is not None and row == self._row and self._accepted:
            return self._accepted
        if row is None or (self._row and row.version <= self._row.version):
            # Versions only rise; whoever went back, or changed one in place, went around the appliance.
            raise SiloError("keyring_broken")
        pin = self._box.pin()
        try:
            if pin is None:
                raise SiloError("forged")
            chain: list[Keyring] = []
            for one in await keyrings.after(0):
                chain.append(verify_keyring(signed(one), self._box.silo, pin, chain[-1] if chain else None))
            if not chain:
                raise SiloError("stale")
            keyring = chain[-1]
            if self._box.identity.public not in keyring.identities() or keyring.document.version != row.version:
                raise SiloError("forged")
        except SiloError as error:
            raise SiloError("keyring_broken", error.code) from None
        self._row, self._accepted = row, chain
        return chain
