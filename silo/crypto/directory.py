"""The directory: an administrator's word on which account key is whose (SPEC 8.8).

Whoever lacks a user's seed learns the account's keys here: an admin key signs each entry, and nothing else counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from silo.crypto import labels
from silo.crypto.encoding import Blob, Hash, b32, b64, is_name, u64, unb64
from silo.crypto.keyring import Keyring
from silo.crypto.keys import SIGN_SIZE, AdminKey, verify
from silo.crypto.labels import pack, unpack
from silo.errors import SiloError


class SignedEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An entry as it travels and as it is stored."""

    statement: Blob
    signer: Hash
    """Fingerprint of the admin key that signed."""
    signature: Blob


@dataclass(frozen=True)
class Entry:
    """Whose account key it is. All fields but the name and the time are raw bytes."""

    silo: bytes
    user: bytes
    name: str
    """By which people know the user (SPEC 5.6)."""
    account: bytes
    """The account key's fingerprint, 32 bytes."""
    sign: bytes
    """The account's signing key (Ed25519), 32 bytes."""
    time: int
    """Milliseconds since 1970."""

    def statement(self) -> bytes:
        """The bytes that are signed."""
        return pack(
            labels.DIRECTORY_ENTRY,
            *(self.silo, self.user, self.name.encode(), self.account, self.sign, u64(self.time)),
        )


def sign_entry(admin: AdminKey, entry: Entry) -> SignedEntry:
    """The entry as this admin key signs it."""
    said = entry.statement()
    return SignedEntry(
        statement=b64(said),
        signer=b32(admin.public.fingerprint),
        signature=b64(admin.signer.sign(labels.DIRECTORY_ENTRY, said)),
    )


def read_entry(signed: SignedEntry, keyring: Keyring) -> Entry:
    """The entry, if a live admin of this keyring signed it for this silo. Raises SiloError `forged`.

    `keyring` is the one in force: what a revoked admin signed has to be signed again.
    """
    live = keyring.admins
    try:
        said, signature = unb64(signed.statement), unb64(signed.signature)
        silo, user, spelled, account, sign, time = unpack(labels.DIRECTORY_ENTRY, said, 6)
        name = spelled.decode()
        if [len(silo), len(user), len(account), len(sign), len(time)] != [16, 16, 32, SIGN_SIZE, 8]:
            raise ValueError
        if not is_name(name):
            raise ValueError
        if b32(silo) != keyring.document.silo or signed.signer not in live:
            raise ValueError
    except ValueError:
        raise SiloError("forged") from None
    verify(live[signed.signer], signature, labels.DIRECTORY_ENTRY, said)
    return Entry(silo, user, name, account, sign, int.from_bytes(time, "big"))


def newest(entries: Iterable[Entry], seen: Mapping[bytes, int] | None = None) -> dict[bytes, Entry]:
    """user -> the newest entry; `seen` has the time of the newest that the reader met before.

    Raises SiloError `forged` for two that differ with one time, `stale` where a user's is older than what was
    seen, or gone.
    """
    found: dict[bytes, Entry] = {}
    met: dict[tuple[bytes, int], Entry] = {}
    for entry in entries:
        if met.setdefault((entry.user, entry.time), entry) != entry:
            raise SiloError("forged", "two entries of one time")
        before = found.get(entry.user)
        if before is None or before.time < entry.time:
            found[entry.user] = entry
    for user, time in (seen or {}).items():
        if user not in found or found[user].time < time:
            raise SiloError("stale", "the directory has an older entry than was seen")
    return found
