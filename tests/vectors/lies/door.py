"""Lies at the door: requests, replies, transport keys (SPEC 4, 5.1)."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from form import Fields, released

from lies import (
    DEVICE,
    DEVICE_KEY,
    HOUR,
    IDENTITY,
    IDENTITY_MARK,
    NOW,
    OTHER_DEVICE,
    OTHER_DEVICE_KEY,
    OTHER_IDENTITY,
    OTHER_SILO,
    OTHER_TRANSPORT_SEED,
    SILO,
    TRANSPORT_SEED,
    ZERO_POINT,
    flip,
    ident,
    lie,
    low_order,
    public,
    recipient,
    secret,
    tell,
)
from lies.frames import frame, framed, sealed, whole
from silo.crypto import labels
from silo.crypto.channel import BODY, END, HEAD, part
from silo.crypto.encoding import b32, b64
from silo.crypto.frames import reply_plaintext, seal_whole
from silo.crypto.keys import Signer, derive, fingerprint

REQUEST_SECRET, REPLY_SECRET = secret("request secret"), secret("reply secret")
CONTENT = b'{"after":0}'
NOTHING = bytes(16)

# --- requests (SPEC 4.1, 4.2) ---


def header(**changes: Any) -> bytes:
    """A header's JSON; what is changed to `...` is left out."""
    fields: dict[str, Any] = {
        "id": b32(ident("request")),
        "time": NOW,
        "method": "GET",
        "path": "/log",
        "request": b32(REQUEST_SECRET),
        "reply": b32(REPLY_SECRET),
        "headers": {"accept": "application/json"},
        "account": None,
        "keyring": {"at": 1, "hash": b32(secret("keyring hash"))},
        "head": None,
    } | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Door:
    """What a client puts into a request; every field can be a lie."""

    text: bytes = header()
    device: bytes = DEVICE
    signer: Signer | None = DEVICE_KEY
    silo: bytes = SILO
    identity: bytes = IDENTITY_MARK
    transport: bytes = TRANSPORT_SEED
    signed_silo: bytes = SILO
    signed_identity: bytes = IDENTITY_MARK
    signed_transport: bytes = TRANSPORT_SEED
    signed_device: bytes | None = None
    signed_label: str = labels.DOOR_SIGNATURE
    signed_sealing: bytes | None = None
    signed_text: bytes | None = None
    version: int = 1
    info_version: int = 1
    info_label: str = labels.DOOR_HEADER
    info_fields: tuple[bytes, ...] | None = None
    header_key: bytes = secret("header key")
    nonce: bytes = bytes(12)
    context: bool = True
    after: bytes = b""

    def prefix(self) -> bytes:
        """Version, sealed header key, sealed header: 3,233 bytes."""
        mark = fingerprint(public(self.transport))
        info = self.info_fields or (bytes([self.info_version]), self.silo, self.identity, mark)
        sealed_key = recipient(self.transport).seal(self.header_key, self.info_label, *info)
        signature = bytes(64)
        if self.signer:
            key_id = fingerprint(public(self.signed_transport))[:8]
            signature = self.signer.sign(
                self.signed_label,
                self.signed_silo,
                self.signed_identity,
                key_id,
                self.signed_device or self.device,
                self.signed_sealing or sealed_key,
                self.signed_text or self.text,
            )
        plain = (self.device + signature + self.text).ljust(2048 - len(self.after), b"\0") + self.after
        head = bytes([self.version]) + sealed_key
        return head + AESGCM(self.header_key).encrypt(self.nonce, plain, head if self.context else b"")


def request_key(transcript: bytes) -> bytes:
    """The key of a request's frames."""
    return derive(REQUEST_SECRET, labels.DOOR_REQUEST, salt=transcript)


def body(prefix: bytes, content: bytes = CONTENT) -> bytes:
    """The frames that belong to these first bytes."""
    transcript = hashlib.sha256(prefix).digest()
    return seal_whole(request_key(transcript), transcript, content)


def _to(
    bytes_: bytes, *out: bytes, device: bytes | None = DEVICE_KEY.public, transport: bytes = TRANSPORT_SEED
) -> Fields:
    fields: Fields = [("transport-seed", transport), ("silo", SILO), ("identity", IDENTITY_MARK)]
    if device is not None:
        fields.append(("device-public", device))
    return [*fields, ("bytes", bytes_), released(*out)]


def _request(door: Door, *out: bytes, device: bytes | None = DEVICE_KEY.public) -> Fields:
    prefix = door.prefix()
    return _to(prefix + body(prefix), *out, device=device)


@lie("request", "success", "from a device, with a body of 11 bytes")
def request() -> Fields:
    prefix = Door().prefix()
    transcript = hashlib.sha256(prefix).digest()
    return [
        *_to(prefix + body(prefix))[:-1],
        ("header-key", Door().header_key),
        ("sealed-header-key", prefix[1:1169]),
        ("sealed-header", prefix[1169:]),
        ("device", DEVICE),
        ("signature", AESGCM(Door().header_key).decrypt(bytes(12), prefix[1169:], prefix[:1169])[16:80]),
        ("json", header().decode()),
        ("transcript", transcript),
        ("request-key", request_key(transcript)),
        ("content", CONTENT),
        ("frames", body(prefix)),
        released(CONTENT),
    ]


@lie("request", "success", "without a device, and so without a signature")
def request_no_device() -> Fields:
    return _request(Door(device=NOTHING, signer=None), CONTENT, device=None)


@lie("request", "success", "a header that fills its 2,048 bytes to the last")
def request_full_header() -> Fields:
    room = 1968 - len(header(path="/"))
    return _request(Door(text=header(path="/" + "a" * room)), CONTENT)


_TEXT = header()
_WRAP_FIELDS = (secret("core hash"), fingerprint(public(TRANSPORT_SEED)))

for _name, _expect, _lie, _door in (
    ("other-silo", "cannot open", "sealed for another silo", Door(silo=OTHER_SILO)),
    ("other-identity", "cannot open", "sealed for another identity", Door(identity=fingerprint(OTHER_IDENTITY.public))),
    ("other-version-inside", "cannot open", "sealed for version 2, and says 1", Door(info_version=2)),
    (
        "wrap",
        "cannot open",
        "a record's wrap stands where the sealed header key belongs",
        Door(info_label=labels.RECORD_WRAP, info_fields=_WRAP_FIELDS),
    ),
    (
        "header-nonce",
        "cannot open",
        "the header is sealed with another nonce than zeros",
        Door(nonce=bytes(11) + b"\1"),
    ),
    ("header-no-context", "cannot open", "the header is sealed without associated data", Door(context=False)),
    ("header-key-twice", "cannot open", "a key stands twice in the header", Door(text=_TEXT[:-1] + b',"head":null}')),
    ("header-unknown-field", "cannot open", "the header has a field that nobody knows", Door(text=header(more=1))),
    ("header-missing-field", "cannot open", "the header has no `time`", Door(text=header(time=...))),
    (
        "header-missing-null",
        "cannot open",
        "the header leaves out `head`, which may be null",
        Door(text=header(head=...)),
    ),
    ("header-2-to-the-53", "cannot open", "the header's time is 2^53", Door(text=header(time=2**53))),
    ("header-negative-time", "cannot open", "the header's time is below zero", Door(text=header(time=-1))),
    ("header-nan", "cannot open", "the header's time is NaN", Door(text=header(time=float("nan")))),
    ("header-lone-surrogate", "cannot open", "a lone surrogate in the path", Door(text=header(path="/\ud800"))),
    ("header-bom", "cannot open", "a byte order mark before the JSON", Door(text=b"\xef\xbb\xbf" + _TEXT)),
    ("header-not-utf-8", "cannot open", "a path in Latin-1", Door(text=_TEXT.replace(b"/log", b"/\xe9"))),
    ("header-text-after", "cannot open", "a text after the JSON", Door(text=_TEXT + b"{}")),
    ("header-not-an-object", "cannot open", "the header is a list", Door(text=b"[]")),
    ("header-empty", "cannot open", "the header is zeros", Door(text=b"")),
    ("header-zeros", "cannot open", "the header ends with a byte that is not zero", Door(after=b"\1")),
    (
        "header-id-spare-bits",
        "cannot open",
        "a second spelling of the id",
        Door(text=header(id=b32(ident("request"))[:-1] + "b")),
    ),
    ("header-id-short", "cannot open", "an id of 15 bytes", Door(text=header(id=b32(bytes(15))))),
    (
        "header-secret-spare-bits",
        "cannot open",
        "a second spelling of the request secret",
        Door(text=header(request=b32(REQUEST_SECRET)[:-1] + "b")),
    ),
    ("header-secret-short", "cannot open", "a reply secret of 16 bytes", Door(text=header(reply=b32(bytes(16))))),
    ("header-headers-list", "cannot open", "`headers` holds a number", Door(text=header(headers={"accept": 1}))),
    ("signature-of-other-text", "forged", "the device signed another header", Door(signed_text=header(path="/me"))),
    ("signature-of-other-device", "forged", "another device signed", Door(signer=OTHER_DEVICE_KEY)),
    ("signature-for-other-silo", "forged", "signed for another silo", Door(signed_silo=OTHER_SILO)),
    (
        "signature-for-other-identity",
        "forged",
        "signed for another identity",
        Door(signed_identity=fingerprint(OTHER_IDENTITY.public)),
    ),
    (
        "signature-for-other-key",
        "forged",
        "signed for another transport key",
        Door(signed_transport=OTHER_TRANSPORT_SEED),
    ),
    (
        "signature-for-other-sealing",
        "forged",
        "the signature of an earlier sealing of the same header",
        Door(signed_sealing=Door().prefix()[1:1169]),
    ),
    (
        "signature-for-other-device",
        "forged",
        "signed for another device id, under which the same key is enrolled",
        Door(signed_device=OTHER_DEVICE),
    ),
    ("signature-other-label", "forged", "signed under the label of a turn", Door(signed_label=labels.TURN)),
    ("signature-missing", "forged", "a device, and zeros for a signature", Door(signer=None)),
):
    tell(f"request-{_name}", "request", _expect, _lie, lambda door=_door: _request(door))


@lie("request", "forged", "no device, and yet a signature")
def request_signature_without_device() -> Fields:
    return _request(Door(device=NOTHING), device=None)


@lie("request", "cannot open", "sealed to another transport key")
def request_other_key() -> Fields:
    return _request(Door(transport=OTHER_TRANSPORT_SEED))


def _bent(bend: Callable[[bytes, bytes], bytes], *out: bytes) -> Callable[[], Fields]:
    def make() -> Fields:
        prefix = Door().prefix()
        return _to(bend(prefix, body(prefix)), *out)

    return make


for _name, _expect, _lie, _bend in (
    ("version-0", "bad version", "version 0", lambda head, rest: b"\0" + head[1:] + rest),
    ("version-2", "bad version", "version 2", lambda head, rest: b"\2" + head[1:] + rest),
    ("empty", "cannot open", "nothing at all", lambda head, rest: b""),
    ("cut-in-header", "cannot open", "it ends inside the sealed header", lambda head, rest: head[:-1]),
    (
        "flipped-header-key",
        "cannot open",
        "a changed byte in the sealed header key",
        lambda head, rest: flip(head, 99) + rest,
    ),
    (
        "flipped-header",
        "cannot open",
        "a changed byte in the sealed header",
        lambda head, rest: flip(head, 1200) + rest,
    ),
    (
        "flipped-header-tag",
        "cannot open",
        "a changed byte in the header's tag",
        lambda head, rest: flip(head, -1) + rest,
    ),
    (
        "spliced-header",
        "cannot open",
        "the sealed header of another request",
        lambda head, rest: head[:1169] + Door(header_key=secret("another header key")).prefix()[1169:] + rest,
    ),
    ("no-body", "truncated", "a header without a body", lambda head, rest: head),
    ("cut-body", "truncated", "it ends inside the body", lambda head, rest: head + rest[:-1]),
    ("flipped-body", "payload failure", "a changed byte in the body", lambda head, rest: head + flip(rest, 50)),
    (
        "spliced-body",
        "payload failure",
        "the body of an earlier sealing with the same secrets",
        lambda head, rest: head + body(Door().prefix()),
    ),
    ("byte-after", "payload failure", "a byte after the body", lambda head, rest: head + rest + b"\0"),
):
    tell(f"request-{_name}", "request", _expect, _lie, _bent(_bend))


@lie("request", "too large", "a body that grows over the limit of 512 bytes")
def request_too_large() -> Fields:
    prefix = Door().prefix()
    return [*_to(prefix + body(prefix, bytes(1000)))[:-1], ("limit", 512), released()]


@lie("request", "success", "a body that keeps to the limit of 512 bytes to the last")
def request_limit() -> Fields:
    prefix = Door().prefix()
    return [*_to(prefix + body(prefix, bytes(504)))[:-1], ("limit", 512), released(bytes(504))]


# --- replies (SPEC 4.4) ---

TRANSCRIPT, SALT = secret("transcript"), secret("reply salt")
P_HEAD = part(HEAD, b'{"status":200,"headers":{}}')
P_WORDS, P_MORE = part(BODY, b"A pelican "), part(BODY, b"is a bird.")
P_END = part(END, b"{}")


def reply_key(salt: bytes = SALT, transcript: bytes = TRANSCRIPT, key: bytes = REPLY_SECRET) -> bytes:
    """The key of a reply's frames."""
    return derive(key, labels.DOOR_REPLY, salt=transcript + salt)


def reply(*payloads: bytes, key: bytes | None = None, size: int = 256) -> bytes:
    """A reply whose frames carry these payloads."""
    plains = [reply_plaintext(payload, size) for payload in payloads]
    return SALT + whole(key or reply_key(), TRANSCRIPT, *plains)


def _reply(bytes_: bytes, *out: bytes) -> Fields:
    return [("secret", REPLY_SECRET), ("transcript", TRANSCRIPT), ("bytes", bytes_), released(*out)]


_ALL = (P_HEAD, P_WORDS, P_MORE, P_END)


@lie("reply", "success", "four parts in two frames")
def reply_parts() -> Fields:
    frames = reply(P_HEAD + P_WORDS, P_MORE + P_END)
    parts: Fields = [("part", one) for one in _ALL]
    return [
        ("secret", REPLY_SECRET),
        ("transcript", TRANSCRIPT),
        ("salt", SALT),
        ("reply-key", reply_key()),
        *parts,
        ("bytes", frames),
        released(*_ALL),
    ]


_SPLIT = P_HEAD + P_WORDS + P_MORE + P_END
_OTHER_ANSWER = derive(REPLY_SECRET, labels.DOOR_REPLY, salt=TRANSCRIPT + secret("another salt"))

for _name, _expect, _lie, _bytes, _out in (
    (
        "parts-across-frames",
        "success",
        "parts that run across frames",
        reply(*(_SPLIT[i : i + 7] for i in range(0, len(_SPLIT), 7))),
        _ALL,
    ),
    (
        "cover",
        "success",
        "cover before, between and after",
        reply(b"", P_HEAD, b"", P_WORDS + P_MORE, P_END, b"", b""),
        _ALL,
    ),
    ("no-body", "success", "no BODY", reply(P_HEAD + P_END), (P_HEAD, P_END)),
    (
        "empty-body",
        "success",
        "a BODY without a byte",
        reply(P_HEAD + part(BODY, b"") + P_END),
        (P_HEAD, part(BODY, b""), P_END),
    ),
    ("empty", "truncated", "nothing at all", b"", ()),
    ("cut-in-salt", "truncated", "it ends inside the salt", SALT[:31], ()),
    ("salt-alone", "truncated", "the salt, and no frame", SALT, ()),
    ("cut-before-last", "truncated", "it ends after END, before the last frame", reply(_SPLIT, b"")[: 32 + 276], _ALL),
    (
        "cut-in-words",
        "truncated",
        "it ends after the first words",
        reply(P_HEAD + P_WORDS, P_MORE + P_END)[: 32 + 276],
        (P_HEAD, P_WORDS),
    ),
    ("no-end", "payload failure", "the last frame comes before END", reply(P_HEAD + P_WORDS), (P_HEAD, P_WORDS)),
    ("cut-in-part", "payload failure", "the last frame ends inside a part", reply(P_HEAD + P_WORDS[:-1]), (P_HEAD,)),
    ("cover-alone", "payload failure", "cover, and no part at all", reply(b"", b""), ()),
    ("body-first", "payload failure", "BODY before HEAD", reply(P_WORDS + P_HEAD + P_END), ()),
    ("end-first", "payload failure", "END before HEAD", reply(P_END), ()),
    ("two-heads", "payload failure", "a second HEAD", reply(P_HEAD + P_HEAD + P_END), (P_HEAD,)),
    (
        "late-head",
        "payload failure",
        "a second HEAD after the first words",
        reply(P_HEAD + P_WORDS, P_HEAD + P_END),
        (P_HEAD, P_WORDS),
    ),
    ("two-ends", "payload failure", "a second END", reply(P_HEAD + P_END + P_END), (P_HEAD, P_END)),
    ("body-after-end", "payload failure", "words after END", reply(P_HEAD + P_END, P_WORDS), (P_HEAD, P_END)),
    ("byte-after-end", "payload failure", "a byte after END", reply(P_HEAD + P_END, b"\0"), (P_HEAD, P_END)),
    ("kind-0", "payload failure", "a part of kind 0", reply(P_HEAD + part(0, b"") + P_END), (P_HEAD,)),
    (
        "kind-4",
        "payload failure",
        "a part of kind 4",
        reply(P_HEAD + P_WORDS + part(4, b"") + P_END),
        (P_HEAD, P_WORDS),
    ),
    ("kind-first", "payload failure", "the first part is of kind 255", reply(part(255, b"") + P_END), ()),
    (
        "frames-swapped",
        "payload failure",
        "its two frames have changed places",
        SALT + reply(P_HEAD, P_END)[32 + 276 :] + reply(P_HEAD, P_END)[32 : 32 + 276],
        (),
    ),
    ("byte-after", "payload failure", "a byte after the last frame", reply(_SPLIT) + b"\0", _ALL),
    ("other-salt", "payload failure", "another salt before the same frames", flip(reply(_SPLIT), 0), ()),
    (
        "other-answer",
        "payload failure",
        "the frames of another answer to the same request",
        reply(_SPLIT, key=_OTHER_ANSWER),
        (),
    ),
    (
        "other-secret",
        "payload failure",
        "sealed by somebody who does not know the reply secret",
        reply(_SPLIT, key=reply_key(key=secret("a guess"))),
        (),
    ),
    (
        "other-request",
        "payload failure",
        "the answer to another request with the same reply secret",
        SALT
        + frame(
            0,
            True,
            reply_plaintext(_SPLIT, 256),
            reply_key(transcript=secret("another transcript")),
            secret("another transcript"),
        ),
        (),
    ),
    (
        "request-key",
        "payload failure",
        "the request's own frames sent back",
        SALT
        + framed(
            sealed(
                0,
                True,
                reply_plaintext(_SPLIT, 256),
                derive(REPLY_SECRET, labels.DOOR_REQUEST, salt=TRANSCRIPT),
                TRANSCRIPT,
            )
        ),
        (),
    ),
):
    tell(f"reply-{_name}", "reply", _expect, _lie, lambda bytes_=_bytes, out=_out: _reply(bytes_, *out))


# --- transport keys (SPEC 5.1) ---

NONCE = b32(secret("nonce"))


def stated(seed: bytes = TRANSPORT_SEED, since: int = NOW - HOUR, until: int = NOW + 23 * HOUR) -> dict[str, Any]:
    """One transport key as the silo states it."""
    return {"public": b64(public(seed)), "since": since, "until": until}


def statement(**changes: Any) -> str:
    """The JSON that is signed."""
    fields: dict[str, Any] = {
        "silo": b32(SILO),
        "identity": b32(IDENTITY.public),
        "now": NOW,
        "nonce": NONCE,
        "keys": [stated()],
    } | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}, separators=(",", ":"))


def answer(text: str, signer: Signer = IDENTITY, label: str = labels.KEYS, said: str | None = None) -> str:
    """The answer of GET /silo/keys."""
    signature = signer.sign(label, (said or text).encode())
    return json.dumps({"statement": text, "signature": b64(signature)}, separators=(",", ":"))


def _keys(text: str, nonce: str | None = NONCE) -> Fields:
    fields: Fields = [("silo", SILO), ("identity", IDENTITY_MARK)]
    if nonce is not None:
        fields.append(("nonce", nonce))
    return [*fields, ("answer", text)]


def _key_id(seed: bytes) -> tuple[str, str]:
    return "key-id", b32(fingerprint(public(seed))[:8])


@lie("keys", "success", "one key, 23 hours before its end")
def keys() -> Fields:
    return [*_keys(answer(statement())), ("statement-json", statement()), ("now", NOW), _key_id(TRANSPORT_SEED)]


@lie("keys", "success", "no nonce was sent, and none is compared")
def keys_no_nonce() -> Fields:
    return [*_keys(answer(statement(nonce=None)), None), ("now", NOW), _key_id(TRANSPORT_SEED)]


def _unasked(clock: int, *keys: dict[str, Any]) -> Fields:
    """An answer that nobody asked for, at this moment of the client's clock."""
    text = statement(nonce=None, keys=list(keys) or [stated()])
    return [*_keys(answer(text), None), ("clock", clock), ("now", NOW)]


_MINUTES = 60_000
_BEGIN, _END = NOW - HOUR, NOW + 23 * HOUR

for _name, _lie, _clock in (
    (
        "clock-behind",
        "no nonce was sent, and the key begins in 10 minutes of the client's clock",
        _BEGIN - 10 * _MINUTES,
    ),
    ("clock-ahead", "no nonce was sent, and the key ended just under 10 minutes ago", _END + 10 * _MINUTES - 1),
):
    tell(
        f"keys-{_name}",
        "keys",
        "success",
        _lie,
        lambda clock=_clock: [*_unasked(clock), _key_id(TRANSPORT_SEED)],
    )


@lie("keys", "success", "the client's own nonce is echoed, so that its clock, a year behind, does not matter")
def keys_clock_and_nonce() -> Fields:
    clock = NOW - 365 * 24 * HOUR
    return [*_keys(answer(statement())), ("clock", clock), ("now", NOW), _key_id(TRANSPORT_SEED)]


@lie("keys", "success", "no nonce was sent, and of two keys one has ended by the client's clock")
def keys_clock_one_ended() -> Fields:
    two = (stated(OTHER_TRANSPORT_SEED, NOW - 24 * HOUR + 1, NOW + 1), stated())
    return [*_unasked(NOW + HOUR, *two), _key_id(TRANSPORT_SEED)]


for _name, _lie, _clock in (
    ("clock-replayed", "an answer of last year, which nobody asked for", NOW + 365 * 24 * HOUR),
    ("clock-ended", "no nonce was sent, and the key ended 10 minutes ago", _END + 10 * _MINUTES),
    ("clock-not-yet", "no nonce was sent, and the key begins in more than 10 minutes", _BEGIN - 10 * _MINUTES - 1),
):
    tell(f"keys-{_name}", "keys", "stale", _lie, lambda clock=_clock: _unasked(clock)[:-1])


@lie("keys", "success", "two keys in their hour of overlap; the fresher one is used first")
def keys_overlap() -> Fields:
    two = [stated(OTHER_TRANSPORT_SEED, NOW - 24 * HOUR + 1, NOW + 1), stated()]
    return [
        *_keys(answer(statement(keys=two))),
        ("now", NOW),
        _key_id(TRANSPORT_SEED),
        _key_id(OTHER_TRANSPORT_SEED),
    ]


@lie("keys", "success", "of two keys one has ended and is left out")
def keys_one_ended() -> Fields:
    two = [stated(OTHER_TRANSPORT_SEED, NOW - 25 * HOUR, NOW), stated()]
    return [*_keys(answer(statement(keys=two))), ("now", NOW), _key_id(TRANSPORT_SEED)]


@lie("keys", "success", "a key that lives 25 hours to the millisecond")
def keys_25_hours() -> Fields:
    return [
        *_keys(answer(statement(keys=[stated(since=NOW, until=NOW + 25 * HOUR)]))),
        ("now", NOW),
        _key_id(TRANSPORT_SEED),
    ]


_LOW = {**stated(), "public": b64(low_order(public(TRANSPORT_SEED), ZERO_POINT))}
_SHORT = {**stated(), "public": b64(public(TRANSPORT_SEED)[:-1])}

for _name, _expect, _lie, _text in (
    ("other-nonce", "replay", "the answer to another nonce", answer(statement(nonce=b32(secret("another nonce"))))),
    ("null-nonce", "replay", "an answer that echoes no nonce", answer(statement(nonce=None))),
    ("ended", "stale", "a key that has ended at this moment", answer(statement(keys=[stated(until=NOW)]))),
    ("not-yet", "stale", "a key that begins in a millisecond", answer(statement(keys=[stated(since=NOW + 1)]))),
    (
        "over-25-hours",
        "stale",
        "a key that lives a millisecond over 25 hours",
        answer(statement(keys=[stated(since=NOW, until=NOW + 25 * HOUR + 1)])),
    ),
    ("none", "stale", "no key at all", answer(statement(keys=[]))),
    ("other-silo", "wrong silo", "another silo's id", answer(statement(silo=b32(OTHER_SILO)))),
    (
        "other-identity",
        "wrong silo",
        "another identity, which signed it itself",
        answer(statement(identity=b32(OTHER_IDENTITY.public)), OTHER_IDENTITY),
    ),
    (
        "signed-by-other",
        "forged",
        "another identity signed in the pinned one's name",
        answer(statement(), OTHER_IDENTITY),
    ),
    (
        "other-label",
        "forged",
        "the identity signed these bytes for another purpose",
        answer(statement(), label=labels.HEADS),
    ),
    (
        "changed",
        "forged",
        "the end of a key's life was put off after the signature",
        answer(statement(keys=[stated(until=NOW + 24 * HOUR)]), said=statement()),
    ),
    ("reordered", "forged", "the same JSON with a space more", answer(statement() + " ", said=statement())),
    ("unknown-field", "bad reply", "a field that nobody knows", answer(statement(more=1))),
    ("missing-field", "bad reply", "no nonce, not even null", answer(statement(nonce=...))),
    ("key-twice", "bad reply", "`now` stands twice", answer(statement()[:-1] + f',"now":{NOW}}}')),
    ("low-order", "bad reply", "a key whose X25519 point is 0", answer(statement(keys=[_LOW]))),
    ("short-key", "bad reply", "a key of 1,215 bytes", answer(statement(keys=[_SHORT]))),
    ("spare-bits", "bad reply", "a second spelling of the silo's id", answer(statement(silo=b32(SILO)[:-1] + "b"))),
    ("not-signed", "bad reply", "the statement alone", json.dumps({"statement": statement()})),
):
    tell(f"keys-{_name}", "keys", _expect, _lie, lambda text=_text: _keys(text))
