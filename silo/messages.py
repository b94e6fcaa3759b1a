"""Every message inside the door, as types (SPEC 5.5, 7.5, 7.6): both ends read and write these.

Unknown and missing fields are refused, and so is what stands outside the limits of SPEC 5.6.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from silo.crypto.channel import Seen
from silo.crypto.directory import SignedEntry
from silo.crypto.encoding import Blob, Count, Hash, Id, Millis, read_json
from silo.crypto.keyring import SignedKeyring
from silo.crypto.locks import Lock, SignedManifest
from silo.crypto.rotation import Rotation, Vouched
from silo.errors import SiloError

T = TypeVar("T")


# --- requests ---


class Nothing(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A request without arguments."""


class AskKeyrings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `GET /keyrings`: those above this version."""

    after: Count = 0


class AskLog(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `GET /log`: entries above this index."""

    after: Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 1000


class AskHistory(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `GET /history`: records above this index, of one thread or of all."""

    after: Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    thread: Id | None = None


class AskTurn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `GET /turns/<id>`; with a request's id, that request does not run once nothing is known of it."""

    request: Id | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What may be asked of the model."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    stop: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=64)]], msgspec.Meta(max_length=4)] = []


class TurnText(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a device signs of a turn (SPEC 7.6)."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    model: str | None
    options: Options


class Chat(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `POST /chat`."""

    turn: Id
    thread: Id
    parent: Hash | None
    text: str
    """A TurnText as JSON, to the byte."""
    signature: Blob
    context: list[Message]


class NewUser(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The first account as `POST /setup` names it."""

    id: Id
    name: str
    account: Blob
    """The account key's public half (X-Wing)."""
    sign: Hash
    """The account's signing key (Ed25519)."""


class AskSetupLink(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `POST /setup-link`."""

    bearer: Hash


class Setup(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `POST /setup`."""

    bearer: Hash
    keyring: SignedKeyring
    user: NewUser
    enrolment: Vouched
    locks: list[Lock]
    manifest: SignedManifest
    entry: SignedEntry
    """The directory's first: the administrator is the user."""


class NewTombstone(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A tombstone as a device brings it (SPEC 7.7)."""

    statement: Blob
    signature: Blob


class Deletions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `POST /deletions`."""

    tombstones: Annotated[list[NewTombstone], msgspec.Meta(min_length=1, max_length=500)]


class NewBag(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request of `PUT /bags/<thread>` (SPEC 7.8)."""

    version: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    last: Seen
    """The newest record of the thread that its writer knew."""
    sealed: Blob


# --- answers, and what they hold ---


class Enrolled(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A device's enrolment as the silo hands it out (SPEC 6.1)."""

    device: Id
    statement: Blob
    signature: Blob
    vouch: Blob
    revoked: Millis | None


class SetupDone(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `POST /setup`."""

    user: Id
    device: Id
    keyring: Seen


class Account(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The account that this device belongs to."""

    id: Id
    name: str
    role: str
    account: Blob
    """The account key's public half."""


class Device(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """This device as the silo knows it."""

    id: Id
    since: Millis


class Me(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /me`."""

    user: Account
    device: Device
    keyring: Seen
    head: Seen | None
    manifest: Count
    """Version of the lock manifest."""


class Keyrings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /keyrings`."""

    keyrings: list[SignedKeyring]


class Enrolments(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /enrolments`."""

    enrolments: list[Enrolled]


class Locks(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /locks`."""

    lock: Lock | None
    """This device's own; the others are released to their secrets alone."""
    manifest: SignedManifest
    rotations: list[Rotation]
    """All of this account, oldest first."""


class Model(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A model that the silo serves; `context` in tokens."""

    id: str
    context: Count | None


class Models(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /models`."""

    models: list[Model]
    default: str


class LogEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One entry of a user's log, without its bytes."""

    index: Count
    id: Id
    thread: Id
    parent: Hash | None
    kind: Count
    time: Millis
    core: Hash


class LogPage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /log`."""

    entries: list[LogEntry]
    head: Seen | None


class Wrap(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A record's key, sealed to one recipient."""

    recipient: Hash
    sealed: Blob


class Record(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A sealed record."""

    index: Count
    core: Blob
    wraps: list[Wrap]
    receipt: Blob


class Gone(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What stands for a deleted record (SPEC 7.7)."""

    index: Count
    thread: Id
    statement: Blob
    signature: Blob
    receipt: Blob | None
    """Of the deletion; null until the silo's files are clear of it."""


class HistoryPage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /history`."""

    records: list[Record]
    tombstones: list[Gone]
    """What was deleted; both together are in the order of the log."""
    next: Count | None


class Deleted(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `POST /deletions`: the tombstones as they stand."""

    deleted: list[Gone]


class Bag(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /bags/<thread>`; version 0 where there never was one, nothing in it after a deletion."""

    version: Count
    last: Seen | None
    sealed: Blob | None


class BagDone(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `PUT /bags/<thread>`."""

    version: Count


class Kept(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where a turn was kept, and the silo's word on it."""

    index: Count
    core: Hash
    entry: Hash
    receipt: Blob


class TurnState(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /turns/<id>`."""

    state: Literal["kept", "running", "lost", "deleted"]
    kept: Kept | None


class Usage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Tokens."""

    prompt: Count | None
    completion: Count | None


Finish = Literal["stop", "length", "cut", "failed"]


class ChatEnd(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """END of `POST /chat`."""

    finish: Finish
    usage: Usage | None
    kept: Kept | None
    error: dict[str, Any] | None


class Reply(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The model's half of a turn's content."""

    content: str
    model: str
    finish: Finish
    prompt_tokens: Count | None
    completion_tokens: Count | None


class TurnContent(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A turn record's content (SPEC 7.6)."""

    turn: str
    device: Id
    signature: Blob
    reply: Reply


# --- the lines of an export (SPEC 7.5) ---


class ExportSilo(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """First line."""

    silo: Id
    identity: Hash
    """The silo's Ed25519 public key."""
    genesis: Hash | None
    """The admin pin, once there is one."""
    time: Millis
    type: Literal["silo"] = "silo"
    format: Literal["securesilo/1 export"] = "securesilo/1 export"


class ExportKeyring(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Every accepted version, in order."""

    signed: SignedKeyring
    type: Literal["keyring"] = "keyring"


class ExportEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An entry of the directory (SPEC 8.8)."""

    entry: SignedEntry
    type: Literal["entry"] = "entry"


class ExportUser(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An account."""

    id: Id
    name: str
    role: str
    account: Blob
    sign: Hash
    """The account's signing key, as the box has it: an entry of the directory counts more."""
    time: Millis
    type: Literal["user"] = "user"


class ExportRotation(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How that account's key followed another, oldest first (SPEC 9.4)."""

    user: Id
    rotation: Rotation
    type: Literal["rotation"] = "rotation"


class ExportEnrolment(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A device of that account."""

    user: Id
    device: Id
    statement: Blob
    signature: Blob
    vouch: Blob
    revoked: Millis | None
    type: Literal["enrolment"] = "enrolment"


class ExportRecord(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A sealed record of that account."""

    user: Id
    index: Count
    core: Blob
    wraps: list[Wrap]
    receipt: Blob
    type: Literal["record"] = "record"


class ExportTombstone(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What stands for a deleted record of that account."""

    user: Id
    index: Count
    thread: Id
    statement: Blob
    signature: Blob
    receipt: Blob | None
    type: Literal["tombstone"] = "tombstone"


class ExportEnd(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Last line."""

    records: Count
    statement: str
    """Heads as JSON, to the byte."""
    signature: Blob
    type: Literal["end"] = "end"


ExportLine = (
    ExportSilo
    | ExportKeyring
    | ExportEntry
    | ExportUser
    | ExportRotation
    | ExportEnrolment
    | ExportRecord
    | ExportTombstone
    | ExportEnd
)


class UserHead(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where one user's log ended."""

    user: Id
    at: Count
    hash: Hash


class Heads(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The silo's word on the end of every log."""

    silo: Id
    time: Millis
    heads: list[UserHead]


def read_answer(body: bytes, kind: type[T]) -> T:
    """The answer's body as `kind`. Raises SiloError `bad_reply`."""
    try:
        return read_json(body, kind)
    except ValueError as error:
        raise SiloError("bad_reply", str(error)) from None
