"""A deterministic engine for tests and benches: python -m appliance.engine.fake --socket PATH.sock

It answers as llama.cpp does, with the words of the last user message, one piece each; a word counts as
a token. Directives in that message, so that one process serves many tests:

    chunks N        the words again and again until there are N pieces (as --chunks does for all)
    gap N           N ms before each piece (as --gap-ms)
    crash after N   the process kills itself after N pieces
    hang after N    nothing comes after N pieces

GET /fake/running counts the streams that run; GET /fake/last is the body of the last chat request.
"""

import argparse
import asyncio
import os
import re
import signal
import time
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import httptools
import orjson
import uvloop

from appliance.engine.child import end_with_parent, own_socket

_DIRECTIVE = re.compile(r"\b(chunks|gap|crash after|hang after) (\d{1,7})\b")
_HEAD = b"HTTP/1.1 %b\r\nContent-Type: %b\r\n"


class Fake:
    """What all connections share."""

    def __init__(self, chunks: int, gap: float, context: int) -> None:
        self.chunks = chunks
        self.gap = gap
        self.context = context
        self.running = 0
        self.last: dict[str, Any] = {}

    @staticmethod
    def pieces(message: str, chunks: int, stops: list[str]) -> list[str]:
        """The pieces of the whole reply, which ends where one of `stops` would begin."""
        words = re.findall(r"\s*\S+", message) or [" …"]
        if chunks:
            words = [word if word[0].isspace() else f" {word}" for word in words]
            words = list(islice(cycle(words), chunks))
        text = "".join(words)
        ends = [at for stop in stops if (at := text.find(stop)) >= 0]
        if ends:
            words = re.findall(r"\s*\S+", text[: min(ends)])
        return words


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        fake = self._fake
        if self._url == b"/v1/chat/completions":
            self._task = asyncio.create_task(self._chat(bytes(self._body)))
        elif self._url == b"/health":
            self._answer(b"200 OK", {"status": "ok"})
        elif self._url == b"/v1/models":
            model = {"id": "fake", "object": "model", "max_model_len": fake.context}
            self._answer(b"200 OK", {"object": "list", "data": [model]})
        elif self._url == b"/fake/running":
            self._answer(b"200 OK", {"running": fake.running})
        elif self._url == b"/fake/last":
            self._answer(b"200 OK", fake.last)
        else:
            self._error(b"404 Not Found", {"code": 404, "type": "not_found_error", "message": "File Not Found"})

    def _answer(self, status: bytes, value: object) -> None:
        body = orjson.dumps(value)
        head = _HEAD % (status, b"application/json")
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        if not self._parser.should_keep_alive():
            self._transport.close()

    def _error(self, status: bytes, error: dict[str, object]) -> None:
        self._answer(status, {"error": error})

    async def _chat(self, raw: bytes) -> None:
        self._fake.running += 1
        try:
            await self._reply(orjson.loads(raw))
        except (ValueError, LookupError, TypeError):
            self._error(b"400 Bad Request", {"code": 400, "type": "invalid_request_error", "message": "not understood"})
        finally:
            self._fake.running -= 1

    async def _reply(self, body: dict[str, Any]) -> None:
        fake = self._fake
        fake.last = body
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        if prompt > fake.context:
            return self._error(
                b"400 Bad Request",
                {
                    "code": 400,
                    "message": f"request ({prompt} tokens) exceeds the available context size ({fake.context} tokens)",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": prompt,
                    "n_ctx": fake.context,
                },
            )
        message = next((each["content"] for each in reversed(body["messages"]) if each["role"] == "user"), "")
        told = {name: int(number) for name, number in _DIRECTIVE.findall(message)}
        gap = told.get("gap", fake.gap) / 1000
        pieces, reason = fake.pieces(message, told.get("chunks", fake.chunks), body.get("stop") or []), "stop"
        most = min(body.get("max_tokens", fake.context), max(1, fake.context - prompt))
        if len(pieces) > most:
            pieces, reason = pieces[:most], "length"
        stream = bool(body.get("stream"))
        base: dict[str, Any] = {
            "id": "chatcmpl-0123456789abcdef0123456789abcdef",
            "object": "chat.completion.chunk" if stream else "chat.completion",
            "created": int(time.time()),
            "model": "fake",
        }
        usage = {"prompt_tokens": prompt, "completion_tokens": len(pieces), "total_tokens": prompt + len(pieces)}
        if not stream:
            whole = {"role": "assistant", "content": "".join(pieces)}
            choice = {"index": 0, "message": whole, "finish_reason": reason}
            return self._answer(b"200 OK", {**base, "choices": [choice], "usage": usage})
        for number in range(len(pieces) + 1):
            if number == told.get("crash after"):
                os.kill(os.getpid(), signal.SIGKILL)
            if number == told.get("hang after"):
                await asyncio.Event().wait()
            if number < len(pieces):
                await asyncio.sleep(gap)
                await self._room.wait()
                if not number:  # until then there is no answer at all, as with the real ones
                    self._begin(base)
                self._event(base, {"content": pieces[number]})
        if not pieces:
            self._begin(base)
        self._event(base, {}, reason)
        if (body.get("stream_options") or {}).get("include_usage"):
            self._send(orjson.dumps({**base, "choices": [], "usage": usage}))
        self._send(b"[DONE]")
        self._transport.write(b"0\r\n\r\n")
        if not self._parser.should_keep_alive():
            self._transport.close()

    def _begin(self, base: dict[str, Any]) -> None:
        self._transport.write(_HEAD % (b"200 OK", b"text/event-stream") + b"Transfer-Encoding: chunked\r\n\r\n")
        self._event(base, {"role": "assistant", "content": None})

    def _event(self, base: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> None:
        self._send(orjson.dumps({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))

    def _send(self, data: bytes) -> None:
        self._transport.write(b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data))


async def serve(socket: Path, fake: Fake) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Connection(fake), str(socket), backlog=512)
    await server.serve_forever()


def main() -> None:
    """Read the arguments and serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="appliance.engine.fake", description="a deterministic engine")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=0, help="pieces of each reply; 0: one for each word")
    parser.add_argument("--gap-ms", type=float, default=0.0, help="before each piece")
    parser.add_argument("--context", type=int, default=4096, help="words of one conversation")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    args = parser.parse_args()
    if args.with_parent:
        end_with_parent()
    own_socket(args.socket)
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(args.socket, Fake(args.chunks, args.gap_ms, args.context)))


if __name__ == "__main__":
    main()
