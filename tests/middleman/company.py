"""Who meets the middleman: a real silo, the engine behind it that counts, a device, and a judge of what came of it."""

import asyncio
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keyring
import keyring.backends.fail
import msgspec
import pytest

from appliance.accounts.box import Box, open_box
from appliance.engine.fake import Connection, Fake
from silo.client.home import Home
from silo.client.session import End, Session
from silo.client.setup import Plan, parse_link, set_up
from silo.crypto.channel import Destination, TransportKey, state_keys
from silo.crypto.encoding import new_id
from silo.errors import SiloError
from tests.appliance.company import behind
from tests.harness import Served, now
from tests.middleman.proxy import Middleman
from tests.silo.talk import ask

PASSWORD = "correct horse battery staple"
HOUR = 3_600_000


class _Counting(Fake):
    """The deterministic engine, which remembers what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        super().__init__(0, 0.0, 4096)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "last" and value:
            self.prompts.append(value["messages"][-1]["content"])
        super().__setattr__(name, value)


class Engine:
    """The deterministic engine on a Unix socket, in a thread of this process, where its jobs can be counted."""

    def __init__(self) -> None:
        # The path of a socket is short: pytest's own folders are not.
        self._folder = Path(tempfile.mkdtemp(prefix="silo-test-"))
        self.spec = f"unix:{self._folder / 'engine.sock'}"
        self._fake = _Counting()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        path = self.spec.removeprefix("unix:")
        server = self._loop.run_until_complete(self._loop.create_unix_server(lambda: Connection(self._fake), path))
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    @property
    def prompts(self) -> list[str]:
        """Everything that it was asked."""
        return list(self._fake.prompts)

    def jobs(self, mark: str) -> int:
        """How often it was asked something with this word in it."""
        return sum(mark in prompt for prompt in self.prompts)

    @property
    def busy(self) -> bool:
        """Whether a reply is being made."""
        return self._fake.running > 0

    def end(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        shutil.rmtree(self._folder)


@dataclass
class Told:
    """What a person who asked one thing was told."""

    mark: str
    """A word that stands in this question and nowhere else."""
    prompt: str
    heard: str = ""
    end: End | None = None
    error: SiloError | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def whole(self) -> str:
        """What the engine answers to it."""
        chunks = re.search(r"chunks (\d+)", self.prompt)
        return "".join(Fake.pieces(self.prompt, int(chunks[1]) if chunks else 0, []))

    @property
    def how(self) -> str:
        """`kept`, or the code of the error."""
        if self.error is not None:
            return self.error.code
        assert self.end is not None
        return "kept" if self.end.error is None and self.end.kept else f"end: {self.end.error}"


class World:
    """A silo with an administrator who has one device, set up honestly."""

    def __init__(self, folder: Path, program: tuple[str, ...] = Served.program, **settings: str) -> None:
        self.engine = Engine()
        settings = {"SILO_DOOR_RATE": "100000", "SILO_PARALLEL": "16"} | settings
        self.served = Served(folder / "silo", self.engine.spec, **settings)
        self.served.program = program
        try:
            self._begin(folder)
        except BaseException:
            self.served.kill()
            self.engine.end()
            raise

    def _begin(self, folder: Path) -> None:
        self.served.start()
        self.home = Home(folder / "home")
        plan = Plan("alice", PASSWORD, folder / "admin.key")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keyring, "get_keyring", keyring.backends.fail.Keyring)
            asyncio.run(set_up(self.home, parse_link(self.served.link), plan, now, lambda _: None))
        self.box: Box = open_box(self.served.data, create=False)

    def end(self) -> None:
        """Stop everything. The log must be clean."""
        code = self.served.stop()
        self.engine.end()
        assert code == 0
        assert '"error"' not in self.served.log.read_text()

    # --- what only this silo can have signed ---

    def other_host(self, since: int | None = None) -> tuple[TransportKey, Callable[[str | None], bytes]]:
        """A transport key of another host of this silo, and its `GET /silo/keys`."""
        since = now() - 1000 if since is None else since
        key = TransportKey(self.box.silo, self.box.fingerprint, since, since + 24 * HOUR)
        return key, lambda nonce: self.sign_keys([key.destination], since + 1000, nonce)

    def sign_keys(self, keys: list[Destination], at: int, nonce: str | None) -> bytes:
        """A statement of transport keys as the silo's identity signs it."""
        return state_keys(self.box.identity, self.box.silo, keys, at, nonce)

    # --- what stands in its database ---

    def turns(self) -> Counter[str]:
        """How many records there are of each turn."""
        with behind(self.served) as database:
            return Counter(turn for (turn,) in database.execute("SELECT turn FROM record"))

    def written(self) -> Counter[str]:
        """How many of the requests that are written down are running, done, failed, refused."""
        with behind(self.served) as database:
            return Counter(state for (state,) in database.execute("SELECT state FROM once"))

    async def quiet(self) -> None:
        """Wait until nothing runs any more."""
        async with asyncio.timeout(10):
            while self.engine.busy or self.written()["running"]:  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.02)

    # --- scenarios ---

    @asynccontextmanager
    async def scene(self) -> AsyncIterator["Scene"]:
        """A middleman before the silo, honest until its script is set."""
        before = self.turns()
        async with Middleman(self.served.url) as man:
            scene = Scene(self, man, before)
            self.home.update(lambda profile: msgspec.structs.replace(profile, url=man.url))
            try:
                yield scene
            finally:
                self.home.update(lambda profile: msgspec.structs.replace(profile, url=self.served.url))
        assert not man.broken, man.broken


class Scene:
    """One scenario."""

    def __init__(self, world: World, man: Middleman, before: Counter[str]) -> None:
        self.world = world
        self.man = man
        self._before = before
        self.warnings: list[str] = []

    @asynccontextmanager
    async def session(self, clock: Callable[[], int] = now, fresh: bool = False) -> AsyncIterator[Session]:
        """The device at the middleman's address; `fresh` without kept transport keys."""
        if fresh:
            self.world.home.keys_path.unlink(missing_ok=True)
        async with Session.open(self.world.home, str, clock, self.warnings.append) as session:
            yield session

    async def ask(self, session: Session, prompt: str = "one two three") -> Told:
        """Ask one thing. Whatever is raised but a SiloError fails the test."""
        mark = f"canary-{new_id()}"
        told = Told(mark, f"{mark} {prompt}", warnings=self.warnings)
        try:
            async with asyncio.timeout(20):
                async for piece in session.chat(ask(told.prompt)):
                    if isinstance(piece, End):
                        told.end = piece
                    else:
                        told.heard += piece
        except SiloError as error:
            told.error = error
        return told

    async def judge(self, session: Session, *tolds: Told) -> None:
        """What must hold whatever the middleman did, also where it sent something on after the person was told."""
        world = self.world
        await world.quiet()
        self.man.script = lambda _: None
        turns = world.turns()
        assert max(turns.values(), default=1) == 1
        # The log is walked from its first entry, past the head that this device holds, and what is new in it opens.
        opened = await session.history((turns - self._before).total())
        assert not [one.error for one in opened if one.error]
        kept = [one.turn for one in opened if one.turn]
        for told in tolds:
            self._judge(told, [turn for turn in kept if told.mark in turn.text])
        later = await self.ask(session, "later")
        assert (later.how, later.heard) == ("kept", later.whole)
        assert not any(told.mark in world.served.log.read_text() for told in tolds)

    def _judge(self, told: Told, kept: list[Any]) -> None:
        jobs = self.world.engine.jobs(told.mark)
        assert jobs <= 1, "it ran twice"
        assert len(kept) <= jobs
        if kept:
            assert told.whole.startswith(kept[0].reply.content)
            assert (told.whole == kept[0].reply.content) >= (kept[0].reply.finish == "stop")
            # What was released was what the silo said, and nothing else.
            assert kept[0].reply.content.startswith(told.heard)
        if told.end is not None:
            # Never a success that is none.
            assert kept
            assert told.end.kept is not None
            assert told.end.text == told.heard == kept[0].reply.content
            assert told.end.finish == kept[0].reply.finish
            assert told.end.opened == kept[0] or told.warnings
        else:
            assert told.error is not None
            assert told.error.sentence()
            if kept:
                # Who is told nothing of a turn that was kept must at least not be told that it was not.
                known = told.error.code in ATTACKED or "silo logs" in told.error.sentence() + told.error.row.hint
                assert known, f"told {told.error}, and it was kept"


ATTACKED = {"payload_failure", "forged", "wrong_silo", "replay", "in_progress"}
"""Codes that say that somebody on the way changed something, or that it runs yet."""
