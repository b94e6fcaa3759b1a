"""Requests that no honest client makes, and a look at all that comes back for them."""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import psutil
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from silo.crypto import _hpke, labels
from silo.crypto.channel import HEADER_SIZE, VERSION, Destination, ReplyOpener
from silo.crypto.encoding import b32, new_id, padme, u64, write_json
from silo.crypto.frames import seal_whole
from silo.crypto.keys import derive, fingerprint
from silo.crypto.labels import pack
from tests.harness import Answered, Device, Served, now

CANARY = "canary7f3kq"
"""Stands in everything that the tests send, and may stand in nothing that comes back in an error or in the log."""

ROOM = HEADER_SIZE - 80
"""Bytes of a header's JSON."""

Frames = Callable[[bytes, bytes], bytes]
"""(request key, transcript) -> frames."""

Sign = Callable[[bytes, bytes], bytes]
"""(sealed header key, JSON) -> signature."""


@dataclass(frozen=True)
class Forged:
    """A request in all its parts. `data` seals it; what is not named is as an honest client makes it."""

    device: Device
    fields: dict[str, Any] = field(default_factory=dict)
    """Of the header; a value of `...` leaves the field out."""
    text: bytes | None = None
    """The header's JSON, instead of `fields`."""
    content: bytes = b"{}"
    frames: Frames | None = None
    """What follows the sealed header, instead of `content`."""
    to: Destination | None = None
    """What the header key is sealed for."""
    name: bytes | None = None
    """The device id."""
    sign: Sign | None = None
    after: bytes = b""
    """What stands at the end of the header instead of zeros."""
    version: int = VERSION

    def bend(self, **changes: Any) -> "Forged":
        """Another one, changed."""
        return replace(self, **changes)

    @property
    def device_id(self) -> bytes:
        """The device id in the header."""
        return self.device.device if self.name is None else self.name

    def signed(self, sealed_key: bytes, text: bytes) -> bytes:
        """What an honest device signs."""
        to = self.device.destination or self.device.fetch_keys()
        return self.device.signer.sign(labels.DOOR_SIGNATURE, *signed_fields(to, self.device_id, sealed_key, text))

    def data(self) -> tuple[bytes, ReplyOpener]:
        """The bytes to POST, and the opener of their answer."""
        to = self.to or self.device.destination or self.device.fetch_keys()
        ask, reply = secrets.token_bytes(32), secrets.token_bytes(32)
        text = self.header(ask, reply) if self.text is None else self.text
        header_key = secrets.token_bytes(32)
        info = (bytes([self.version]), to.silo, to.identity, fingerprint(to.public))
        sealed_key = _hpke.seal(to.public, header_key, pack(labels.DOOR_HEADER, *info))
        signature = (self.sign or self.signed)(sealed_key, text)
        plain = self.device_id + signature + text
        prefix = bytes([self.version]) + sealed_key
        plain = plain.ljust(HEADER_SIZE - len(self.after), b"\0") + self.after
        prefix += AESGCM(header_key).encrypt(bytes(12), plain, prefix)
        transcript = hashlib.sha256(prefix).digest()
        key = derive(ask, labels.DOOR_REQUEST, salt=transcript)
        body = self.frames(key, transcript) if self.frames else seal_whole(key, transcript, self.content)
        return prefix + body, ReplyOpener(reply, transcript)

    def header(self, ask: bytes, reply: bytes) -> bytes:
        """The header's JSON."""
        seen = self.device.keyring
        honest = {
            "id": new_id(),
            "time": now(),
            "method": "GET",
            "path": "/me",
            "request": b32(ask),
            "reply": b32(reply),
            "headers": {},
            "account": b32(self.device.account.fingerprint),
            "keyring": {"at": seen.at, "hash": seen.hash} if seen else None,
            "head": None,
        }
        return write_json({name: value for name, value in (honest | self.fields).items() if value is not ...})


def signed_fields(to: Destination, device: bytes, sealed_key: bytes, text: bytes) -> tuple[bytes, ...]:
    """What a header's signature covers (SPEC 4.2)."""
    return to.silo, to.identity, fingerprint(to.public)[:8], device, sealed_key, text


def framed(*pieces: bytes, last: int = -1) -> Frames:
    """Frames over these plaintexts; the one at `last` is sealed as the last one, `len(pieces)`: none is."""

    def frames(key: bytes, transcript: bytes) -> bytes:
        at = last % len(pieces) if last < 0 else last
        sealed = [
            AESGCM(key).encrypt(number.to_bytes(11, "big") + bytes([number == at]), piece, transcript)
            for number, piece in enumerate(pieces)
        ]
        return b"".join(len(one).to_bytes(4, "big") + one for one in sealed)

    return frames


def padded(content: bytes, size: int | None = None, said: int | None = None) -> bytes:
    """A whole message's plaintext (SPEC 3.3); `size` is its padded size, `said` the length that it states."""
    plain = u64(len(content) if said is None else said) + content
    return plain.ljust(padme(len(plain)) if size is None else size, b"\0")


def again(opener: ReplyOpener) -> ReplyOpener:
    """An opener for a further answer to the same bytes."""
    return ReplyOpener(opener._secret, opener._transcript)  # pyright: ignore[reportPrivateUsage]


class House:
    """A silo with its administrator's device, and everything that came back from it."""

    def __init__(self, served: Served, device: Device) -> None:
        self.served = served
        self.device = device
        self.clear: list[bytes] = []
        """Answers in the clear, heads and bodies."""

    def post(self, data: bytes, opener: ReplyOpener | None = None, **http: Any) -> Answered:
        """Send bytes to the door. An answer that is sealed is opened, one in the clear is kept."""
        destination = self.device.destination or self.device.fetch_keys()
        url = f"{self.device.url}/silo/1/{http.pop('key_id', destination.key_id)}"
        response = self.device.http.post(url, content=http.pop("content", data), **http)
        if response.headers.get("content-type") != "application/octet-stream":
            return self.heard(response)
        assert opener
        assert response.status_code == 200
        answered = self._opened(opener, response.content)
        if answered.status >= 400:
            assert CANARY.encode() not in answered.body
            assert set(answered.json["error"]) >= {"code", "message", "hint", "detail"}
        assert answered.status < 500, answered
        return answered

    def heard(self, response: httpx.Response) -> Answered:
        """Keep an answer in the clear."""
        head = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        self.clear.append(f"{response.status_code}\n{head}\n".encode() + response.content)
        assert CANARY.encode() not in self.clear[-1]
        assert response.status_code < 500 or response.json() in ({"error": {"code": "busy"}},), response.content
        return Answered(response.status_code, response.content, sealed=False)

    def _opened(self, opener: ReplyOpener, data: bytes) -> Answered:
        answered = Answered(0, b"")
        for part in opener.push(data):
            if part.kind == 1:
                answered.status = json.loads(part.data)["status"]
            elif part.kind == 2:
                answered.body += part.data
            else:
                answered.end = json.loads(part.data)
        opener.finish()
        return answered

    def send(self, forged: Forged) -> Answered:
        """Seal and send."""
        return self.post(*forged.data())

    def ask(self, method: str, path: str, content: bytes = b"{}", **fields: Any) -> Answered:
        """A request that is honest but for what is named."""
        return self.send(Forged(self.device, {"method": method, "path": path, **fields}, content=content))

    @property
    def memory(self) -> int:
        """Resident bytes of the appliance, its engine apart."""
        return psutil.Process(self.served.pid).memory_info().rss

    def check(self) -> None:
        """It still answers an honest request, and has told nothing."""
        assert self.ask("GET", "/me").status == 200
        log = self.served.log.read_text()
        device = self.device
        told = [CANARY, b32(device.device), b32(device.user), b32(device.account.fingerprint), "127.0.0.1", "Traceback"]
        assert not [word for word in told if word in log]
        for line in log.splitlines():
            if line.startswith("{"):
                assert set(json.loads(line)) <= {
                    *("event", "level", "timestamp", "verb", "status", "finish"),
                    *("id", "kind", "code", "lived_s", "restart_in_s"),
                }
