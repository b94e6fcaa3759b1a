"""A mock engine on a Unix socket: endless streams in the shape of vLLM's server, paced, until told to stop.

    python -m bench._mock --socket PATH --gap-ms 20

POST /mock/stop ends every stream that runs, as a model does: a finish event, one with the usage, [DONE].
GET /mock/count is how many pieces of text were sent since it began, in all streams.
Endless, so that a bench can wait until all streams run, measure, and only then let them end.

Each stream keeps to its own place in the beat, spread evenly over the gap, whenever it was asked for: how
close together a gateway's streams begin must not decide how many pieces it finds in one look.
"""

import argparse
import asyncio
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import cast

import httptools
import orjson
import uvloop

WORDS = tuple(f" word{number}" for number in range(10))
"""What a reply says, again and again."""


def _event(choices: list[object], **more: object) -> bytes:
    event = {
        "id": "chatcmpl-8f2b64c0a1d34e5f9b7a6c5d4e3f2a1b",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "mock",
        "choices": choices,
        **more,
    }
    return _chunk(b"data: %b\n\n" % orjson.dumps(event))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _piece(delta: dict[str, object], finish: str | None = None) -> bytes:
    return _event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}])


_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
) + _piece({"role": "assistant", "content": ""})
_PIECES = tuple(_piece({"content": word}) for word in WORDS)
_FINISH = _piece({}, "stop")
_DONE = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Mock:
    """What all connections share."""

    def __init__(self, gap: float) -> None:
        self.gap = gap
        self.sent = 0
        self.streams = 0
        self.stop = asyncio.Event()


class Connection(asyncio.Protocol):
    """One client, which may ask again and again."""

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        mock = self._mock
        if self._url == b"/v1/chat/completions":
            self._task = asyncio.create_task(self._stream())
        elif self._url == b"/mock/stop":
            mock.stop.set()
            mock.stop = asyncio.Event()
            self._answer({})
        elif self._url == b"/mock/count":
            self._answer({"count": mock.sent})
        else:
            self._answer({"object": "list", "data": [{"id": "mock", "object": "model", "max_model_len": 8192}]})

    def _answer(self, value: object) -> None:
        body = orjson.dumps(value)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self._end()

    async def _stream(self) -> None:
        mock, stop, count = self._mock, self._mock.stop, 0
        clock = asyncio.get_running_loop().time
        mock.streams += 1
        # Multiples of the golden ratio lie apart, however many there are.
        phase = mock.streams * 0.618034 % 1
        due = (ceil(clock() / mock.gap) + phase) * mock.gap
        while not stop.is_set():
            await asyncio.sleep(due - clock())
            due += mock.gap
            self._transport.write(_PIECES[count % len(_PIECES)] if count else _HEAD + _PIECES[0])
            count += 1
            mock.sent += 1
        usage = {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}
        self._transport.write(_FINISH + _event([], usage=usage) + _DONE)
        self._end()

    def _end(self) -> None:
        if not self._parser.should_keep_alive():
            self._transport.close()


async def serve(socket: Path, gap: float) -> None:
    """Serve until cancelled; `gap` is in seconds."""
    mock = Mock(gap)
    server = await asyncio.get_running_loop().create_unix_server(lambda: Connection(mock), str(socket), backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--gap-ms", type=float, required=True)
    args = parser.parse_args()
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(args.socket, args.gap_ms / 1000))


if __name__ == "__main__":
    main()
