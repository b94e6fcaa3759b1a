"""What the tests of a whole silo share: further devices and people, an engine of their own, a look behind its back."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from silo.crypto.channel import BODY, END, HEAD, Request, Seen
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, unb64, write_json
from silo.crypto.keys import AccountKey, Enrolment, recipient_of
from silo.crypto.locks import make_lock, recovery_secret, state_manifest
from silo.crypto.opening import Log
from silo.crypto.sealing import NO_HASH, TurnPlace, sign_turn
from tests import postgres
from tests.harness import Answered, Device, Served, clean_environment, now

T = TypeVar("T")


def until(what: Callable[[], T], within: float) -> T:
    """The first true answer of `what`. Fails after `within` seconds."""
    end = time.monotonic() + within
    while not (found := what()):
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.02)
    return found


def behind(served: Served) -> AbstractContextManager[postgres.Database]:
    """The silo's database, opened behind its back; what is changed is committed at the end."""
    return postgres.behind(served.database)


def _copy(device: Device) -> Device:
    """Another device that knows the same silo."""
    other = Device(f"{device.url}/#setup.{b64(device.secret + device.pin + device.silo)}")
    other.identity, other.keyring, other.admin = device.identity, device.keyring, device.admin
    return other


def enrol(served: Served, device: Device) -> None:
    """Write a device's enrolment into the database, as a later version's door will."""
    seal = recipient_of(secrets.token_bytes(32)).public
    enrolment = Enrolment(device.silo, device.user, device.device, device.signer.public, seal, now())
    statement = enrolment.statement()
    vouched = device.vouched(statement)
    row = (b32(device.device), b32(device.user), device.signer.public, statement)
    with behind(served) as database:
        database.execute(
            "INSERT INTO device (id, user_id, sign, statement, signature, vouch, time) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row, unb64(vouched["signature"]), unb64(vouched["vouch"]), now()),
        )


def another_device(served: Served, device: Device) -> Device:
    """A further device of the same account."""
    other = _copy(device)
    other.user, other.account_seed, other.account = device.user, device.account_seed, device.account
    enrol(served, other)
    return other


def another_person(served: Served, device: Device, name: str) -> Device:
    """A further account with one device."""
    other = _copy(device)
    account = AccountKey(other.account_seed)
    genesis = other.admin.public.fingerprint
    secret = recovery_secret(secrets.token_bytes(32), other.silo, genesis)
    lock = make_lock(secret, secrets.token_bytes(16), account, other.silo, genesis, other.user)
    manifest = write_json(state_manifest(account, other.silo, other.user, 1, [lock])).decode()
    with behind(served) as database:
        database.execute(
            'INSERT INTO "user" (id, name, role, account, sign, time) VALUES (?, ?, ?, ?, ?, ?)',
            (b32(other.user), name, "user", other.account.public, account.signer.public, now()),
        )
        database.execute(
            "INSERT INTO manifest (user_id, version, document) VALUES (?, 1, ?)", (b32(other.user), manifest)
        )
    enrol(served, other)
    return other


def turn_body(device: Device, messages: list[dict[str, str]], **options: Any) -> dict[str, Any]:
    """The body of `POST /chat` with just these messages, signed."""
    body = device.chat_body("")
    text = json.dumps({"messages": messages, "model": None, "options": options})
    place = TurnPlace(device.silo, device.user, id_bytes(body["thread"]), id_bytes(body["turn"]), NO_HASH)
    return body | {"text": text, "signature": b64(sign_turn(device.signer, place, text.encode()))}


class Listening:
    """A reply while it comes: read as much as is wanted, then `leave`, which closes the socket."""

    def __init__(self, device: Device, request: Request, body: dict[str, Any]) -> None:
        data, self._opener = device.seal(request, write_json(body))
        destination = device.destination or device.fetch_keys()
        self._http = httpx.Client(timeout=60, trust_env=False)
        self._stream = self._http.stream("POST", f"{device.url}/silo/1/{destination.key_id}", content=data)
        self._response = self._stream.__enter__()
        self._pieces = self._response.iter_raw()
        self.answered = Answered(0, b"")

    @property
    def heard(self) -> str:
        """The words that have come."""
        return self.answered.body.decode("utf-8", "ignore")

    def more(self) -> bool:
        """Wait for one piece; whether there was one."""
        piece = next(self._pieces, None)
        for part in self._opener.push(piece or b""):
            if part.kind == HEAD:
                self.answered.status = json.loads(part.data)["status"]
            elif part.kind == BODY:
                self.answered.body += part.data
            elif part.kind == END:
                self.answered.end = json.loads(part.data)
        return piece is not None

    def until_words(self, count: int) -> "Listening":
        """Read until so many words have come."""
        while self.answered.status != 200 or len(self.heard.split()) < count:
            assert self.more(), "the reply ended too early"
        return self

    def rest(self) -> Answered:
        """Read to the end, which must be one."""
        while self.more():
            pass
        self._opener.finish()
        self.leave()
        return self.answered

    def leave(self) -> None:
        """Close the socket, whatever is still to come."""
        self._stream.__exit__(None, None, None)
        self._http.close()


def listen(device: Device, prompt: str, **bent: Any) -> Listening:
    """Ask for one turn and listen; `request` gives another request, everything else is chat_body's."""
    request = bent.pop("request", None) or device.request("POST", "/chat")
    return Listening(device, request, device.chat_body(prompt, **bent))


def send_only(
    device: Device, request: Request, body: dict[str, Any], part: float = 1.0, anonymous: bool = False
) -> socket.socket:
    """Send a request, or only so much of it, and listen to nothing; whoever closes the socket goes away."""
    data, _ = device.seal(request, write_json(body), anonymous)
    destination = device.destination or device.fetch_keys()
    url = urlsplit(device.url)
    connection = socket.create_connection((url.hostname or "", url.port or 0), timeout=10)
    head = f"POST /silo/1/{destination.key_id} HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data[: int(len(data) * part)])
    return connection


class OwnEngine:
    """The deterministic engine in a process of the test's own, so that it outlives the silo and can be asked."""

    def __init__(self, *flags: str) -> None:
        # The path of a socket is short: pytest's own folders are not.
        self._folder = Path(tempfile.mkdtemp(prefix="silo-test-"))
        self.socket = self._folder / "engine.sock"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "appliance.engine.fake", "--socket", str(self.socket), *flags],
            env=clean_environment(),
        )
        self._http = httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), trust_env=False)
        until(self._listens, 30)

    @property
    def spec(self) -> str:
        """What SILO_ENGINE is to be."""
        return f"unix:{self.socket}"

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.socket)) == 0

    def running(self) -> int:
        """How many replies it is making."""
        return self._http.get("http://engine/fake/running").json()["running"]

    def last(self) -> dict[str, Any]:
        """The last request that it got; empty where it never got one."""
        return self._http.get("http://engine/fake/last").json()

    def end(self) -> None:
        """End it."""
        self._http.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)


def walk_log(device: Device, log: Log) -> Seen | None:
    """Take `log` on to the silo's head; the head. Raises SiloError `forged` where one entry does not follow another."""
    while True:
        answer = device.ask("GET", "/log", {"after": log.at, "limit": 5000}).json
        for entry in answer["entries"]:
            log.step(entry["index"], id_bytes(entry["thread"]), hash_bytes(entry["core"]))
        head = answer["head"]
        if head is None:
            return None
        if log.at >= head["at"]:
            log.check(hash_bytes(head["hash"]))
            return Seen(at=head["at"], hash=head["hash"])
        assert answer["entries"], "the log ends before its head"
