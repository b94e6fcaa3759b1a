"""Writing records at rest, and the receipts for them (SPEC 7). What stands here can seal, never open: of a record that
is there it reads what stands in the clear.

A record is an immutable *core* and replaceable *wraps* beside it. Its key is made in `seal_record`, is
sealed to the recipients there, and leaves it in no other form.
"""

import secrets
from dataclasses import dataclass

from silo.crypto import frames, labels
from silo.crypto.encoding import HASH_SIZE, b32, b64, u64, write_json
from silo.crypto.keys import Recipient, Signer, derive, verify
from silo.crypto.labels import digest, pack, unpack
from silo.errors import SiloError

MAGIC = b"securesilo/1 record\n"
KIND_TURN = 1
NO_HASH = bytes(32)
"""Stands for "none": the record before the first, the parent of a thread's first turn."""
_SIZES = (len(MAGIC), 16, 16, 8, 32, 16, 32, 1, 16, 8, 32)
HEADER_SIZE = sum(_SIZES)


@dataclass(frozen=True)
class Place:
    """Where a record stands: everything its core binds beside the content (SPEC 7.1)."""

    silo: bytes
    user: bytes
    index: int
    """Its number in the user's log, from 1."""
    previous: bytes
    """Entry hash of the log's entry before, 32 bytes; zeros for the first."""
    thread: bytes
    parent: bytes
    """Core hash of the record whose context was used; zeros: none."""
    kind: int
    id: bytes
    """Chosen by the client: for a turn, the turn id."""
    time: int
    """Milliseconds since 1970."""

    def spell(self) -> bytes:
        """The core's bytes from the magic line to the time (165 bytes)."""
        ids = self.silo + self.user + u64(self.index) + self.previous + self.thread + self.parent
        return MAGIC + ids + bytes([self.kind]) + self.id + u64(self.time)


@dataclass(frozen=True)
class SealedRecord:
    """What the store keeps of a record."""

    place: Place
    core: bytes
    core_hash: bytes
    entry_hash: bytes
    """The user's log ends here once this is stored."""
    wraps: tuple[tuple[bytes, bytes], ...]
    """(recipient's fingerprint, sealed record key of 1,168 bytes), in the order of the recipients."""


def commitment(record_key: bytes, spelled: bytes) -> bytes:
    """Binds the record key to its place: AES-GCM alone would open under more than one key (SPEC 7.1)."""
    return derive(record_key, labels.RECORD_COMMITMENT, spelled)


def head_hash(header: bytes) -> bytes:
    """Over the bytes before the first frame."""
    return digest(labels.RECORD_HEAD, header)


def frame_key(record_key: bytes, head: bytes) -> bytes:
    """The key of a record's frames."""
    return derive(record_key, labels.RECORD_FRAMES, salt=head)


def core_hash(core: bytes) -> bytes:
    """Over all bytes of a core: log, wraps, receipts carry this one."""
    return digest(labels.RECORD_CORE, core)


def entry_hash(place: Place, core: bytes) -> bytes:
    """The log's entry: chains core hashes, so that a log is checked without its cores (SPEC 7.3)."""
    return log_entry(place.previous, place.silo, place.user, place.index, place.thread, core)


def log_entry(previous: bytes, silo: bytes, user: bytes, index: int, thread: bytes, core: bytes) -> bytes:
    """The hash of one entry of a user's log; `core` is the core hash."""
    return digest(labels.LOG_ENTRY, previous, silo, user, u64(index), thread, core)


def seal_record(place: Place, content: bytes, recipients: list[Recipient]) -> SealedRecord:
    """Seal `content` at `place` under a fresh key, and that key to every recipient.

    Call again for another place: one record key seals one core, ever. Raises ValueError for no recipient.
    """
    if not recipients:
        raise ValueError("a record is sealed to somebody")
    record_key = secrets.token_bytes(32)
    spelled = place.spell()
    header = spelled + commitment(record_key, spelled)
    head = head_hash(header)
    core = header + frames.seal_whole(frame_key(record_key, head), head, content)
    hashed = core_hash(core)
    wraps = tuple((one.fingerprint, wrap(record_key, hashed, one)) for one in recipients)
    return SealedRecord(place, core, hashed, entry_hash(place, hashed), wraps)


def wrap(record_key: bytes, core: bytes, recipient: Recipient) -> bytes:
    """The record key sealed to one recipient for one core (1,168 bytes; SPEC 7.2)."""
    return recipient.seal(record_key, labels.RECORD_WRAP, core, recipient.fingerprint)


def make_receipt(identity: Signer, sealed: SealedRecord) -> bytes:
    """The silo's word that it keeps this record for these recipients (SPEC 7.4)."""
    place = sealed.place
    said = pack(
        labels.RECEIPT,
        place.silo,
        place.user,
        u64(place.index),
        sealed.core_hash,
        sealed.entry_hash,
        b"".join(recipient for recipient, _ in sealed.wraps),
        u64(place.time),
    )
    return said + identity.sign(labels.RECEIPT, said)


def read_place(core: bytes) -> Place:
    """The place that a core names, not yet proven. Raises SiloError `truncated` or `header_failure`."""
    if len(core) < HEADER_SIZE:
        raise SiloError("truncated" if MAGIC.startswith(core[: len(MAGIC)]) else "header_failure")
    cuts: list[bytes] = []
    at = 0
    for size in _SIZES:
        cuts.append(core[at : at + size])
        at += size
    magic, silo, user, index, previous, thread, parent, kind, turn, time, _ = cuts
    if magic != MAGIC:
        raise SiloError("header_failure")
    return Place(
        silo, user, int.from_bytes(index, "big"), previous, thread, parent, kind[0], turn, int.from_bytes(time, "big")
    )


@dataclass(frozen=True)
class Receipt:
    """What the silo signed of a record."""

    silo: bytes
    user: bytes
    index: int
    core_hash: bytes
    entry_hash: bytes
    recipients: tuple[bytes, ...]
    time: int


def read_receipt(receipt: bytes, identity: bytes) -> Receipt:
    """The receipt, if the silo's identity (Ed25519 public key) signed it. Raises SiloError `forged`."""
    said, signature = receipt[:-64], receipt[-64:]
    verify(identity, signature, labels.RECEIPT, said)
    try:
        silo, user, index, core, entry, recipients, time = unpack(labels.RECEIPT, said, 7)
        if [len(silo), len(user), len(index), len(core), len(entry), len(time)] != [16, 16, 8, 32, 32, 8]:
            raise ValueError
        if not recipients or len(recipients) % HASH_SIZE:
            raise ValueError
    except ValueError:
        raise SiloError("forged") from None
    marks = tuple(recipients[at : at + HASH_SIZE] for at in range(0, len(recipients), HASH_SIZE))
    return Receipt(silo, user, int.from_bytes(index, "big"), core, entry, marks, int.from_bytes(time, "big"))


def check_receipt(receipt: bytes, identity: bytes, core: bytes) -> Receipt:
    """The receipt, if it is the silo's for exactly this core at its place. Raises SiloError `forged`."""
    read = read_receipt(receipt, identity)
    place, hashed = read_place(core), core_hash(core)
    if (
        (read.silo, read.user, read.index, read.time) != (place.silo, place.user, place.index, place.time)
        or read.core_hash != hashed
        or read.entry_hash != entry_hash(place, hashed)
    ):
        raise SiloError("forged")
    return read


def state_heads(identity: Signer, silo: bytes, now: int, heads: list[tuple[str, int, bytes]]) -> tuple[str, str]:
    """(statement, signature): the silo's word on the head of every user's log, for exports (SPEC 7.5).

    `heads` holds (user id, index, entry hash).
    """
    stated = [{"user": user, "at": at, "hash": b32(entry)} for user, at, entry in heads]
    text = write_json({"silo": b32(silo), "time": now, "heads": stated})
    return text.decode(), b64(identity.sign(labels.HEADS, text))


# --- what the device signs of a turn (SPEC 7.6) ---


@dataclass(frozen=True)
class TurnPlace:
    """What a device's signature binds a turn to; all raw bytes."""

    silo: bytes
    user: bytes
    thread: bytes
    id: bytes
    parent: bytes


def _turn_fields(place: TurnPlace, text: bytes) -> tuple[bytes, ...]:
    return place.silo, place.user, place.thread, place.id, place.parent, digest(labels.TURN, text)


def sign_turn(device: Signer, place: TurnPlace, text: bytes) -> bytes:
    """The device's signature over a turn's JSON text as sent."""
    return device.sign(labels.TURN, *_turn_fields(place, text))


def check_turn(device_public: bytes, signature: bytes, place: TurnPlace, text: bytes) -> None:
    """Raises SiloError `forged` unless the device signed this turn for this place."""
    verify(device_public, signature, labels.TURN, *_turn_fields(place, text))
