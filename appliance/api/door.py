"""The sealed door: one endpoint, in the order of SPEC 4.3. What cannot be opened gets one answer, whatever failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic

from sanic import HTTPResponse, Request
from sanic.exceptions import RequestTimeout, SanicException
from sanic.response import raw

from appliance.accounts.callers import Caller, authenticate, check_clock, check_trust
from appliance.accounts.policy import may
from appliance.api.bodies import read_body
from appliance.api.routes import SMALL, STRANGERS, Answer, Asked, Route, find
from appliance.api.shape import SHAPES
from appliance.api.state import Silo
from appliance.api.turns import Turn, error_object
from appliance.api.wire import Wire
from appliance.log import logger
from appliance.store import once
from silo.crypto.channel import BODY, END, HEAD, KEY_LIFE, PREFIX_SIZE, OpenedRequest, part
from silo.crypto.encoding import b32, new_id, padme, write_json
from silo.crypto.frames import whole_size
from silo.errors import SiloError

HEADERS = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}
_TYPE = "application/octet-stream"
_ALLOWED_HEADERS = {"accept", "content-type"}
_STALLED = 30
"""Seconds without a byte of the body after which the connection is given up."""
_SLOWEST = 1024
"""Bytes a second below which a body is given up, after those 30 seconds."""
_MOMENT = 0.1
"""Seconds in which the rest of a refused body may still come before it is answered."""


def clear(code: str, **extra: object) -> HTTPResponse:
    """An error before the header opens: constant but for the code (SPEC 5.4)."""
    error = SiloError(code)
    return raw(
        write_json({"error": {"code": error.code}, **extra}),
        status=error.row.status,
        content_type="application/json",
        headers=HEADERS,
    )


def source_of(silo: Silo, request: Request) -> bytes:
    """Whose tokens a request takes."""
    return silo.sources.name(request.ip, request.headers.getall("x-forwarded-for", []))


class _Body:
    """The HTTP body as it arrives: first the sealed prefix, then the rest."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._rest = b""
        self._ended = False
        self._since = monotonic()
        self._got = 0

    async def _next(self) -> bytes:
        if self._ended or self._request.stream is None:
            return b""
        left = self._since + _STALLED + self._got / _SLOWEST - monotonic()
        try:
            async with asyncio.timeout(min(_STALLED, max(0.0, left))):
                return await self._read()
        except TimeoutError:
            self._ended = True
            self._leave_unread()
            raise RequestTimeout("") from None

    async def _read(self) -> bytes:
        assert self._request.stream is not None  # it is false once the answer is out
        data = await self._request.stream.read()  # pyright: ignore[reportAttributeAccessIssue] - HTTP/1's stream
        self._ended = not data
        self._got += len(data or b"")
        return data or b""

    async def prefix(self) -> bytes:
        """The first 3,233 bytes, or fewer where it ends before. Raises nothing."""
        data = bytearray()
        while len(data) < PREFIX_SIZE and (more := await self._next()):
            data += more
        self._rest = bytes(data[PREFIX_SIZE:])
        return bytes(data[:PREFIX_SIZE])

    async def rest(self) -> AsyncIterator[bytes]:
        """What follows."""
        if self._rest:
            yield self._rest
            self._rest = b""
        while more := await self._next():
            yield more

    async def refuse(self, answer: HTTPResponse, most: int) -> HTTPResponse | None:
        """Answer before the body was read.

        Where it has come already, the connection stays. Else the answer goes out first and the body is dropped as it
        comes, up to `most` bytes: closed at once, the connection would take the answer with it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOMENT):
                await self._drop(most)
        stream = self._request.stream
        if self._ended or stream is None:
            return answer
        stream.keep_alive = False  # pyright: ignore[reportAttributeAccessIssue]
        await (await self._request.respond(answer)).send(end_stream=True)  # pyright: ignore[reportOptionalMemberAccess]
        with suppress(SanicException):
            await self._drop(most)
        self._leave_unread()
        return None

    def _leave_unread(self) -> None:
        # Sanic would read on, however much there is and however long it takes.
        stream = self._request.stream
        stream.keep_alive = False  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        stream.request_body = None  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]

    async def _drop(self, most: int) -> None:
        self._rest = b""
        async for data in self.rest():
            most -= len(data)
            if most <= 0:
                return


async def enter(request: Request, key_id: str) -> HTTPResponse | None:
    """`POST /silo/1/<key_id>`"""
    silo: Silo = request.app.ctx.silo
    limit = PREFIX_SIZE + whole_size(silo.config.max_body)
    body = _Body(request)
    try:
        answer = await _steps(request, silo, key_id, limit, body)
        return await body.refuse(answer, limit) if answer else None
    except SanicException as error:
        # The body itself was not HTTP, or ended early.
        logger().info("a request broke off", status=error.status_code)
        raise


async def _steps(request: Request, silo: Silo, key_id: str, limit: int, body: _Body) -> HTTPResponse | None:
    if int(request.headers.get("content-length", 0)) > limit:
        return clear("too_large")
    source = source_of(silo, request)
    if not silo.buckets.take(source):
        return clear("busy")
    key = silo.keys.find(key_id)
    if key is None:
        return clear("stale_key", keys=silo.keys.statement(None).decode())
    try:
        # Opened here and now, so that never more than one decapsulation is in flight.
        opened = key.open_header(await body.prefix())
    except SiloError as error:
        return clear(error.code)
    return await _answer(request, silo, opened, body, source)


async def _answer(
    request: Request, silo: Silo, opened: OpenedRequest, body: _Body, source: bytes
) -> HTTPResponse | None:
    verb = "unknown"
    try:
        caller = await _admit(silo, opened)
        verb, route, argument = find(opened.header.method, opened.header.path)
        _check_route(opened, caller, verb, route)
        if route.handler is None:
            return await _generate(request, silo, opened, body, caller)
        trusted = await check_trust(opened, caller, silo.trust) if caller and route.trusted else None
        content = await _read(opened, body, SMALL if route.device else STRANGERS, route)
        answer = await route.handler(Asked(silo, caller, source, argument, content, opened.header.id, trusted))
    except (asyncio.CancelledError, SanicException):
        raise
    except Exception as error:
        answer = _refusal(error, verb)
    logger().info("answered", verb=verb, status=answer.status)
    return _whole(opened, answer)


def _refusal(error: Exception, verb: str) -> Answer:
    # What has no status is no answer to a client: the box's own trouble, or a bug.
    if not isinstance(error, SiloError) or not error.row.status:
        mark = new_id()
        kind = error.code if isinstance(error, SiloError) else type(error).__name__
        logger().error("a request failed", id=mark, verb=verb, kind=kind)
        error = SiloError("internal", mark)
    return Answer({"error": error_object(error)}, error.row.status)


def _whole(opened: OpenedRequest, answer: Answer) -> HTTPResponse:
    head = write_json({"status": answer.status, "headers": {"content-type": "application/json"}})
    payload = part(HEAD, head) + _body_parts(write_json(answer.body)) + part(END, b"{}")
    return raw(opened.reply().whole(payload), content_type=_TYPE, headers=HEADERS)


def _body_parts(data: bytes) -> bytes:
    # A part's length has three bytes.
    most = 2**24 - 1
    return b"".join(part(BODY, data[at : at + most]) for at in range(0, len(data), most))


async def _admit(silo: Silo, opened: OpenedRequest) -> Caller | None:
    """Steps 3 and 4: is there a keyring, who signed, and when."""
    first_run = opened.header.method == "POST" and opened.header.path in ("/setup", "/setup-link")
    if not first_run and not await silo.trust.ready():
        raise SiloError("not_ready")
    if opened.has_device:
        caller = await authenticate(opened, silo.devices)
    else:
        caller = None
        opened.check_signature(None)
    try:
        check_clock(opened.header.time, silo.now())
    except SiloError:
        await _never(silo, opened)
        raise
    return caller


async def _never(silo: Silo, opened: OpenedRequest) -> None:
    """Write a request from the future down as refused: whoever recorded it must not have it run when its time comes."""
    device, header, now = b32(opened.device), opened.header, silo.now()
    # Beyond its key's life nothing opens it any more.
    comes = opened.has_device and header.method != "GET" and now < header.time < now + KEY_LIFE
    if comes:
        await once.refuse(device, header.id, silo.host, header.time)


def _check_route(opened: OpenedRequest, caller: Caller | None, verb: str, route: Route) -> None:
    """Step 5: may this caller take this path."""
    if caller is None and route.device:
        raise SiloError("unknown_device")
    if caller is not None and (not route.device or not may(caller.account.role, verb)):
        raise SiloError("forbidden")
    if not set(opened.header.headers) <= _ALLOWED_HEADERS:
        raise SiloError("bad_request", "headers")


async def _read(opened: OpenedRequest, body: _Body, limit: int, route: Route) -> object:
    """Step 7: the whole body, opened and in its shape. `limit` is in bytes of content."""
    opener = opened.body(padme(8 + limit))
    try:
        async for data in body.rest():
            opener.push(data)
        content = opener.finish()
    except SiloError as error:
        if error.code == "too_large":
            raise
        raise SiloError("bad_request", "body") from None
    if len(content) > limit:
        raise SiloError("too_large")
    return read_body(content, route.body, "body")


async def _generate(
    request: Request, silo: Silo, opened: OpenedRequest, body: _Body, caller: Caller | None
) -> HTTPResponse | None:
    """`POST /chat`: the turn runs as a task of its own; this handler only carries its words out."""
    assert caller is not None
    trusted = await check_trust(opened, caller, silo.trust)
    _, route, _ = find("POST", "/chat")
    content = await _read(opened, body, silo.config.max_body, route)
    turn = Turn(silo, caller, trusted, content, opened.header.id)  # pyright: ignore[reportArgumentType]
    turn.start()
    try:
        await turn.wake.wait()
        if turn.refused:
            raise turn.refused
        response = await request.respond(content_type=_TYPE, headers=HEADERS)
        assert response is not None
        await response.send(b"")
        await SHAPES[silo.config.shape](turn, opened.reply(), Wire(request), silo.beat)
        logger().info("answered", verb="chat", status=200, finish=turn.end.finish if turn.end else "none")
        return None
    finally:
        if turn.end is None and turn.refused is None:
            turn.cut()
