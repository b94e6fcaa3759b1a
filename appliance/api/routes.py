"""What is asked through the door: the route table of SPEC 5.5, and a handler for each row."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.accounts import setup
from appliance.accounts.callers import Caller
from appliance.accounts.trust import signed
from appliance.api.state import Silo
from appliance.api.turns import kept
from appliance.store import keyrings, once, people, records
from appliance.store.rows import StoredRecord
from silo.crypto.channel import Seen
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes
from silo.crypto.keyring import Keyring
from silo.crypto.keys import Enrolment
from silo.errors import SiloError
from silo.messages import (
    Account,
    AskHistory,
    AskKeyrings,
    AskLog,
    AskSetupLink,
    Chat,
    Device,
    Enrolled,
    Enrolments,
    HistoryPage,
    Keyrings,
    LogEntry,
    LogPage,
    Me,
    Model,
    Models,
    Nothing,
    Record,
    Setup,
    SetupDone,
    TurnState,
    Wrap,
)

SMALL = 1024 * 1024
"""The largest body of all paths but `POST /chat`, in bytes."""
STRANGERS = 64 * 1024
"""The largest body of a path that takes no device, in bytes: anybody may send one, and it is held until it ends."""
_PAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Asked:
    """One request, read and checked."""

    silo: Silo
    caller: Caller | None
    source: bytes
    argument: str
    """What follows the path's first part: an id."""
    body: Any

    @property
    def who(self) -> Caller:
        """The caller of a path that takes devices only."""
        assert self.caller is not None
        return self.caller


@dataclass(frozen=True)
class Answer:
    """What is sealed as HEAD and BODY."""

    body: msgspec.Struct | dict[str, Any]
    status: int = 200


Handler = Callable[[Asked], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """A row of the table."""

    method: str
    body: type[msgspec.Struct]
    handler: Handler | None
    """None: it generates, and the door itself runs the turn."""
    device: bool = True
    argument: bool = False


async def _head(user: str) -> Seen | None:
    head = await records.head(user)
    return Seen(at=head.at, hash=head.hash) if head.hash else None


@contextmanager
def _counted(silo: Silo, source: bytes) -> Iterator[None]:
    """Slows down whoever tries setup links out."""
    silo.setup_throttle.check(source)
    try:
        yield
    except SiloError as error:
        if error.code in ("setup_wrong", "setup_used"):
            silo.setup_throttle.wrong(source)
        raise


async def post_setup_link(asked: Asked) -> Answer:
    """`POST /setup-link`"""
    with _counted(asked.silo, asked.source):
        await setup.check_link(hash_bytes(asked.body.bearer), asked.silo.now())
    return Answer({})


async def post_setup(asked: Asked) -> Answer:
    """`POST /setup`"""
    silo = asked.silo
    with _counted(silo, asked.source):
        # Goes on when the client goes away: half a first run is none.
        keyring, enrolment = await asyncio.shield(asyncio.create_task(_set_up(silo, asked.body)))
    await silo.trust.keyring()
    return Answer(SetupDone(user=b32(enrolment.user), device=b32(enrolment.device), keyring=keyring.seen), 201)


async def _set_up(silo: Silo, body: Setup) -> tuple[Keyring, Enrolment]:
    async with silo.setting_up:
        return await setup.set_up(silo.box, body, silo.now())


async def get_me(asked: Asked) -> Answer:
    """`GET /me`"""
    account, device = asked.who.account, asked.who.device
    keyring = await asked.silo.trust.keyring()
    return Answer(
        Me(
            user=Account(id=account.id, name=account.name, role=account.role, account=b64(account.account)),
            device=Device(id=device.id, since=device.time),
            keyring=keyring.seen,
            head=await _head(account.id),
        )
    )


async def get_keyrings(asked: Asked) -> Answer:
    """`GET /keyrings`"""
    return Answer(Keyrings(keyrings=[signed(row) for row in await keyrings.after(asked.body.after)]))


async def get_enrolments(asked: Asked) -> Answer:
    """`GET /enrolments`"""
    found = await people.devices(asked.who.account.id)
    listed = [
        Enrolled(device=one.id, statement=b64(one.statement), signature=b64(one.signature), revoked=one.revoked)
        for one in found
    ]
    return Answer(Enrolments(enrolments=listed))


async def get_models(asked: Asked) -> Answer:
    """`GET /models`"""
    models = asked.silo.engine.models()
    if not models:
        raise SiloError("engine_down")
    listed = [Model(id=model.id, context=model.context) for model in models]
    return Answer(Models(models=listed, default=models[0].id))


async def get_turn(asked: Asked) -> Answer:
    """`GET /turns/<id>`"""
    user, turn = asked.who.account.id, asked.argument
    turns = asked.silo.turns
    # Asked before the store is, and again after: it may end, or begin, in between.
    running = (user, turn) in turns
    record = await records.by_turn(user, turn)
    row = None if record else await once.running(user, turn)
    if row and row.state == "done":
        record = await records.by_turn(user, turn)
    if record:
        return Answer(TurnState(state="kept", kept=kept(record)))
    if running or (user, turn) in turns:
        return Answer(TurnState(state="running", kept=None))
    if row is None:
        raise SiloError("not_found")
    return Answer(TurnState(state="lost", kept=None))


async def get_log(asked: Asked) -> Answer:
    """`GET /log`"""
    user = asked.who.account.id
    entries = [
        LogEntry(
            index=entry.index,
            id=entry.turn,
            thread=entry.thread,
            parent=entry.parent,
            kind=entry.kind,
            time=entry.time,
            core=entry.core_hash,
        )
        for entry in await records.entries(user, asked.body.after, asked.body.limit)
    ]
    return Answer(LogPage(entries=entries, head=await _head(user)))


def record_message(record: StoredRecord) -> Record:
    """A record as it is handed out."""
    return Record(
        index=record.entry.index,
        core=b64(record.core),
        wraps=[Wrap(recipient=recipient, sealed=b64(sealed)) for recipient, sealed in record.wraps],
        receipt=b64(record.receipt),
    )


async def get_history(asked: Asked) -> Answer:
    """`GET /history`"""
    body: AskHistory = asked.body
    page = await records.page(asked.who.account.id, body.after, body.limit, _PAGE_BYTES, body.thread)
    last = page[-1].entry.index if page else 0
    more = bool(page) and await records.follow(asked.who.account.id, last, body.thread)
    return Answer(HistoryPage(records=[record_message(one) for one in page], next=last if more else None))


ROUTES: dict[str, Route] = {
    "setup-link": Route("POST", AskSetupLink, post_setup_link, device=False),
    "setup": Route("POST", Setup, post_setup, device=False),
    "me": Route("GET", Nothing, get_me),
    "keyrings": Route("GET", AskKeyrings, get_keyrings),
    "enrolments": Route("GET", Nothing, get_enrolments),
    "models": Route("GET", Nothing, get_models),
    "chat": Route("POST", Chat, None),
    "turns": Route("GET", Nothing, get_turn, argument=True),
    "log": Route("GET", AskLog, get_log),
    "history": Route("GET", AskHistory, get_history),
}


def _is_id(text: str) -> bool:
    try:
        return bool(id_bytes(text))
    except ValueError:
        return False


def find(method: str, path: str) -> tuple[str, Route, str]:
    """(verb, route, argument) of an inner path. Raises SiloError `not_found`, `bad_method`."""
    verb, slash, argument = path.removeprefix("/").partition("/")
    route = ROUTES.get(verb)
    fits = route is not None and (_is_id(argument) if route.argument else not slash)
    if route is None or not fits or not path.startswith("/"):
        raise SiloError("not_found")
    if route.method != method:
        raise SiloError("bad_method")
    return verb, route, argument
