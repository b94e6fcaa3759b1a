"""The worked examples in SPEC.md: cut from the vector files, and compared with them by the tests.

python tests/vectors/examples.py writes them anew, in place of the old ones or of `<!-- example NAME -->`.
An example is a block that begins `example: NAME, tests/vectors/FILE.txt`. Its lines are spelled as in the
file, but bytes are hexadecimal, and what is long is cut: `first … last (size)`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import form

SPEC = form.FOLDER.parents[1] / "SPEC.md"

# name: the blocks, each a file and the keys that are shown of it.
EXAMPLES: dict[str, list[tuple[str, list[str]]]] = {
    "pack": [("pack-three-fields", ["label", "field", "bytes", "digest"])],
    "xwing": [("xwing-seed", ["seed", "mlkem-seed", "x25519-private", "public", "fingerprint"])],
    "fingerprint": [
        (
            "fingerprint-of-keys",
            ["sign", "seal", "sign-fingerprint", "seal-fingerprint", "admin-fingerprint", "spoken", "key-id"],
        )
    ],
    "frames": [
        ("frames-reply", ["key", "context", "payload", "plaintext", "stream"]),
        ("frames-whole", ["key", "context", "content", "plaintext", "stream"]),
    ],
    "request": [
        (
            "request",
            [
                *("transport-seed", "silo", "identity", "header-key", "sealed-header-key", "json", "device"),
                *("signature", "sealed-header", "transcript", "request-key", "content", "frames", "bytes"),
            ],
        )
    ],
    "reply": [("reply-parts", ["secret", "transcript", "salt", "reply-key", "part", "bytes"])],
    "keys": [("keys", ["silo", "identity", "nonce", "statement-json", "answer", "key-id"])],
    "enrolment": [
        ("enrolment", ["silo", "user", "device", "sign", "seal", "time", "statement", "signature", "fingerprint"])
    ],
    "vouch": [("vouch", ["sign", "account", "statement", "signature", "vouch"])],
    "directory": [("directory", ["signed-entry", "statement", "signature", "listed"])],
    "account": [("account", ["seed", "public", "fingerprint", "sign-seed", "sign", "mac-key"])],
    "manifest": [("manifest", ["seed", "text", "mac", "manifest"])],
    "rotation": [
        ("rotation-one", ["sign", "old", "new", "new-sign", "version", "device", "time", "statement", "rotation"])
    ],
    "walk": [("walk", ["seed", "start", "rotation", "account"])],
    "core": [
        (
            "core",
            [
                *("record-key", "silo", "user", "index", "previous", "thread", "parent", "id", "time", "commitment"),
                *("head-hash", "frame-key", "content", "core", "core-hash"),
            ],
        )
    ],
    "wrap": [("wrap", ["seed", "recipient", "core-hash", "sealed", "record-key"])],
    "log": [("log-one", ["silo", "user", "at", "start", "entry", "head-hash"])],
    "receipt": [("receipt", ["core-hash", "entry-hash", "recipient", "time", "identity", "receipt"])],
    "turn": [("turn", ["silo", "user", "thread", "turn", "parent", "text", "text-digest", "signature"])],
    "tombstone": [
        (
            "tombstone",
            [
                *("silo", "user", "index", "core-hash", "entry-hash", "made", "who", "why", "version"),
                *("keyring-hash", "time", "statement", "signature", "tombstone-hash"),
            ],
        )
    ],
    "deletion": [("deletion", ["tombstone-hash", "time", "until", "also", "identity", "receipt"])],
    "bag": [("bag", ["seed", "silo", "user", "thread", "version", "at", "entry-hash", "held", "plaintext", "sealed"])],
    "keyring": [
        ("keyring", ["pin", "document", "signer", "signature", "hash"]),
        ("vault", ["seed", "epoch", "holder", "sealed", "epoch-seed", "epoch-public"]),
    ],
    "keyfile": [("keyfile", ["file", "seed", "fingerprint"])],
    "lock": [
        (
            "lock-password",
            [
                *("password", "salt", "argon2-salt", "stretched", "proof", "seal-seed", "mac-key", "proof-hash"),
                *("lock", "account-seed"),
            ],
        ),
        ("lock-recovery", ["secret", "proof", "seal-seed", "mac-key", "proof-hash", "lock", "account-seed"]),
        ("lock-device", ["secret", "lock", "account-seed"]),
    ],
}

_BLOCK = re.compile(r"```\nexample: ([a-z]+), tests/vectors/([a-z0-9-]+)\.txt\n(.*?)```\n", re.DOTALL)
_CUT = re.compile(r"(.*) … (.*) \((\d+)\)", re.DOTALL)

WHOLE = 288
"""The longest value that is shown uncut, in characters."""
ENDS = 40, 20


def shown(key: str, value: str) -> list[str]:
    """The pieces in which a file's value is shown: bytes in hexadecimal, several with a space between."""
    if key in form.TEXTS | form.STRINGS | form.NUMBERS:
        return [_shortened(value, len(value))]
    return [" ".join(_shortened(form.unspell(one).hex(), len(form.unspell(one))) for one in value.split(" "))]


def _shortened(text: str, size: int) -> str:
    if len(text) <= WHOLE:
        return text
    return f"{text[: ENDS[0]]} … {text[-ENDS[1] :]} ({size})"


def fits(key: str, said: str, value: str) -> bool:
    """Whether a line of an example says what stands in the file: the same, or its ends and its size."""
    text = key in form.TEXTS | form.STRINGS | form.NUMBERS
    wholes = [value] if text else [form.unspell(one).hex() for one in value.split(" ")]
    cut = _CUT.fullmatch(said)
    if cut is None or len(wholes) > 1:
        return said == " ".join(wholes)
    first, last, size = cut[1], cut[2], int(cut[3])
    (whole,) = wholes
    return whole.startswith(first) and whole.endswith(last) and len(whole) == (size if text else 2 * size)


def block(name: str, file: str, keys: list[str]) -> str:
    """One example, fenced."""
    vector = form.read(form.FOLDER / f"{file}.txt")
    lines = [f"example: {name}, tests/vectors/{file}.txt"]
    for key in keys:
        for value in vector.texts(key):
            for piece in shown(key, value):
                lines += form.fold(f"{key}: {piece}".rstrip(" "))
    return "```\n" + "\n".join(lines) + "\n```\n"


def blocks(spec: str) -> Iterator[tuple[str, str, form.Vector]]:
    """(name, file, what it says) of every example in the paper."""
    for found in _BLOCK.finditer(spec):
        yield found[1], found[2], form.Vector(found[1], found[3])


def renewed(spec: str) -> str:
    """The paper with every example cut anew. Raises ValueError for a name without a place."""
    for name, parts in EXAMPLES.items():
        text = "\n".join(block(name, file, keys) for file, keys in parts)
        marker = f"<!-- example {name} -->\n"
        if marker in spec:
            spec = spec.replace(marker, text)
            continue
        old = [found for found in _BLOCK.finditer(spec) if found[1] == name]
        if not old:
            raise ValueError(f"SPEC.md has no place for the example {name}")
        spec = spec[: old[0].start()] + text + spec[old[-1].end() :]
    return spec


def main() -> None:
    """Write SPEC.md."""
    path: Path = SPEC
    path.write_text(renewed(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
