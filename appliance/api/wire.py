"""The body of a streamed answer, written straight to the connection."""

from time import monotonic
from typing import Any

from sanic import Request

_WAITING = 16 * 1024
"""Bytes that may wait in this process for one client, what was written a moment ago among them."""


class Wire:
    """Takes an answer over from Sanic once its head was sent; when the handler returns Sanic ends it.

    Sanic's own `send` is a chain of coroutines, and needs a task to run in. This is one call, which a timer can
    make. What `send` sees to is seen to here: the chunks of HTTP/1.1, a client that reads slowly or has gone, and
    the clock by which Sanic gives up an answer that does not get on.
    """

    def __init__(self, request: Request) -> None:
        self._protocol: Any = request.protocol
        self._transport: Any = self._protocol.transport

    @property
    def full(self) -> bool:
        """Whether there is no use in writing: the client has not taken what was written before, or has gone."""
        return self._transport.get_write_buffer_size() > _WAITING or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send one piece, unless `full`."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        self._protocol._time = monotonic()
