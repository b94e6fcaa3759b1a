"""What a device asks of its silo, and what it checks of the answers.

A Session holds the accepted keyring and the head of the user's log, names them with each turn, and moves
them forward only over what it has verified itself.
"""

import asyncio
import codecs
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from silo.client.door import Broken, Door, Pin, Refused, Stream, Trust, Unanswered, named, refusal_of
from silo.client.history import (
    Deleted,
    Opened,
    Turn,
    Voucher,
    Walk,
    ancestry,
    envelope_of,
    open_certified,
    open_keyed,
    read_device,
    read_gone,
    read_turn,
)
from silo.client.home import Home, Last, Profile, Secrets, Warn
from silo.crypto.bags import BagPlace, seal_bag
from silo.crypto.channel import Request, Seen
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, new_id, unb64, write_json
from silo.crypto.keyring import Keyring, SignedKeyring, keyring_hash, verify_keyring
from silo.crypto.keys import Enrolment, fingerprint, recipient_of
from silo.crypto.locks import Manifest, device_secret, read_manifest
from silo.crypto.opening import Opener, Receipt, check_recipients, unwrap
from silo.crypto.sealing import NO_HASH, TurnPlace, read_receipt, sign_turn
from silo.crypto.tombstones import USER, Erased, Tombstone, sign_tombstone
from silo.crypto.unlocking import open_lock
from silo.errors import SiloError
from silo.messages import (
    Bag,
    ChatEnd,
    Enrolments,
    Finish,
    Gone,
    HistoryPage,
    Kept,
    Keyrings,
    Locks,
    LogEntry,
    LogPage,
    Me,
    Message,
    Models,
    NewTombstone,
    Options,
    Record,
    TurnState,
    TurnText,
    Usage,
    read_answer,
)
from silo.messages import Deleted as DeletedNow

AGREE = 3
"""How often a request is sent again after the silo's and the device's knowledge were brought together."""
PATIENCE = 60
"""Seconds to wait for a turn that the silo is still writing after the connection broke."""
RETURN = 20
"""Seconds to wait for a silo that went away in the middle of a turn: as long as it takes to start again."""
MEANWHILE = ("in_progress", "already_done")
"""Refusals of a request that arrived before."""
UNWRITTEN = ("storage_full", "internal")
"""Refusals to say what became of a turn, after which its request may run still."""
PROVOKED = ("bad_request", "too_large", "clock")
"""Refusals that somebody on the way can bring about by sending the same header again, later or with another body, after
the request itself ran."""
UNKNOWN = "somebody on the way may have said so; whether the turn was kept stands in: silo logs"
DELETED_AT_ONCE = 200
"""Records that one request deletes."""
PAGE = 100
LOG_PAGE = 5_000

OPTION_RANGES = {
    "temperature": "a number from 0 to 2",
    "top_p": "a number above 0, up to 1",
    "seed": "a whole number from 0 to 2147483647",
    "max_tokens": "a whole number from 1 to 1000000",
    "stop": "at most 4 texts of 1 to 64 characters",
}
"""SPEC 5.6 in words."""

T = TypeVar("T")


@dataclass(frozen=True)
class End:
    """How a turn ended."""

    thread: str
    turn: str
    text: str
    """The whole reply."""
    finish: Finish
    usage: Usage | None
    kept: Kept | None
    """Where it was kept, checked; None: it was not, and `error` says why."""
    error: SiloError | None
    opened: Turn | None
    """The turn as it was opened from what the silo wrote; None where that was not possible."""


@dataclass
class _Bag:
    """A thread's key bag while the thread is read."""

    thread: str
    version: int
    keys: dict[int, bytes] = field(default_factory=dict, repr=False)
    """index -> record key"""
    changed: bool = False


@dataclass(frozen=True)
class _Asked:
    """A turn that was sent."""

    thread: str
    turn: str
    parent: str | None
    text: str
    signature: str


class Session:
    """One device at its silo."""

    def __init__(self, home: Home, profile: Profile, secrets: Secrets, door: Door, warn: Warn) -> None:
        """Raises SiloError `forged` (and others of `verify_keyring`) where the kept keyrings do not fit."""
        self.home = home
        self.profile = profile
        self.door = door
        self.keyring: Keyring = profile.keyring()
        self._warn = warn
        self._secrets = secrets
        self._signer = secrets.signer
        self._silo = id_bytes(profile.silo)
        self._user = id_bytes(profile.user)
        self.door.on_spare = self._meet_spare
        self._account = secrets.account_key
        self._openers = [Opener(secrets.account)]
        self._devices: dict[str, Enrolment] | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, home: Home, passphrase: Callable[[], str], now: Callable[[], int], warn: Warn
    ) -> "AsyncIterator[Session]":
        """The session of the device in `home`. Raises SiloError `no_identity`, `wrong_passphrase`, `bad_file`."""
        profile = home.read()
        secrets = home.secrets(profile, passphrase)
        door = Door(profile.url, pin_of(profile), now, warn, id_bytes(profile.device), secrets.signer, home.keys_path)
        async with door:
            session = cls(home, profile, secrets, door, warn)
            session.warn_of_age(now())
            yield session

    def warn_of_age(self, now: int) -> None:
        """Say so where no administrator has signed for longer than the signed policy calls fresh (SPEC 8.4)."""
        document = self.keyring.document
        days = (now - document.time) // 86_400_000
        if days > document.policy.keyring_fresh_days:
            self._warn(f"the silo's keyring is {days} days old; ask the administrator whether it still holds")

    # --- plain questions ---

    async def _ask(self, kind: type[T], method: str, path: str, body: Any = None) -> T:
        answer = await self.door.ask(self.door.request(method, path), body or {})
        return read_answer(answer.body, kind)

    async def me(self) -> Me:
        """This device's account as the silo has it. Raises SiloError `account_changed`, `bad_reply`; as Door.ask."""
        me = await self._ask(Me, "GET", "/me")
        if (me.user.id, me.device.id) != (self.profile.user, self.profile.device):
            raise SiloError("bad_reply", "another account's")
        if key_mark(me.user.account) != self.profile.account:
            raise SiloError("account_changed")
        return me

    async def models(self) -> Models:
        """The models that the silo serves. Raises SiloError `engine_down`; as Door.ask."""
        return await self._ask(Models, "GET", "/models")

    async def refresh(self) -> Me:
        """Catch up with the silo's keyring and with the user's log. Raises as `me`, `accept`, `walk`."""
        me = await self.me()
        if me.keyring != self.keyring.seen:
            await self.accept((await self._keyrings(self.keyring.document.version)).keyrings)
        if me.head != self.profile.head:
            await self.catch_up()
        if me.manifest != self.profile.manifest:
            await self.locks()
        return me

    async def locks(self) -> Manifest:
        """What locks this user's account key, verified; this device's own lock opens. Raises SiloError `forged`,
        `stale` for a manifest from before one that was seen."""
        answer = await self._ask(Locks, "GET", "/locks")
        if answer.lock is None:
            raise SiloError("forged", "the lock of this device is missing")
        opened = open_lock(
            answer.lock,
            device_secret(self._secrets.seal),
            self._silo,
            self.keyring.genesis,
            self._user,
            answer.rotations,
            self._account.fingerprint,
        )
        if opened.account.fingerprint != self._account.fingerprint:
            raise SiloError("account_changed", "another device of yours rotated it")
        least = max(self.profile.manifest, opened.manifest)
        manifest = read_manifest(answer.manifest, self._account, self._silo, self._user, least)
        if answer.lock.public not in {one.public for one in manifest.locks}:
            raise SiloError("forged", "the manifest does not list this device's lock")
        self.profile = self.home.update(
            lambda profile: msgspec.structs.replace(profile, manifest=max(profile.manifest, manifest.version))
        )
        return manifest

    async def devices(self) -> dict[str, Enrolment]:
        """The user's devices by id, each with its own statement and the account's vouch. Raises SiloError `forged`."""
        if self._devices is None:
            found: dict[str, Enrolment] = {}
            voucher = Voucher(self._account.fingerprint, self._account.signer.public)
            for one in (await self._ask(Enrolments, "GET", "/enrolments")).enrolments:
                found[one.device] = read_device(one, self._silo, self._user, voucher)
            own = found.get(self.profile.device)
            if own is None or own.sign != self._signer.public or own.seal != recipient_of(self._secrets.seal).public:
                raise SiloError("forged", "this device's enrolment is another's")
            self._devices = found
        return self._devices

    # --- the keyring ---

    async def _keyrings(self, after: int) -> Keyrings:
        return await self._ask(Keyrings, "GET", "/keyrings", {"after": after})

    async def accept(self, offered: list[SignedKeyring]) -> None:
        """Go on to newer keyrings, each signed as the one before allows.

        Raises SiloError `stale` where the silo has only older ones, `forged` for another chain; as `verify_keyring`.
        """
        if not offered:
            # It has none after ours: ours is one that it does not know, or knows otherwise.
            offered = (await self._keyrings(0)).keyrings
        mine = {version: keyring_hash(one) for version, one in enumerate(self.profile.keyrings, 1)}
        newest = self.keyring
        fresh: list[SignedKeyring] = []
        for version, signed in self._numbered(offered):
            if version in mine:
                if keyring_hash(signed) != mine[version]:
                    raise SiloError("forged", f"the silo's keyring {version} is not the one accepted before")
                continue
            newest = verify_keyring(signed, self._silo, newest.genesis, newest)
            fresh.append(signed)
        if not fresh:
            raise SiloError("stale", f"keyring {self.keyring.document.version} is missing from the silo")
        # One that certifies nobody but an identity that was given up is not kept.
        speaks = newest.identities([hash_bytes(one) for one in self.profile.former])[0]
        if _admins(newest) != _admins(self.keyring):
            self._warn(f"the silo's administrator keys changed with keyring {newest.document.version}")

        def store(profile: Profile) -> Profile:
            if len(profile.keyrings) >= newest.document.version:
                return profile
            if len(profile.keyrings) != newest.document.version - len(fresh):
                raise SiloError("stale", "another command changed the keyrings meanwhile; try again")
            return msgspec.structs.replace(profile, keyrings=profile.keyrings + fresh, identity=b32(speaks))

        self.profile = self.home.update(store)
        self.keyring = self.profile.keyring()
        self.door.repin(pin_of(self.profile))

    def _meet_spare(self, spare: bytes) -> None:
        """From now on the former identity is refused: it may be in other hands (SPEC 8.7)."""

        def give_up(profile: Profile) -> Profile:
            former = [b32(one) for one in profile.identities() if one != spare]
            return msgspec.structs.replace(
                profile, former=list(dict.fromkeys([*profile.former, *former])), identity=b32(spare)
            )

        self.profile = self.home.update(give_up)
        self._warn(
            "the silo speaks with its spare identity; the former one is refused from now on. Ask the administrator "
            "whether it was restored, and for the next keyring"
        )

    @staticmethod
    def _numbered(offered: list[SignedKeyring]) -> list[tuple[int, SignedKeyring]]:
        class Numbered(msgspec.Struct):
            version: int

        try:
            numbered = [(msgspec.json.decode(one.document, type=Numbered).version, one) for one in offered]
        except msgspec.MsgspecError as error:
            raise SiloError("header_failure", str(error)) from None
        return sorted(numbered, key=lambda pair: pair[0])

    def _identities(self) -> list[bytes]:
        # A receipt may be as old as the identity before; every one of them was certified.
        class Certified(msgspec.Struct):
            identity: str
            spare: str | None

        found: list[str] = []
        for signed in reversed(self.profile.keyrings):
            certified = msgspec.json.decode(signed.document, type=Certified)
            found += [certified.identity, *([certified.spare] if certified.spare else [])]
        return [hash_bytes(one) for one in dict.fromkeys(found)]

    # --- the log ---

    async def walk(self, start: Seen | None = None) -> Walk:
        """The user's log from an accepted entry, or whole, up to the silo's head; each entry chained.

        Raises SiloError `stale_head` naming the entries that this device has seen and the silo does not have, `forged`.
        """
        seen = self.profile.head
        walk = Walk(self._silo, self._user, start.at, start.hash) if start else Walk(self._silo, self._user)
        while True:
            page = await self._ask(LogPage, "GET", "/log", {"after": walk.at, "limit": LOG_PAGE})
            self._check_reaches(page.head)
            walk.take(page.entries)
            if page.head is None:
                break
            if walk.at >= page.head.at:
                walk.check(page.head.at, page.head.hash)
                break
            if not page.entries:
                raise SiloError("forged", f"the log ends at {walk.at}, and its head is {page.head.at}")
        if seen and seen.at in walk.hashes:
            walk.check(seen.at, seen.hash)
        return walk

    def _check_reaches(self, head: Seen | None) -> None:
        seen = self.profile.head
        at = head.at if head else 0
        if seen and at < seen.at:
            raise SiloError("stale_head", f"entry {seen.at}" if at == seen.at - 1 else f"entries {at + 1} to {seen.at}")

    async def catch_up(self) -> Walk:
        """Walk on from the accepted head and accept the silo's. Raises as `walk`."""
        walk = await self.walk(self.profile.head)
        self._move(walk)
        return walk

    def _move(self, walk: Walk) -> None:
        if walk.at:
            self._see(Seen(at=walk.at, hash=walk.hashes[walk.at]))

    def _see(self, head: Seen) -> None:
        def forward(profile: Profile) -> Profile:
            before = profile.head
            if before and before.at == head.at and before.hash != head.hash:
                raise SiloError("forged", f"the log differs at {head.at}")
            # Another command of this device may have seen more.
            return profile if before and before.at >= head.at else msgspec.structs.replace(profile, head=head)

        self.profile = self.home.update(forward)

    # --- history ---

    async def history(self, count: int | None = None, thread: str | None = None) -> list[Opened]:
        """The last `count` records (None: all), of one thread or of all, oldest first, opened here; the log whole.

        What fails to open is in the list with its reason. Raises as `walk`, `devices`.
        """
        walk = await self.walk()
        self._move(walk)
        wanted = [entry for entry in walk.entries if thread in (None, entry.thread)]
        whole = count is None or count >= len(wanted)
        wanted = wanted if whole or count is None else wanted[len(wanted) - count :]
        if not wanted:
            return []
        devices = await self.devices()
        records = await self._records(wanted, thread)
        bag = await self._bag(thread, walk) if thread is not None else None
        opened = [self._open(entry, records.get(entry.index), walk, devices, bag) for entry in wanted]
        if bag is not None and whole:
            await self._renew(bag, opened, walk)
        return opened

    async def _records(self, wanted: list[LogEntry], thread: str | None) -> dict[int, Record | Gone]:
        last = wanted[-1].index
        found: dict[int, Record | Gone] = {}
        after: int | None = wanted[0].index - 1
        while after is not None and after < last:
            limit = min(PAGE, last - after)
            page = await self._ask(HistoryPage, "GET", "/history", {"after": after, "limit": limit, "thread": thread})
            for one in sorted([*page.records, *page.tombstones], key=lambda one: one.index):
                if one.index <= after:
                    raise SiloError("forged", "the history goes back")
                found[one.index] = one
                after = one.index
            if page.next is None or not (page.records or page.tombstones):
                break
        return found

    def _open(
        self,
        entry: LogEntry,
        record: Record | Gone | None,
        walk: Walk,
        devices: dict[str, Enrolment],
        bag: "_Bag | None",
    ) -> Opened:
        try:
            if record is None:
                raise SiloError("forged", "the log names it, and the silo does not have it")
            if isinstance(record, Gone):
                return Opened(entry, None, None, self._read_gone(record, entry, walk, devices))
            turn = self._open_record(record, devices, bag)
            walk.check(turn.index, turn.entry)
            said = (entry.index, entry.id, entry.thread, entry.parent, entry.time, entry.core)
            if said != (turn.index, turn.id, turn.thread, turn.parent, turn.time, turn.core):
                raise SiloError("forged", "the log describes it otherwise")
            return Opened(entry, turn, None)
        except SiloError as error:
            return Opened(entry, None, error)

    def _read_gone(self, gone: Gone, entry: LogEntry, walk: Walk, devices: dict[str, Enrolment]) -> Deleted:
        hashes = hash_bytes(entry.core), hash_bytes(walk.hashes[entry.index])
        erased = Erased(self._silo, self._user, entry.index, *hashes)
        tombstone, deleted = read_gone(gone, erased, self._accepted(), devices, self._identities())
        if (gone.thread, tombstone.made) != (entry.thread, entry.time):
            raise SiloError("forged", "the log describes it otherwise")
        return deleted

    def _accepted(self) -> list[Keyring]:
        """Every keyring that this device has accepted, verified again."""
        accepted: list[Keyring] = []
        for signed in self.profile.keyrings:
            before = accepted[-1] if accepted else None
            accepted.append(verify_keyring(signed, self._silo, self.keyring.genesis, before))
        return accepted

    def _open_record(self, record: Record, devices: dict[str, Enrolment], bag: "_Bag | None" = None) -> Turn:
        envelope = envelope_of(record)
        identities = self._identities()
        if bag and (key := bag.keys.get(record.index)):
            # Whatever is wrong with it, the wraps decide.
            with suppress(SiloError):
                return read_turn(open_keyed(envelope, key, self._silo, self._user, identities), devices)
        turn = read_turn(open_certified(envelope, self._openers, self._silo, self._user, identities), devices)
        if bag:
            bag.keys[record.index] = unwrap(envelope, self._openers)
            bag.changed = True
        return turn

    # --- key bags (SPEC 7.8) ---

    async def _bag(self, thread: str, walk: Walk) -> "_Bag":
        """The thread's key bag; an empty one where there is none, or none that fits."""
        answer = await self._ask(Bag, "GET", f"/bags/{thread}")
        bag = _Bag(thread, answer.version)
        if answer.sealed is None or answer.last is None:
            return bag
        at, entry = answer.last.at, answer.last.hash
        named = walk.entries[at - 1].thread if 0 < at <= len(walk.entries) else None
        with suppress(SiloError, ValueError):
            if named == thread and walk.hashes.get(at) == entry:
                place = BagPlace(self._silo, self._user, id_bytes(thread), answer.version, at, hash_bytes(entry))
                bag.keys = self._openers[0].open_bag(unb64(answer.sealed), place)
        return bag

    async def _renew(self, bag: "_Bag", opened: list[Opened], walk: Walk) -> None:
        """Write the bag anew where it lacked something. It is a cache: where that fails, nothing is lost."""
        live = [one.entry.index for one in opened if one.turn is not None]
        if not bag.changed or not live:
            return
        keys = {index: bag.keys[index] for index in live if index in bag.keys}
        last = Seen(at=live[-1], hash=walk.hashes[live[-1]])
        place = BagPlace(self._silo, self._user, id_bytes(bag.thread), bag.version + 1, last.at, hash_bytes(last.hash))
        sealed = seal_bag(place, keys, recipient_of(self._secrets.account))
        body = {"version": bag.version + 1, "last": last, "sealed": b64(sealed)}
        with suppress(Refused, Broken):
            await self.door.ask(self.door.request("PUT", f"/bags/{bag.thread}"), body)

    # --- deleting (SPEC 7.7) ---

    async def delete(self, chosen: list[LogEntry]) -> list[Opened]:
        """Delete these records for good; each comes back with the tombstone that stands now.

        Raises SiloError `forbidden` where the policy does not allow it, `forged` where a tombstone is not valid,
        `not_found`; as Door.ask.
        """
        if not self.keyring.document.policy.user_deletion:
            raise SiloError("forbidden", "the policy of this silo does not let people delete")
        walk = await self.walk()
        self._move(walk)
        devices = await self.devices()
        done: list[Opened] = []
        for at in range(0, len(chosen), DELETED_AT_ONCE):
            batch = chosen[at : at + DELETED_AT_ONCE]
            stones = {one.index: one for one in await self._delete(batch, walk)}
            for entry in batch:
                if entry.index not in stones:
                    raise SiloError("forged", "the silo says nothing of a record that was to be deleted")
                gone = self._read_gone(stones[entry.index], entry, walk, devices)
                done.append(Opened(entry, None, None, gone))
        return done

    async def _delete(self, batch: list[LogEntry], walk: Walk) -> list[Gone]:
        request = self.door.request("POST", "/deletions")
        tries = 0
        while True:
            body = {"tombstones": [self._tombstone(entry, walk) for entry in batch]}
            try:
                answer = await self.door.ask(named(request, self._trust()), body)
                return read_answer(answer.body, DeletedNow).deleted
            except Refused as refused:
                tries += 1
                if refused.code == "already_done":
                    return _deleted(refused)
                if tries >= AGREE:
                    raise
                if refused.code == "keyring_changed":
                    await self.accept(_offered(refused))
                elif refused.code == "stale_head":
                    await self.catch_up()
                elif refused.code == "in_progress":
                    await asyncio.sleep(1)
                else:
                    raise

    def _tombstone(self, entry: LogEntry, walk: Walk) -> NewTombstone:
        hashes = hash_bytes(entry.core), hash_bytes(walk.hashes[entry.index])
        statement = Tombstone(
            erased=Erased(self._silo, self._user, entry.index, *hashes),
            made=entry.time,
            who=id_bytes(self.profile.device),
            why=USER,
            keyring_version=self.keyring.document.version,
            keyring_hash=self.keyring.hash,
            time=self.door.now(),
        ).statement()
        return NewTombstone(statement=b64(statement), signature=b64(sign_tombstone(self._signer, statement)))

    async def thread(self, thread: str) -> list[Turn]:
        """The line of turns that a next one in this thread goes on from, oldest first.

        Raises SiloError `not_found` for a thread without records, or the first reason why one does not open.
        """
        opened = await self.history(thread=thread)
        if not opened:
            raise SiloError("not_found", "no chat with that id; silo logs --short lists them")
        turns: list[Turn] = []
        for one in opened:
            if one.turn is not None:
                turns.append(one.turn)
            elif one.deleted is None:
                raise one.error or SiloError("forged")
        if not turns:
            raise SiloError("not_found", "all turns of that chat were deleted")
        return ancestry(turns, {one.entry.core for one in opened if one.deleted})

    # --- chat ---

    async def chat(
        self,
        messages: list[Message],
        context: list[Message] | None = None,
        thread: str | None = None,
        parent: str | None = None,
        model: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> AsyncGenerator[str | End]:
        """Ask: the reply's text as it comes, then its End.

        `context` is what was said before, `parent` the core hash of the turn that it ends with. Leaving early
        stops the model. Raises as Door.ask, SiloError `account_changed`, `stale_head`, `stale`, `forged`
        (also where the record is not what was said), `lost`.
        """
        asked, body = self._sign(messages, context or [], thread or new_id(), parent, model, options or {})
        request = self.door.request("POST", "/chat")
        decoder = codecs.getincrementaldecoder("utf-8")()
        said: list[str] = []
        stream: Stream | None = None
        end: ChatEnd | None = None
        cause: SiloError | None = None
        try:
            try:
                stream = await self._agree(request, body)
                self._remember(asked)
                async for data in stream.pieces():
                    if piece := decoder.decode(data):
                        said.append(piece)
                        yield piece
                decoder.decode(b"", True)
                end = read_answer(stream.end or b"", ChatEnd)
            except UnicodeDecodeError:
                raise SiloError("bad_reply", "it is not UTF-8") from None
            except SiloError as failure:
                # After HEAD only an end too early leaves a question open: everything else names what was changed.
                open_yet = self._may_have_run(request, failure) if stream is None else isinstance(failure, Broken)
                if not open_yet:
                    raise
                cause = failure
            if stream is not None and end is not None:
                cover = asyncio.create_task(_drain(stream))
                try:
                    result = await self._check_end(asked, end, "".join(said))
                finally:
                    await cover
                yield result
                return
        finally:
            if stream is not None:
                await stream.close()
        heard = "".join(said)
        turn, kept = await self._settled(asked, self.door.sent_as(request), heard, cause or SiloError("truncated"))
        text = turn.reply.content
        if text != heard:
            yield text[len(heard) :]
        usage = Usage(prompt=turn.reply.prompt_tokens, completion=turn.reply.completion_tokens)
        yield End(asked.thread, asked.turn, text, turn.reply.finish, usage, kept, None, turn)

    def _may_have_run(self, request: Request, failure: SiloError) -> bool:
        """Whether a turn for which this came instead of an answer may have run nevertheless."""
        tries = self.door.tries(request)
        if isinstance(failure, Refused):
            return tries > 1 or failure.code in (*MEANWHILE, *PROVOKED)
        return tries > 0 and failure.code != "payload_failure"

    def _sign(
        self,
        messages: list[Message],
        context: list[Message],
        thread: str,
        parent: str | None,
        model: str | None,
        options: dict[str, Any],
    ) -> tuple[_Asked, dict[str, Any]]:
        try:
            checked = msgspec.convert(options, Options, strict=True)
        except msgspec.ValidationError as error:
            # "Expected `float` <= 2.0 - at `$.temperature`"
            name = re.sub(r".*\$\.(\w+).*", r"\1", str(error))
            raise SiloError("bad_option", f"{name} is {OPTION_RANGES[name]}" if name in OPTION_RANGES else "") from None
        text = write_json(TurnText(messages=messages, model=model, options=checked))
        turn = new_id()
        before = hash_bytes(parent) if parent else NO_HASH
        place = TurnPlace(self._silo, self._user, id_bytes(thread), id_bytes(turn), before)
        asked = _Asked(thread, turn, parent, text.decode(), b64(sign_turn(self._signer, place, text)))
        body = {
            "turn": turn,
            "thread": thread,
            "parent": parent,
            "text": asked.text,
            "signature": asked.signature,
            "context": context,
        }
        return asked, body

    def _trust(self) -> Trust:
        return Trust(hash_bytes(self.profile.account), self.keyring.seen, self.profile.head)

    async def _agree(self, request: Request, body: dict[str, Any]) -> Stream:
        """Send, naming what this device accepts; where the silo has more, verify that and send again."""
        for attempt in range(1, AGREE + 1):
            try:
                return await self.door.stream(named(request, self._trust()), body)
            except Refused as refused:
                if attempt == AGREE:
                    raise
                if refused.code == "keyring_changed":
                    await self.accept(_offered(refused))
                elif refused.code == "stale_head":
                    # Says which entries are missing; where none is, the log differs or has only grown.
                    await self.catch_up()
                else:
                    raise
        raise AssertionError

    def _remember(self, asked: _Asked) -> None:
        last = Last(thread=asked.thread, turn=asked.turn)
        self.profile = self.home.update(lambda profile: msgspec.structs.replace(profile, last=last))

    async def _check_end(self, asked: _Asked, end: ChatEnd, text: str) -> End:
        error: SiloError | None = None
        if end.error is not None:
            error = refusal_of(end.error)
        turn: Turn | None = None
        if end.kept is not None:
            self._check_receipt(end.kept)
            try:
                turn = await self._test_open(asked, end.kept, text, end.finish)
            except (Refused, Unanswered) as failure:
                if isinstance(failure, Refused) and failure.code not in PROVOKED:
                    raise
                self._warn("the silo kept the turn, but went away before it could be opened here for a test")
        elif error is None:
            raise SiloError("bad_reply", "it was not kept, and nothing says why")
        return End(asked.thread, asked.turn, text, end.finish, end.usage, end.kept, error, turn)

    def _check_receipt(self, kept: Kept) -> None:
        """The silo's word: this place, and sealed to the keys that were named and no others."""
        receipt = self._read_receipt(kept.receipt)
        recipients = [self._openers[0].fingerprint, self.keyring.vault.fingerprint]
        recipients += [extra.fingerprint for extra in self.keyring.extras(self.profile.user)]
        if (receipt.silo, receipt.user, receipt.index, b32(receipt.core_hash), b32(receipt.entry_hash)) != (
            self._silo,
            self._user,
            kept.index,
            kept.core,
            kept.entry,
        ):
            raise SiloError("forged", "the receipt is another record's")
        check_recipients(receipt, recipients)

    def _read_receipt(self, spelled: str) -> Receipt:
        """A receipt for what was written just now: only who may speak for the silo can have signed it."""
        for identity in self.profile.identities():
            with suppress(SiloError, ValueError):
                return read_receipt(unb64(spelled), identity)
        raise SiloError("forged", "receipt")

    async def _test_open(self, asked: _Asked, kept: Kept, heard: str, finish: Finish | None) -> Turn:
        """Open what the silo wrote of our own turn, and move the head to it. Without `finish` more may have been
        said than was heard."""
        page = await self._ask(HistoryPage, "GET", "/history", {"after": kept.index - 1, "limit": 1, "thread": None})
        if len(page.records) != 1 or page.records[0].index != kept.index:
            raise SiloError("forged", "the silo does not have the record that it gave a receipt for")
        own = Enrolment(
            self._silo,
            self._user,
            id_bytes(self.profile.device),
            self._signer.public,
            recipient_of(self._secrets.seal).public,
            self.profile.since,
        )
        record = page.records[0]
        turn = self._open_record(record, {self.profile.device: own})
        said = (kept.core, kept.entry, asked.thread, asked.turn, asked.parent, asked.text)
        if said != (turn.core, turn.entry, turn.thread, turn.id, turn.parent, turn.text):
            raise SiloError("forged", "the silo kept another turn than was asked")
        whole = (turn.reply.content, turn.reply.finish) == (heard, finish)
        if not whole and (finish or not turn.reply.content.startswith(heard)):
            raise SiloError("forged", "the silo kept another reply than it sent")
        await self._advance(turn, envelope_of(record).core)
        return turn

    async def _advance(self, turn: Turn, core: bytes) -> None:
        head = self.profile.head
        if turn.index == (head.at if head else 0) + 1:
            walk = Walk(self._silo, self._user, head.at, head.hash) if head else Walk(self._silo, self._user)
            walk.take([_entry_of(turn)])
        elif head and turn.index <= head.at:
            # Another command of this device has gone past it: it must stand there all the same.
            walk = await self.walk()
        else:
            walk = await self.walk(head)
        walk.check(turn.index, turn.entry)
        self._move(walk)

    async def _settled(self, asked: _Asked, request: str, heard: str, cause: SiloError) -> tuple[Turn, Kept]:
        """What became of a turn whose answer did not come; `request` is the id that its request was sent under.

        That nothing is known of the turn is final: the silo does not run this request any more (SPEC 4.3).

        Raises SiloError `lost` where nothing was kept, `cause` where nothing was begun or the silo refused it,
        `deleted`, `unsettled` where the silo stays away or cannot say, `in_progress` where it is still at it.
        """
        loop = asyncio.get_running_loop()
        begun, pause, told = loop.time(), 0.2, False
        while True:
            try:
                state = await self._ask(TurnState, "GET", f"/turns/{asked.turn}", {"request": request})
                if state.state == "deleted":
                    raise SiloError("deleted")
                if state.kept is not None:
                    self._check_receipt(state.kept)
                    return await self._test_open(asked, state.kept, heard, None), state.kept
                if state.state == "lost":
                    refused = isinstance(cause, Refused) and cause.code not in (*MEANWHILE, *PROVOKED)
                    raise cause if refused else SiloError("lost")
                patience, failure = PATIENCE, SiloError("in_progress")
            except (Refused, Unanswered) as away:
                if isinstance(away, Refused) and away.code not in PROVOKED:
                    if away.code in UNWRITTEN:
                        raise SiloError("unsettled", away.sentence()) from None
                    if away.code != "not_found":
                        raise
                    # The silo answers: that it did not the first time is no news.
                    raise SiloError("lost") if heard or cause.code == "unreachable" else cause from None
                if not isinstance(cause, Broken) and cause.code not in MEANWHILE:
                    # Nothing went away: what was said the first time is said again, by whomever.
                    raise SiloError(cause.code, UNKNOWN) from None
                if not told:
                    self._warn(f"the silo went away; waiting up to {RETURN:g} s for what it kept of this turn")
                patience, failure, told = RETURN, SiloError("unsettled", away.detail), True
            if loop.time() - begun >= patience:
                raise failure
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 1.6)

    async def stopped(self, thread: str, turn: str) -> Turn | None:
        """What the silo kept of a turn that was stopped here: its record, None where there is none."""
        for pause in (0.1, 0.3, 0.6, 1.0, None):
            try:
                state = await self._ask(TurnState, "GET", f"/turns/{turn}")
            except Refused as refused:
                if refused.code != "not_found":
                    raise
                return None
            if state.state == "deleted":
                return None
            if state.kept is not None:
                line = await self.thread(thread)
                return next((one for one in line if one.id == turn), None)
            if pause is None or state.state == "lost":
                return None
            await asyncio.sleep(pause)
        return None


async def _drain(stream: Stream) -> None:
    # The answer is complete: a connection that ends during the cover takes nothing away.
    with suppress(Broken):
        await stream.drain()


def pin_of(profile: Profile) -> Pin:
    """Who may speak for the silo, as the newest accepted keyring and what was given up since say it. Raises SiloError
    `wrong_silo` for nobody."""
    identity, *spare = (fingerprint(one) for one in profile.identities())
    return Pin(id_bytes(profile.silo), identity, *spare)


def key_mark(public: str) -> str:
    """The fingerprint of a public key as it is spelled in messages. Raises SiloError `bad_reply`."""
    try:
        return b32(fingerprint(unb64(public)))
    except ValueError:
        raise SiloError("bad_reply", "a key") from None


def _admins(keyring: Keyring) -> set[bytes]:
    return {
        holder.public.fingerprint
        for holder in keyring.document.holders
        if holder.role == "admin" and holder.revoked is None
    }


def _deleted(refused: Refused) -> list[Gone]:
    try:
        return msgspec.convert(refused.extra["deleted"], list[Gone], strict=True)
    except (KeyError, msgspec.ValidationError):
        raise SiloError("bad_reply", "deleted") from None


def _offered(refused: Refused) -> list[SignedKeyring]:
    try:
        return msgspec.convert(refused.extra["keyrings"], list[SignedKeyring], strict=True)
    except (KeyError, msgspec.ValidationError):
        raise SiloError("bad_reply", "keyrings") from None


def _entry_of(turn: Turn) -> LogEntry:
    return LogEntry(
        index=turn.index, id=turn.id, thread=turn.thread, parent=turn.parent, kind=1, time=turn.time, core=turn.core
    )
