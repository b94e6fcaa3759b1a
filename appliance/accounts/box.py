"""The box's own files: its identity, and the pin of its administrator's key (SPEC 4.7, 8.5).

Both lie beside the database, never in it, so that who changes the database changes neither.
"""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from appliance.store import keyrings, people
from silo.crypto.encoding import b32, hash_bytes, id_bytes
from silo.crypto.keys import Signer, fingerprint, spoken
from silo.errors import SiloError
from silo.files import sync_folder, write_private

IDENTITY = "identity.key"
PIN = "admin.pin"
PROPOSED = "admin.pin.proposed"


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody changes afterwards, its owner included."""
    write_private(path, text.encode("ascii"), mode=0o400)


@dataclass(frozen=True)
class Box:
    """A silo's identity, and where its admin pin stands."""

    folder: Path
    silo: bytes
    """The silo's id, 16 bytes."""
    identity: Signer = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """What clients pin."""
        return fingerprint(self.identity.public)

    @property
    def spoken(self) -> str:
        """The fingerprint as people compare it."""
        return spoken(self.fingerprint)

    def pin(self) -> bytes | None:
        """Fingerprint of the admin key that signed keyring version 1; None before first run.

        Raises SiloError `data_damaged`.
        """
        try:
            return hash_bytes((self.folder / PIN).read_text("ascii").strip())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise SiloError("data_damaged", f"{PIN} cannot be read") from None

    def propose_pin(self, pin: bytes) -> None:
        """Write beside the pin's place what it will be once the first keyring is stored.

        Raises SiloError `setup_used` where a pin stands.
        """
        if self.pin() is not None:
            raise SiloError("setup_used")
        write_secret(self.folder / PROPOSED, b32(pin) + "\n")

    def settle_pin(self, stored: bytes | None) -> None:
        """Make the proposed pin the pin if the first keyring's signer, `stored`, is that key; else drop it.

        What the database says alone makes no pin.
        """
        proposed = self.folder / PROPOSED
        if not proposed.exists():
            return
        if stored is not None and proposed.read_bytes().strip() == b32(stored).encode():
            proposed.replace(self.folder / PIN)
        else:
            proposed.unlink()
        sync_folder(self.folder)


async def check_database(box: Box) -> None:
    """Raises SiloError `data_damaged` where the open database is another silo's, or lacks what the box has seen."""
    if await people.bound_silo() not in (None, b32(box.silo)):
        raise SiloError("data_damaged", "the database is another silo's")
    if box.pin() is not None and not await people.users():
        raise SiloError("data_damaged", "the database is empty, and this silo was set up")


async def claim_database(box: Box, now: int) -> None:
    """Make the open database this silo's, at its first start, and settle a first run that a crash ended half-way.

    Raises as `check_database`.
    """
    await check_database(box)
    await people.bind_silo(b32(box.silo), now)
    # Another silo may have been faster.
    await check_database(box)
    first = await keyrings.first()
    box.settle_pin(hash_bytes(first.signer) if first else None)


def open_box(folder: Path, create: bool) -> Box:
    """The box in `folder`; makes its identity at the first start where `create` says so.

    Raises SiloError `data_missing`, `data_damaged`, `data_unwritable`.
    """
    path = folder / IDENTITY
    try:
        if not path.exists():
            if not create:
                raise SiloError("data_missing", str(folder))
            _make_identity(folder)
    except OSError as error:
        raise SiloError("data_unwritable", f"{folder} ({error.strerror})") from None
    try:
        lines = [line.split() for line in path.read_text("ascii").splitlines() if not line.startswith("#")]
        fields = dict(lines)
        box = Box(folder, id_bytes(fields["silo"]), Signer(hash_bytes(fields["secret"])))
        if hash_bytes(fields["public"]) != box.identity.public:
            raise ValueError
        return box
    except (OSError, ValueError, KeyError):
        raise SiloError("data_damaged", f"{IDENTITY} cannot be read") from None


def _make_identity(folder: Path) -> None:
    if (folder / PIN).exists():
        raise SiloError("data_damaged", f"{IDENTITY} is gone and {PIN} is not")
    signer = Signer()
    write_secret(
        folder / IDENTITY,
        "# The identity of this silo: it signs transport keys and receipts. Keep it out of backups.\n"
        f"silo {b32(secrets.token_bytes(16))}\npublic {b32(signer.public)}\nsecret {b32(signer.seed)}\n",
    )
