"""Requests bent at random, with a sense of what they are made of, and what may be said to each.

A case is made of a seed and a number alone; the keys and nonces that seal it are fresh each time.
"""

import gzip
import hashlib
import json
import random
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.api.routes import ROUTES
from silo.crypto.channel import PREFIX_SIZE, Destination, ReplyOpener
from silo.crypto.encoding import b32, b64, id_bytes, new_id, write_json
from silo.crypto.frames import FRAME, seal_whole
from silo.crypto.keys import recipient_of
from silo.crypto.sealing import NO_HASH, TurnPlace, sign_turn
from tests.appliance.api.forge import CANARY, Forged, Frames, again, framed, padded
from tests.harness import Device

ONE = "one"
"""The answer to all that does not open: `cannot_open`."""
VERSION = "version"
"""`bad_version`."""
SEALED = "sealed"
"""A sealed answer, whatever it says."""
HONEST = "honest"
"""A sealed answer that grants what was asked."""
STALE = "stale"
"""`stale_key`, with the keys."""
HTTP = "http"
"""An answer in the clear, below 500."""
NONE = "none"
"""The connection ends without one."""


@dataclass(frozen=True)
class Case:
    """What goes out on a connection, and what may come back."""

    name: str
    wire: bytes
    may: frozenset[str]
    opener: ReplyOpener | None = None
    answers: int = 1
    """How many, where the connection stays."""
    open: bool = False
    """Whether the other end may wait for more: the connection is ended then."""


GZIP, DEFLATE = gzip.compress(b" " * 10_000_000, 9), zlib.compress(b"[" * 10_000_000, 9)
"""10 MB in 10 kB."""

JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, 1e300, -0.0, 2**31, 2**53 - 1, 2**53, -(2**53), 10**30, "", CANARY),
    *("a" * 26, "a" * 52, "a" * 25 + "b", "A" * 26, [], {}, [[]], {CANARY: CANARY}, {"": 0}, ["x"] * 50, [None]),
    *(
        "\0",
        "\u202e",
        "\ufeff",
        "\U0010ffff",
        "\u0000me",
        "e\u0301",
        "\u212a",
        "𝟙",
        "x" * 900,
        {"at": 1, "hash": "a" * 52},
    ),
    *(
        {"at": -1, "hash": "a" * 52},
        {"at": 2**53 - 1, "hash": "a" * 51 + "q"},
        "null",
        "{}",
        "1e5",
        " ",
        "%00",
        "../..",
    ),
]
"""Values that some reader of JSON somewhere took wrongly."""

SPELLINGS = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"9" * 400, b"01", b"+1", b"1.", b".1", b"0x10", b"1_0"),
    *(
        b"9007199254740992",
        b"-0",
        b"1e2",
        b"1.0",
        b"True",
        b"undefined",
        b"'a'",
        b'"\\ud800"',
        b'"\\udfff"',
        b'"\\x41"',
    ),
    *(
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\x00"',
        b'"\n"',
        b"[" * 900,
        b'{"a":' * 300,
        b'{"a":1,"a":2}',
        b"",
    ),
    *(b"/*x*/1", b"1//x", b'"\\u0000"', b'"canary7f3kq', b"[1,]", b'{"a":1,}', b"\xef\xbb\xbf1", b"1 1", b"1e-400"),
]
"""Text that is no JSON, or none of ours."""

PATHS = [
    *("", "/", "//me", "/me/", "/ME", "/me?x=1", "/me#x", "/me ", "/%6de", "/../me", "/\0", "/m\u0435", "/turns/"),
    *(
        "/turns/" + "a" * 64,
        "/turns/" + "a" * 65,
        "/turns/a/b",
        "/setup",
        "/setup-link",
        "/chat",
        "/chat/",
        "\u202e/me",
    ),
    *(f"/{CANARY}", "/log/../me", "/me;x", "/.", "/me\r\nx: y", "/\U0001f9ea", "http://x/me", "/" + "a" * 900),
]
METHODS = ["GET", "POST", "get", "PUT", "DELETE", "", "GET ", "PATCH", "HEAD", CANARY, "G\0ET", "POST\r\n", "ＧＥＴ"]


def bend(value: Any, chance: random.Random) -> Any:
    """A copy with one change somewhere in it: a field left out, added, renamed, repeated, or another value."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        kind = chance.random()
        if kind < 0.12:
            return {key: one for key, one in value.items() if key != name}
        if kind < 0.2:
            return value | {chance.choice([CANARY, name.upper(), "", name + "\0", name + " "]): chance.choice(JUNK)}
        return value | {name: bend(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        if chance.random() < 0.2:
            return value * chance.randrange(2, 40)
        return [*value[:at], bend(value[at], chance), *value[at + 1 :]]
    if isinstance(value, str) and value and chance.random() < 0.5:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(["", "a", "A", "=", "\0", "é", "-", "_", value]) + value[at + 1 :]
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.5:
        return chance.choice([value + 1, value - 1, -value, value * 1000, value // 1000, float(value), str(value)])
    return chance.choice(JUNK)


def respell(text: bytes, chance: random.Random) -> bytes:
    """The JSON text with one value spelled otherwise, a key twice, or more after it."""
    kind = chance.randrange(4)
    at = text.rfind(b":", 0, chance.randrange(len(text)) + 1)
    if kind == 0 and at > 0:
        ends = [place for place in (text.find(b",", at), text.find(b"}", at)) if place > 0]
        return text[: at + 1] + chance.choice(SPELLINGS) + (text[min(ends) :] if ends else b"")
    if kind == 1 and text.endswith(b"}") and len(text) > 2:
        name = chance.choice([b'"id"', b'"canary7f3kq"', b'"p\\u0061th"', text[1 : max(text.find(b":"), 2)]])
        return text[:-1] + b"," + name + b":" + chance.choice([b"1", b'"x"', b"null", *SPELLINGS]) + b"}"
    if kind == 2:
        return text + chance.choice([b" ", b"\n", b"{}", b"x", b",", b"\0", b"\0\0{}", text])
    return chance.choice([b"\xef\xbb\xbf", b" ", b"\0", b"[", b"{", b"\t"]) + text


def bend_bytes(data: bytes, chance: random.Random, other: bytes = b"") -> bytes:
    """A copy with a bit, a piece or the end changed; `other` is what pieces may be taken from."""
    if not data:
        return chance.randbytes(chance.randrange(1, 40))
    at = chance.randrange(len(data))
    size = chance.choice([1, 2, 4, 16, 32, 64, 1120, 2064])
    piece = data[at : at + size]
    to = chance.randrange(len(data))
    return chance.choice(
        [
            lambda: data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :],
            lambda: data[:at] + bytes([chance.choice([0, 1, 0x7F, 0x80, 0xFF])]) + data[at + 1 :],
            lambda: data[:at],
            lambda: data[at:],
            lambda: data[:at] + data[at + size :],
            lambda: data[:at] + piece + data[at:],
            lambda: data[:at] + chance.randbytes(len(piece)) + data[at + size :],
            lambda: data[:at] + bytes(len(piece)) + data[at + size :],
            lambda: data[:to] + piece + data[to + len(piece) :],
            lambda: data[:at] + other[at : at + size] + data[at + size :],
            lambda: data[:at] + other[at:],
            lambda: data + chance.randbytes(chance.randrange(1, 300)),
            lambda: data[:PREFIX_SIZE] + other[PREFIX_SIZE:],
        ]
    )()


def bomb(chance: random.Random) -> bytes:
    """JSON that is small on the road and large, deep or slow in memory; up to 300,000 bytes."""
    size = chance.choice([1_000, 10_000, 100_000])
    return chance.choice(
        [
            lambda: b"[" * size,
            lambda: b"[" * size + b"]" * size,
            lambda: b'{"a":' * (size // 4),
            lambda: b'{"context":[' + b"{}," * size + b"{}]}",
            lambda: b"{" + b",".join(b'"%d":0' % number for number in range(size // 10)) + b"}",
            lambda: b'{"after":' + b"9" * size + b"}",
            lambda: b'{"text":"' + b"\\u0061" * (size // 4) + b'"}',
            lambda: b" " * size,
            lambda: GZIP,
            lambda: DEFLATE,
        ]
    )()


class Maker:
    """Makes cases for one silo and an administrator's device of it."""

    def __init__(self, device: Device, setup_body: dict[str, Any], seed: int) -> None:
        self._device = device
        self._setup = setup_body
        self._seed = seed
        self._to = device.fetch_keys()
        families: dict[Callable[[random.Random], Case], int] = {
            self.bytes_bent: 35,
            self.header_bent: 9,
            self.header_respelled: 8,
            self.sealed_wrongly: 5,
            self.not_signed: 5,
            self.path_bent: 4,
            self.body_bent: 8,
            self.body_respelled: 4,
            self.frames_bent: 5,
            self.sent_twice: 1,
            self.http_bent: 8,
            self.asked_plainly: 4,
            self.compressed: 1,
            self.honest: 3,
        }
        self._families, self._weights = list(families), list(families.values())

    def case(self, number: int) -> Case:
        """The case of that number."""
        chance = random.Random(f"{self._seed}:{number}")
        return chance.choices(self._families, self._weights)[0](chance)

    # --- what they are made of ---

    def _body(self, verb: str) -> Any:
        if verb == "chat":
            return self._device.chat_body(CANARY)
        return {"setup": self._setup, "setup-link": {"bearer": "a" * 52}, "keyrings": {"after": 0}}.get(
            verb, {"after": 0, "limit": 3} if verb in ("log", "history") else {}
        )

    def _forged(self, verb: str, **fields: Any) -> Forged:
        route = ROUTES[verb]
        path = f"/{verb}/{new_id()}" if route.argument else f"/{verb}"
        forged = Forged(self._device, {"method": route.method, "path": path, **fields})
        if not route.device:
            forged = forged.bend(name=bytes(16), sign=lambda *_: bytes(64))
        return forged

    def _verb(self, chance: random.Random) -> str:
        return chance.choice(list(ROUTES))

    def _post(self, data: bytes, head: bytes = b"") -> bytes:
        return b"POST /silo/1/%b HTTP/1.1\r\nhost: silo\r\n%bcontent-length: %d\r\n\r\n%b" % (
            *(self._to.key_id.encode(), head, len(data)),
            data,
        )

    def _sealed(self, name: str, forged: Forged, *may: str) -> Case:
        data, opener = forged.data()
        return Case(name, self._post(data), frozenset(may or (SEALED,)), opener)

    def _unopened(self, data: bytes) -> str:
        return ONE if data[:1] in (b"\x01", b"") else VERSION

    # --- the families ---

    def bytes_bent(self, chance: random.Random) -> Case:
        """An honest request's bytes, changed up to three times; in chunks now and then."""
        verb = self._verb(chance)
        honest, opener = self._forged(verb).bend(content=write_json(self._body(verb))).data()
        other, _ = self._forged("me").data() if chance.random() < 0.3 else (b"", None)
        data = honest
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            data = bend_bytes(data, chance, other)
        if data[:PREFIX_SIZE] == honest[:PREFIX_SIZE]:
            return Case("bytes of the body", self._post(data), frozenset({SEALED}), opener)
        if other and data[:PREFIX_SIZE] == other[:PREFIX_SIZE]:
            return Case("another's prefix", self._post(data), frozenset({SEALED}))
        return Case("bytes of the prefix", self._post(data), frozenset({self._unopened(data)}))

    def header_bent(self, chance: random.Random) -> Case:
        """Fields of the header's JSON."""
        forged = self._forged(self._verb(chance))
        header = json.loads(forged.header(bytes(32), bytes(32)))
        secret = {"request": header.pop("request"), "reply": header.pop("reply")} if chance.random() < 0.7 else {}
        bent = bend(header, chance)
        fields = dict.fromkeys(header, ...) | bent if isinstance(bent, dict) else {"id": bent}
        if not secret:
            # One of the two secrets may be what was bent: then nobody can read the answer.
            data, _ = forged.bend(fields=fields).data()
            return Case("fields of the header", self._post(data), frozenset({ONE, SEALED}))
        return self._sealed("fields of the header", forged.bend(fields=fields), ONE, SEALED)

    def header_respelled(self, chance: random.Random) -> Case:
        """The header's JSON text, signed as it is."""
        forged = self._forged(self._verb(chance))
        text = respell(forged.header(secrets.token_bytes(32), secrets.token_bytes(32)), chance)
        if chance.random() < 0.2:
            forged = forged.bend(after=chance.randbytes(chance.randrange(1, 30)))
        data, _ = forged.bend(text=text[:1968]).data()
        return Case("text of the header", self._post(data), frozenset({ONE, SEALED}))

    def sealed_wrongly(self, chance: random.Random) -> Case:
        """For another silo, identity or key, or as another version; or no sealing at all."""
        to, random_ = self._to, chance.randbytes
        honest = self._forged("me")
        kind = chance.randrange(6)
        if kind < 3:
            wrong = [
                Destination(random_(16), to.identity, to.public),
                Destination(to.silo, random_(32), to.public),
                Destination(to.silo, to.identity, recipient_of(random_(32)).public),
            ][kind]
            data, _ = honest.bend(to=wrong).data()
        elif kind == 3:
            data = b"\x01" + honest.bend(version=chance.randrange(2, 256)).data()[0][1:]
        elif kind == 4:
            data = bytes([chance.choice([0, 1, 1, 1, 2, 255])]) + random_(chance.choice([0, 1, 1168, 3231, 3232, 3233]))
        else:
            data, _ = honest.bend(version=chance.choice([0, 2, 128, 255])).data()
        return Case("sealed wrongly", self._post(data), frozenset({self._unopened(data)}))

    def not_signed(self, chance: random.Random) -> Case:
        """Device ids and signatures that do not belong."""
        device, verb = self._device, self._verb(chance)
        names = [bytes(16), secrets.token_bytes(16), device.device, device.user, b"\xff" * 16, device.device[::-1]]
        name = chance.choice(names)
        order = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "little")
        signatures: list[Callable[[bytes, bytes], bytes]] = [
            lambda *_: bytes(64),
            lambda *_: secrets.token_bytes(64),
            lambda *_: bytes(32) + order,
            lambda *_: b"\x01" + bytes(63),
            lambda *_: b"\xff" * 64,
            lambda sealed, text: bend_bytes(forged.signed(sealed, text), chance)[:64].ljust(64, b"\0"),
            lambda sealed, text: forged.signed(sealed, text + b" "),
            lambda sealed, text: forged.signed(sealed[::-1], text),
        ]
        forged = Forged(device, {"method": ROUTES[verb].method, "path": f"/{verb}"}, name=name)
        return self._sealed("device and signature", forged.bend(sign=chance.choice(signatures)))

    def path_bent(self, chance: random.Random) -> Case:
        """Inner paths, methods and headers."""
        forged = Forged(
            self._device,
            {
                "method": chance.choice(METHODS),
                "path": chance.choice([*PATHS, *(f"/{verb}" for verb in ROUTES)]),
                "headers": chance.choice(
                    [{}, {"accept": CANARY}, {CANARY: ""}, {"Accept": "x"}, {"accept": "x" * 600}]
                ),
            },
        )
        return self._sealed("method and path", forged, ONE, SEALED)

    def _turn(self, chance: random.Random) -> dict[str, Any]:
        # The text of a turn is signed as it is, so that it is read and not only refused.
        device, body = self._device, self._device.chat_body("hello")
        text = json.loads(body["text"])
        text["options"] = {"temperature": 1, "top_p": 0.5, "seed": 1, "max_tokens": 3, "stop": ["x"]}
        said = write_json(bend(text, chance))
        if chance.random() < 0.3:
            said = respell(said, chance)
        words = said.decode(errors="replace")
        place = TurnPlace(device.silo, device.user, id_bytes(body["thread"]), id_bytes(body["turn"]), NO_HASH)
        signature = b64(sign_turn(device.signer, place, words.encode(errors="replace")))
        return body | {"text": words, "signature": signature}

    def body_bent(self, chance: random.Random) -> Case:
        """Fields of the body's JSON, and of a turn's text within it."""
        verb = self._verb(chance)
        turn = verb == "chat" and chance.random() < 0.5
        body = self._turn(chance) if turn else bend(self._body(verb), chance)
        return self._sealed(f"fields of /{verb}", self._forged(verb).bend(content=write_json(body)))

    def body_respelled(self, chance: random.Random) -> Case:
        """The body's JSON text; bombs."""
        verb = self._verb(chance)
        kind = chance.random()
        if kind < 0.04:
            content = bomb(chance)
        elif kind < 0.6:
            content = respell(write_json(self._body(verb)), chance)
        else:
            content = bend_bytes(write_json(self._body(verb)), chance, b'{"a":"canary7f3kq","b":[1,2,3]}')
        return self._sealed(f"text of /{verb}", self._forged(verb).bend(content=content))

    def frames_bent(self, chance: random.Random) -> Case:
        """Frames of wrong sizes, numbers, order, ends, keys and padding."""
        content = write_json({"after": 0})
        long = padded(content.ljust(chance.choice([600, FRAME, 100_000])))
        short = padded(content, chance.choice([None, 255, 257, 512]), chance.choice([None, 0, 249, 2**63, 2**64 - 1]))
        cut = chance.randrange(1, len(long))
        lengths = [0, 1, 15, 16, 17, 271, 273, FRAME + 16, FRAME + 17, 2**24, 2**31, 2**32 - 1]

        def relabelled(frames: Frames) -> Frames:
            size = chance.choice(lengths).to_bytes(4, "big")
            return lambda key, transcript: size + frames(key, transcript)[4:]

        def swapped(key: bytes, transcript: bytes) -> bytes:
            sealed = framed(long[:cut], long[cut:])(key, transcript)
            at = 4 + cut + 16
            return sealed[at:] + sealed[:at]

        frames = chance.choice(
            [
                framed(short),
                relabelled(framed(short)),
                framed(short, last=1),
                framed(long[:cut], long[cut:]),
                framed(long[:cut], long[cut:], last=chance.choice([0, 2])),
                framed(*[b""] * chance.randrange(1, 50), short),
                framed(*[short[:1]] * 200, short),
                swapped,
                lambda key, transcript: framed(short)(key, transcript) * 2,
                lambda key, transcript: seal_whole(key[::-1], transcript, content),
                lambda key, transcript: seal_whole(key, transcript[::-1], content),
                lambda *_: chance.randbytes(chance.randrange(0, 400)),
                lambda key, transcript: bend_bytes(seal_whole(key, transcript, content), chance),
            ]
        )
        return self._sealed("frames", self._forged(chance.choice(["log", "me", "chat"])).bend(frames=frames))

    def sent_twice(self, chance: random.Random) -> Case:
        """The same bytes again on the same connection, before the first answer was read."""
        verb = chance.choice(["me", "log", "chat", "setup"])
        data, opener = self._forged(verb).bend(content=write_json(self._body(verb))).data()
        return Case("sent twice", self._post(data) * 2, frozenset({SEALED}), opener, answers=2)

    def honest(self, chance: random.Random) -> Case:
        """As any client; mostly small, a turn now and then."""
        verb = chance.choice(["me", "me", "log", "models", "keyrings", "enrolments", "history", "chat"])
        body = self._device.chat_body("hello") if verb == "chat" else self._body(verb)
        data, opener = self._forged(verb).bend(content=write_json(body)).data()
        if chance.random() < 0.2:
            sizes = chance.choice([1, 100, 3233])
            pieces = [data[at : at + sizes] for at in range(0, len(data), sizes)]
            wire = self._chunked(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
        else:
            wire = self._post(data)
        return Case("honest", wire, frozenset({HONEST}), opener)

    def compressed(self, chance: random.Random) -> Case:
        """Bodies that say they are compressed, bombs among them: nobody here unpacks anything."""
        kinds = [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", CANARY.encode()]
        data = chance.choice([GZIP, DEFLATE, b"\x01" * 4000])
        head = b"content-encoding: %b\r\n" % chance.choice(kinds)
        return Case("compressed", self._post(data, head), frozenset({self._unopened(data)}))

    def asked_plainly(self, chance: random.Random) -> Case:
        """What stands beside the door: keys, health, the page, and nothing."""
        nonces = [
            b"",
            b"a" * 52,
            b"a" * 51 + b"b",
            b"A" * 52,
            CANARY.encode(),
            b"%00",
            b"%ff%fe",
            b"%F0%9F%A7%AA",
            b"a" * 6000,
        ]
        query = (
            b"?nonce=" + chance.choice(nonces)
            if chance.random() < 0.7
            else chance.choice([b"", b"?", b"?a=b&a", b"?&&;"])
        )
        paths = [
            b"/silo/keys",
            b"/silo/keys",
            b"/silo/keys",
            b"/silo/health",
            b"/",
            b"//",
            b"/silo",
            b"/silo/2/a",
            b"/silo/1/",
        ]
        path = chance.choice(
            [*paths, b"/silo/1/%2e%2e/keys", b"/%73ilo/keys", b"/silo/keys/", b"/canary7f3kq", b"/silo/keys%00"]
        )
        method = chance.choice([b"GET"] * 6 + [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CANARY"])
        wire = method + b" " + path + query + b" HTTP/1.1\r\nhost: silo\r\nx-note: canary7f3kq\r\n\r\n"
        may = {HTTP, STALE} if path.startswith(b"/silo/1/") else {HTTP}
        return Case("beside the door", wire, frozenset(may))

    def _chunked(self, chunks: bytes) -> bytes:
        head = b"POST /silo/1/%b HTTP/1.1\r\nhost: silo\r\ntransfer-encoding: chunked\r\n\r\n"
        return head % self._to.key_id.encode() + chunks

    def http_bent(self, chance: random.Random) -> Case:
        """HTTP itself: heads, framings and chunks bent. Whatever it is, it is no more than one request."""
        data = b"\x01" + chance.randbytes(chance.choice([0, 10, 4000]))
        may = frozenset({HTTP, ONE, VERSION, STALE, NONE})
        kind = chance.randrange(5)
        if kind == 0:
            cut = chance.randrange(1, len(data) + 1)
            sizes = [
                b"%x" % cut,
                b"0x%x" % cut,
                b"%x;x=y" % cut,
                b" %x" % cut,
                b"-1",
                b"f" * 9,
                b"0_0",
                b"",
                b"%x\n" % cut,
            ]
            after = chance.choice([b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"xx"])
            chunks = (
                chance.choice(sizes)
                + b"\r\n"
                + data[:cut]
                + after
                + chance.choice([b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n"])
            )
            return Case("chunks", self._chunked(chunks), may, open=True)
        head, _, body = self._post(data).partition(b"\r\n\r\n")
        if kind == 1:
            names = [
                b"content-length",
                b"content-length ",
                b"transfer-encoding",
                b"host",
                b"x",
                b"x\0",
                b" x",
                b"",
                b"expect",
            ]
            values = [
                b"0",
                b"-1",
                b"+1",
                b"1, 1",
                b"chunked",
                b"Chunked",
                b"x" * 9000,
                b"a\0b",
                b"a\rb",
                b"a\nb",
                b"\xff",
                b"",
                b"5",
            ]
            lines = head.split(b"\r\n")
            lines.insert(chance.randrange(1, len(lines) + 1), chance.choice(names) + b":" + chance.choice(values))
            return Case("a header more", b"\r\n".join(lines) + b"\r\n\r\n" + body, may, open=True)
        if kind == 2:
            return Case("bytes of the head", bend_bytes(head, chance) + b"\r\n\r\n" + body, may, open=True)
        if kind == 3:
            # More is promised than comes, or more comes than was promised.
            size = chance.choice([0, len(data) - 1, len(data) + 1, 10**9, 10**12, 2**63, 2**64])
            wire = head.rpartition(b" ")[2]
            wire = head[: len(head) - len(wire)] + b"%d" % size + b"\r\n\r\n" + body
            return Case("another length", wire, may, open=True)
        keys = [b"a", b"canary7f3kq", b"A" * 13, b"%00", b"x" * 5000, hashlib.sha256(data).hexdigest().encode()]
        wire = head.replace(self._to.key_id.encode(), chance.choice(keys), 1) + b"\r\n\r\n" + body
        return Case("another key id", wire, frozenset({STALE}))


def reopen(opener: ReplyOpener) -> ReplyOpener:
    """An opener for one more answer to the same bytes."""
    return again(opener)


def name_of(device: Device) -> list[str]:
    """What of a device may stand in no log."""
    return [CANARY, b32(device.device), b32(device.user), b32(device.account.fingerprint)]
