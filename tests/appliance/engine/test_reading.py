"""How the engine's socket is read and written: large requests, early answers, pieces that come close together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path

import pytest

from appliance.engine import Finish, Job, Message
from appliance.engine.openai import Client
from silo.errors import SiloError

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
CONTEXT = 1 << 20

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def piece(text: str) -> bytes:
    return chunk(b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % text.encode())


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Callable[[Serve], Awaitable[Client]]]:
    """A client of an engine that does what the given function does."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[None]] = set()

    async def start(serve: Serve) -> Client:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(serve(reader, writer))
            tasks.add(task)
            try:
                await task
            finally:
                writer.close()

        servers.append(await asyncio.start_unix_server(connected, tmp_path / "s"))
        return Client(tmp_path / "s", parallel=4, queue=0, hang=10)

    yield start
    for server in servers:
        server.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_request_larger_than_the_socket_arrives_whole(engine):
    words = "wide " * 2_000_000
    got = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        while len(got) < size:
            got.extend(await reader.read(1 << 20))
            await asyncio.sleep(0)
        writer.write(HEAD + piece("read") + chunk(END))
        await writer.drain()

    client = await engine(serve)
    pieces: list[str] = []
    finish = await asyncio.wait_for(client.run(Job((Message("user", words),), "m"), CONTEXT, pieces.append), 30)
    assert pieces == ["read"]
    assert finish == Finish("stop", 0, 1)
    assert words.encode() in got


async def test_an_engine_that_answers_before_it_has_read_is_heard(engine):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"error":{"type":"exceed_context_size_error","n_ctx":5,"n_prompt_tokens":9}}'
        writer.write(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        await reader.read()  # until the client goes

    client = await engine(serve)
    with pytest.raises(SiloError) as caught:
        await asyncio.wait_for(client.run(Job((Message("user", "wide " * 2_000_000),), "m"), CONTEXT, print), 30)
    assert (caught.value.code, caught.value.extra) == ("context_overflow", {"limit": 5, "needed": 9})


async def test_one_that_does_not_read_counts_as_silent(engine):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    client = await engine(serve)
    client.hang = 0.3
    with pytest.raises(SiloError) as caught:
        await asyncio.wait_for(client.run(Job((Message("user", "wide " * 2_000_000),), "m"), CONTEXT, print), 30)
    assert caught.value.code == "engine_failed"


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.1])
async def test_every_piece_comes_once_and_in_order_whatever_the_pace(engine, gap):
    count = 300 if gap < 0.1 else 5
    sent = [f"{number} " for number in range(count)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for text in sent:
            writer.write(piece(text))
            await writer.drain()
            await asyncio.sleep(gap)
        writer.write(chunk(END))
        await writer.drain()

    client = await engine(serve)
    got: list[list[str]] = [[] for _ in range(4)]
    job = Job((Message("user", "hello"),), "m")
    await asyncio.wait_for(asyncio.gather(*(client.run(job, CONTEXT, one.append) for one in got)), 30)
    assert got == [sent] * 4
