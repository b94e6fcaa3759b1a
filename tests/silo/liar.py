"""A silo in the test's own process, built from silo.crypto alone, that can be told to lie.

Honest by itself: setup, chat (it repeats what was asked), log, history. A test bends one thing:

    before      one entry a POST, used up in order: gives raw HTTP bytes (empty: hang up) instead of an answer
    instead     path -> gives (status, body) instead of the honest handler
    bend        changes the sealed bytes of a chat's answer
    write       changes the parts of a chat's record before it is sealed
    keys_now, keys_nonce …   see `keys_answer`
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from silo.crypto.channel import BODY, END, HEAD, PREFIX_SIZE, OpenedRequest, TransportKey, part, state_keys
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, read_json, unb64, write_json
from silo.crypto.keyring import Document, Keyring, SignedKeyring, sign_keyring, verify_keyring
from silo.crypto.keys import AdminKey, Recipient, Signer, fingerprint, setup_bearer
from silo.crypto.sealing import KIND_TURN, NO_HASH, Place, SealedRecord, make_receipt, seal_record
from silo.messages import AskSetupLink, Setup

HOUR = 3_600_000
Handler = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


def refused(code: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """A sealed refusal."""
    from silo.errors import TABLE

    return TABLE[code].status, {"error": {"code": code, "message": "", "hint": "", "detail": "", **more}}


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    """A whole HTTP answer."""
    return (
        b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind.encode(), len(body)) + body
    )


def clear(status: int, code: str, **more: Any) -> bytes:
    """An answer in the clear."""
    return http(status, json.dumps({"error": {"code": code}, **more}).encode())


@dataclass
class Written:
    """A record that the silo holds."""

    turn: str
    sealed: SealedRecord
    receipt: bytes


class Liar:
    """The silo. `async with Liar() as silo:` serves it on loopback."""

    LASTING = ("silo", "identity", "user", "enrolment", "locks", "manifest", "directory", "device", "chain", "keyring")
    """What its disk holds after a first run."""

    def __init__(self) -> None:
        self.silo = os.urandom(16)
        self.identity = Signer()
        self.secret = os.urandom(32)
        self.offset = 0
        """How far its clock is from ours, in milliseconds."""
        self.keys = [self.new_key()]
        self.seen: list[OpenedRequest] = []
        """Every request whose header opened."""
        self.fetched = 0
        self.before: list[bytes | None] = []
        self.instead: dict[str, Handler] = {}
        self.bend: Callable[[bytes], bytes] = lambda data: data
        self.hang_up = False
        """Close the connection after a chat's bent bytes, whatever was promised."""
        self.keys_bent: dict[str, Any] = {}
        self.recipients: Callable[[list[Recipient]], list[Recipient]] = lambda honest: honest
        self.content: Callable[[dict[str, Any]], dict[str, Any]] = lambda honest: honest
        self.receipt_signer: Signer | None = None
        self.kept = True
        self.end: Callable[[dict[str, Any]], dict[str, Any]] = lambda honest: honest
        self.user: dict[str, Any] = {}
        self.enrolment: dict[str, Any] = {}
        self.locks: list[dict[str, Any]] = []
        self.manifest: dict[str, Any] = {}
        self.rotations: list[dict[str, Any]] = []
        self.directory: list[dict[str, Any]] = []
        self.device = b""
        self.chain: list[SignedKeyring] = []
        self.keyring: Keyring | None = None
        self.records: list[Written] = []

    # --- serving ---

    async def __aenter__(self) -> "Liar":
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await asyncio.gather(*self._serving)

    @property
    def link(self) -> str:
        """Its setup link."""
        return f"{self.url}/#setup.{b64(self.secret + fingerprint(self.identity.public) + self.silo)}"

    def now(self) -> int:
        """Its clock."""
        return time.time_ns() // 1_000_000 + self.offset

    def new_key(self, life: int = 24 * HOUR) -> TransportKey:
        """A transport key."""
        return TransportKey(self.silo, fingerprint(self.identity.public), self.now() - 1, self.now() - 1 + life)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                method, target, _ = head[0].split(" ")
                answer = self._get(target) if method == "GET" else self._post(target, body)
                writer.write(answer)
                await writer.drain()
                if not answer or (self.hang_up and method == "POST"):
                    break
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._writers.discard(writer)
        self._serving.discard(task)

    def _get(self, target: str) -> bytes:
        self.fetched += 1
        nonce = target.partition("?nonce=")[2]
        return http(200, self.keys_answer(nonce))

    def keys_answer(self, nonce: str | None) -> bytes:
        """`GET /silo/keys`, bent by `keys_bent`: silo, signer, nonce, now, keys."""
        bent = self.keys_bent
        return state_keys(
            bent.get("signer", self.identity),
            bent.get("silo", self.silo),
            [key.destination for key in bent.get("keys", self.keys)],
            bent.get("now", self.now()),
            bent.get("nonce", nonce),
        )

    def _post(self, target: str, data: bytes) -> bytes:
        key = next((one for one in self.keys if target == f"/silo/1/{one.id}"), None)
        opened = key.open_header(data[:PREFIX_SIZE]) if key else None
        if opened is not None:
            self.seen.append(opened)
        lie = self.before.pop(0) if self.before else None
        if lie is not None:
            return lie
        if opened is None:
            return clear(409, "stale_key", keys=json.loads(self.keys_answer(None)))
        opener = opened.body(2**24)
        opener.push(data[PREFIX_SIZE:])
        return self._answer(opened, json.loads(opener.finish()))

    # --- honest answers ---

    def _answer(self, opened: OpenedRequest, body: dict[str, Any]) -> bytes:
        path = opened.header.path
        if abs(opened.header.time - self.now()) > HOUR // 6:
            return self._whole(opened, *refused("clock", now=self.now()))
        if path in self.instead:
            return self._whole(opened, *self.instead[path](body))
        if opened.has_device and opened.device != self.device:
            return self._whole(opened, *refused("unknown_device" if self.chain else "not_ready"))
        if path == "/chat":
            return self._chat(opened, body)
        handler = getattr(self, "_" + path.split("/")[1].replace("-", "_"))
        return self._whole(opened, *(handler(path) if path.startswith("/turns") else handler(body)))

    def _whole(self, opened: OpenedRequest, status: int, body: dict[str, Any]) -> bytes:
        head = part(HEAD, write_json({"status": status, "headers": {}}))
        payload = head + part(BODY, write_json(body)) + part(END, b"{}")
        return http(200, opened.reply().whole(payload), "application/octet-stream")

    def _setup_link(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        right = hash_bytes(read_json(write_json(body), AskSetupLink).bearer) == setup_bearer(self.secret)
        return (200, {}) if right and not self.chain else refused("setup_used" if self.chain else "setup_wrong")

    def _setup(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        setup = read_json(write_json(body), Setup)
        if hash_bytes(setup.bearer) != setup_bearer(self.secret) or self.chain:
            return refused("setup_used" if self.chain else "setup_wrong")
        self.chain = [setup.keyring]
        self.keyring = verify_keyring(setup.keyring, self.silo, hash_bytes(setup.keyring.signer))
        self.user, self.enrolment = body["user"], body["enrolment"]
        self.locks, self.manifest = body["locks"], body["manifest"]
        self.directory = [body["entry"]]
        self.device = msgspec.convert(unb64(setup.enrolment.statement), bytes)[4 + 22 + 3 * 4 + 32 :][:16]
        return 201, {"user": setup.user.id, "device": b32(self.device), "keyring": self.keyring.seen}

    @property
    def ring(self) -> Keyring:
        """The keyring in force."""
        assert self.keyring is not None
        return self.keyring

    def _head(self) -> dict[str, Any] | None:
        if not self.records:
            return None
        return {"at": len(self.records), "hash": b32(self.records[-1].sealed.entry_hash)}

    def _me(self, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {
            "user": {"role": "admin", **{name: self.user[name] for name in ("id", "name", "account")}},
            "device": {"id": b32(self.device), "since": self.now()},
            "keyring": self.ring.seen,
            "head": self._head(),
            "manifest": json.loads(self.manifest["manifest"])["version"],
        }

    def _locks(self, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        own = [one for one in self.locks if one["id"] == b32(self.device)]
        return 200, {"lock": own[0] if own else None, "manifest": self.manifest, "rotations": self.rotations}

    def _keyrings(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"keyrings": self.chain[body["after"] :]}

    def _enrolments(self, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"enrolments": [{"device": b32(self.device), "revoked": None, **self.enrolment}]}

    def _log(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        entries = [
            {
                "index": one.sealed.place.index,
                "id": b32(one.sealed.place.id),
                "thread": b32(one.sealed.place.thread),
                "parent": b32(one.sealed.place.parent) if any(one.sealed.place.parent) else None,
                "kind": KIND_TURN,
                "time": one.sealed.place.time,
                "core": b32(one.sealed.core_hash),
            }
            for one in self.records[body["after"] : body["after"] + body["limit"]]
        ]
        return 200, {"entries": entries, "head": self._head()}

    def _bags(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        # It keeps none.
        return 200, {"version": body["version"]} if body else {"version": 0, "last": None, "sealed": None}

    def _history(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        after, limit, thread = body["after"], body["limit"], body["thread"]
        found = [
            one
            for one in self.records
            if one.sealed.place.index > after and thread in (None, b32(one.sealed.place.thread))
        ]
        listed = [
            {
                "index": one.sealed.place.index,
                "core": b64(one.sealed.core),
                "wraps": [{"recipient": b32(who), "sealed": b64(wrap)} for who, wrap in one.sealed.wraps],
                "receipt": b64(one.receipt),
            }
            for one in found[:limit]
        ]
        return 200, {"records": listed, "tombstones": [], "next": listed[-1]["index"] if len(found) > limit else None}

    def _turns(self, path: str) -> tuple[int, dict[str, Any]]:
        for one in self.records:
            if path == f"/turns/{one.turn}":
                return 200, {"state": "kept", "kept": self._kept(one)}
        return refused("not_found")

    def _kept(self, one: Written) -> dict[str, Any]:
        return {
            "index": one.sealed.place.index,
            "core": b32(one.sealed.core_hash),
            "entry": b32(one.sealed.entry_hash),
            "receipt": b64(one.receipt),
        }

    def _mismatch(self, opened: OpenedRequest) -> tuple[int, dict[str, Any]] | None:
        header = opened.header
        if header.account != b32(fingerprint(unb64(self.user["account"]))):
            return refused("account_changed", account=self.user["account"])
        if header.keyring != self.ring.seen:
            return refused("keyring_changed", keyrings=self.chain[header.keyring.at if header.keyring else 0 :])
        heads = {b32(one.sealed.entry_hash) for one in self.records}
        if header.head and header.head.hash not in heads:
            return refused("stale_head", head=self._head())
        return None

    def _chat(self, opened: OpenedRequest, body: dict[str, Any]) -> bytes:
        if wrong := self._mismatch(opened):
            return self._whole(opened, *wrong)
        said = " ".join(one["content"] for one in json.loads(body["text"])["messages"])
        kept = None
        if self.kept:
            self.records.append(self.write(body, said))
            kept = self._kept(self.records[-1])
        end = {
            "finish": "stop",
            "usage": {"prompt": 1, "completion": 1},
            "kept": kept,
            "error": None if kept else refused("not_kept")[1]["error"],
        }
        reply = opened.reply()
        head = part(HEAD, write_json({"status": 200, "headers": {}}))
        # Two frames with words and two with cover, the words cut inside a character where there is one.
        words = said.encode()
        half = len(words) // 2
        frames = [
            reply.frame(head + part(BODY, words[:half]), 512),
            reply.frame(part(BODY, words[half:]) + part(END, write_json(self.end(end))), 2048),
            reply.frame(b"", 256),
            reply.frame(b"", 256, last=True),
        ]
        whole = reply.salt + b"".join(frames)
        sent = self.bend(whole)
        size = len(whole) if self.hang_up else len(sent)
        return b"HTTP/1.1 200 X\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n" % size + sent

    def write(self, body: dict[str, Any], said: str) -> Written:
        """Seal and keep a turn."""
        content = self.content(
            {
                "turn": body["text"],
                "device": b32(self.device),
                "signature": body["signature"],
                "reply": {
                    "content": said,
                    "model": "liar",
                    "finish": "stop",
                    "prompt_tokens": 1,
                    "completion_tokens": 1,
                },
            }
        )
        place = Place(
            self.silo,
            id_bytes(self.user["id"]),
            len(self.records) + 1,
            self.records[-1].sealed.entry_hash if self.records else NO_HASH,
            id_bytes(body["thread"]),
            hash_bytes(body["parent"]) if body["parent"] else NO_HASH,
            KIND_TURN,
            id_bytes(body["turn"]),
            self.now(),
        )
        honest = [Recipient(unb64(self.user["account"])), self.ring.vault]
        sealed = seal_record(place, write_json(content), self.recipients(honest))
        return Written(body["turn"], sealed, make_receipt(self.receipt_signer or self.identity, sealed))

    # --- keyrings ---

    def next_keyring(self, admin: AdminKey, **changes: Any) -> SignedKeyring:
        """A keyring after the one in force, signed by `admin`."""
        document: Document = msgspec.structs.replace(
            self.ring.document, version=self.ring.document.version + 1, previous=b32(self.ring.hash), **changes
        )
        return sign_keyring(admin, document)

    def install(self, signed: SignedKeyring) -> None:
        """Put it in force."""
        self.keyring = verify_keyring(signed, self.silo, self.ring.genesis, self.ring)
        self.chain.append(signed)

    def swap_receipts(self) -> None:
        """Give the first two records each other's receipt."""
        one, other = self.records[0], self.records[1]
        self.records[0], self.records[1] = replace(one, receipt=other.receipt), replace(other, receipt=one.receipt)
