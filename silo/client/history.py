"""What the silo kept of one user, opened on the user's own device (SPEC 7).

Nothing of a record counts before its wrap, commitment, frames, receipt, place in the log and the
device's signature fit each other.
"""

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, replace

from silo.crypto.encoding import b32, hash_bytes, id_bytes, read_json, unb64
from silo.crypto.keyring import Keyring
from silo.crypto.keys import Enrolment, check_vouch, read_enrolment
from silo.crypto.opening import Envelope, Log, OpenedRecord, Opener, open_record, open_with_key
from silo.crypto.sealing import KIND_TURN, TurnPlace, check_turn
from silo.crypto.tombstones import NOBODY, Deletion, Erased, Tombstone, check_deletion, check_tombstone
from silo.errors import SiloError
from silo.messages import (
    Enrolled,
    ExportEnrolment,
    ExportTombstone,
    Gone,
    LogEntry,
    Message,
    Record,
    Reply,
    TurnContent,
    TurnText,
)


@dataclass(frozen=True)
class Turn:
    """One turn of a chat, opened. Ids and hashes in base32, `time` in milliseconds."""

    index: int
    thread: str
    id: str
    parent: str | None
    """Core hash of the turn whose context was used."""
    time: int
    core: str
    entry: str
    device: str
    text: str
    """What the device signed, to the byte."""
    asked: TurnText
    reply: Reply


@dataclass(frozen=True)
class Deleted:
    """What is known of a record that was deleted: a valid tombstone stands in its place."""

    device: str | None
    """Which of the user's devices deleted it; None: the policy did."""
    time: int
    receipt: Deletion | None
    """The silo's word that the bytes are gone; None: not given yet."""


@dataclass(frozen=True)
class Opened:
    """A record as the log names it: its turn, who deleted it, or why there is neither."""

    entry: LogEntry
    turn: Turn | None
    error: SiloError | None
    deleted: Deleted | None = None


def envelope_of(record: Record) -> Envelope:
    """The record's bytes. Raises SiloError `header_failure` where they are misspelled."""
    try:
        wraps = {hash_bytes(wrap.recipient): unb64(wrap.sealed) for wrap in record.wraps}
        return Envelope(unb64(record.core), wraps, unb64(record.receipt))
    except ValueError:
        raise SiloError("header_failure") from None


def open_certified(
    envelope: Envelope, openers: list[Opener], silo: bytes, user: bytes, identities: Iterable[bytes]
) -> OpenedRecord:
    """`open_record` with whichever certified identity signed the receipt. Raises as it does."""
    error = SiloError("forged")
    for identity in identities:
        try:
            return open_record(envelope, openers, silo, user, identity)
        except SiloError as failure:
            if failure.code != "forged":
                raise
            error = failure
    raise error


@dataclass(frozen=True)
class Voucher:
    """Who must have vouched for a device: an account, as its own seed or an administrator names it."""

    account: bytes
    """The account key's fingerprint."""
    sign: bytes
    """The account's signing key."""


def read_device(enrolled: Enrolled | ExportEnrolment, silo: bytes, user: bytes, voucher: Voucher) -> Enrolment:
    """An enrolment of this user on this silo, that the account vouched for, with the time of revocation that the vouch
    has. Raises SiloError `forged`, also where another time stands beside the vouch."""
    try:
        said, signature, vouch = unb64(enrolled.statement), unb64(enrolled.signature), unb64(enrolled.vouch)
    except ValueError:
        raise SiloError("forged") from None
    enrolment = read_enrolment(said, signature)
    try:
        check_vouch(voucher.sign, voucher.account, vouch, said, signature, enrolled.revoked)
    except SiloError:
        raise SiloError("forged", "nobody vouched for a device") from None
    if b32(enrolment.device) != enrolled.device:
        raise SiloError("forged", "a device under another's name")
    if (enrolment.silo, enrolment.user) != (silo, user):
        raise SiloError("forged", "another user's device")
    return replace(enrolment, revoked=enrolled.revoked)


def read_turn(opened: OpenedRecord, devices: dict[str, Enrolment] | None) -> Turn:
    """The turn in an opened record, signed by one of the user's devices (None: whoever signed it).

    Raises SiloError `header_failure` for another kind of record, `payload_failure` for what is no turn,
    `forged` where no known device signed it for this place, or one that had been revoked by then.
    """
    place = opened.place
    if place.kind != KIND_TURN:
        raise SiloError("header_failure", f"kind {place.kind}")
    try:
        content = read_json(opened.content, TurnContent)
        asked = read_json(content.turn.encode(), TurnText)
        signature = unb64(content.signature)
    except ValueError as error:
        raise SiloError("payload_failure", str(error)) from None
    if devices is not None:
        device = devices.get(content.device)
        if device is None:
            raise SiloError("forged", "an unknown device signed the turn")
        where = TurnPlace(place.silo, place.user, place.thread, place.id, place.parent)
        check_turn(device.sign, signature, where, content.turn.encode())
        if device.revoked is not None and place.time > device.revoked:
            raise SiloError("forged", "its device had been revoked")
    return Turn(
        place.index,
        b32(place.thread),
        b32(place.id),
        b32(place.parent) if any(place.parent) else None,
        place.time,
        b32(opened.core_hash),
        b32(opened.entry_hash),
        content.device,
        content.turn,
        asked,
        content.reply,
    )


def open_keyed(envelope: Envelope, key: bytes, silo: bytes, user: bytes, identities: Iterable[bytes]) -> OpenedRecord:
    """As `open_certified`, with the record key at hand: commitment and receipt judge it (SPEC 7.8)."""
    error = SiloError("forged")
    for identity in identities:
        try:
            return open_with_key(envelope, key, silo, user, identity)
        except SiloError as failure:
            if failure.code != "forged":
                raise
            error = failure
    raise error


def read_gone(
    gone: Gone | ExportTombstone,
    erased: Erased,
    keyrings: Collection[Keyring],
    devices: dict[str, Enrolment],
    identities: Iterable[bytes],
) -> tuple[Tombstone, Deleted]:
    """The tombstone for a record that the log names. Raises SiloError `forged` unless it is a valid one (SPEC 7.7)."""
    try:
        statement, signature = unb64(gone.statement), unb64(gone.signature)
        receipt = unb64(gone.receipt) if gone.receipt is not None else None
    except ValueError:
        raise SiloError("forged", "the tombstone is damaged") from None
    keys = {id_bytes(device): [enrolment.sign] for device, enrolment in devices.items()}
    tombstone = check_tombstone(statement, signature, erased, keyrings, keys)
    device = devices.get(b32(tombstone.who))
    if device and device.revoked is not None and tombstone.time > device.revoked:
        raise SiloError("forged", "its device had been revoked")
    said = check_deletion(receipt, statement, identities) if receipt is not None else None
    return tombstone, Deleted(b32(tombstone.who) if tombstone.who != NOBODY else None, tombstone.time, said)


class Walk:
    """A user's log as it is handed out: every entry chained to the one before, none accepted twice."""

    def __init__(self, silo: bytes, user: bytes, at: int = 0, entry: str | None = None) -> None:
        """From its beginning, or from an accepted entry (index, entry hash)."""
        self._log = Log(silo, user, at, hash_bytes(entry)) if entry else Log(silo, user)
        self.entries: list[LogEntry] = []
        self.hashes: dict[int, str] = {at: entry} if entry else {}
        """index -> entry hash"""

    @property
    def at(self) -> int:
        """The index of the last entry."""
        return self._log.at

    def take(self, entries: list[LogEntry]) -> None:
        """Raises SiloError `forged` for an entry that is not the next one."""
        for entry in entries:
            self._log.step(entry.index, id_bytes(entry.thread), hash_bytes(entry.core))
            self.entries.append(entry)
            self.hashes[entry.index] = b32(self._log.hash)

    def check(self, at: int, entry: str) -> None:
        """Raises SiloError `forged` unless the log has this entry hash at this index."""
        if self.hashes.get(at) != entry:
            raise SiloError("forged", f"the log differs at {at}")


def ancestry(turns: list[Turn], deleted: Container[str] = ()) -> list[Turn]:
    """The last turn of a thread and those whose context it used, oldest first, back to one that was `deleted` (core
    hashes) where there is one.

    Raises SiloError `forged` where one of them is missing.
    """
    by_core = {turn.core: turn for turn in turns}
    line = turns[-1:]
    while line and (parent := line[0].parent) is not None:
        if parent not in by_core and parent in deleted:
            break
        if parent not in by_core:
            raise SiloError("forged", "a turn names one before it that is not there")
        line.insert(0, by_core[parent])
    return line


def context_of(line: list[Turn], system: bool = True) -> list[Message]:
    """The messages that a next turn brings along; without those of role system unless `system`."""
    messages: list[Message] = []
    for turn in line:
        messages += [one for one in turn.asked.messages if system or one.role != "system"]
        if turn.reply.content:
            messages.append(Message(role="assistant", content=turn.reply.content))
    return messages
