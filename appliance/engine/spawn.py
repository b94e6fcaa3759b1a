"""An engine whose process is started, watched and restarted here."""

import asyncio
import hashlib
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from appliance.engine import catalog
from appliance.engine.attach import Attached
from appliance.engine.child import MODEL_BROKEN, NOT_INSTALLED
from appliance.engine.openai import plain_text
from silo.errors import SiloError

log = structlog.get_logger()

_LONGEST_PATH = 100  # bytes; a Unix socket's path may have 103 on macOS and 107 on Linux
_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY = 0.2, 10.0, 30.0  # seconds; one that lived so long starts anew at the first
_GRACE = 3.0  # seconds between asking to end and ending


def _too_long(path: Path) -> bool:
    return len(os.fsencode(path)) > _LONGEST_PATH


class Spawned(Attached):
    """An Engine of kind `llama` or `fake` in a process of its own.

    Its socket lies in `folder`, which is made with mode 0700 and is this engine's alone; where that
    path is too long for a socket, in a folder of the same kind under the system's temporary one. Either is
    the same at each start, which so clears up what kill -9 left.
    `model` as in catalog.find; `context` is lowered to what the model was trained for. `flags` are
    further arguments of the process. The process sees none of our environment, has no output, and
    ends when we do, however we end.
    """

    def __init__(
        self,
        kind: str,
        model: Path | None,
        folder: Path,
        *,
        context: int = 4096,
        parallel: int = 4,
        queue: int = 16,
        hang: float = 60.0,
        patience: float = 120.0,
        flags: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder.absolute()
        if _too_long(self._folder / "engine.sock"):
            mark = hashlib.sha256(b"%d %b" % (os.getuid(), os.fsencode(self._folder))).hexdigest()[:16]
            self._folder = Path(tempfile.gettempdir(), f"silo-engine-{mark}")
        self._socket = self._folder / "engine.sock"
        super().__init__(self._socket, context=context, parallel=parallel, queue=queue, hang=hang, patience=patience)
        self._kind = kind
        self._model = model
        self._parallel = parallel
        self._hang = hang
        self._flags = flags
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[int] | None = None
        self._began = 0.0

    async def start(self) -> None:
        """See Engine."""
        command = await self._command()
        self._watch()
        keeper = self._keeper = asyncio.create_task(self._keep(command))
        up = asyncio.create_task(self._up.wait())
        try:
            await asyncio.wait({up, keeper}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            if not self.ready:
                # The keeper returns only when the first process has ended before it answered.
                raise self._failure(keeper.result() if keeper.done() else None)
        except BaseException:
            await self.stop()
            raise
        finally:
            up.cancel()

    async def stop(self) -> None:
        """See Engine."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        await super().stop()
        await self._end_process()
        with suppress(OSError):
            self._socket.unlink(missing_ok=True)
            self._folder.rmdir()

    async def _command(self) -> list[str]:
        """The command line. Reads the model's header on the way."""
        flags = list(self._flags)
        if self._kind == "llama":
            found = await asyncio.to_thread(catalog.find, self._model)
            self._context = min(self._context, found.context or self._context)
            self._client.plain = plain_text(found.control)
            self._client.longest = found.longest or self._client.longest
            flags += ["--model", str(found.path), "--id", found.id, "--parallel", str(self._parallel)]
        flags += ["--socket", str(self._socket), "--context", str(self._context), "--with-parent"]
        # -P: nothing is imported from the folder it happens to run in.
        return [sys.executable, "-P", "-m", f"appliance.engine.{self._kind}", *flags]

    async def _keep(self, command: list[str]) -> int:
        """Run the process, again and again. Returns its exit code when the first one ends before it has answered."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            self._began = loop.time()
            try:
                code = await self._run_once(command)
            except SiloError:
                if not self._models:
                    raise
                code = -1
            self._lost()
            await self._end_process()  # what it may have left behind
            if not self._models:
                return code
            lived = loop.time() - self._began
            pause = _FIRST_PAUSE if lived > _STEADY else pause
            log.warning("engine_ended", kind=self._kind, code=code, lived_s=round(lived, 1), restart_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _run_once(self, command: list[str]) -> int:
        self._own_folder()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,  # it ends when this closes, and so with us
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parents[2])},
                start_new_session=True,  # Ctrl-C at the terminal is ours to handle, in order
            )
        except OSError:
            raise SiloError("engine_down", "its process cannot be started; is there enough memory?") from None
        return await self._process.wait()

    def _own_folder(self) -> None:
        """Make the folder, or take one that is ours, and see that no stale socket lies in it."""
        if _too_long(self._socket):
            raise SiloError("engine_down", f"no socket's path can be as long as {self._socket}; give a shorter TMPDIR")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._folder.is_symlink() or self._folder.stat().st_uid != os.getuid():
                raise SiloError("data_unwritable", f"{self._folder} is not this user's own")
            self._folder.chmod(0o700)
            self._socket.unlink(missing_ok=True)
        except OSError:
            raise SiloError("data_unwritable", str(self._folder)) from None

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await process.wait()
        self._kill(process)
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _kill(self, process: asyncio.subprocess.Process | None) -> None:
        """End the process and whatever it has started."""
        if process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _failure(self, code: int | None) -> SiloError:
        """Why it could not be started. `code` is its exit code, None while it still runs."""
        if code == MODEL_BROKEN:
            return SiloError("model_broken", f"{self._model or 'the built-in model'}: the engine cannot load it")
        if code == NOT_INSTALLED:
            return SiloError("engine_down", "xllamacpp is not installed")
        if code is None:
            return SiloError("engine_down", f"no answer in {self._patience:.0f} s")
        return SiloError("engine_down", f"the engine ended while it was starting ({code}); is there enough memory?")

    # What Attached has noticed.

    def _room(self, entry: dict[str, Any]) -> int:
        return self._context

    def _on_hang(self) -> None:
        log.warning("engine_hangs", kind=self._kind)
        self._kill(self._process)

    def _on_silence(self, seconds: float) -> None:
        # It hangs, or came back and never got ready. The first start is for `start` to judge.
        age = asyncio.get_running_loop().time() - self._began
        if self._models and seconds > self._hang and age > self._patience:
            self._on_hang()
