"""What is asked through the door: the route table of SPEC 5.5, and a handler for each row."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.accounts import deletions as doing
from appliance.accounts import setup
from appliance.accounts.callers import Caller, Trusted
from appliance.accounts.trust import signed
from appliance.api.state import Silo
from appliance.api.turns import kept
from appliance.store import bags, deletions, keyrings, once, people, records
from appliance.store.rows import Conflict, OnceRow, StoredBag, StoredManifest, StoredRecord, StoredTombstone
from silo.crypto.bags import OVERHEAD, SEALED_MOST
from silo.crypto.channel import KEY_LIFE, Seen
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, read_json, unb64
from silo.crypto.keyring import Keyring
from silo.crypto.keys import Enrolment
from silo.crypto.locks import Lock, SignedManifest
from silo.crypto.rotation import Rotation
from silo.errors import SiloError
from silo.messages import (
    Account,
    AskHistory,
    AskKeyrings,
    AskLog,
    AskSetupLink,
    AskTurn,
    Bag,
    BagDone,
    Chat,
    Deleted,
    Deletions,
    Device,
    Enrolled,
    Enrolments,
    Gone,
    HistoryPage,
    Keyrings,
    Locks,
    LogEntry,
    LogPage,
    Me,
    Model,
    Models,
    NewBag,
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
TRIES = 20
"""How often a deletion is tried while others delete the same records."""
PATIENCE = 10.0
"""Seconds that a deletion waits until its bytes are gone; later its receipt follows."""


@dataclass(frozen=True)
class Asked:
    """One request, read and checked."""

    silo: Silo
    caller: Caller | None
    source: bytes
    argument: str
    """What follows the path's first part: an id."""
    body: Any
    request: str = ""
    """The request's id."""
    trusted: Trusted | None = None
    """What it names and the silo has, where the path compares that."""

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
    trusted: bool = False
    """Whether account, keyring and head are compared (SPEC 4.3, step 6)."""


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
            manifest=(await _manifest(account.id)).version,
        )
    )


async def get_keyrings(asked: Asked) -> Answer:
    """`GET /keyrings`"""
    return Answer(Keyrings(keyrings=[signed(row) for row in await keyrings.after(asked.body.after)]))


async def get_enrolments(asked: Asked) -> Answer:
    """`GET /enrolments`"""
    found = await people.devices(asked.who.account.id)
    listed = [
        Enrolled(
            device=one.id,
            statement=b64(one.statement),
            signature=b64(one.signature),
            vouch=b64(one.vouch),
            revoked=one.revoked,
        )
        for one in found
    ]
    return Answer(Enrolments(enrolments=listed))


async def _manifest(user: str) -> StoredManifest:
    found = await people.manifest(user)
    if found is None:
        raise SiloError("internal", "manifest")
    return found


async def get_locks(asked: Asked) -> Answer:
    """`GET /locks`"""
    user = asked.who.account.id
    own = await people.lock(user, asked.who.device.id)
    return Answer(
        Locks(
            lock=read_json(own.document.encode(), Lock) if own else None,
            manifest=read_json((await _manifest(user)).document.encode(), SignedManifest),
            rotations=[read_json(one.encode(), Rotation) for one in await people.rotations(user)],
        )
    )


async def get_models(asked: Asked) -> Answer:
    """`GET /models`"""
    models = asked.silo.engine.models()
    if not models:
        raise SiloError("engine_down")
    listed = [Model(id=model.id, context=model.context) for model in models]
    return Answer(Models(models=listed, default=models[0].id))


async def get_turn(asked: Asked) -> Answer:
    """`GET /turns/<id>`"""
    state, request = await _turn_state(asked), asked.body.request
    if request is not None and (state is None or state.state == "lost"):
        # Whoever keeps it back must not have it run later: no key that could open it lives longer than this.
        until = asked.silo.now() + KEY_LIFE
        if await once.refuse(asked.who.device.id, request, asked.silo.host, until) is not None:
            # It was written down before, maybe just now, by the request itself.
            state = await _turn_state(asked)
    if state is None:
        raise SiloError("not_found")
    return Answer(state)


async def _turn_state(asked: Asked) -> TurnState | None:
    """What became of a turn; None where nothing is known of it."""
    user, turn = asked.who.account.id, asked.argument
    turns = asked.silo.turns
    # Asked before the store is, and again after: it may end, or begin, in between.
    running = (user, turn) in turns
    record = await records.by_turn(user, turn)
    row = None if record else await once.running(user, turn, asked.silo.host)
    if row and row.state == "done":
        record = await records.by_turn(user, turn)
    if record:
        return TurnState(state="kept" if record.core else "deleted", kept=kept(record))
    elsewhere = row is not None and row.state == "running" and row.host != asked.silo.host
    if running or elsewhere or (user, turn) in turns:
        return TurnState(state="running", kept=None)
    return TurnState(state="lost", kept=None) if row else None


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
    gone = {one.entry.index: one.entry.thread for one in page if not one.core}
    stones = await deletions.tombstones(asked.who.account.id, gone)
    return Answer(
        HistoryPage(
            records=[record_message(one) for one in page if one.core],
            tombstones=[tombstone_message(one) for one in stones],
            next=last if more else None,
        )
    )


# --- what runs once (SPEC 4.3, step 8) ---


async def _begin_once(asked: Asked) -> OnceRow | None:
    """Write the request down; None where it is new, else what is known of it, which is that it is done.

    Raises SiloError `in_progress`, `lost`, `storage_full`.
    """
    silo, device = asked.silo, asked.who.device.id
    row = await once.begin(device, asked.request, None, silo.host, silo.now())
    if row is None or row.state == "done":
        return row
    raise SiloError("in_progress" if row.state == "running" else "lost")


@asynccontextmanager
async def _refusable(asked: Asked) -> AsyncIterator[None]:
    """What is refused inside stays written down as refused."""
    try:
        yield
    except SiloError:
        await once.end(asked.who.device.id, asked.request, "refused")
        raise


def tombstone_message(stone: StoredTombstone) -> Gone:
    """What stands for a deleted record, as it is handed out."""
    return Gone(
        index=stone.index,
        thread=stone.thread,
        statement=b64(stone.statement),
        signature=b64(stone.signature),
        receipt=b64(stone.receipt) if stone.receipt is not None else None,
    )


async def post_deletions(asked: Asked) -> Answer:
    """`POST /deletions`"""
    # Goes on when the client goes away: what is dropped is to be cleared away too.
    return await asyncio.shield(asyncio.create_task(_delete(asked)))


async def _delete(asked: Asked) -> Answer:
    silo, trusted = asked.silo, asked.trusted
    assert trusted is not None

    async def read() -> doing.Wish:
        return await doing.read_wish(
            silo.box, silo.trust, trusted.keyring, asked.who, asked.body.tombstones, silo.now()
        )

    wish = await read()
    known = await _begin_once(asked)
    if known is None:
        async with _refusable(asked):
            tries = 1
            while not await doing.drop(wish, silo.now(), (asked.who.device.id, asked.request)):
                # Somebody else was faster with one of them. Whoever never gets through has rows that lie.
                if tries == TRIES:
                    raise SiloError("data_damaged", "records that cannot be dropped")
                tries, wish = tries + 1, await read()
    now, days = silo.now(), silo.config.backup_days
    await doing.settle_soon(silo.box, silo.trust, silo.devices, now, days, PATIENCE)
    deleted = Deleted(deleted=[tombstone_message(one) for one in await wish.standing()])
    if known is not None:
        raise SiloError("already_done", deleted=deleted.deleted)
    return Answer(deleted)


async def get_bag(asked: Asked) -> Answer:
    """`GET /bags/<thread>`"""
    bag = await bags.bag(asked.who.account.id, asked.argument)
    last = Seen(at=bag.at, hash=bag.entry_hash) if bag.sealed else None
    return Answer(Bag(version=bag.version, last=last, sealed=b64(bag.sealed) if bag.sealed else None))


async def put_bag(asked: Asked) -> Answer:
    """`PUT /bags/<thread>`"""
    body: NewBag = asked.body
    sealed = unb64(body.sealed)
    if not OVERHEAD < len(sealed) <= SEALED_MOST:
        raise SiloError("bad_request", "sealed")
    if await _begin_once(asked):
        raise SiloError("already_done")
    new = StoredBag(body.version, body.last.at, body.last.hash, sealed)
    async with _refusable(asked):
        try:
            await bags.put(asked.who.account.id, asked.argument, new, (asked.who.device.id, asked.request))
        except Conflict:
            raise SiloError("bag_changed") from None
        except LookupError:
            raise SiloError("bad_request", "last") from None
    return Answer(BagDone(version=body.version))


ROUTES: dict[str, Route] = {
    "setup-link": Route("POST", AskSetupLink, post_setup_link, device=False),
    "setup": Route("POST", Setup, post_setup, device=False),
    "me": Route("GET", Nothing, get_me),
    "keyrings": Route("GET", AskKeyrings, get_keyrings),
    "enrolments": Route("GET", Nothing, get_enrolments),
    "locks": Route("GET", Nothing, get_locks),
    "models": Route("GET", Nothing, get_models),
    "chat": Route("POST", Chat, None),
    "turns": Route("GET", AskTurn, get_turn, argument=True),
    "log": Route("GET", AskLog, get_log),
    "history": Route("GET", AskHistory, get_history),
    "deletions": Route("POST", Deletions, post_deletions, trusted=True),
    "bags": Route("GET", Nothing, get_bag, argument=True),
}
_PUT: dict[str, Route] = {"bags": Route("PUT", NewBag, put_bag, argument=True)}


def _is_id(text: str) -> bool:
    try:
        return bool(id_bytes(text))
    except ValueError:
        return False


def find(method: str, path: str) -> tuple[str, Route, str]:
    """(verb, route, argument) of an inner path. Raises SiloError `not_found`, `bad_method`."""
    verb, slash, argument = path.removeprefix("/").partition("/")
    route = (_PUT if method == "PUT" and verb in _PUT else ROUTES).get(verb)
    fits = route is not None and (_is_id(argument) if route.argument else not slash)
    if route is None or not fits or not path.startswith("/"):
        raise SiloError("not_found")
    if route.method != method:
        raise SiloError("bad_method")
    return verb, route, argument
