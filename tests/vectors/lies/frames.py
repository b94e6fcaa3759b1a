"""Lies about frames (SPEC 3)."""

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from form import Fields, released

from lies import flip, lie, secret, tell
from silo.crypto.encoding import padme, u64
from silo.crypto.frames import FRAME, reply_plaintext, seal_whole

KEY, CONTEXT = secret("stream key"), secret("context")


def sealed(counter: int, last: bool, plain: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    """One frame's ciphertext, whatever stands in it."""
    return AESGCM(key).encrypt(counter.to_bytes(11, "big") + bytes([last]), plain, context)


def framed(ciphertext: bytes) -> bytes:
    """A ciphertext behind its length."""
    return len(ciphertext).to_bytes(4, "big") + ciphertext


def frame(counter: int, last: bool, plain: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    """One frame as it goes on the wire."""
    return framed(sealed(counter, last, plain, key, context))


def whole(key: bytes, context: bytes, *plains: bytes) -> bytes:
    """A stream whose frames hold these plaintexts, the last one marked as such."""
    end = len(plains) - 1
    return b"".join(frame(at, at == end, plain, key, context) for at, plain in enumerate(plains))


def padded(content: bytes) -> bytes:
    """A whole message's plaintext."""
    plain = u64(len(content)) + content
    return plain.ljust(padme(len(plain)), b"\0")


# --- reply frames (SPEC 3.2) ---

WORDS = (b"One, ", b"two ", b"and three.")
PLAINS = tuple(reply_plaintext(word, 256) for word in WORDS)
A, B, C = (frame(at, at == 2, plain) for at, plain in enumerate(PLAINS))
C_NOT_LAST = frame(2, False, PLAINS[2])


def _reply(stream: bytes, *out: bytes) -> Fields:
    return [("key", KEY), ("context", CONTEXT), ("stream", stream), released(*out)]


@lie("frames-reply", "success", "three frames of 256 bytes")
def frames_reply() -> Fields:
    payloads: Fields = [("payload", word) for word in WORDS]
    plaintexts: Fields = [("plaintext", plain) for plain in PLAINS]
    return [("key", KEY), ("context", CONTEXT), *payloads, *plaintexts, ("stream", A + B + C), released(*WORDS)]


_MIXED = (reply_plaintext(b"a" * 252, 256), reply_plaintext(b"", 2048), reply_plaintext(b"b" * 300, 512))
_OTHER_KEY = secret("another stream key")

for _name, _expect, _lie, _stream, _out in (
    ("one-frame", "success", "the first frame is the last", frame(0, True, PLAINS[0]), WORDS[:1]),
    ("sizes", "success", "a full frame, cover, a frame of 512", whole(KEY, CONTEXT, *_MIXED), (b"a" * 252, b"b" * 300)),
    ("cover-last", "success", "cover after the last word", A + frame(1, True, reply_plaintext(b"", 256)), WORDS[:1]),
    ("swapped", "payload failure", "the first two frames have changed places", B + A + C, ()),
    ("last-two-swapped", "payload failure", "the last two frames have changed places", A + C + B, WORDS[:1]),
    ("first-dropped", "payload failure", "the first frame is missing", B + C, ()),
    ("middle-dropped", "payload failure", "the second frame is missing", A + C, WORDS[:1]),
    ("repeated", "payload failure", "the first frame comes twice", A + A + B + C, WORDS[:1]),
    ("middle-repeated", "payload failure", "the second frame comes twice", A + B + B + C, WORDS[:2]),
    (
        "spliced",
        "payload failure",
        "the second frame of another stream with the same context",
        A + frame(1, False, PLAINS[1], key=_OTHER_KEY) + C,
        WORDS[:1],
    ),
    (
        "other-context",
        "payload failure",
        "the second frame was sealed with the same key for another context",
        A + frame(1, False, PLAINS[1], context=secret("another context")) + C,
        WORDS[:1],
    ),
    (
        "no-context",
        "payload failure",
        "sealed without associated data",
        b"".join(frame(at, at == 2, plain, context=b"") for at, plain in enumerate(PLAINS)),
        (),
    ),
    ("other-key", "payload failure", "sealed with another key", whole(_OTHER_KEY, CONTEXT, *PLAINS), ()),
    (
        "counter-from-1",
        "payload failure",
        "the counter begins at 1",
        frame(1, False, PLAINS[0]) + frame(2, True, PLAINS[1]),
        (),
    ),
    ("no-last", "truncated", "no frame says that it is the last", A + B + C_NOT_LAST, WORDS),
    ("last-dropped", "truncated", "the last frame is missing", A + B, WORDS[:2]),
    ("cut-in-frame", "truncated", "it ends inside the last frame", (A + B + C)[:-1], WORDS[:2]),
    ("cut-in-length", "truncated", "it ends inside a length", A + B[:3], WORDS[:1]),
    ("cut-after-length", "truncated", "it ends after a length", A + B[:4], WORDS[:1]),
    ("empty", "truncated", "no frame at all", b"", ()),
    (
        "two-lasts",
        "payload failure",
        "a second last frame",
        A + frame(1, True, PLAINS[1]) + C,
        WORDS[:2],
    ),
    ("last-repeated", "payload failure", "the last frame comes twice", A + B + C + C, WORDS),
    ("byte-after", "payload failure", "a byte after the last frame", A + B + C + b"\0", WORDS),
    (
        "frame-after",
        "payload failure",
        "a frame goes on after the last one",
        A + B + C + frame(3, False, PLAINS[0]),
        WORDS,
    ),
    ("flipped", "payload failure", "a changed byte in the second frame", A + flip(B, 40) + C, WORDS[:1]),
    ("flipped-tag", "payload failure", "a changed byte in the last frame's tag", A + B + flip(C, -1), WORDS[:2]),
    ("length-0", "payload failure", "L = 0", A + bytes(4) + B + C, WORDS[:1]),
    ("length-16", "payload failure", "L = 16, a tag alone", A + frame(1, False, b"") + C, WORDS[:1]),
    ("length-17", "payload failure", "a plaintext of one byte", A + frame(1, False, b"x") + C, WORDS[:1]),
    ("length-271", "payload failure", "a plaintext of 255 bytes", A + frame(1, True, PLAINS[1][:-1]), WORDS[:1]),
    ("length-273", "payload failure", "a plaintext of 257 bytes", A + frame(1, True, PLAINS[1] + b"\0"), WORDS[:1]),
    (
        "length-65808",
        "payload failure",
        "a length of 65,808, which is refused before anything follows it",
        A + (65_808).to_bytes(4, "big"),
        WORDS[:1],
    ),
    ("length-2-to-the-32", "payload failure", "a length of 2^32 - 1", A + b"\xff" * 4, WORDS[:1]),
    (
        "payload-too-long",
        "payload failure",
        "a payload length one beyond the plaintext",
        A + frame(1, True, (253).to_bytes(4, "big") + b"b" * 252),
        WORDS[:1],
    ),
    (
        "payload-2-to-the-32",
        "payload failure",
        "a payload length of 2^32 - 1",
        A + frame(1, True, b"\xff" * 4 + b"b" * 252),
        WORDS[:1],
    ),
    ("padding", "payload failure", "padding that is not zero", A + frame(1, True, flip(PLAINS[1], -1)), WORDS[:1]),
    (
        "padding-first",
        "payload failure",
        "the first byte of padding is not zero",
        A + frame(1, True, flip(PLAINS[1], 4 + len(WORDS[1]))),
        WORDS[:1],
    ),
    ("cover-padding", "payload failure", "cover that is not zero", A + frame(1, True, flip(bytes(256), -1)), WORDS[:1]),
):
    tell(f"frames-reply-{_name}", "frames-reply", _expect, _lie, lambda stream=_stream, out=_out: _reply(stream, *out))


# --- whole messages (SPEC 3.3) ---

CONTENT = b"A pelican is a bird with a long beak."
LONG = bytes(at % 251 for at in range(66_000))


def _whole(stream: bytes, *out: bytes) -> Fields:
    return [("key", KEY), ("context", CONTEXT), ("stream", stream), released(*out)]


def _two_frames() -> tuple[bytes, bytes]:
    stream = seal_whole(KEY, CONTEXT, LONG)
    return stream[: 4 + FRAME + 16], stream[4 + FRAME + 16 :]


@lie("frames-whole", "success", "37 bytes in one frame of 256")
def frames_whole() -> Fields:
    return [
        ("key", KEY),
        ("context", CONTEXT),
        ("content", CONTENT),
        ("plaintext", padded(CONTENT)),
        ("stream", seal_whole(KEY, CONTEXT, CONTENT)),
        released(CONTENT),
    ]


@lie("frames-whole", "success", "66,000 bytes in a full frame and the rest")
def frames_whole_two() -> Fields:
    return _whole(b"".join(_two_frames()), LONG)


@lie("frames-whole", "truncated", "the second of two frames is missing")
def frames_whole_last_dropped() -> Fields:
    return _whole(_two_frames()[0])


_ONE = padded(CONTENT)
_EVEN = padded(b"b" * 248)

for _name, _expect, _lie, _stream, _out in (
    ("empty", "success", "no content", whole(KEY, CONTEXT, bytes(256)), ()),
    ("full", "success", "248 bytes, which need no padding", whole(KEY, CONTEXT, _EVEN), (b"b" * 248,)),
    ("first-dropped", "payload failure", "the first of two frames is missing", frame(1, True, _ONE), ()),
    ("no-frame", "truncated", "no frame at all", b"", ()),
    ("cut", "truncated", "it ends inside the frame", whole(KEY, CONTEXT, _ONE)[:-1], ()),
    (
        "short-middle",
        "payload failure",
        "512 bytes cut into two frames of 256",
        whole(KEY, CONTEXT, padded(bytes(500))[:256], padded(bytes(500))[256:]),
        (),
    ),
    ("two-lasts", "payload failure", "a second last frame", whole(KEY, CONTEXT, _ONE) + frame(1, True, _ONE), ()),
    ("byte-after", "payload failure", "a byte after the last frame", whole(KEY, CONTEXT, _ONE) + b"\0", ()),
    ("other-key", "payload failure", "sealed with another key", whole(_OTHER_KEY, CONTEXT, _ONE), ()),
    (
        "other-context",
        "payload failure",
        "sealed with the same key for another context",
        whole(KEY, secret("x"), _ONE),
        (),
    ),
    ("flipped", "payload failure", "a changed byte", flip(whole(KEY, CONTEXT, _ONE), 30), ()),
    ("length-0", "payload failure", "L = 0", bytes(4), ()),
    ("length-16", "payload failure", "L = 16, a frame without a byte", whole(KEY, CONTEXT, b""), ()),
    (
        "length-65553",
        "payload failure",
        "a length of 65,553, refused before anything follows it",
        (65_553).to_bytes(4, "big"),
        (),
    ),
    ("length-2-to-the-32", "payload failure", "a length of 2^32 - 1", b"\xff" * 4, ()),
    ("not-256", "payload failure", "64 bytes altogether, where 256 is the least", whole(KEY, CONTEXT, _ONE[:64]), ()),
    ("no-length", "payload failure", "five bytes, too few for a content length", whole(KEY, CONTEXT, b"hello"), ()),
    (
        "not-padme",
        "payload failure",
        "padded to 512, where Padmé says 256",
        whole(KEY, CONTEXT, _ONE.ljust(512, b"\0")),
        (),
    ),
    (
        "less-than-padme",
        "payload failure",
        "1,001 bytes, which Padmé makes 1,024",
        whole(KEY, CONTEXT, u64(993) + b"b" * 993),
        (),
    ),
    (
        "content-too-long",
        "payload failure",
        "a content length one beyond the plaintext",
        whole(KEY, CONTEXT, u64(249) + b"b" * 248),
        (),
    ),
    (
        "content-2-to-the-64",
        "payload failure",
        "a content length of 2^64 - 1",
        whole(KEY, CONTEXT, b"\xff" * 8 + b"b" * 248),
        (),
    ),
    ("padding", "payload failure", "padding that is not zero", whole(KEY, CONTEXT, flip(_ONE, -1)), ()),
    (
        "padding-first",
        "payload failure",
        "the first byte of padding is not zero",
        whole(KEY, CONTEXT, flip(_ONE, 8 + len(CONTENT))),
        (),
    ),
):
    tell(f"frames-whole-{_name}", "frames-whole", _expect, _lie, lambda stream=_stream, out=_out: _whole(stream, *out))


@lie("frames-whole", "payload failure", "a full frame, and a last one without a byte")
def frames_whole_empty_last() -> Fields:
    plain = u64(FRAME - 8) + bytes(FRAME - 8)
    return _whole(whole(KEY, CONTEXT, plain, b""))


@lie("frames-whole", "payload failure", "the second frame of another message with the same context")
def frames_whole_spliced() -> Fields:
    other = seal_whole(_OTHER_KEY, CONTEXT, LONG)
    return _whole(_two_frames()[0] + other[4 + FRAME + 16 :])
