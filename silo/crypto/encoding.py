"""How bytes, numbers and JSON are spelled (SPEC 2.3): one spelling each, every other refused."""

import base64
import json
import math
import re
import secrets
from typing import Annotated, Any, TypeVar, cast

import msgspec

ID_SIZE = 16
HASH_SIZE = 32

# Bits that fill up the last letter are zeros, or one text of bytes would have several spellings. \Z, because
# $ lets a line feed pass.
_ID = r"^[a-z2-7]{25}[aeimquy4]\Z"
_HASH = r"^[a-z2-7]{51}[aq]\Z"
_BLOB = r"^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?\Z"

# A lone surrogate has no UTF-8, so it could be signed as one thing and stored as another.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

# Control, format, private use, surrogate, separators but the space: as Unicode 17 has them, listed, because two readers
# with another Unicode each must agree on what was signed (SPEC 5.6).
_NOT_IN_NAMES = re.compile(
    "[\0-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    "\u205f-\u2064\u2066-\u206f\u3000\ud800-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd"
    "\U00100000-\U0010fffd]"
)

DEEPEST = 64
"""How many objects and lists may stand inside one another, in any JSON."""

T = TypeVar("T")

Millis = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""Milliseconds since 1970-01-01 UTC, below 2^53."""
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A whole number below 2^53, which every JSON reader holds exactly."""
Id = Annotated[str, msgspec.Meta(pattern=_ID)]
"""16 bytes in base32."""
Hash = Annotated[str, msgspec.Meta(pattern=_HASH)]
"""32 bytes in base32: a hash, a fingerprint, an Ed25519 public key or a secret."""
Blob = Annotated[str, msgspec.Meta(pattern=_BLOB)]
"""Bytes in base64url."""


def b32(data: bytes) -> str:
    """Lower-case base32 without padding: for what is 32 bytes or shorter (SPEC 2.3)."""
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def unb32(text: str, size: int) -> bytes:
    """The `size` bytes that `text` spells. Raises ValueError unless it is their one spelling."""
    try:
        data = base64.b32decode(text.upper().encode("ascii") + b"=" * (-len(text) % 8))
    except (ValueError, UnicodeEncodeError):
        raise ValueError("not base32") from None
    if len(data) != size or b32(data) != text:
        raise ValueError("not the one base32 spelling of that size")
    return data


def b64(data: bytes) -> str:
    """base64url without padding: for what is longer than 32 bytes (SPEC 2.3)."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def unb64(text: str) -> bytes:
    """The bytes that `text` spells. Raises ValueError unless it is their one spelling."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, UnicodeEncodeError):
        raise ValueError("not base64url") from None
    if b64(data) != text:
        raise ValueError("not the one base64url spelling")
    return data


def u64(number: int) -> bytes:
    """8 bytes, big-endian."""
    return number.to_bytes(8, "big")


def new_id() -> str:
    """A fresh identifier: 16 random bytes in base32."""
    return b32(secrets.token_bytes(ID_SIZE))


def id_bytes(text: str) -> bytes:
    """The 16 bytes of an identifier. Raises ValueError."""
    return unb32(text, ID_SIZE)


def hash_bytes(text: str) -> bytes:
    """The 32 bytes of a hash, fingerprint or key in base32. Raises ValueError."""
    return unb32(text, HASH_SIZE)


def is_name(text: str) -> bool:
    """Whether this may name a person or a holder of a key (SPEC 5.6)."""
    return 1 <= len(text) <= 64 and not _NOT_IN_NAMES.search(text) and text == text.strip(" ")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def _no_constant(_: str) -> Any:
    raise ValueError("not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _bounded(digits: str) -> int:
    number = int(digits) if len(digits) < 18 else 2**53
    if abs(number) >= 2**53:
        raise ValueError("a whole number is too large")
    return number


def _is_deep(value: Any, left: int = DEEPEST) -> bool:
    if isinstance(value, dict):
        value = list(cast("dict[str, Any]", value).values())
    if not isinstance(value, list):
        return False
    return left == 0 or any(_is_deep(one, left - 1) for one in cast("list[Any]", value))


def parse_json(data: bytes) -> Any:
    """One JSON text in UTF-8, read strictly: no key twice, no NaN or infinity, whole numbers below 2^53, no lone
    surrogate, no byte order mark, nothing deeper than 64 (SPEC 2.3). Raises ValueError."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("too deep") from None
    # Most texts have too few brackets to be deep.
    if data.count(b"[") + data.count(b"{") > DEEPEST and _is_deep(value):
        raise ValueError("too deep")
    return value


def read_json(data: bytes, kind: type[T]) -> T:
    """`parse_json`, then exactly the fields and types of `kind`, a msgspec.Struct that forbids unknown
    fields. Raises ValueError, which names the place and never the value."""
    value = parse_json(data)
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ValueError(_place(str(error))) from None


def _place(said: str) -> str:
    # msgspec's sentences repeat what was sent: an unknown field's name, a value outside a list.
    if said.startswith("Object contains unknown field"):
        return "there is an unknown field"
    _, found, at = said.rpartition(" - at `")
    return f"a field is missing or not what it must be, at {at.rstrip('`') if found else '$'}"


def write_json(value: Any) -> bytes:
    """Compact JSON in UTF-8. Signatures cover the bytes as sent, so no order is promised."""
    return msgspec.json.encode(value)


def padme(size: int) -> int:
    """The Padmé size of a message of `size` bytes, at least 256 (PURBs, arXiv 1806.03160; SPEC 3.3).

    Leaks O(log log size) bits and costs at most 12 %.
    """
    if size <= 256:
        return 256
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask
