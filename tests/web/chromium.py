"""The page's code in a real Chromium: a server on loopback that hands it out, and a browser that runs one script of it.

TypeScript goes out with its types taken off, by the Node that runs the page's own tests; packages go out as they lie in
node_modules, found by an import map. The script says how it ended by `POST /done`.
"""

import hashlib
import json
import mimetypes
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.harness import ROOT
from tests.node import WEB, find_node

HERE = Path(__file__).parent / "page"
OURS = ("appliance/web/", "tests/vectors/", "tests/web/page/")
PACKAGES = ("@hpke/core", "@hpke/common", "@hpke/dhkem-x25519", "@hpke/hybridkem-x-wing", "hash-wasm", "mlkem")
STRIP = """
import { stripTypeScriptTypes } from 'node:module'
let text = ''
for await (const piece of process.stdin.setEncoding('utf8')) text += piece
process.stdout.write(stripTypeScriptTypes(text))
"""
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
# What the page may do, as it will be served: WebAssembly for Argon2id, and nothing inline but the import map.
POLICY = "default-src 'none'; connect-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'"


def find_chromium() -> str | None:
    """The path of Chromium."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@cache
def _plain(path: Path) -> bytes:
    """A TypeScript file without its types."""
    command = [find_node(), "--no-warnings", "--input-type=module", "-e", STRIP]
    return subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True, timeout=60).stdout


def _imports() -> dict[str, str]:
    packages: dict[str, str] = {}
    for name in PACKAGES:
        package = json.loads((WEB / "node_modules" / name / "package.json").read_text("utf-8"))
        entry = package.get("module") or package["exports"]["."]["import"]
        entry = entry if isinstance(entry, str) else entry["default"]
        packages[name] = f"/appliance/web/node_modules/{name}/{entry.removeprefix('./')}"
    shims = {f"node:{name}": "/tests/web/page/node.js" for name in ("fs", "crypto")}
    return packages | shims | {"node:assert/strict": "/tests/web/page/assert.js"}


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path == "/":
            head = f'<script type="importmap">{json.dumps({"imports": _imports()})}</script>'
            script = f'<script type="module" src="/tests/web/page/{self.server.script}"></script>'
            return self._answer(f"<!doctype html>{head}{script}".encode(), "text/html")
        if asked.path == "/given":
            return self._answer(json.dumps(self.server.given).encode(), "application/json")
        path = (ROOT / asked.path.removeprefix("/")).resolve()
        if not asked.path.removeprefix("/").startswith(OURS) or not path.exists():
            return self.send_error(404)
        if path.is_dir():
            return self._answer(json.dumps(sorted(one.name for one in path.iterdir())).encode(), "application/json")
        if path.suffix == ".ts":
            return self._answer(_plain(path), "text/javascript")
        self._answer(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/done":
            self._answer(b"", "text/plain")
            self.server.result = json.loads(body)
            return self.server.done.set()
        _, _, name, length = self.path.split("/")
        hashed = hashlib.new(name, body)
        text = hashed.hexdigest(int(length)) if name.startswith("shake") else hashed.hexdigest()  # pyright: ignore[reportCallIssue]
        self._answer(text.encode(), "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", POLICY)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script: str, given: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.given = given
        self.result: Any = None
        self.done = threading.Event()


@contextmanager
def _serving(script: str, given: Any) -> Iterator[_Server]:
    server = _Server(script, given)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def run(chromium: str, script: str, given: Any = None, patience: float = 100) -> Any:
    """What `tests/web/page/<script>` posts. Raises AssertionError where nothing comes for `patience` seconds."""
    with (
        _serving(script, given) as server,
        tempfile.TemporaryDirectory(prefix="silo-chromium-", ignore_cleanup_errors=True) as profile,
        tempfile.TemporaryFile() as said,
    ):
        url = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={profile}", "--enable-logging=stderr", url],
            env={"PATH": os.environ.get("PATH", ""), "HOME": profile},
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            came = server.done.wait(patience)
        finally:
            os.killpg(browser.pid, 9)
            browser.wait()
        if not came:
            said.seek(0)
            lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if "CONSOLE" in line]
            raise AssertionError("\n".join(["the page did not end", *lines[-20:]]))
        return server.result
