"""The web application: the door, its keys, health, and one page that says what this is."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import escape

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import SanicException
from sanic.response import html, raw

from appliance.accounts.box import open_box
from appliance.api import door
from appliance.api.state import Silo
from appliance.api.strict import Crowd, Protocol
from appliance.config import Config
from appliance.engine import Engine
from appliance.log import logger
from silo.crypto.encoding import hash_bytes, write_json
from silo.errors import SiloError

_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>securesilo</title><style>:root{{color-scheme:light dark}}body{{font:17px/1.6 system-ui;max-width:44rem;
margin:4rem auto;padding:0 1rem}}code{{font-size:.9em}}</style><h1>This is a silo</h1>
<p>It answers people who have the <code>silo</code> command. With a setup link from its terminal:</p>
<pre><code>silo init '{address}/#setup.…'</code></pre></html>"""


def create_app(config: Config, engine: Engine, now: Callable[[], int]) -> Sanic:
    """The appliance's web application. `now` gives milliseconds since 1970.

    The database must be open and the engine started by the caller. Raises SiloError `data_damaged`.
    """
    # The name is what Sanic keeps applications apart by; none is ever looked up by it.
    app = Sanic("silo", configure_logging=False)
    Sanic.unregister_app(app)
    app.config.ACCESS_LOG = False
    app.config.MOTD = False
    app.config.NOISY_EXCEPTIONS = False
    # The door itself counts bytes, before it keeps them.
    app.config.REQUEST_MAX_SIZE = 2**40
    app.config.REQUEST_TIMEOUT = 60
    # A long prompt may keep the model busy before the first word.
    app.config.RESPONSE_TIMEOUT = 900
    app.config.KEEP_ALIVE_TIMEOUT = 75
    app.ctx.crowd = Crowd()
    app.ctx.silo = Silo(config, engine, open_box(config.data, create=True), now)
    app.add_route(door.enter, "/silo/1/<key_id:str>", methods=["POST"], stream=True)
    app.add_route(keys, "/silo/keys", methods=["GET"])
    app.add_route(health, "/silo/health", methods=["GET"])
    app.add_route(page, "/", methods=["GET"])
    app.error_handler.add(SanicException, _http_error)
    app.error_handler.add(Exception, _failure)
    return app


@asynccontextmanager
async def serving(app: Sanic, listener: socket.socket) -> AsyncIterator[None]:
    """The application served on a socket that is bound already. At the end every turn under way is cut and kept."""
    server = await app.create_server(sock=listener, protocol=Protocol, return_asyncio_server=True)
    assert server is not None
    await server.startup()
    await server.start_serving()  # pyright: ignore[reportGeneralTypeIssues] - Sanic's own hint is wrong
    silo: Silo = app.ctx.silo
    try:
        yield
    finally:
        server.close()
        for turn in list(silo.turns.values()):
            turn.cut()
        for turn in list(silo.turns.values()):
            await turn.finished()
        for connection in list(server.connections):
            connection.abort()


async def keys(request: Request) -> HTTPResponse:
    """`GET /silo/keys?nonce=`"""
    silo: Silo = request.app.ctx.silo
    if not silo.buckets.take(door.source_of(silo, request)):
        return door.clear("busy")
    nonce = request.args.get("nonce")
    try:
        if nonce is not None:
            hash_bytes(nonce)
    except ValueError:
        return raw(b'{"error":{"code":"bad_request"}}', status=400, content_type="application/json")
    return raw(silo.keys.statement(nonce), content_type="application/json", headers=door.HEADERS)


async def health(request: Request) -> HTTPResponse:
    """`GET /silo/health`"""
    silo: Silo = request.app.ctx.silo
    try:
        ready = silo.engine.ready and not silo.cut_off and await silo.trust.ready()
    except SiloError:
        ready = False
    return raw(write_json({"live": True, "ready": ready}), content_type="application/json", headers=door.HEADERS)


async def page(request: Request) -> HTTPResponse:
    """`GET /`"""
    silo: Silo = request.app.ctx.silo
    return html(_PAGE.format(address=escape(silo.config.address)), headers=_PAGE_HEADERS)


def _http_error(_: Request, error: SanicException) -> HTTPResponse:
    # Constant, so that nothing of a request comes back in the clear.
    code = b"too_large" if error.status_code == 413 else b"bad_request"
    return raw(b'{"error":{"code":"%b"}}' % code, status=error.status_code, content_type="application/json")


def _failure(_: Request, error: Exception) -> HTTPResponse:
    logger().error("a handler failed", kind=type(error).__name__)
    return raw(b'{"error":{"code":"internal"}}', status=500, content_type="application/json")
