"""One reading of HTTP: nothing makes a second request of a body, here alone or behind Caddy."""

import json
import secrets
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from silo.crypto.encoding import b32
from tests.appliance.company import until
from tests.conftest import Require
from tests.harness import Device, Served, clean_environment
from tests.hostile.wire import WATCHED, Heard, Line, watched

SEEN = f"""
import sys
from appliance.api import strict
read = strict._Http.http1_request_header

async def seen(self):
    await read(self)
    print("seen", self.request.method, self.url, file=sys.stderr, flush=True)

strict._Http.http1_request_header = seen
{WATCHED}"""
LENIENT = f"""
from appliance.api import strict
strict.fits = lambda head: True
{SEEN}"""

REFUSED, BODY, NEXT = "refused", "body", "next"
"""One answer and the end; or the mark is a part of the body; or it is the next request, as everybody reads it."""

POST = "POST /silo/1/a HTTP/1.1\r\nhost: silo\r\n"
GET = "GET /silo/health HTTP/1.1\r\nhost: silo\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: silo\r\nconnection: close\r\n\r\n"
ABC = "3\r\nabc\r\n0\r\n\r\n"
CHUNKED = POST + "transfer-encoding: chunked\r\n"


def cases() -> dict[str, tuple[str, str]]:
    """name -> (what stands before the mark, how it must be read). `{n}`: the mark's length, `{x}`: in hex."""
    lengths = {
        "a length and chunks": ("content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
        "chunks and a length": ("transfer-encoding: chunked\r\ncontent-length: {n}\r\n\r\n0\r\n\r\n", REFUSED),
        "two lengths": ("content-length: 0\r\ncontent-length: {n}\r\n\r\n", REFUSED),
        "the same twice": ("content-length: 3\r\ncontent-length: 3\r\n\r\nabc", REFUSED),
        "a list of lengths": ("content-length: 3, 3\r\n\r\nabc", REFUSED),
        "a negative length": ("content-length: -{n}\r\n\r\n", REFUSED),
        "a plus": ("content-length: +{n}\r\n\r\n", REFUSED),
        "a length in hex": ("content-length: 0x{x}\r\n\r\n", REFUSED),
        "a fraction": ("content-length: {n}.0\r\n\r\n", REFUSED),
        "an underscore": ("content-length: 0_{n}\r\n\r\n", REFUSED),
        "no digits": ("content-length:\r\n\r\n", REFUSED),
        "digits of another script": ("content-length: \u0663\r\n\r\nabc", REFUSED),
        "a length beyond 2^64": ("content-length: 18446744073709551616\r\n\r\n", "eaten"),
        "an honest length": ("content-length: {n}\r\n\r\n", BODY),
        "zeros before it": ("content-length: 000{n}\r\n\r\n", BODY),
        "blanks around it": ("content-length: \t {n} \t\r\n\r\n", BODY),
        "no length": ("\r\n", NEXT),
        "none to read": ("content-length: 0\r\n\r\n", NEXT),
    }
    names = {
        "a blank before the colon": ("content-length : {n}\r\n\r\n", REFUSED),
        "a tab before the colon": ("transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", REFUSED),
        "a blank before the name": (" content-length: {n}\r\n\r\n", REFUSED),
        "a folded line": ("x: y\r\n content-length: {n}\r\n\r\n", REFUSED),
        "a folded value": ("transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", REFUSED),
        "a line feed alone": ("x: y\ncontent-length: {n}\r\n\r\n", REFUSED),
        "a carriage return alone": ("x: y\rcontent-length: {n}\r\n\r\n", REFUSED),
        "line feeds at the end": ("content-length: {n}\n\n", REFUSED),
        "two line feeds in a value": ("x: y\n\ncontent-length: {n}\r\n\r\n", REFUSED),
        "a NUL in the name": ("content-length\0: {n}\r\n\r\n", REFUSED),
        "a NUL in a value": ("x: a\0b\r\ncontent-length: {n}\r\n\r\n", REFUSED),
        "a control in the name": ("\x0bcontent-length: {n}\r\n\r\n", REFUSED),
        "a letter of another script": ("c\u043entent-length: {n}\r\n\r\n", REFUSED),
        "no colon": ("content-length\r\n\r\n", REFUSED),
        "no name": (": {n}\r\n\r\n", REFUSED),
        "a bracket in the name": ("content(length: {n}\r\n\r\n", REFUSED),
        "capitals": ("CONTENT-LENGTH: {n}\r\n\r\n", BODY),
        "an underscore in the name": ("content_length: {n}\r\n\r\n", NEXT),
        "two hosts": ("host: other\r\ncontent-length: {n}\r\n\r\n", REFUSED),
    }
    codings = {
        "chunked, but not quite": ("transfer-encoding: xchunked\r\n\r\n", REFUSED),
        "chunked and identity": ("transfer-encoding: chunked, identity\r\n\r\n", REFUSED),
        "identity and chunked": ("transfer-encoding: identity, chunked\r\n\r\n", REFUSED),
        "chunked twice": ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", REFUSED),
        "chunked and another": ("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n", REFUSED),
        "chunked in quotes": ('transfer-encoding: "chunked"\r\n\r\n', REFUSED),
        "chunked after a form feed": ("transfer-encoding: \x0cchunked\r\n\r\n", REFUSED),
        "identity": ("transfer-encoding: identity\r\n\r\n", REFUSED),
        "gzip": ("transfer-encoding: gzip, chunked\r\n\r\n", REFUSED),
        "no coding": ("transfer-encoding:\r\n\r\n", REFUSED),
    }
    coded = {name: (start + "0\r\n\r\n", how) for name, (start, how) in codings.items()}
    chunks = {
        "honest chunks": (ABC, NEXT),
        "the mark in a chunk": ("{x}\r\n", "chunk"),
        "capitals in hex": ("A\r\n0123456789\r\n0\r\n\r\n", NEXT),
        "a size with 0x": ("0x3\r\nabc\r\n0\r\n\r\n", REFUSED),
        "blanks around a size": (" 3 \r\nabc\r\n0\r\n\r\n", REFUSED),
        "a tab after a size": ("3\t\r\nabc\r\n0\r\n\r\n", REFUSED),
        "a line feed before a size": ("\n3\r\nabc\r\n0\r\n\r\n", REFUSED),
        "a size of another script": ("\u0663\r\nabc\r\n0\r\n\r\n", REFUSED),
        "a negative size": ("-3\r\nabc\r\n0\r\n\r\n", REFUSED),
        "a plus at a size": ("+3\r\nabc\r\n0\r\n\r\n", REFUSED),
        "an underscore in a size": ("0_3\r\nabc\r\n0\r\n\r\n", REFUSED),
        "no size": ("\r\n\r\n", REFUSED),
        "a size beyond 2^64": ("10000000000000003\r\nabc\r\n0\r\n\r\n", REFUSED),
        "a long size": ("0" * 30 + "3\r\nabc\r\n0\r\n\r\n", REFUSED),
        "an extension": ("3;x=y\r\nabc\r\n0\r\n\r\n", REFUSED),
        "a line feed in an extension": ("3;\nx\r\nabc\r\n0\r\n\r\n", REFUSED),
        "a line feed after a size": ("3\nabc\r\n0\r\n\r\n", REFUSED),
        "a carriage return after a size": ("3\rabc\r\n0\r\n\r\n", REFUSED),
        "no end of a chunk": ("3\r\nabcxx0\r\n\r\n", REFUSED),
        "a chunk longer than its size": ("3\r\nabcd\r\n0\r\n\r\n", REFUSED),
        "a line feed after a chunk": ("3\r\nabc\n0\r\n\r\n", REFUSED),
        "a trailer": ("0\r\nx: y\r\n\r\n", REFUSED),
        "a length in a trailer": ("0\r\ncontent-length: {n}\r\n\r\n", REFUSED),
        "no line after the last": ("0\r\n", REFUSED),
        "a line feed after the last": ("0\r\n\n", REFUSED),
        "zeros as the last": ("00000\r\n\r\n", NEXT),
    }
    lines = {
        "chunks in HTTP/1.0": (
            "POST /silo/1/a HTTP/1.0\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n" + ABC,
            REFUSED,
        ),
        "HTTP/1.0 that stays": ("GET /silo/health HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", NEXT),
        "HTTP/2.0": ("POST /silo/1/a HTTP/2.0\r\nhost: silo\r\n\r\n", REFUSED),
        "HTTP/1.1 in small letters": ("POST /silo/1/a http/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "HTTP/0.9": ("GET /silo/health\r\n\r\n", REFUSED),
        "two blanks": ("GET  /silo/health HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "tabs": ("GET\t/silo/health\tHTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "a blank in the path": ("GET /silo/health /x HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "a line feed in the path": ("GET /silo/health\n HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "a blank before the line": (" GET /silo/health HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "a line before the line": ("\r\nGET /silo/health HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "a whole address": ("GET http://other/silo/health HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "a whole address with a path": (f"POST http://other{POST[5:]}content-length: {{n}}\r\n\r\n", REFUSED),
        "an authority": ("CONNECT other:443 HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "a star": ("OPTIONS * HTTP/1.1\r\nhost: silo\r\n\r\n", REFUSED),
        "no host": ("GET /silo/health HTTP/1.1\r\n\r\n", REFUSED),
        "a host with a path": ("GET /silo/health HTTP/1.1\r\nhost: silo/x?#\r\n\r\n", REFUSED),
        "two slashes": ("GET //silo/keys HTTP/1.1\r\nhost: silo\r\n\r\n", NEXT),
        "dots": ("GET /silo/1/../keys HTTP/1.1\r\nhost: silo\r\n\r\n", NEXT),
        "an escaped path": ("GET /%73ilo/keys HTTP/1.1\r\nhost: silo\r\n\r\n", NEXT),
        "an escaped slash": ("GET /silo%2fkeys HTTP/1.1\r\nhost: silo\r\n\r\n", NEXT),
        "an escaped line": ("GET /silo/keys%0d%0ax:%20y HTTP/1.1\r\nhost: silo\r\n\r\n", NEXT),
        "a body to what takes none": (GET + "content-length: {n}\r\n\r\n", BODY),
        "chunks to what takes none": (GET + "transfer-encoding: chunked\r\n\r\n" + ABC, NEXT),
        "a body to no path": ("POST /nowhere HTTP/1.1\r\nhost: silo\r\ncontent-length: {n}\r\n\r\n", BODY),
        "h2c": (GET + "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n", "end"),
        "a WebSocket": (GET + "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\n\r\n", "end"),
        "the preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
        "an expectation": (POST + "expect: 100-continue\r\ncontent-length: {n}\r\n\r\n", BODY),
        "an expectation of chunks": (CHUNKED + "expect: 100-continue\r\n\r\n" + ABC, NEXT),
        "another expectation": (POST + "expect: 200-ok\r\ncontent-length: {n}\r\n\r\n", REFUSED),
    }
    return {
        **{name: (POST + rest, how) for name, (rest, how) in {**lengths, **names, **coded}.items()},
        **{name: (CHUNKED + "\r\n" + rest, how) for name, (rest, how) in chunks.items()},
        **lines,
    }


CASES = cases()


def fresh() -> str:
    """A nonce, which comes back in the answer to who asked with it."""
    return b32(secrets.token_bytes(32))


def attack(name: str) -> tuple[bytes, str]:
    """The case's bytes, and the nonce that its mark asks with."""
    nonce = fresh()
    mark = f"GET /silo/keys?nonce={nonce} HTTP/1.1\r\nhost: silo\r\n\r\n"
    start, how = CASES[name]
    start = start.replace("{n}", str(len(mark))).replace("{x}", f"{len(mark):x}")
    end = "\r\n0\r\n\r\n" if how == "chunk" else ""
    return start.encode() + mark.encode() + end.encode() + LAST, nonce


def send(url: str, data: bytes, most: int = 10) -> list[Heard]:
    """All answers until the end, or so many."""
    answers: list[Heard] = []
    with closing(Line(url, within=10)) as line:
        line.send(data)
        while len(answers) < most and (heard := line.answer()):
            answers.append(heard)
    return answers


def nonces(answers: list[Heard]) -> list[str]:
    """Whose questions were answered."""
    found = [json.loads(one.body) for one in answers if b'"statement"' in one.body]
    return [json.loads(one["statement"])["nonce"] for one in found]


# --- the silo alone ---


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A silo that says which requests it saw."""
    served = watched(tmp_path_factory.mktemp("alone") / "silo", SEEN)
    yield served
    served.stop()
    said = served.log.read_text()
    assert "Traceback" not in said, said[said.index("Traceback") :][:3000]


@pytest.mark.parametrize("name", CASES)
def test_alone(alone: Served, name: str) -> None:
    data, nonce = attack(name)
    how = CASES[name][1]
    # What follows a refused body is dropped for a while.
    answers = send(alone.url, data, most=1 if how == "eaten" else 10)
    if how in (REFUSED, "eaten"):
        assert len(answers) == 1, answers
        assert 400 <= answers[0].status < 500
        assert answers[0].closes
    elif how == "end":
        # Who asks for another protocol gets an answer in this one, and the connection ends.
        assert [one.status for one in answers] == [200]
    else:
        assert [one.status for one in answers][-1:] == [200]
        assert len(answers) == (3 if how == NEXT else 2), answers
    assert nonces(answers[1:]) == ([nonce] if how == NEXT else [])


def test_head_has_no_body(alone: Served) -> None:
    line = socket.create_connection(("127.0.0.1", int(alone.url.rpartition(":")[2])), timeout=10)
    line.sendall(b"HEAD /silo/health HTTP/1.1\r\nhost: silo\r\n\r\n" + LAST)
    got = b""
    while more := line.recv(65536):
        got += more
    line.close()
    assert got.startswith(b"HTTP/1.1 405 ")
    assert got.partition(b"\r\n\r\n")[2].startswith(b"HTTP/1.1 200 ")


def test_the_control(tmp_path: Path) -> None:
    """Read as Sanic reads, a body becomes a request, and these tests see it."""
    served = watched(tmp_path / "silo", LENIENT)
    try:
        for name in ("a blank before the colon", "a folded line", "a line feed alone"):
            data, nonce = attack(name)
            assert nonce in nonces(send(served.url, data)[1:])
    finally:
        served.stop()


# --- behind Caddy ---

CADDYFILE = """
{{
    admin off
    auto_https off
    storage file_system {folder}/storage
    log {{
        output file {folder}/caddy.log
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    log {{
        output file {folder}/access.log
        format json
    }}
    reverse_proxy 127.0.0.1:{silo}
}}
"""


class Front:
    """Caddy before a silo."""

    def __init__(self, caddy: str, folder: Path, served: Served) -> None:
        self.served = served
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        text = CADDYFILE.format(folder=folder, port=port, silo=served.url.rpartition(":")[2])
        (folder / "Caddyfile").write_text(text)
        with (folder / "out").open("w") as out:
            self._process = subprocess.Popen(
                [caddy, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=clean_environment(HOME=str(folder), XDG_CONFIG_HOME=str(folder), XDG_DATA_HOME=str(folder)),
            )
        try:
            until(self._answers, 30)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "out").read_text()
        try:
            return httpx.get(f"{self.url}/silo/health", trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def counted(self) -> Counter[str]:
        """The requests that Caddy saw."""
        log = self._folder / "access.log"
        lines = log.read_text().splitlines() if log.exists() else []
        requests = [json.loads(line)["request"] for line in lines if line.endswith("}")]
        return Counter(f"{one['method']} {one['uri'].removeprefix('http://other')}" for one in requests)

    def seen(self) -> Counter[str]:
        """Those that the silo saw."""
        lines = self.served.log.read_text().splitlines()
        return Counter(line.removeprefix("seen ") for line in lines if line.startswith("seen "))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, require: Require) -> Iterator[Front]:
    """Caddy, with a silo behind it."""
    caddy = require("caddy")
    folder = tmp_path_factory.mktemp("front")
    with ExitStack() as stack:
        served = watched(folder / "silo", SEEN)
        stack.callback(served.stop)
        front = Front(caddy, folder, served)
        stack.callback(front.stop)
        yield front


@pytest.fixture(scope="module")
def neighbour(front: Front) -> Iterator[httpx.Client]:
    """Somebody else on a connection that stays."""
    with httpx.Client(base_url=front.url, trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.parametrize("name", CASES)
def test_behind_caddy(front: Front, neighbour: httpx.Client, name: str) -> None:
    data, nonce = attack(name)
    with closing(Line(front.url, within=20)) as line:
        line.send(data)
        answers = line.answers()
    # Caddy's own: codings and versions that it does not know, and what breaks off on its way.
    assert all(one.status < 500 or one.status in (501, 502, 505) for one in answers), answers
    # Whoever shares Caddy's connections to the silo gets their own answers.
    for _ in range(3):
        mine = fresh()
        answer = neighbour.get("/silo/keys", params={"nonce": mine})
        assert nonces([Heard(answer.status_code, b"", answer.content)]) == [mine]
    settle(front)
    # What Caddy did not count the silo did not see: a mark that was answered was a request to both.
    assert not front.seen() - front.counted(), answers
    counted = sum(count for one, count in front.counted().items() if nonce in one)
    assert nonces(answers).count(nonce) <= counted <= 1


def settle(front: Front) -> None:
    """Wait until Caddy has written down what the silo saw: it does so after the answer."""
    end = time.monotonic() + 3
    while time.monotonic() < end and front.seen() - front.counted():
        time.sleep(0.05)


def test_a_sealed_request_through_caddy(front: Front) -> None:
    device = Device(front.url + "/#setup." + front.served.link.partition("#setup.")[2]).set_up()
    try:
        assert device.ask("GET", "/me").status == 200
        assert device.chat("hello").status == 200
    finally:
        device.http.close()
