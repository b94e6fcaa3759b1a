"""Engines of every kind, real processes all of them, behind one handle for the suite of promises."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import pytest_asyncio
import uvloop

from appliance.engine import Engine, Finish, Job, Message, catalog
from appliance.engine.attach import Attached
from appliance.engine.openai import get
from appliance.engine.spawn import Spawned

KINDS = ("llama", "fake", "attached-llama", "attached-fake")
CONTEXT = 1024


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}  # the appliance's own


def processes(socket: Path) -> list[psutil.Process]:
    """The processes that were told to serve on `socket`."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(socket) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@dataclass
class Reply:
    """A job that runs, and what has come of it."""

    task: asyncio.Task[Finish]
    pieces: list[str]
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    async def has(self, pieces: int) -> None:
        """Wait until so many pieces have come."""
        async with asyncio.timeout(30):
            while len(self.pieces) < pieces and not self.task.done():
                self.came.clear()
                await self.came.wait()
        assert len(self.pieces) >= pieces


class Rig:
    """An engine and the means to treat it badly."""

    def __init__(self, kind: str, folder: Path, **options: Any) -> None:
        self.kind = kind
        self.program = kind.removeprefix("attached-")
        self.attached = kind.startswith("attached-")
        self.parallel = options.setdefault("parallel", 2)
        self.context = options.setdefault("context", CONTEXT)
        self.folder = folder
        self.engine: Engine
        if self.attached:
            self.socket = folder / "engine.sock"
            self.engine = Attached(self.socket, **options)
        else:
            spawned = Spawned(self.program, None, folder, **options)
            self.socket = spawned._socket
            self.engine = spawned
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self.serve()
        await self.engine.start()

    def serve(self) -> None:
        """What systemd would do for an engine that is attached to; nothing for one that is spawned."""
        if not self.attached:
            return
        flags = ["--socket", str(self.socket), "--context", str(self.context)]
        if self.program == "llama":
            flags += ["--model", str(catalog.find(None).path), "--id", "tiny", "--parallel", str(self.parallel)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"appliance.engine.{self.program}", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """End the engine's process with SIGKILL."""
        for process in processes(self.socket):
            process.kill()
        if self._process is not None:
            self._process.wait()

    async def end(self) -> None:
        await self.engine.stop()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        assert not processes(self.socket)

    @staticmethod
    async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for `condition`. Fails when it does not come true in time."""
        for _ in range(int(seconds / 0.02)):
            if condition():
                return
            await asyncio.sleep(0.02)
        pytest.fail("it did not come true in time")

    # Jobs.

    def job(self, *contents: str, **options: Any) -> Job:
        """A short job by default."""
        options.setdefault("temperature", 0.0)
        options.setdefault("max_tokens", 12)
        roles = ("user", "assistant")
        messages = tuple(Message(roles[at % 2], content) for at, content in enumerate(contents or ("Say hello to me",)))
        return Job(messages, options.pop("model", self.engine.models()[0].id), **options)

    def long_job(self) -> Job:
        """One that would run for seconds."""
        if self.program == "fake":
            return self.job("some words chunks 600 gap 10", max_tokens=None)
        return self.job("Write a very long story about the sea.", max_tokens=None, temperature=1.0, seed=7)

    def begin(self, job: Job) -> Reply:
        """Run `job` in a task of its own."""
        pieces: list[str] = []
        came = asyncio.Event()

        def on_text(text: str) -> None:
            pieces.append(text)
            came.set()

        task = asyncio.create_task(self.engine.run(job, on_text))
        task.add_done_callback(lambda _: came.set())
        return Reply(task, pieces, came)

    async def ask(self, job: Job) -> tuple[str, Finish]:
        """Run `job` to its end."""
        reply = self.begin(job)
        finish = await asyncio.wait_for(reply.task, 60)
        return reply.text, finish

    async def fake(self, what: str) -> Any:
        """What the fake engine tells about itself."""
        answer = await get(str(self.socket), f"/fake/{what}", 5)
        assert answer is not None
        return orjson.loads(answer)


MakeRig = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[MakeRig]:
    """Makes rigs of a kind, started, and ends them."""
    rigs: list[Rig] = []

    async def make(kind: str, **options: Any) -> Rig:
        rig = Rig(kind, tmp_path / f"e{len(rigs)}", **options)
        rigs.append(rig)
        await rig.start()
        return rig

    yield make
    for rig in rigs:
        await rig.end()


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, make_rig: MakeRig) -> Rig:
    """An engine of each kind, ready, for one test alone."""
    return await make_rig(request.param)


@pytest_asyncio.fixture(params=KINDS, scope="module", loop_scope="module")
async def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """An engine of each kind, ready, for all tests of a module that leave it as it was."""
    rig = Rig(request.param, tmp_path_factory.mktemp("engine"))
    await rig.start()
    yield rig
    await rig.end()


@pytest.fixture
def model_file() -> Path:
    """The built-in model."""
    return catalog.find(None).path
