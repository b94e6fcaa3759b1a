"""How a vector file is spelled (README.md): read by the tests, written by make.py."""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

Value = bytes | str | int
Fields = list[tuple[str, Value]]

FOLDER = Path(__file__).parent
WIDTH = 100

# Keys whose value is text as it stands; STRINGS are JSON strings, NUMBERS are decimal, all others are bytes.
TEXTS = {
    *("what", "expect", "comment", "released", "label", "shape", "kind", "spoken", "sizes", "padded", "key-id"),
    *("json", "text", "answer", "nonce", "statement-json", "keyring", "document", "signer", "lock"),
    *("why", "also", "manifest", "rotation", "signed-entry"),
}
STRINGS = {"string", "file", "password", "passphrase"}
NUMBERS = {"count", "limit", "index", "epoch", "version", "at", "time", "now", "clock", "made", "until", "least"}
NUMBERS |= {"revoked", "is-listed"}


class Vector:
    """One file: keys in their order, each with one value or more."""

    def __init__(self, name: str, text: str) -> None:
        """Raises ValueError for a file that is not spelled as README.md says."""
        self.name = name
        self.fields: dict[str, list[str]] = {}
        self.used = {"what", "expect", "comment"}
        """The keys that somebody has asked for: a test sees to it that none is idle."""
        key = ""
        for line in text.split("\n")[:-1]:
            if line.startswith(" ") and key:
                self.fields[key][-1] += line[1:]
                continue
            key, colon, value = line.partition(":")
            if not colon or not key:
                raise ValueError(f"{name}: not a line of a vector file: {line[:40]}")
            self.fields.setdefault(key, []).append(value.removeprefix(" "))

    def __contains__(self, key: str) -> bool:
        return key in self.fields

    def texts(self, key: str) -> list[str]:
        """The values of a key that may stand any number of times, in order."""
        self.used.add(key)
        return self.fields.get(key, [])

    def text(self, key: str) -> str:
        """The one value of a key. Raises ValueError unless there is exactly one."""
        (value,) = self.texts(key)
        return value

    def number(self, key: str) -> int:
        """A decimal number."""
        return int(self.text(key))

    def string(self, key: str) -> str:
        """A text spelled as a JSON string, because it may hold anything."""
        return json.loads(self.text(key))

    def data(self, key: str) -> bytes:
        """Bytes in base64url without padding."""
        return unspell(self.text(key))

    def datas(self, key: str) -> list[bytes]:
        """As `texts`, each value being bytes."""
        return [unspell(value) for value in self.texts(key)]

    def tuples(self, key: str) -> list[list[bytes]]:
        """As `datas`, for values of several bytes each, with a space between."""
        return [[unspell(one) for one in value.split(" ")] for value in self.texts(key)]


def read(path: Path) -> Vector:
    """The vector in a file."""
    return Vector(path.stem, path.read_text("utf-8"))


def unspell(text: str) -> bytes:
    """The bytes that base64url without padding spells."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def spell(value: Value) -> str:
    """A value as it stands in a file."""
    if isinstance(value, bytes):
        return base64.urlsafe_b64encode(value).decode().rstrip("=")
    return str(value)


def join(*parts: bytes) -> str:
    """Several bytes in one value."""
    return " ".join(map(spell, parts))


def released(*parts: bytes) -> tuple[str, str]:
    """What may be released, all of it together."""
    return "released", hashlib.sha256(b"".join(parts)).hexdigest()


def write(fields: Iterable[tuple[str, Value]]) -> str:
    """The text of a file. Raises ValueError for a value that holds a line feed."""
    lines: list[str] = []
    for key, value in fields:
        lines += fold(f"{key}: {spell(value)}".rstrip(" "))
    return "".join(f"{line}\n" for line in lines)


def fold(line: str) -> list[str]:
    """A long line in pieces, all but the first behind a space; never cut beside a space."""
    if "\n" in line:
        raise ValueError("a value is one line")
    pieces: list[str] = []
    while len(line) > WIDTH:
        cut = WIDTH
        while " " in line[cut - 1 : cut + 1]:
            cut -= 1
        pieces.append(line[:cut])
        line = " " + line[cut:]
    return [*pieces, line]
