"""The sealed door, both ends: one request sealed to a transport key, its reply under a key that the
client chose (SPEC 4, 5).

    request   1 byte version, 1,168 bytes sealed header key, 2,064 bytes sealed header, frames
    reply     32 bytes salt, frames

What is sealed to a transport key carries the door's label, so nothing here opens a record's wrap.
"""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from silo.crypto import _hpke, frames, labels
from silo.crypto.encoding import (
    Blob,
    Count,
    Hash,
    Id,
    Millis,
    b32,
    b64,
    hash_bytes,
    id_bytes,
    new_id,
    padme,
    read_json,
    unb64,
    write_json,
)
from silo.crypto.frames import STEP, FrameSealer, ReplyFrames, WholeOpener
from silo.crypto.keys import Signer, derive, fingerprint, same, verify
from silo.crypto.labels import pack
from silo.errors import SiloError

VERSION = 1
HEADER_KEY_SEALED = _hpke.OVERHEAD + 32
HEADER_SIZE = 2048
HEADER_SEALED = HEADER_SIZE + frames.TAG
PREFIX_SIZE = 1 + HEADER_KEY_SEALED + HEADER_SEALED
"""Bytes before the first request frame: 3,233."""
SALT_SIZE = 32
KEY_LIFE = 25 * 3_600_000
"""The longest life of a transport key that a client accepts, in milliseconds."""
CLOCK_SLACK = 10 * 60_000
"""How far a client's clock and the silo's may be apart (SPEC 4.3), in milliseconds, either way."""

_DEVICE = 16
_SIGNATURE = 64
_JSON_AT = _DEVICE + _SIGNATURE
_ZERO_NONCE = bytes(12)


class Seen(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A point that a client has seen: a keyring's version or a log's index, and the hash there."""

    at: Count
    hash: Hash


class Header(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The JSON of a request's header (SPEC 4.2)."""

    id: Id
    time: Millis
    method: str
    path: str
    request: Hash
    reply: Hash
    headers: dict[str, str]
    account: Hash | None
    keyring: Seen | None
    head: Seen | None


class TransportStatement(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One transport key as the silo states it (SPEC 5.1)."""

    public: Blob
    since: Millis
    until: Millis


class KeysStatement(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What `GET /silo/keys` signs (SPEC 5.1)."""

    silo: Id
    identity: Hash
    now: Millis
    nonce: Hash | None
    keys: list[TransportStatement]


@dataclass(frozen=True)
class Destination:
    """The transport key that a client seals to, vouched for by the pinned identity."""

    silo: bytes
    identity: bytes
    """The identity's fingerprint, 32 bytes."""
    public: bytes
    since: int = 0
    until: int = 0

    @property
    def key_id(self) -> str:
        """The key's name in the URL: 8 bytes in base32."""
        return b32(fingerprint(self.public)[:8])


def _context(silo: bytes, identity: bytes, public: bytes) -> tuple[bytes, ...]:
    return bytes([VERSION]), silo, identity, fingerprint(public)


# --- the silo's transport keys (SPEC 5.1) ---


class TransportKey:
    """A door key, in memory only: it opens request headers under the door's label and nothing else."""

    def __init__(self, silo: bytes, identity: bytes, since: int, until: int) -> None:
        """A fresh key of the silo `silo` (16 bytes) with identity fingerprint `identity` (32 bytes)."""
        self._key = _hpke.PrivateKey(secrets.token_bytes(_hpke.SEED_SIZE))
        self.destination = Destination(silo, identity, self._key.public, since, until)
        self._label = pack(labels.DOOR_HEADER, *_context(silo, identity, self._key.public))

    @property
    def id(self) -> str:
        """Its name in the URL."""
        return self.destination.key_id

    def open_header(self, prefix: bytes) -> "OpenedRequest":
        """The header of a request, from its first 3,233 bytes. Raises SiloError `bad_version` or `cannot_open`.

        The device's signature is not checked yet: call `OpenedRequest.check_signature` next.
        """
        return _open_header(self._key, self._label, self.destination, prefix)


def _open_header(key: _hpke.PrivateKey, label: bytes, destination: Destination, prefix: bytes) -> "OpenedRequest":
    if prefix[:1] != bytes([VERSION]):
        raise SiloError("bad_version" if prefix else "cannot_open")
    if len(prefix) != PREFIX_SIZE:
        raise SiloError("cannot_open")
    sealed_key = prefix[1 : 1 + HEADER_KEY_SEALED]
    try:
        header_key = key.open(sealed_key, label)
        plain = AESGCM(header_key).decrypt(
            _ZERO_NONCE, prefix[1 + HEADER_KEY_SEALED :], prefix[: 1 + HEADER_KEY_SEALED]
        )
        text, zeros = _json_of(plain)
        header = read_json(text, Header)
        if any(zeros):
            raise ValueError
        return OpenedRequest(
            header,
            plain[:_DEVICE],
            plain[_DEVICE:_JSON_AT],
            text,
            sealed_key,
            destination,
            hashlib.sha256(prefix).digest(),
        )
    except (_hpke.CannotOpen, InvalidTag, ValueError):
        raise SiloError("cannot_open") from None


def _json_of(plain: bytes) -> tuple[bytes, bytes]:
    # JSON holds no NUL byte, so the first one ends it.
    end = plain.find(b"\x00", _JSON_AT)
    end = len(plain) if end < 0 else end
    return plain[_JSON_AT:end], plain[end:]


@dataclass(frozen=True)
class OpenedRequest:
    """A request whose header opened; its body may still be on the way."""

    header: Header = field(repr=False)
    device: bytes = field(repr=False)
    """16 bytes; zeros: none."""
    signature: bytes = field(repr=False)
    _text: bytes = field(repr=False)
    _sealed_key: bytes = field(repr=False)
    _destination: Destination = field(repr=False)
    _transcript: bytes = field(repr=False)

    @property
    def has_device(self) -> bool:
        """Whether it names a device."""
        return any(self.device)

    def check_signature(self, device_public: bytes | None) -> None:
        """Raises SiloError `forged` unless the device's Ed25519 key signed this header for this silo, key, device
        and sealing. Without a device the signature must be zeros."""
        if device_public is None:
            if self.has_device or any(self.signature):
                raise SiloError("forged")
            return
        verify(
            device_public,
            self.signature,
            labels.DOOR_SIGNATURE,
            *_signed(self._destination, self.device, self._sealed_key, self._text),
        )

    def body(self, limit: int) -> WholeOpener:
        """Opens the request frames; `limit` is the largest padded size in bytes."""
        key = derive(hash_bytes(self.header.request), labels.DOOR_REQUEST, salt=self._transcript)
        return WholeOpener(key, self._transcript, limit)

    def reply(self) -> "ReplySealer":
        """A sealer for one answer, with a fresh salt: call it once an answer."""
        return ReplySealer(hash_bytes(self.header.reply), self._transcript)


def _signed(destination: Destination, device: bytes, sealed_key: bytes, text: bytes) -> tuple[bytes, ...]:
    return destination.silo, destination.identity, fingerprint(destination.public)[:8], device, sealed_key, text


# --- replies (SPEC 4.4) ---

HEAD, BODY, END = 1, 2, 3


@dataclass(frozen=True)
class Part:
    """One part of a reply: HEAD (JSON), BODY (bytes) or END (JSON)."""

    kind: int
    data: bytes


def part(kind: int, data: bytes) -> bytes:
    """A part as it stands in a payload: 1 byte kind, 3 bytes length, data."""
    return bytes([kind]) + len(data).to_bytes(3, "big") + data


def _reply_key(secret: bytes, transcript: bytes, salt: bytes) -> bytes:
    return derive(secret, labels.DOOR_REPLY, salt=transcript + salt)


class ReplySealer:
    """Seals one answer, frame by frame. It can seal, never open."""

    def __init__(self, secret: bytes, transcript: bytes) -> None:
        self.salt = secrets.token_bytes(SALT_SIZE)
        """What goes out first, in the clear."""
        self._frames = FrameSealer(_reply_key(secret, transcript, self.salt), transcript)

    def frame(self, payload: bytes, size: int, last: bool = False) -> bytes:
        """One frame with a plaintext of `size` bytes. Raises ValueError where that does not fit."""
        return self._frames.seal(frames.reply_plaintext(payload, size), last)

    def whole(self, payload: bytes) -> bytes:
        """Salt and all frames of an answer that is sent at once, padded together to the Padmé size (SPEC 4.5)."""
        total = -(-padme(len(payload) + 4) // STEP) * STEP
        while total - 4 * -(-total // frames.FRAME) < len(payload):
            total += STEP
        out = [self.salt]
        while total:
            size = min(total, frames.FRAME)
            total -= size
            out.append(self.frame(payload[: size - 4], size, last=not total))
            payload = payload[size - 4 :]
        return b"".join(out)


class ReplyOpener:
    """Opens one answer as it arrives: `push` gives its parts, `finish` says that it was whole.

    Order is checked: one HEAD first, BODY, one END; after it only cover.
    """

    def __init__(self, secret: bytes, transcript: bytes) -> None:
        self._secret = secret
        self._transcript = transcript
        self._salt = b""
        self._frames: ReplyFrames | None = None
        self._buffer = bytearray()
        self._head = False
        self._failed = False
        self.complete = False
        """Whether the END part has come: the answer is whole, though cover may follow."""

    def push(self, data: bytes) -> list[Part]:
        """The parts that `data` completes. Raises SiloError `payload_failure`."""
        if self._frames is None:
            need = SALT_SIZE - len(self._salt)
            self._salt, data = self._salt + data[:need], data[need:]
            if len(self._salt) < SALT_SIZE:
                return []
            self._frames = ReplyFrames(_reply_key(self._secret, self._transcript, self._salt), self._transcript)
        if self._failed:
            raise SiloError("payload_failure")
        for payload in self._frames.push(data):
            self._buffer += payload
        parts: list[Part] = []
        try:
            for one in self._parts():
                parts.append(one)
        except SiloError:
            # What came before the fault was authentic and is released first; the next call tells of the fault.
            self._failed = True
            if not parts:
                raise
        return parts

    def _parts(self) -> Iterator[Part]:
        while len(self._buffer) >= 4:
            kind, size = self._buffer[0], int.from_bytes(self._buffer[1:4], "big")
            if self.complete or kind not in (HEAD, BODY, END) or (kind == HEAD) == self._head:
                raise SiloError("payload_failure")
            if len(self._buffer) < 4 + size:
                return
            data = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            self._head = True
            self.complete = kind == END
            yield Part(kind, data)
        if self.complete and self._buffer:
            raise SiloError("payload_failure")

    def finish(self) -> None:
        """Raises SiloError `truncated` unless the last frame came, `payload_failure` for a fault before it or
        where it came without END."""
        if self._failed:
            raise SiloError("payload_failure")
        if self._frames is None:
            raise SiloError("truncated")
        self._frames.finish()
        if not self.complete:
            raise SiloError("payload_failure")


# --- the client's end (SPEC 4.1) ---


@dataclass(frozen=True)
class Request:
    """What a client asks. The same `id` and `time` on a retry make it the same request."""

    method: str
    path: str
    time: int
    id: str = field(default_factory=new_id)
    headers: dict[str, str] = field(default_factory=dict)
    account: bytes | None = None
    keyring: Seen | None = None
    head: Seen | None = None


def seal_request(
    destination: Destination, request: Request, content: bytes, device: bytes = bytes(16), signer: Signer | None = None
) -> tuple[bytes, ReplyOpener]:
    """The bytes to POST, and the opener of their answer. Both secrets are fresh at each call, a retry too.

    Raises SiloError `too_large` where the header does not fit.
    """
    request_secret, reply_secret = secrets.token_bytes(32), secrets.token_bytes(32)
    text = write_json(
        Header(
            id=request.id,
            time=request.time,
            method=request.method,
            path=request.path,
            request=b32(request_secret),
            reply=b32(reply_secret),
            headers=request.headers,
            account=b32(request.account) if request.account else None,
            keyring=request.keyring,
            head=request.head,
        )
    )
    if len(text) > HEADER_SIZE - _JSON_AT:
        raise SiloError("too_large", "header")
    header_key = secrets.token_bytes(32)
    context = _context(destination.silo, destination.identity, destination.public)
    sealed_key = _hpke.seal(destination.public, header_key, pack(labels.DOOR_HEADER, *context))
    signature = bytes(_SIGNATURE)
    if signer:
        signature = signer.sign(labels.DOOR_SIGNATURE, *_signed(destination, device, sealed_key, text))
    plain = (device + signature + text).ljust(HEADER_SIZE, b"\x00")
    prefix = bytes([VERSION]) + sealed_key
    # The header key seals this one header, so a nonce of zeros is used once.
    prefix += AESGCM(header_key).encrypt(_ZERO_NONCE, plain, prefix)
    transcript = hashlib.sha256(prefix).digest()
    body = frames.seal_whole(derive(request_secret, labels.DOOR_REQUEST, salt=transcript), transcript, content)
    return prefix + body, ReplyOpener(reply_secret, transcript)


# --- transport keys, stated and read (SPEC 5.1) ---


class _Signed(msgspec.Struct, forbid_unknown_fields=True):
    statement: str
    signature: Blob


def state_keys(identity: Signer, silo: bytes, keys: list[Destination], now: int, nonce: str | None) -> bytes:
    """The signed answer of `GET /silo/keys`: the transport keys, the silo's clock, the client's nonce."""
    stated = [TransportStatement(public=b64(key.public), since=key.since, until=key.until) for key in keys]
    text = write_json(KeysStatement(silo=b32(silo), identity=b32(identity.public), now=now, nonce=nonce, keys=stated))
    return write_json({"statement": text.decode(), "signature": b64(identity.sign(labels.KEYS, text))})


@dataclass(frozen=True)
class Keys:
    """Transport keys that the pinned identity has signed."""

    now: int
    """The silo's clock, milliseconds."""
    identity: bytes
    """The identity's Ed25519 public key, 32 bytes."""
    destinations: list[Destination]


def read_keys(answer: bytes, silo: bytes, identity: bytes, nonce: str | None, clock: int | None = None) -> Keys:
    """The transport keys in `answer`, freshest first.

    `silo` is the silo's id, `identity` the pinned fingerprint, `nonce` what was sent. Without one the answer
    may be old (the keys inside `stale_key`, or kept from before), so its keys are held to `clock`, the
    client's own, in milliseconds; None: not compared. Raises SiloError `bad_reply` for what is no such answer,
    `wrong_silo` for another silo or identity, `forged`, `replay` for another nonce, `stale` where no key is
    alive by the silo's clock and by `clock`, or all live longer than 25 h.
    """
    try:
        signed = read_json(answer, _Signed)
        text = signed.statement.encode()
        stated = read_json(text, KeysStatement)
        publics = [unb64(key.public) for key in stated.keys]
        key, signature = hash_bytes(stated.identity), unb64(signed.signature)
        if id_bytes(stated.silo) != silo or not same(fingerprint(key), identity):
            raise SiloError("wrong_silo")
        for public in publics:
            _hpke.check_public(public)
    except ValueError:
        raise SiloError("bad_reply") from None
    verify(key, signature, labels.KEYS, text)
    if nonce is not None and stated.nonce != nonce:
        raise SiloError("replay")
    alive = [
        Destination(silo, identity, public, one.since, one.until)
        for public, one in zip(publics, stated.keys, strict=True)
        if one.since <= stated.now < one.until
        and one.until - one.since <= KEY_LIFE
        and (nonce is not None or clock is None or one.since - CLOCK_SLACK <= clock < one.until + CLOCK_SLACK)
    ]
    if not alive:
        raise SiloError("stale")
    return Keys(stated.now, key, sorted(alive, key=lambda destination: -destination.since))
