"""The load: many streams at once through a gateway, measured while all of them run."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import cast

import httptools

from bench._mock import WORDS
from bench._processes import Failed, cpu, family
from silo.crypto.channel import BODY, END, HEAD, ReplyOpener
from tests.harness import Device

SETTLE = 0.5
"""Seconds from the last stream's first word to the measurement."""


@dataclass
class Measured:
    """What one gateway cost for one round of streams."""

    chunk: float
    """Microseconds of its CPU for each piece of text, while all streams ran."""
    turn: float
    """Milliseconds of its CPU for each stream beside its pieces: connecting, beginning, ending, keeping."""
    first_word: list[float] = field(repr=False)
    """Seconds to each stream's first word, all asked for at once."""


class Reply(asyncio.Protocol):
    """One stream as its client sees it. What comes is kept, and looked at after the measurement."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.parts: list[bytes] = []
        self.on_body = self.parts.append
        self._parser = httptools.HttpResponseParser(self)
        self.began = time.perf_counter()
        self.first = 0.0
        self.ended = asyncio.Event()
        self.whole = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if not self.first and self.parts:
            self.first = time.perf_counter()

    def on_message_complete(self) -> None:
        self.whole = True
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class Passed:
    """A gateway that passes the engine's stream through."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def requests(self, streams: int) -> list[bytes]:
        """What to send, one for each stream."""
        body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": "hello " * 20}]}
        return [_post("/v1/chat/completions", "application/json", json.dumps(body).encode())] * streams

    def check(self, number: int, data: bytes) -> int:
        """How many pieces came. Raises Failed where the stream is not whole."""
        if not data.endswith(b"data: [DONE]\n\n"):
            raise Failed("a stream through nginx is not whole")
        return data.count(b'"content":" word')


class Sealed:
    """The appliance."""

    def __init__(self, pid: int, device: Device) -> None:
        self.pid = pid
        self.port = int(device.url.rpartition(":")[2])
        self._device = device
        self._openers: list[ReplyOpener] = []

    def requests(self, streams: int) -> list[bytes]:
        """What to send, one for each stream; sealed before the measurement."""
        self._openers.clear()
        sent: list[bytes] = []
        destination = self._device.fetch_keys()
        for _ in range(streams):
            body = json.dumps(self._device.chat_body("hello " * 20)).encode()
            data, opener = self._device.seal(self._device.request("POST", "/chat"), body)
            self._openers.append(opener)
            sent.append(_post(f"/silo/1/{destination.key_id}", "application/octet-stream", data))
        return sent

    def check(self, number: int, data: bytes) -> int:
        """How many pieces came, all of them opened. Raises Failed where the reply is not whole, right and kept."""
        opener = self._openers[number]
        parts = opener.push(data)
        opener.finish()
        text = b"".join(part.data for part in parts if part.kind == BODY).decode()
        head, end = (json.loads(part.data) for part in parts if part.kind in (HEAD, END))
        count = end["usage"]["completion"] if end["usage"] else 0
        if head["status"] != 200 or end["error"] or not end["kept"]:
            raise Failed(f"a sealed reply failed: {end['error']}")
        if text != "".join(islice(cycle(WORDS), count)):
            raise Failed("a sealed reply does not say what the engine said")
        return count


Gateway = Passed | Sealed


async def measure(gateway: Gateway, engine: Path, streams: int, seconds: float) -> Measured:
    """One round: start all streams, measure while all run, end them, and check what came. Raises Failed."""
    loop = asyncio.get_running_loop()
    pids = family(gateway.pid)
    requests = gateway.requests(streams)
    replies: list[Reply] = []
    start, before = cpu(pids), await count(engine)
    for request in requests:
        reply = Reply(request)
        await loop.create_connection(lambda reply=reply: reply, "127.0.0.1", gateway.port)
        replies.append(reply)
    try:
        async with asyncio.timeout(60):
            while not all(reply.first for reply in replies):
                if any(reply.ended.is_set() for reply in replies):
                    raise Failed("a stream ended before its first word")
                await asyncio.sleep(0.05)
            await asyncio.sleep(SETTLE)
            used, sent = cpu(pids), await count(engine)
            await asyncio.sleep(seconds)
            used, sent = cpu(pids) - used, await count(engine) - sent
            if any(reply.ended.is_set() for reply in replies):
                raise Failed("a stream ended while it was measured")
            await ask(engine, "/mock/stop")
            for reply in replies:
                await reply.ended.wait()
    except TimeoutError:
        raise Failed("the streams did not come to their end") from None
    whole = cpu(pids) - start
    pieces = sum(_check(gateway, number, reply) for number, reply in enumerate(replies))
    if pieces != await count(engine) - before:
        raise Failed("not every piece arrived")
    chunk = used / sent
    return Measured(
        chunk * 1e6, max(0.0, whole - chunk * pieces) / streams * 1e3, [reply.first - reply.began for reply in replies]
    )


def _check(gateway: Gateway, number: int, reply: Reply) -> int:
    if not reply.whole:
        raise Failed("a stream broke off")
    return gateway.check(number, b"".join(reply.parts))


def _post(path: str, kind: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        kind.encode(),
        len(body),
        body,
    )


async def ask(engine: Path, path: str) -> bytes:
    """One request to the mock engine itself."""
    reader, writer = await asyncio.open_unix_connection(engine)
    writer.write(b"GET %b HTTP/1.1\r\nconnection: close\r\n\r\n" % path.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2]


async def count(engine: Path) -> int:
    """How many pieces the mock engine has sent since it began."""
    return json.loads(await ask(engine, "/mock/count"))["count"]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
