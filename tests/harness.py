"""A real silo on loopback, as a process of its own, and a device that may also lie to it.

The command line has its own tests; `Device` here is for the door's: it can send what no honest client would.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from silo.crypto import labels
from silo.crypto.channel import BODY, END, HEAD, Destination, ReplyOpener, Request, Seen, read_keys, seal_request
from silo.crypto.directory import Entry, sign_entry
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, new_id, unb64, write_json
from silo.crypto.keyring import first_keyring, verify_keyring
from silo.crypto.keys import AccountKey, AdminKey, Enrolment, Signer, recipient_of, setup_bearer
from silo.crypto.locks import device_secret, make_lock, make_password_lock, state_manifest
from silo.crypto.opening import Envelope, OpenedRecord, Opener, open_record
from silo.crypto.sealing import NO_HASH, TurnPlace, sign_turn
from tests import postgres

ROOT = Path(__file__).resolve().parent.parent


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without its settings, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SILO_")}
    return kept | more


def no_settings(folder: Path) -> Path:
    """The folder, made, with a `.env` that sets nothing: a silo started here reads no other, the checkout's neither."""
    folder.mkdir(exist_ok=True)
    (folder / ".env").touch()
    return folder


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Served:
    """`python -m appliance up` in a data folder. Its log is in `log`, the link that it printed in `link`."""

    program: tuple[str, ...] = ("-m", "appliance")
    """What Python runs; a test may put something in front of it."""

    def __init__(self, data: Path, engine: str = "fake", **settings: str) -> None:
        self.data = data
        self.engine = engine
        self.database = settings.get("SILO_DATABASE_URL") or postgres.url_of(data)
        """Where it keeps what it keeps, as a URL."""
        self.settings = postgres.settings_of(data) | settings
        self.log = data.with_name(f"{data.name}.log")
        self.link = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self, within: float = 60) -> "Served":
        """Start it and wait until it is ready. Raises RuntimeError with its log where it ends instead."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", *self.program, "up"),
                    *("--port", "0", "--data", str(self.data), "--engine", self.engine),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=no_settings(self.data.parent),
                env=clean_environment(**self.settings),
            )
        assert self.process.stdout
        # A start that hangs ends here, not at the test run's own limit.
        timer = threading.Timer(within, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line.startswith("ready "):
            self.process.wait()
            raise RuntimeError(f"exit {self.process.returncode}: {self.log.read_text()}")
        self.link = line.removeprefix("ready ").strip()
        return self

    @property
    def environment(self) -> dict[str, str]:
        """What the verbs of the box are run with: they have to find its database."""
        return clean_environment(**postgres.settings_of(self.data))

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.link.partition("/#")[0]

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process
        return self.process.pid

    def stop(self) -> int:
        """Ctrl-C; its exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9, to it alone: its engine must find out by itself."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        assert self.process.stdout
        self.process.stdout.close()
        self.process = None
        return code


@dataclass
class Answered:
    """What came back: a sealed answer, or one in the clear."""

    status: int
    body: bytes
    end: dict[str, Any] = field(default_factory=dict)
    sealed: bool = True

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code; empty where it is none."""
        if self.sealed and self.status < 400:
            return ""
        return self.json["error"]["code"]

    @property
    def text(self) -> str:
        """The body as words."""
        return self.body.decode()


class Device:
    """An administrator with one device, made from a setup link; every part of a request can be bent."""

    def __init__(self, link: str) -> None:
        self.url, _, fragment = link.partition("/#setup.")
        raw = unb64(fragment)
        self.secret, self.pin, self.silo = raw[:32], raw[32:64], raw[64:]
        self.http = httpx.Client(timeout=60, trust_env=False)
        self.signer = Signer()
        self.device = secrets.token_bytes(16)
        self.user = secrets.token_bytes(16)
        self.account_seed = secrets.token_bytes(32)
        self.seal_seed = secrets.token_bytes(32)
        self.account = recipient_of(self.account_seed)
        self.admin = AdminKey()
        self.identity = b""
        self.keyring: Seen | None = None
        self.head: Seen | None = None
        self.destination: Destination | None = None

    def moved(self, url: str) -> "Device":
        """The silo answers elsewhere now, with new transport keys."""
        self.url, self.destination = url, None
        return self

    def fetch_keys(self) -> Destination:
        """The freshest transport key, checked."""
        nonce = b32(secrets.token_bytes(32))
        answer = self.http.get(f"{self.url}/silo/keys", params={"nonce": nonce}).content
        keys = read_keys(answer, self.silo, self.pin, nonce)
        self.identity, self.destination = keys.identity, keys.destinations[0]
        return self.destination

    def request(self, method: str, path: str, **bent: Any) -> Request:
        """An honest request; `bent` replaces any of its fields."""
        fields: dict[str, Any] = {
            "time": now(),
            "account": self.account.fingerprint,
            "keyring": self.keyring,
            "head": self.head,
        }
        return Request(method, path, **(fields | bent))

    def seal(self, request: Request, content: bytes, anonymous: bool = False) -> tuple[bytes, ReplyOpener]:
        """The bytes to POST, and the opener of their answer."""
        destination = self.destination or self.fetch_keys()
        device, signer = (bytes(16), None) if anonymous else (self.device, self.signer)
        return seal_request(destination, request, content, device, signer)

    def post(self, data: bytes, opener: ReplyOpener) -> Answered:
        """Send sealed bytes and read the whole answer."""
        destination = self.destination or self.fetch_keys()
        with self.http.stream("POST", f"{self.url}/silo/1/{destination.key_id}", content=data) as response:
            if response.headers.get("content-type") != "application/octet-stream":
                return Answered(response.status_code, response.read(), sealed=False)
            answered = Answered(0, b"")
            for piece in response.iter_raw():
                for part in opener.push(piece):
                    if part.kind == HEAD:
                        answered.status = json.loads(part.data)["status"]
                    elif part.kind == BODY:
                        answered.body += part.data
                    elif part.kind == END:
                        answered.end = json.loads(part.data)
        opener.finish()
        return answered

    def ask(self, method: str, path: str, body: Any = None, anonymous: bool = False, **bent: Any) -> Answered:
        """One request through the door."""
        data, opener = self.seal(self.request(method, path, **bent), write_json(body or {}), anonymous)
        return self.post(data, opener)

    def setup_body(self, name: str = "alice") -> dict[str, Any]:
        """The body of `POST /setup`."""
        self.fetch_keys()
        keyring = first_keyring(self.admin, name, self.silo, self.identity, now())
        self.keyring = verify_keyring(keyring, self.silo, self.admin.public.fingerprint).seen
        seal = recipient_of(self.seal_seed).public
        account, genesis = AccountKey(self.account_seed), self.admin.public.fingerprint
        locks = [
            make_password_lock("a long enough password", account, self.silo, genesis, self.user),
            make_lock(device_secret(self.seal_seed), self.device, account, self.silo, genesis, self.user),
        ]
        entry = Entry(self.silo, self.user, name, account.fingerprint, account.signer.public, now())
        enrolment = Enrolment(self.silo, self.user, self.device, self.signer.public, seal, now())
        statement = enrolment.statement()
        return {
            "bearer": b32(setup_bearer(self.secret)),
            "keyring": keyring,
            "user": {
                "id": b32(self.user),
                "name": name,
                "account": b64(self.account.public),
                "sign": b32(account.signer.public),
            },
            "enrolment": self.vouched(statement),
            "locks": locks,
            "manifest": state_manifest(account, self.silo, self.user, 1, locks),
            "entry": sign_entry(self.admin, entry),
        }

    def vouched(self, statement: bytes, signature: bytes | None = None) -> dict[str, str]:
        """An enrolment as this device's account vouches for it; signed by this device where no signature is given."""
        signature = signature or self.signer.sign(labels.ENROLMENT, statement)
        vouch = AccountKey(self.account_seed).vouch(statement, signature)
        return {"statement": b64(statement), "signature": b64(signature), "vouch": b64(vouch)}

    def set_up(self) -> "Device":
        """First run."""
        answered = self.ask("POST", "/setup", self.setup_body(), anonymous=True)
        assert answered.status == 201, answered
        return self

    def chat_body(self, prompt: str, **bent: Any) -> dict[str, Any]:
        """The body of `POST /chat`; `options` goes into the signed text, everything else replaces a field."""
        turn, thread = bent.pop("turn", new_id()), bent.pop("thread", new_id())
        parent: str | None = bent.pop("parent", None)
        messages = [{"role": "user", "content": prompt}]
        text = json.dumps({"messages": messages, "model": None, "options": bent.pop("options", {})})
        place = TurnPlace(
            self.silo,
            self.user,
            id_bytes(thread),
            id_bytes(turn),
            hash_bytes(parent) if parent else NO_HASH,
        )
        body = {
            "turn": turn,
            "thread": thread,
            "parent": parent,
            "text": text,
            "signature": b64(sign_turn(self.signer, place, text.encode())),
            "context": [],
        }
        return body | bent

    def chat(self, prompt: str, **bent: Any) -> Answered:
        """One turn."""
        return self.ask("POST", "/chat", self.chat_body(prompt, **bent))

    def history(self) -> list[OpenedRecord]:
        """Every record, opened with the account key and checked whole."""
        opened: list[OpenedRecord] = []
        after: int | None = 0
        while after is not None:
            page = self.ask("GET", "/history", {"after": after, "limit": 500}).json
            for one in page["records"]:
                opened.append(
                    open_record(envelope(one), [Opener(self.account_seed)], self.silo, self.user, self.identity)
                )
            after = page["next"]
        return opened


def envelope(record: dict[str, Any]) -> Envelope:
    """A record as `GET /history` and an export spell it."""
    wraps = {hash_bytes(wrap["recipient"]): unb64(wrap["sealed"]) for wrap in record["wraps"]}
    return Envelope(unb64(record["core"]), wraps, unb64(record["receipt"]))
