"""An engine that somebody else keeps alive: systemd, compose, or spawn.py."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from appliance.engine.openai import Client, get
from appliance.engine.protocol import Finish, Job, Model
from silo.errors import SiloError

# llama.cpp: keep no prompt; tell how far reading a prompt is, which is a sign of life, and at once shows
# it that the client has gone (by itself it looks once a second).
_LLAMA = {"cache_prompt": False, "return_progress": True}

# Seconds: between questions while it is up; the first and the longest pause while it is down; for an answer.
ASK_UP, ASK_DOWN, ASK_DOWN_LONGEST, ANSWER = 5.0, 0.05, 1.0, 5.0

PATIENCE = 60.0
"""Seconds that `start` waits for an engine that somebody else starts."""


class Attached:
    """An Engine behind the Unix socket `socket`. It may come, go and come back at any time.

    `context` is used for models about which the engine does not say it. `patience` is how many seconds
    `start` waits, `hang` how many a stream may be silent; `parallel` and `queue` as in Engine.run.
    """

    def __init__(
        self,
        socket: Path,
        *,
        context: int = 4096,
        parallel: int = 4,
        queue: int = 16,
        hang: float = 60.0,
        patience: float = PATIENCE,
    ) -> None:
        self._client = Client(socket, parallel=parallel, queue=queue, hang=hang, on_hang=self._on_hang)
        self._context = context
        self._patience = patience
        self._models: dict[str, Model] = {}
        self._up = asyncio.Event()
        self._ask_now = asyncio.Event()
        self._misses = 0
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See Engine."""
        self._watch()
        try:
            async with asyncio.timeout(self._patience):
                await self._up.wait()
        except TimeoutError:
            reason = f"nothing answered at {self._client.socket} in {self._patience:.0f} s"
            raise SiloError("engine_down", reason) from None

    async def stop(self) -> None:
        """See Engine."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        self._lost()
        self._client.end()

    @property
    def ready(self) -> bool:
        """See Engine."""
        return self._up.is_set()

    def models(self) -> list[Model]:
        """See Engine."""
        return list(self._models.values())

    async def run(self, job: Job, on_text: Callable[[str], None]) -> Finish:
        """See Engine."""
        if not self.ready:
            raise SiloError("engine_down")
        model = self._models.get(job.model)
        if model is None:
            raise SiloError("unknown_model")
        try:
            return await self._client.run(job, model.context, on_text)
        except SiloError as error:
            if error.code in ("engine_failed", "engine_down"):
                self._ask_now.set()
            raise

    def _watch(self) -> None:
        self._client.begin()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._keep_asking())

    def _lost(self) -> None:
        """It is known to be gone: say so at once, and ask until it is back."""
        self._up.clear()
        self._misses = 0
        self._ask_now.set()

    def _on_hang(self) -> None:
        """A stream was silent for too long, and no other one was heard from meanwhile."""

    def _on_silence(self, seconds: float) -> None:
        """It has not answered for `seconds`."""

    async def _keep_asking(self) -> None:
        loop = asyncio.get_running_loop()
        answered = loop.time()
        while True:
            self._ask_now.clear()
            # Words in a stream are an answer.
            if (self.ready and self._client.heard_since(loop.time() - ASK_UP)) or await self._ask():
                answered, self._misses = loop.time(), 0
                self._up.set()
                pause = ASK_UP
            else:
                self._misses += 1
                if self._misses > 1:  # a busy machine may miss one
                    self._up.clear()
                self._on_silence(loop.time() - answered)
                pause = min(ASK_DOWN_LONGEST, ASK_DOWN * self._misses)
            await asyncio.sleep(ASK_DOWN)  # however often it is called lost, no busy loop
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ask_now.wait()

    async def _ask(self) -> bool:
        if await get(self._client.socket, "/health", ANSWER) is None:
            return False
        if not self.ready:  # it may have come back as another
            answer = await get(self._client.socket, "/v1/models", ANSWER)
            if answer is None or not (models := self._read_models(answer)):
                return False
            self._models = models
        return True

    def _read_models(self, answer: bytes) -> dict[str, Model]:
        try:
            listed: list[dict[str, Any]] = orjson.loads(answer)["data"]
            models = {str(entry["id"]): Model(str(entry["id"]), self._room(entry)) for entry in listed}
            self._client.fixed = _LLAMA if any(entry.get("owned_by") == "llamacpp" for entry in listed) else {}
        except (ValueError, LookupError, TypeError, AttributeError):
            return {}
        return models

    def _room(self, entry: dict[str, Any]) -> int:
        """Tokens of one conversation: vLLM says max_model_len, llama.cpp meta.n_ctx."""
        said = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx")
        return said if type(said) is int and said > 0 else self._context
