"""A middleman: a relay between a client and a silo that understands HTTP and nothing more, and lies as it is told.

It holds no key. For each request that comes by, its `script` names a fault, a coroutine over a `Way`; None is
honest. What it sends on goes over a connection of its own, so that a request can be sent when and as often as it
likes, whatever the client does meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

SALT = 32
"""Bytes before the first frame of an answer (SPEC 4.4)."""
PATIENCE = 10
"""Seconds for anything that the silo is asked."""


@dataclass(frozen=True)
class Passing:
    """A request on its way."""

    kind: str
    """`keys` or `door`: what a middleman can tell apart."""
    number: int
    """Which of its kind, from 1."""
    raw: bytes = field(repr=False)
    target: str = ""


@dataclass(frozen=True)
class Reply:
    """A whole answer of the silo, or whatever is to pass for one."""

    status: int
    kind: str
    body: bytes = field(repr=False)

    def frames(self) -> list[int]:
        """Where each frame of a sealed answer ends, the salt's end first."""
        ends = [SALT]
        while ends[-1] + 4 <= len(self.body):
            ends.append(ends[-1] + 4 + int.from_bytes(self.body[ends[-1] : ends[-1] + 4], "big"))
        return ends

    def cut(self, upto: int) -> "Reply":
        """Its first bytes."""
        return Reply(self.status, self.kind, self.body[:upto])


class Way:
    """One request in the middleman's hands, and the client that waits."""

    def __init__(self, man: "Middleman", passing: Passing, writer: asyncio.StreamWriter) -> None:
        self.man = man
        self.passing = passing
        self._writer = writer

    # --- towards the silo ---

    async def ask(self) -> Reply:
        """Send it on and take the whole answer."""
        return await self.man.ask(self.passing.raw)

    # --- towards the client ---

    async def say(self, reply: Reply, end: bool = True) -> None:
        """Answer, whoever made the answer up. Not to its `end`: the connection breaks off after it."""
        self._head(reply.status, reply.kind)
        if reply.body:
            self._piece(reply.body)
        if end:
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        if not end:
            self.hang_up()

    async def write(self, raw: bytes) -> None:
        """Send these bytes, HTTP or not."""
        self._writer.write(raw)
        await self._writer.drain()

    def hang_up(self) -> None:
        """Close the client's connection; what was written still goes out."""
        self._writer.close()

    async def stream(self, upto: int | None = None, gap: float = 0, keep: bool = False) -> None:
        """Pass the answer on as it comes, `gap` seconds late each time.

        After `upto` bytes of it the client is left; the silo is left too, unless its answer is to be kept waiting for.
        """
        passed = 0
        async with self.man.connection() as (reader, writer):
            writer.write(self.passing.raw)
            status, kind, head = await read_head(reader)
            self._head(status, kind)
            try:
                async for data in read_body(reader, head):
                    await asyncio.sleep(gap)
                    data = data if upto is None else data[: upto - passed]
                    passed += len(data)
                    if data:
                        self._piece(data)
                        await self._writer.drain()
                    if passed == upto:
                        self.hang_up()
                        if not keep:
                            return
            except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
                self.hang_up()
                return
        if not self._writer.is_closing():
            self._writer.write(b"0\r\n\r\n")

    def _head(self, status: int, kind: str) -> None:
        self._writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % (status, kind.encode())
        )

    def _piece(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))


Fault = Callable[[Way], Awaitable[None]]
Script = Callable[[Passing], Fault | None]


async def honest(way: Way) -> None:
    """Pass it on."""
    await way.stream()


class Middleman:
    """`async with Middleman(url) as man:` relays from `man.url` to the silo at `url`, as `man.script` says."""

    def __init__(self, url: str) -> None:
        self._silo = urlsplit(url)
        self.script: Script = lambda _: None
        self.passed: list[Passing] = []
        """Every request that came."""
        self.broken: list[BaseException] = []
        """What went wrong in here: must stay empty."""
        self._counts: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Middleman":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def connection(self) -> "_Connection":
        """A connection of its own to the silo."""
        return _Connection(self._silo.hostname or "", self._silo.port or 0)

    async def ask(self, raw: bytes) -> Reply:
        """Send bytes to the silo and take the whole answer."""
        async with asyncio.timeout(PATIENCE), self.connection() as (reader, writer):
            writer.write(raw)
            status, kind, head = await read_head(reader)
            return Reply(status, kind, b"".join([data async for data in read_body(reader, head)]))

    async def keys(self, nonce: str = "") -> bytes:
        """What the silo says of its keys, as anybody may ask."""
        query = f"?nonce={nonce}" if nonce else ""
        return (await self.ask(b"GET /silo/keys%b HTTP/1.1\r\nhost: silo\r\n\r\n" % query.encode())).body

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    passing = await self._next(reader)
                    fault = self.script(passing) or honest
                    await fault(Way(self, passing, writer))
        except asyncio.CancelledError:
            pass  # the end of the test
        except BaseException as error:
            self.broken.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _next(self, reader: asyncio.StreamReader) -> Passing:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(fields(head).get("content-length", 0))
        target = head.split(b" ", 2)[1].decode()
        kind = "keys" if target.startswith("/silo/keys") else "door"
        raw = head + await reader.readexactly(size)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        passing = Passing(kind, self._counts[kind], raw, target)
        self.passed.append(passing)
        return passing


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self._address = host, port

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self._reader, self._writer

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def fields(head: bytes) -> dict[str, str]:
    """The header fields of a request or an answer, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


async def read_head(reader: asyncio.StreamReader) -> tuple[int, str, dict[str, str]]:
    """Status, content type and all fields of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    found = fields(head)
    return int(head.split(b" ", 2)[1]), found.get("content-type", ""), found


async def read_body(reader: asyncio.StreamReader, head: dict[str, str]) -> AsyncIterator[bytes]:
    """The body as it comes."""
    if head.get("transfer-encoding") != "chunked":
        left = int(head.get("content-length", 0))
        while left:
            data = await reader.read(min(left, 65_536))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data
        return
    while size := int((await reader.readuntil(b"\r\n")).strip() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
