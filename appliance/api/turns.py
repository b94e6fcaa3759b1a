"""A turn: the model's reply as it comes, and the record of it.

A turn is a task of the application, not of the request that asked for it: when the client goes away the
model is stopped, and what was made is kept, marked `cut`.
"""

import asyncio
import hashlib
import hmac
import shutil
from collections.abc import Callable
from dataclasses import replace

from appliance.accounts.callers import Caller, Trusted
from appliance.api.bodies import read_body
from appliance.api.state import Silo
from appliance.engine import Finish, Job, Message
from appliance.log import logger
from appliance.store import once, records
from appliance.store.rows import Conflict, Entry, StoredRecord
from silo import messages
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, unb64, write_json
from silo.crypto.sealing import (
    KIND_TURN,
    NO_HASH,
    Place,
    SealedRecord,
    TurnPlace,
    check_turn,
    make_receipt,
    seal_record,
)
from silo.errors import SiloError
from silo.messages import Chat, ChatEnd, Kept, Reply, TurnContent, TurnText, Usage

_ATTEMPTS = 64
_PATIENCE = 10_000
"""Milliseconds for which a reply waits for a database that went away."""
_PAUSE = 0.25
"""Seconds between two tries."""


def kept(record: StoredRecord) -> Kept | None:
    """What a client is told of a record that was stored; nothing once it is deleted."""
    entry = record.entry
    if not record.core:
        return None
    return Kept(index=entry.index, core=entry.core_hash, entry=entry.entry_hash, receipt=b64(record.receipt))


def error_object(error: SiloError) -> dict[str, object]:
    """An error as it is sealed to a client (SPEC 5.5)."""
    row = error.row
    return {"code": error.code, "message": row.sentence, "hint": row.hint, "detail": error.detail, **error.extra}


def _end(finish: messages.Finish, usage: Usage | None, record: Kept | None, trouble: SiloError | None) -> ChatEnd:
    return ChatEnd(finish=finish, usage=usage, kept=record, error=error_object(trouble) if trouble else None)


class Turn:
    """One turn on its way: `begun` says that there is something to send, `take` gives it, `end` closes it."""

    def __init__(self, silo: Silo, caller: Caller, trusted: Trusted, body: Chat, request: str) -> None:
        """Checks the body. Raises SiloError `bad_request`, `forged`, `storage_full`."""
        self._silo = silo
        self._caller = caller
        self._trusted = trusted
        self._body = body
        self._request = request
        self._names_model = True
        self._job = self._check()
        self._text: list[str] = []
        self._unsent = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._generating: asyncio.Task[Finish] | None = None
        self._cut = False
        self._patience = 0
        self.wake = asyncio.Event()
        """Set when there is text to take, or the end, or a refusal."""
        self.news: Callable[[], None] = self.wake.set
        """Called each time there is; who carries the reply out may put its own here."""
        self.refused: SiloError | None = None
        """Why it ended before the first word."""
        self.end: ChatEnd | None = None
        """The END part, once the record is stored or could not be."""

    def _check(self) -> Job:
        body, account = self._body, self._caller.account
        place = TurnPlace(
            self._silo.box.silo,
            id_bytes(account.id),
            id_bytes(body.thread),
            id_bytes(body.turn),
            hash_bytes(body.parent) if body.parent else NO_HASH,
        )
        check_turn(self._caller.device.sign, unb64(body.signature), place, body.text.encode())
        text = read_body(body.text.encode(), TurnText, "text")
        self._names_model = text.model is not None
        return Job(
            messages=tuple(Message(one.role, one.content) for one in [*body.context, *text.messages]),
            model="" if text.model is None else text.model,
            max_tokens=text.options.max_tokens,
            temperature=text.options.temperature,
            top_p=text.options.top_p,
            seed=text.options.seed,
            stop=tuple(text.options.stop),
            cache_salt=hmac.new(self._silo.salt_key, account.id.encode(), hashlib.sha256).hexdigest(),
        )

    async def _ask_engine(self) -> Finish:
        if not self._names_model:
            models = self._silo.engine.models()
            if not models:
                raise SiloError("engine_down")
            self._job = replace(self._job, model=models[0].id)
        return await self._silo.engine.run(self._job, self._heard)

    def start(self) -> None:
        """Begin, in a task of its own: a client that goes away does not stop it between two steps.

        Raises SiloError `in_progress` for a turn that runs already.
        """
        key = self._caller.account.id, self._body.turn
        if key in self._silo.turns:
            raise SiloError("in_progress")
        self._silo.turns[key] = self
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: self._silo.turns.pop(key, None))

    async def _begin(self) -> None:
        """Write the request down. Raises SiloError `already_done`, `in_progress`, `lost`, `storage_full`."""
        silo, user, turn, device = self._silo, self._caller.account.id, self._body.turn, self._caller.device.id
        standing = await records.by_turn(user, turn)
        if standing:
            raise SiloError("already_done", kept=kept(standing))
        row = await once.begin(device, self._request, turn, silo.host, silo.now())
        if row is None:
            if shutil.disk_usage(silo.config.data).free < silo.config.disk_margin:
                await self._mark("refused")
                raise SiloError("storage_full")
            return
        if row.turn and (done := await records.by_turn(user, row.turn)):
            raise SiloError("already_done", kept=kept(done))
        elsewhere = row.state == "running" and row.host != silo.host
        # A turn that runs here is another one of this device's, under the same request.
        here = row.turn != turn and (user, row.turn) in silo.turns
        raise SiloError("in_progress" if elsewhere or here else "lost")

    async def finished(self) -> None:
        """Return once the record is stored or could not be."""
        if self._task:
            await self._task

    def cut(self) -> None:
        """The client went away, or the silo is stopping: end the model's part; what was made is kept."""
        self._cut = True
        if self._generating:
            self._generating.cancel()

    def take(self, most: int) -> bytes:
        """Up to `most` bytes of the reply that were not taken yet, in UTF-8."""
        # The cut may fall inside a character: BODY is bytes, and the client joins them.
        data = bytes(self._unsent[:most])
        del self._unsent[:most]
        return data

    @property
    def waiting(self) -> int:
        """How many bytes there are to take."""
        return len(self._unsent)

    def _heard(self, text: str) -> None:
        self._text.append(text)
        self._unsent += text.encode()
        self.news()

    async def _run(self) -> None:
        try:
            await self._begin()
            await self._generate()
        except SiloError as error:
            self.refused = error
        except Exception as error:
            # Whatever it is, the client is told, and the log gets its kind alone.
            logger().error("a turn failed", kind=type(error).__name__)
            if self._text:
                self.end = _end("failed", None, None, SiloError("not_kept"))
            else:
                self.refused = SiloError("internal")
        finally:
            self.news()

    async def _generate(self) -> None:
        usage: Usage | None = None
        finish: messages.Finish = "cut"
        trouble: SiloError | None = None
        self._generating = asyncio.create_task(self._ask_engine())
        if self._cut:
            self._generating.cancel()
        try:
            done = await self._generating
            finish, usage = done.reason, Usage(prompt=done.prompt_tokens, completion=done.completion_tokens)
        except asyncio.CancelledError:
            trouble = None if self._text else SiloError("engine_failed")
        except SiloError as error:
            finish, trouble = "failed", error
        except Exception as error:
            logger().error("an engine failed", kind=type(error).__name__)
            finish, trouble = "failed", SiloError("engine_failed")
        if trouble and not self._text:
            # Kept as refused: who recorded it must not have it run later, when its person was told that it did not.
            await self._mark("refused")
            raise trouble
        record: Kept | None = None
        try:
            record = kept(await self._keep(finish, usage))
        except SiloError as error:
            trouble = error
        except Exception as error:
            logger().error("a record was not kept", kind=type(error).__name__)
            trouble = SiloError("not_kept")
        if record is None:
            await self._mark("failed")
        self.end = _end(finish, usage, record, trouble)

    async def _mark(self, state: str) -> None:
        """Change what is written of the request. Where that fails it reads as lost, which is near enough."""
        try:
            await once.end(self._caller.device.id, self._request, state)
        except Exception as error:
            logger().error("a request was not marked", kind=type(error).__name__)

    async def _keep(self, finish: messages.Finish, usage: Usage | None) -> StoredRecord:
        """Seal and store the turn. Raises SiloError `not_kept`, `keyring_broken`, `already_done`."""
        body, silo, user = self._body, self._silo, self._caller.account.id
        reply = Reply(
            content="".join(self._text),
            model=self._job.model,
            finish=finish,
            prompt_tokens=usage.prompt if usage else 0,
            completion_tokens=usage.completion if usage else 0,
        )
        content = write_json(
            TurnContent(turn=body.text, device=self._caller.device.id, signature=body.signature, reply=reply)
        )
        made: set[str] = set()
        self._patience = silo.now() + _PATIENCE
        async with silo.writing(user):
            for _ in range(_ATTEMPTS):
                try:
                    # The model may have taken minutes: what the database says now counts too.
                    await silo.trust.keyring()
                    head = await records.head(user)
                except SiloError as error:
                    await self._away(error)
                    continue
                place = Place(
                    silo=silo.box.silo,
                    user=id_bytes(user),
                    index=head.at + 1,
                    previous=hash_bytes(head.hash) if head.hash else NO_HASH,
                    thread=id_bytes(body.thread),
                    parent=hash_bytes(body.parent) if body.parent else NO_HASH,
                    kind=KIND_TURN,
                    id=id_bytes(body.turn),
                    time=silo.now(),
                )
                # Sealed anew at each attempt: a record key seals one core at one place, ever.
                record = stored(seal_record(place, content, self._trusted.recipients), silo)
                made.add(record.entry.core_hash)
                try:
                    try:
                        await records.add(user, record, self._caller.device.id, self._request)
                    except Conflict:
                        standing = await records.by_turn(user, body.turn)
                        if standing and standing.entry.core_hash in made:
                            return standing  # the answer to its commit was lost
                        if standing:
                            raise SiloError("already_done", kept=kept(standing)) from None
                        continue
                except SiloError as error:
                    await self._away(error)
                    continue
                return record
        raise SiloError("not_kept", "too many writers")

    async def _away(self, error: SiloError) -> None:
        """Wait a little where the database went away and may come back. Raises the error of any other kind."""
        if error.code == "lost":
            raise SiloError("not_kept", "given up by another host")
        if error.code != "storage_away":
            raise error
        if self._silo.now() > self._patience:
            raise SiloError("not_kept", "the database")
        await asyncio.sleep(_PAUSE)


def stored(sealed: SealedRecord, silo: Silo) -> StoredRecord:
    """A sealed record with its receipt, as the store takes it."""
    place = sealed.place
    entry = Entry(
        index=place.index,
        turn=b32(place.id),
        thread=b32(place.thread),
        parent=b32(place.parent) if place.parent != NO_HASH else None,
        kind=place.kind,
        time=place.time,
        core_hash=b32(sealed.core_hash),
        entry_hash=b32(sealed.entry_hash),
    )
    wraps = tuple((b32(recipient), wrap) for recipient, wrap in sealed.wraps)
    return StoredRecord(entry, sealed.core, wraps, make_receipt(silo.box.identity, sealed))
