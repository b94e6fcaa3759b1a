"""What stays where a record was deleted, and the silo's word that its bytes are gone (SPEC 7.7).

Both ends use this: the silo takes no tombstone that an opener would refuse.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from silo.crypto import labels
from silo.crypto.encoding import HASH_SIZE, ID_SIZE, hash_bytes, u64
from silo.crypto.keyring import Keyring
from silo.crypto.keys import Signer, verify
from silo.crypto.labels import digest, pack, unpack
from silo.errors import SiloError

USER = "user"
RETENTION = "retention"
NOBODY = bytes(ID_SIZE)
"""Who deletes for reason of retention: no device."""
PLACES = ("wal", "replicas", "backups")
"""Where bytes may outlive their deletion, in the order in which a receipt names them."""
DAY = 86_400_000
CLOCKS = 10 * 60_000
"""How far two clocks may be apart, in milliseconds (SPEC 4.3)."""

_SIZES = (ID_SIZE, ID_SIZE, 8, HASH_SIZE, HASH_SIZE, 8, ID_SIZE, 0, 8, HASH_SIZE, 8)


@dataclass(frozen=True)
class Erased:
    """Which record is meant: what the user's log says of it."""

    silo: bytes
    user: bytes
    index: int
    core_hash: bytes
    entry_hash: bytes


@dataclass(frozen=True)
class Tombstone:
    """Who deleted which record, when, and under which keyring's policy."""

    erased: Erased
    made: int
    """The record's own time, in milliseconds."""
    who: bytes
    """The device's id; zeros where the policy did."""
    why: str
    """`user` or `retention`."""
    keyring_version: int
    keyring_hash: bytes
    time: int
    """When it was deleted, in milliseconds."""

    def statement(self) -> bytes:
        """The bytes that are signed."""
        return pack(
            labels.TOMBSTONE,
            self.erased.silo,
            self.erased.user,
            u64(self.erased.index),
            self.erased.core_hash,
            self.erased.entry_hash,
            u64(self.made),
            self.who,
            self.why.encode(),
            u64(self.keyring_version),
            self.keyring_hash,
            u64(self.time),
        )


def sign_tombstone(signer: Signer, statement: bytes) -> bytes:
    """The signature of the user's device (`user`) or of the silo's identity (`retention`)."""
    return signer.sign(labels.TOMBSTONE, statement)


def read_tombstone(statement: bytes) -> Tombstone:
    """What a statement says; nobody's signature is checked. Raises SiloError `forged` where it is not well formed."""
    try:
        fields = unpack(labels.TOMBSTONE, statement, len(_SIZES))
        if any(size and len(one) != size for one, size in zip(fields, _SIZES, strict=True)):
            raise ValueError
        silo, user, _, core, entry, _, who, why, _, keyring, _ = fields
        index, made, version, time = (read_number(fields[at]) for at in (2, 5, 8, 10))
        reason = why.decode("ascii")
        if reason not in (USER, RETENTION) or (who == NOBODY) != (reason == RETENTION):
            raise ValueError
    except ValueError:
        raise SiloError("forged", "the tombstone is damaged") from None
    return Tombstone(Erased(silo, user, index, core, entry), made, who, reason, version, keyring, time)


def read_number(spelled: bytes) -> int:
    """A number in 8 bytes, below 2^53 as everywhere. Raises ValueError."""
    number = int.from_bytes(spelled, "big")
    if len(spelled) != 8 or number >= 2**53:
        raise ValueError("not a number below 2^53 in 8 bytes")
    return number


def check_tombstone(
    statement: bytes,
    signature: bytes,
    erased: Erased,
    keyrings: Collection[Keyring],
    devices: Mapping[bytes, Iterable[bytes]],
) -> Tombstone:
    """The tombstone, if it is a valid one for the record `erased`.

    `keyrings` are the versions that the opener has accepted, `devices` the user's: id -> Ed25519 public keys.
    Raises SiloError `forged` for another record, a keyring that was not accepted, that another had followed by then or
    whose policy does not allow it, a time before the record's own, and whoever may not sign it.
    """
    tombstone = read_tombstone(statement)
    if tombstone.erased != erased:
        raise SiloError("forged", "the tombstone is another record's")
    said = tombstone.keyring_version, tombstone.keyring_hash
    keyring = next((one for one in keyrings if (one.document.version, one.hash) == said), None)
    if keyring is None:
        raise SiloError("forged", "the tombstone names a keyring that was not accepted")
    following = next((one for one in keyrings if one.document.version == tombstone.keyring_version + 1), None)
    if following is not None and tombstone.time >= following.document.time + CLOCKS:
        raise SiloError("forged", "the keyring that the tombstone names was no longer in force")
    if tombstone.time + CLOCKS < tombstone.made:
        raise SiloError("forged", "it was deleted before it was made")
    if not _signed(_signers(tombstone, keyring, devices), signature, labels.TOMBSTONE, statement):
        raise SiloError("forged", "the tombstone is not signed by who says to have deleted")
    return tombstone


def _signers(tombstone: Tombstone, keyring: Keyring, devices: Mapping[bytes, Iterable[bytes]]) -> Iterable[bytes]:
    """The public keys that may sign it, if the policy allows it at all."""
    policy = keyring.document.policy
    if tombstone.why == USER:
        if not policy.user_deletion:
            raise SiloError("forged", "the policy does not let people delete")
        if tombstone.who not in devices:
            raise SiloError("forged", "an unknown device signed the tombstone")
        return devices[tombstone.who]
    if policy.retention_days is None:
        raise SiloError("forged", "the policy has no retention")
    if tombstone.time - tombstone.made < policy.retention_days * DAY:
        raise SiloError("forged", "it was deleted before the policy allows it")
    spare = [hash_bytes(keyring.document.spare)] if keyring.document.spare else []
    return [keyring.identity, *spare]


def _signed(signers: Iterable[bytes], signature: bytes, label: str, said: bytes) -> bool:
    for public in signers:
        try:
            verify(public, signature, label, said)
        except SiloError:
            continue
        return True
    return False


# --- the silo's word ---


@dataclass(frozen=True)
class Deletion:
    """What the silo signs once the bytes are gone from its live store."""

    tombstone_hash: bytes
    time: int
    until: int | None
    """Until when the places in `also` may hold the bytes, in milliseconds; None: the operator has not said."""
    also: tuple[str, ...]
    """Some of PLACES."""


def tombstone_hash(statement: bytes) -> bytes:
    """Over a tombstone's statement: deletion receipts carry this one."""
    return digest(labels.TOMBSTONE_HASH, statement)


def make_deletion(identity: Signer, statement: bytes, now: int, until: int | None, also: Iterable[str]) -> bytes:
    """The deletion receipt for a tombstone. Raises ValueError for a place that PLACES does not have."""
    named = set(also)
    if not named <= set(PLACES):
        raise ValueError("not a place that a receipt names")
    said = pack(
        labels.DELETION,
        tombstone_hash(statement),
        u64(now),
        b"" if until is None else u64(until),
        ",".join(place for place in PLACES if place in named).encode(),
    )
    return said + identity.sign(labels.DELETION, said)


def check_deletion(receipt: bytes, statement: bytes, identities: Iterable[bytes]) -> Deletion:
    """The deletion receipt, if one of the certified identities signed it for exactly this tombstone.

    Raises SiloError `forged`.
    """
    said, signature = receipt[:-64], receipt[-64:]
    if not _signed(identities, signature, labels.DELETION, said):
        raise SiloError("forged", "the deletion receipt is not the silo's")
    try:
        hashed, spelled, end, also = unpack(labels.DELETION, said, 4)
        time, until = read_number(spelled), read_number(end) if end else None
        places = tuple(also.decode("ascii").split(",")) if also else ()
        if places != tuple(one for one in PLACES if one in places) or (until is not None and until < time):
            raise ValueError
    except ValueError:
        raise SiloError("forged", "the deletion receipt is damaged") from None
    if hashed != tombstone_hash(statement):
        raise SiloError("forged", "the deletion receipt is another record's")
    return Deletion(hashed, time, until, places)
