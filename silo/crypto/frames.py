"""Frames: authenticated chunks in order, ended by one that says so (STREAM; SPEC 3).

A frame on the wire is a 4-byte length L, big-endian, then L bytes of AES-256-GCM ciphertext. The nonce is
an 11-byte counter from 0, then 1 on the last frame and 0 before. Every stream has a key of its own.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from silo.crypto.encoding import padme, u64
from silo.errors import SiloError

TAG = 16
FRAME = 65_536
"""The largest plaintext of a frame."""
STEP = 256
"""A reply frame's plaintext is a multiple of this."""
PAYLOAD = FRAME - 4
"""The most a reply frame can carry."""


def _nonce(counter: int, last: bool) -> bytes:
    return counter.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


class FrameSealer:
    """Seals one stream. It can seal, never open."""

    def __init__(self, key: bytes, context: bytes) -> None:
        """`key` is 32 bytes and belongs to this stream alone; `context` is its associated data, never empty."""
        self._aead = AESGCM(key)
        self._context = context
        self._counter = 0
        self._ended = False

    def seal(self, plaintext: bytes, last: bool = False) -> bytes:
        """One frame as it goes on the wire. Raises ValueError after the last one."""
        if self._ended:
            raise ValueError("this stream has ended")
        sealed = self._aead.encrypt(_nonce(self._counter, last), plaintext, self._context)
        self._counter += 1
        self._ended = last
        return len(sealed).to_bytes(4, "big") + sealed


class _Opener:
    """Cuts what arrives into frames and opens them in order; nothing leaves unauthenticated."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._aead = AESGCM(key)
        self._context = context
        self._buffer = bytearray()
        self._counter = 0
        self._failed: str | None = None
        self.ended = False
        """Whether the last frame was opened."""

    def _length_fits(self, length: int) -> bool:
        raise NotImplementedError

    def _take(self, plaintext: bytes) -> bytes:
        """What of one authentic plaintext may be released now."""
        raise NotImplementedError

    def _fail(self, code: str) -> SiloError:
        self._failed = code
        self._buffer.clear()
        return SiloError(code)

    def push(self, data: bytes) -> list[bytes]:
        """Take bytes off the wire; gives what they complete and may be released, in order.

        Raises SiloError `payload_failure` (or what `_take` found) at the first fault; what was authentic
        before the fault is released first, so that how the bytes were split changes nothing.
        """
        if self._failed:
            raise SiloError(self._failed)
        self._buffer += data
        released: list[bytes] = []
        try:
            while len(self._buffer) >= 4 and not self.ended:
                length = int.from_bytes(self._buffer[:4], "big")
                if not self._length_fits(length):
                    raise self._fail("payload_failure")
                if len(self._buffer) < 4 + length:
                    break
                sealed = bytes(self._buffer[4 : 4 + length])
                del self._buffer[: 4 + length]
                if part := self._take(self._open(sealed)):
                    released.append(part)
            if self.ended and self._buffer:
                raise self._fail("payload_failure")
        except SiloError:
            if not released:
                raise
        return released

    def _open(self, sealed: bytes) -> bytes:
        # Whether a frame is the last one is told by which nonce opens it.
        for last in (False, True):
            try:
                plaintext = self._aead.decrypt(_nonce(self._counter, last), sealed, self._context)
            except InvalidTag:
                continue
            self._counter += 1
            self.ended = last
            return plaintext
        raise self._fail("payload_failure")

    def _finish(self) -> None:
        if self._failed:
            raise SiloError(self._failed)
        if not self.ended:
            raise self._fail("truncated")


# --- whole messages: requests and records (SPEC 3.3) ---


def seal_whole(key: bytes, context: bytes, content: bytes) -> bytes:
    """All frames of one whole message, padded to its Padmé size."""
    sealer = FrameSealer(key, context)
    padded = u64(len(content)) + content
    padded += bytes(padme(len(padded)) - len(padded))
    cuts = range(0, len(padded), FRAME)
    return b"".join(sealer.seal(padded[at : at + FRAME], last=at + FRAME >= len(padded)) for at in cuts)


def whole_size(content: int) -> int:
    """How many bytes `seal_whole` makes of `content` bytes."""
    padded = padme(8 + content)
    return padded + -(-padded // FRAME) * (4 + TAG)


class WholeOpener(_Opener):
    """Opens one whole message: `push` what arrives (it releases nothing; `too_large` past the limit), then
    `finish` gives the content, and only then."""

    def __init__(self, key: bytes, context: bytes, limit: int) -> None:
        """`limit` is the largest padded size that is taken, in bytes."""
        super().__init__(key, context)
        self._limit = limit
        self._plain = bytearray()

    def _length_fits(self, length: int) -> bool:
        return TAG < length <= FRAME + TAG

    def _take(self, plaintext: bytes) -> bytes:
        if len(plaintext) != FRAME and not self.ended:
            raise self._fail("payload_failure")
        self._plain += plaintext
        if len(self._plain) > self._limit:
            raise self._fail("too_large")
        return b""

    def finish(self) -> bytes:
        """The content. Raises SiloError `truncated` or `payload_failure`."""
        self._finish()
        size = int.from_bytes(self._plain[:8], "big")
        # The size that Padmé gives is at least 256 and holds the content.
        if padme(8 + size) != len(self._plain) or any(self._plain[8 + size :]):
            raise self._fail("payload_failure")
        return bytes(self._plain[8 : 8 + size])


# --- replies: streamed (SPEC 3.2) ---


def reply_plaintext(payload: bytes, size: int) -> bytes:
    """A reply frame's plaintext: the payload behind its 4-byte length, then zeros up to `size` bytes,
    a multiple of 256 that holds it. An empty payload makes cover."""
    if size % STEP or not 4 + len(payload) <= size <= FRAME:
        raise ValueError("a reply frame has a multiple of 256 bytes that holds its payload")
    return len(payload).to_bytes(4, "big") + payload + bytes(size - 4 - len(payload))


class ReplyFrames(_Opener):
    """Opens a reply as it streams: `push` gives each payload, cover left out; `finish` catches an end too early."""

    def _length_fits(self, length: int) -> bool:
        return (length - TAG) % STEP == 0 and STEP + TAG <= length <= FRAME + TAG

    def _take(self, plaintext: bytes) -> bytes:
        size = int.from_bytes(plaintext[:4], "big")
        if size > len(plaintext) - 4 or any(plaintext[4 + size :]):
            raise self._fail("payload_failure")
        return plaintext[4 : 4 + size]

    def finish(self) -> None:
        """Raises SiloError `truncated` unless the last frame was opened."""
        self._finish()
