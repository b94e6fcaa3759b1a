"""The client of an OpenAI-compatible engine on a Unix socket.

One connection per reply: on a Unix socket it costs some 25 µs for both ends, what a few pieces of text
do; cancelling needs nothing but closing it; and no reply can end up in another's.

The engine is trusted with what it is asked, not with what it says: everything from it is bounded,
and its error texts go nowhere, because they can quote prompts and paths.
"""

import asyncio
import math
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httptools
import msgspec
import orjson

from appliance.beat import Beat
from appliance.engine.protocol import Finish, Job
from silo.errors import SiloError

MAX_TEXT = 4 << 20  # characters of one reply
MAX_WIRE = 256 << 20  # bytes of one reply as sent, with the 300 bytes or so around each token
MAX_LINE = 64 << 10  # bytes of one event
MAX_ERROR = 64 << 10  # bytes of an answer that is no stream
MAX_HEAD = 32 << 10  # bytes before the body
MAX_STOPS, MAX_STOP = 16, 256

# Seconds that a stream is left alone after a look: just under what the shape `fast` promises (SPEC 4.6).
REST = 0.028

# No token of an engine whose vocabulary is unknown stands for more bytes than this.
LONGEST_TOKEN = 128

_TOO_LONG = re.compile(r"maximum context length is (\d{1,9})")  # vLLM's and OpenAI's wording
_ROLES = frozenset({"system", "user", "assistant"})

# What could be a control token of some model, and those that are one in many.
_CANDIDATE = re.compile(r"<[^<>\s]{1,64}>|\[/?[A-Z_]{1,32}\]")
_BARS = re.compile(r"<\|.*\|>", re.DOTALL)
_COMMON = frozenset({
    "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]",
})  # fmt: skip


def plain_text(control: Iterable[str] = ()) -> Callable[[str], str]:
    """A function that breaks spellings of control tokens in a text, so that they stay text.

    Engines read such a spelling as the token itself, wherever it stands: a pasted page could end the
    user's turn and speak as the system. A zero-width space after its first character prevents that.
    `control` are the model's own; the ones that are common or look like <|…|> are broken always.
    """
    known = _COMMON.union(control)
    odd = [re.escape(token) for token in known if len(token) > 1 and not _CANDIDATE.fullmatch(token)]
    pattern = re.compile("|".join([*sorted(odd, key=len, reverse=True), _CANDIDATE.pattern]))

    def break_up(match: re.Match[str]) -> str:
        token = match[0]
        return f"{token[0]}\u200b{token[1:]}" if token in known or _BARS.fullmatch(token) else token

    return lambda text: pattern.sub(break_up, text)


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    finish_reason: str | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int


class _Event(msgspec.Struct, gc=False):
    """What is used of an event; the rest is skipped, not built."""

    choices: list[_Choice]
    usage: _Usage | None = None


_read_event = msgspec.json.Decoder(_Event).decode

# What one read may bring: more than a Unix socket holds. Emptied at once, so that all streams share it.
_scratch = memoryview(bytearray(256 << 10))


class Client:
    """Runs jobs on one engine: `parallel` at a time, `queue` waiting, the rest refused.

    `hang` is how many seconds an engine may be silent in a stream. `on_hang` is called when one was,
    unless another stream has heard from it meanwhile.
    """

    def __init__(
        self, socket: Path, *, parallel: int, queue: int, hang: float, on_hang: Callable[[], None] = lambda: None
    ) -> None:
        self.socket = str(socket)
        self.hang = hang
        self.fixed: Mapping[str, Any] = {}
        """Members that go into every request; the engine's own dialect."""
        self.plain = plain_text()
        self.longest = LONGEST_TOKEN
        self._parallel = parallel
        self._queue = queue
        self._on_hang = on_hang
        self._slots = asyncio.Semaphore(parallel)
        self._waiting = 0
        self._streams: set[_Stream] = set()
        self._beat = Beat(REST, places=1)
        self._open = True
        self._seconds = 5.0  # what a job takes, a moving mean

    async def run(self, job: Job, context: int, on_text: Callable[[str], None]) -> Finish:
        """Engine.run for a model whose context is `context` tokens. Raises as that does."""
        request = self._request(job, context)
        if self._slots.locked():
            if self._waiting >= self._queue:
                raise SiloError("engine_busy", retry_after=self._retry_after())
            self._waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._slots.acquire()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            if not self._open:
                raise SiloError("engine_down")
            finish = await self._stream(request, on_text, loop)
        finally:
            self._slots.release()
        self._seconds += (loop.time() - began - self._seconds) / 8
        return finish

    def begin(self) -> None:
        """Take jobs again after `end`."""
        self._open = True

    def end(self) -> None:
        """End every stream with `engine_down`, and every job that waits when its turn comes."""
        self._open = False
        for stream in tuple(self._streams):
            stream.fail(SiloError("engine_down"))

    def heard_since(self, moment: float) -> bool:
        """Whether a running stream heard from the engine after `moment` of the loop's clock."""
        return any(stream.spoke and stream.heard > moment for stream in self._streams)

    async def _stream(self, request: bytes, on_text: Callable[[str], None], loop: asyncio.AbstractEventLoop) -> Finish:
        stream = _Stream(request, on_text, self.hang, self._beat, loop)
        self._streams.add(stream)
        try:
            stream.open(self.socket)
            return await stream.done
        finally:
            self._streams.discard(stream)
            stream.close()
            if stream.hung and not self.heard_since(loop.time() - self.hang):
                self._on_hang()

    def _retry_after(self) -> int:
        """Whole seconds until a place in the queue may be free, 1 to 60."""
        return max(1, min(60, math.ceil(self._seconds / self._parallel)))

    def _request(self, job: Job, context: int) -> bytes:
        """The HTTP request. It is made anew from the fields below; nothing that a client sent is passed through."""
        if not job.messages:
            raise SiloError("bad_request", "messages")
        if sum(len(message.content.encode("utf-8", "replace")) for message in job.messages) > context * self.longest:
            # An engine would spend seconds and gigabytes on counting what cannot fit.
            raise SiloError("context_overflow", limit=context)
        if any(message.role not in _ROLES for message in job.messages):
            raise SiloError("bad_request", "messages.role")
        body: dict[str, Any] = {
            "model": job.model,
            "messages": [{"role": message.role, "content": self.plain(message.content)} for message in job.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.fixed,
        }
        # An engine ends a reply at its context by itself; some refuse to be asked for all of it.
        if job.max_tokens is not None and job.max_tokens < context:
            body["max_tokens"] = max(1, job.max_tokens)
        if (temperature := _finite(job.temperature)) is not None:
            body["temperature"] = max(0.0, min(2.0, temperature))
        if (top_p := _finite(job.top_p)) is not None:
            body["top_p"] = max(0.001, min(1.0, top_p))
        if job.seed is not None:
            body["seed"] = job.seed % 2**31
        if stops := [stop for stop in job.stop if 0 < len(stop) <= MAX_STOP][:MAX_STOPS]:
            body["stop"] = stops
        if job.cache_salt:
            body["cache_salt"] = re.sub(r"[^A-Za-z0-9_-]", "", job.cache_salt)[:64]
        try:
            data = orjson.dumps(body)
        except TypeError:  # lone surrogates
            raise SiloError("bad_request", "messages.content") from None
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
        )


class _Stream:
    """One reply. `done` gets its Finish or the SiloError that ended it.

    The loop watches the socket until something comes. That is read at once, and then the socket is left
    alone for REST seconds: what comes meanwhile is read in one go, and one timer looks after all streams that
    talk. Of a fast engine every look finds something, and the loop is not asked about the socket at all;
    a slow one is heard the moment it speaks. Waking up for each piece would cost more than everything else
    that is done with it.
    """

    def __init__(
        self,
        request: bytes,
        on_text: Callable[[str], None],
        hang: float,
        beat: Beat,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.done: asyncio.Future[Finish] = loop.create_future()
        self.heard = loop.time()
        self.spoke = False
        self.hung = False
        self._request = memoryview(request)
        self._on_text = on_text
        self._hang = hang
        self._beat = beat
        self._loop = loop
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._sending = False
        self._watched = False
        self._leave: Callable[[], object] = lambda: None
        self._timer = loop.call_later(hang, self._look)
        self._status = 0
        self._wire = 0
        self._chars = 0
        self._partial = bytearray()  # of an event in a stream; of the whole answer otherwise
        self._whole = False
        self._reason = ""
        self._pieces = 0
        self._usage: tuple[int, int] = (0, 0)
        self._parts: list[bytes] = []
        self.on_body = self._parts.append  # the parser calls the list itself: no Python frame for each part
        self._parser = httptools.HttpResponseParser(self)

    def open(self, path: str) -> None:
        """Connect and begin to send the request. Raises SiloError `engine_down`."""
        try:
            self._socket.connect(path)  # a Unix socket connects at once, or not
        except OSError:
            raise SiloError("engine_down") from None
        self._watch()
        self._send()

    def close(self) -> None:
        """Close the connection and forget what came. Nothing is called after this."""
        self._timer.cancel()
        self._leave()
        if self._watched:
            self._loop.remove_reader(self._socket)
        if self._sending:
            self._loop.remove_writer(self._socket)
        self._socket.close()
        if not self.done.done():
            self.done.cancel()

    def fail(self, error: BaseException) -> None:
        """End the stream with `error`."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # marked as seen: the awaiting task may be gone

    # The socket.

    def _send(self) -> None:
        try:
            self._request = self._request[self._socket.send(self._request) :]
        except BlockingIOError:
            pass
        except OSError:  # it may refuse before it has read everything; its answer tells
            self._request = self._request[:0]
        if self._request and not self._sending:
            self._sending = True
            self._loop.add_writer(self._socket, self._send)
        elif self._sending and not self._request:
            self._sending = False
            self._loop.remove_writer(self._socket)

    def _watch(self) -> None:
        self._watched = True
        self._loop.add_reader(self._socket, self._speaks)

    def _speaks(self) -> None:
        """It says something after a silence: read that, and look in from now on."""
        self._watched = False
        self._loop.remove_reader(self._socket)
        self._leave = self._beat.join(self._look_in)
        self._look_in()

    def _look_in(self) -> None:
        if self.done.done():
            return
        try:
            self._received(_scratch[: self._socket.recv_into(_scratch)].tobytes())
        except BlockingIOError:
            self._leave()
            self._watch()
        except OSError:
            self._lost()
        except Exception as fault:
            self.fail(fault)

    def _received(self, data: bytes) -> None:
        if not data:
            return self._lost()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return self.fail(SiloError("engine_failed"))
        self._wire += len(data)
        body = b"".join(self._parts)
        self._parts.clear()
        if self._status == 200:
            self._read(body)
        elif self._status:
            self._partial += body
            if self._whole or len(self._partial) > MAX_ERROR:
                self.fail(_refusal(self._status, self._partial))
        elif self._wire > MAX_HEAD:
            self.fail(SiloError("engine_failed"))
        if self._whole or self._wire > MAX_WIRE:
            self.fail(SiloError("engine_failed"))

    def _lost(self) -> None:
        if self._status not in (0, 200):
            self.fail(_refusal(self._status, self._partial))
        self.fail(SiloError("engine_failed"))

    # From the parser.

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        self._whole = True

    # The stream of events.

    def _read(self, part: bytes) -> None:
        if self._partial or part[-1:] != b"\n":
            partial = self._partial
            partial += part
            end = partial.rfind(b"\n") + 1
            if len(partial) - end > MAX_LINE:
                return self.fail(SiloError("engine_failed"))
            part = bytes(partial[:end])
            del partial[:end]
        for line in part.split(b"\n"):
            if line[:5] == b"data:" and not self.done.done():  # the rest is comments, other fields, empty lines
                self._event(line[5:])

    def _event(self, data: bytes) -> None:
        self.heard = self._loop.time()
        self.spoke = True
        try:
            event = _read_event(data)
        except (ValueError, RecursionError):
            return self._end(data)
        text = None
        if event.choices:
            choice = event.choices[0]
            text = choice.delta.content
            if choice.finish_reason is not None:
                self._reason = "length" if choice.finish_reason == "length" else "stop"
        if event.usage is not None:
            self._usage = max(0, event.usage.prompt_tokens), max(0, event.usage.completion_tokens)
        if text:
            self._pieces += 1
            self._chars += len(text)
            if self._chars > MAX_TEXT:
                return self.fail(SiloError("engine_failed"))
            try:
                self._on_text(text)
            except Exception as fault:
                self.fail(fault)

    def _end(self, data: bytes) -> None:
        if data.strip() != b"[DONE]":
            return self.fail(_refusal(400, data) if not self._chars else SiloError("engine_failed"))
        if not self._reason or self.done.done():
            return self.fail(SiloError("engine_failed"))
        prompt, completion = self._usage
        reason = "length" if self._reason == "length" else "stop"
        self.done.set_result(Finish(reason, prompt, completion or self._pieces))

    def _look(self) -> None:
        """Fail when the engine was silent for too long; look again when it was not."""
        left = self.heard + self._hang - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        elif not self.done.done():
            self.hung = True
            self.fail(SiloError("engine_failed"))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _refusal(status: int, body: bytes | bytearray) -> SiloError:
    """What the engine's refusal means. Of its text only numbers are used."""
    try:
        error = orjson.loads(body)["error"]
        kind, message = str(error.get("type") or ""), str(error.get("message") or "")
        if kind == "exceed_context_size_error":
            return SiloError("context_overflow", limit=int(error["n_ctx"]), needed=int(error["n_prompt_tokens"]))
        if limit := _TOO_LONG.search(message):
            return SiloError("context_overflow", limit=int(limit[1]))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):  # no JSON is a ValueError too
        return SiloError("engine_failed")
    if status == 429:
        return SiloError("engine_busy", retry_after=1)
    return SiloError("engine_down" if status == 503 else "engine_failed")


async def get(socket: str, path: str, patience: float) -> bytes | None:
    """The body of the engine's answer to GET `path`, at most 1 MiB; None unless it is a 200 in `patience` s."""
    body = bytearray()
    parser = httptools.HttpResponseParser(_Collector(body))
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"GET %b HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n" % path.encode())
                while len(body) < 1 << 20 and (data := await reader.read(1 << 16)):
                    parser.feed_data(data)
            finally:
                writer.transport.abort()
        return bytes(body) if parser.get_status_code() == 200 else None
    except (OSError, TimeoutError, httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None


class _Collector:
    def __init__(self, body: bytearray) -> None:
        self.on_body = body.extend
