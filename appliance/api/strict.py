"""HTTP/1.1 at the listener: one reading of every byte, and an end to every wait.

Sanic reads as many other servers do: it takes a blank before a colon, a line feed within a line, `0x5` for a chunk's
size. Where a proxy in front reads the same bytes another way, what one of them takes for a body the other takes for
the next person's request. So nothing is taken here that RFC 9112 does not write itself, and the connection ends with
what is refused. Sanic also waits for as long as a byte comes now and then, and takes every connection.
"""

import asyncio
import re
import resource
from collections.abc import AsyncGenerator
from typing import Any

from sanic.exceptions import BadRequest, PayloadTooLarge, RequestCancelled, RequestTimeout
from sanic.http.http1 import HTTP_CONTINUE, Http
from sanic.server.protocols.http_protocol import HttpProtocol

from appliance.api.sources import network

_HEAD_TIME = 30
"""Seconds from a head's first byte to its last."""
_LEFT_TIME = 1
_LEFT_SIZE = 64 * 1024
"""How long, and how many bytes of, a body that no handler read is still read for, to keep the connection."""
_MOST = 4096
"""Connections at the same time, or three quarters of the files that this process may open."""

_HEAD = re.compile(rb"[A-Z]+ /[!-~]* HTTP/1\.[01](\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)*")
_HOST = re.compile(rb"[a-z0-9._:\[\]-]*")
_LENGTH = re.compile(rb"[0-9]{1,64}")
_CHUNK = re.compile(rb"\r\n[0-9a-fA-F]{1,8}\r\n")
_CHUNK_LINE = 12


def fits(head: bytes) -> bool:
    """Whether this head, without the empty line after it, can be read in one way only (RFC 9112, 2.2 to 6.3)."""
    if not _HEAD.fullmatch(head):
        return False
    line, *fields = head.lower().split(b"\r\n")
    values: dict[bytes, list[bytes]] = {}
    for field in fields:
        name, _, value = field.partition(b":")
        values.setdefault(name, []).append(value.strip(b" \t"))
    first = line.endswith(b"/1.0")
    hosts, lengths = values.get(b"host", []), values.get(b"content-length", [])
    codings = values.get(b"transfer-encoding", [])
    return (
        len(hosts) <= 1
        and (first or bool(hosts))
        and all(_HOST.fullmatch(host) for host in hosts)
        and all(_LENGTH.fullmatch(length) for length in lengths)
        and len(lengths) + len(codings) <= 1
        and (not codings or (codings == [b"chunked"] and not first))
    )


class _Http(Http):
    async def http1_request_header(self) -> None:
        buffer = self.recv_buffer
        try:
            async with asyncio.timeout(_HEAD_TIME):
                while (end := buffer.find(b"\r\n\r\n")) < 0 and len(buffer) < self.HEADER_MAX_SIZE:
                    await self._receive_more()
        except TimeoutError:
            raise RequestTimeout("") from None
        if end >= 0 and not fits(bytes(buffer[:end])):
            raise BadRequest("")
        await super().http1_request_header()
        # We speak no WebSocket, and a connection that asks for it would have no clock.
        self.upgrade_websocket = False

    async def read(self) -> bytes | None:
        """The next piece of the body. Raises BadRequest."""
        if self.request_body == "chunked" and not self.request_bytes_left:
            await self._chunk_line()
        return await super().read()

    async def _chunk_line(self) -> None:
        """Wait for the line that says a chunk's size. Extensions are refused: nobody sends one."""
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(HTTP_CONTINUE)
        buffer = self.recv_buffer
        while (end := buffer.find(b"\r\n", 2)) < 0 and len(buffer) < _CHUNK_LINE:
            await self._receive_more()
        if end < 0 or not _CHUNK.fullmatch(buffer[: end + 2]):
            self.keep_alive = False
            raise BadRequest("")

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """A body that no handler reads, and Sanic would keep. Raises PayloadTooLarge where it does not end soon."""
        left = _LEFT_SIZE
        try:
            async with asyncio.timeout(_LEFT_TIME):
                while self.request_body and left > 0:
                    left -= len(await self.read() or b"")
        except TimeoutError:
            pass
        if self.request_body:
            raise PayloadTooLarge("")
        for _ in ():
            yield b""


class Crowd:
    """All connections. Where there are too many, who has the most of them loses one, so that others get in."""

    def __init__(self) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = _MOST if files < 0 else min(_MOST, files * 3 // 4)
        self._sources: dict[str, dict[Protocol, None]] = {}
        self._count = 0

    def join(self, one: "Protocol", source: str) -> None:
        """Take a new connection in, at another's cost if need be: one that waits, else the oldest."""
        self._sources.setdefault(source, {})[one] = None
        self._count += 1
        if self._count > self._most:
            _, largest = max(self._sources.items(), key=lambda item: len(item[1]))
            waiting = next((other for other in largest if not other.http), None)
            # Of one source alone none is better than the other: what runs goes on.
            ending = waiting or (one if one in largest else next(iter(largest)))
            if ending.transport:
                ending.transport.abort()

    def leave(self, one: "Protocol", source: str) -> None:
        """It has ended."""
        connections = self._sources.get(source, {})
        if connections.pop(one, self) is None:
            self._count -= 1
        if not connections:
            self._sources.pop(source, None)


class Protocol(HttpProtocol):
    """A connection to the appliance. The application's `ctx.crowd` counts it."""

    HTTP_CLASS = _Http

    def connection_made(self, transport: Any) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        self.app.ctx.crowd.join(self, self._source)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.app.ctx.crowd.leave(self, self._source)
        super().connection_lost(exc)

    async def receive_more(self) -> None:
        """Wait for bytes. Raises RequestCancelled where there is nobody to send any: Sanic would stumble over it."""
        if self.transport is None:
            raise RequestCancelled
        await super().receive_more()

    @property
    def _source(self) -> str:
        return network(self.conn_info.client_ip) if self.conn_info else ""
