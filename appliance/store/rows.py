"""What the store hands out and takes: plain values, so that no other room knows Tortoise."""

from dataclasses import dataclass


class Conflict(Exception):
    """Something with that key stands there already."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user, as a request needs it."""

    id: str
    name: str
    role: str
    account: bytes
    """X-Wing public key, as the database has it: compare its fingerprint with the one a request names."""
    sign: bytes
    """The account's signing key (Ed25519), as the database has it."""
    time: int


@dataclass(frozen=True, slots=True)
class EnrolledDevice:
    """A device and its enrolment statement."""

    id: str
    user: str
    sign: bytes
    statement: bytes
    signature: bytes
    vouch: bytes
    time: int
    revoked: int | None


@dataclass(frozen=True, slots=True)
class StoredLock:
    """A lock, to the byte."""

    id: str
    kind: str
    document: str


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A lock manifest, to the byte."""

    version: int
    document: str


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry of the directory, to the byte; `time` is its own."""

    time: int
    document: str


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What `POST /setup` brings, checked."""

    keyring: "StoredKeyring"
    account: Account
    device: EnrolledDevice
    locks: tuple[StoredLock, ...]
    manifest: StoredManifest
    entry: StoredEntry


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a user's log; `at` 0 and no hash where it is empty."""

    at: int
    hash: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A record without its bytes."""

    index: int
    turn: str
    thread: str
    parent: str | None
    kind: int
    time: int
    core_hash: str
    entry_hash: str


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record with core, wraps in the receipt's order, and receipt; all three empty where it was deleted."""

    entry: Entry
    core: bytes
    wraps: tuple[tuple[str, bytes], ...]
    receipt: bytes


@dataclass(frozen=True, slots=True)
class StoredTombstone:
    """What stands for a deleted record."""

    user: str
    index: int
    thread: str
    statement: bytes
    signature: bytes
    receipt: bytes | None
    """Of the deletion; None until the bytes are gone."""


@dataclass(frozen=True, slots=True)
class StoredBag:
    """A key bag; `at` 0 and nothing sealed after a deletion, version 0 where none ever was."""

    version: int
    at: int
    entry_hash: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class StoredKeyring:
    """A signed keyring, to the byte."""

    version: int
    document: str
    signer: str
    signature: str


@dataclass(frozen=True, slots=True)
class OnceRow:
    """What is known of a request that changes or generates."""

    state: str
    host: str
    turn: str | None
