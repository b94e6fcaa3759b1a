"""What the silo answers, as types (SPEC 5.5). Unknown and missing fields are refused."""

from typing import Any, Literal, TypeVar

import msgspec

from silo.crypto.channel import Seen
from silo.crypto.encoding import Blob, Count, Hash, Id, Millis, read_json
from silo.crypto.keyring import SignedKeyring
from silo.crypto.locks import Lock
from silo.errors import SiloError

T = TypeVar("T")


class Enrolled(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A device's enrolment as the silo hands it out (SPEC 6.1)."""

    device: Id
    statement: Blob
    signature: Blob
    revoked: Millis | None


class Statement(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An enrolment as a device sends it."""

    statement: Blob
    signature: Blob


class NewUser(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The first account as `POST /setup` names it."""

    id: Id
    name: str
    account: Blob


class Setup(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /setup`."""

    bearer: Hash
    keyring: SignedKeyring
    user: NewUser
    enrolment: Statement
    lock: Lock


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


class Keyrings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /keyrings`."""

    keyrings: list[SignedKeyring]


class Enrolments(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /enrolments`."""

    enrolments: list[Enrolled]


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


class HistoryPage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /history`."""

    records: list[Record]
    next: Count | None


class Kept(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where a turn was kept, and the silo's word on it."""

    index: Count
    core: Hash
    entry: Hash
    receipt: Blob


class TurnState(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The answer of `GET /turns/<id>`."""

    state: Literal["kept", "running", "lost"]
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


class Message(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class TurnText(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a device signs of a turn (SPEC 7.6)."""

    messages: list[Message]
    model: str | None
    options: dict[str, Any]


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


def read_answer(body: bytes, kind: type[T]) -> T:
    """The answer's body as `kind`. Raises SiloError `bad_reply`."""
    try:
        return read_json(body, kind)
    except ValueError as error:
        raise SiloError("bad_reply", str(error)) from None
