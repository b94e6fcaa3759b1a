"""Changed vectors for the differential run: what an attacker could send instead, whatever it comes to.

Fields that the opener has of its own (keys, ids, pins) keep their size. What comes from outside is changed in every
way: bits, bytes, frames, fields, JSON, pieces of other files. Where the vectors' people own the key, the changed text
is signed or sealed again by it, so that what stands behind a signature is reached too.
"""

import json
import random
import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from silo.crypto import labels
from silo.crypto.encoding import b32, b64, padme, u64, unb32, unb64
from silo.crypto.keys import AccountKey, AdminKey, Recipient, Signer, derive, recipient_of
from silo.crypto.labels import pack
from silo.crypto.sealing import commitment, frame_key, head_hash
from tests.silo.crypto.test_vectors import VECTORS, Vector, form, load, vectors

lies = load("lies")

Fields = dict[str, list[str]]

SENT: dict[str, tuple[str, ...]] = {
    "pack": ("bytes",),
    "spelling": ("string",),
    "json": ("bytes",),
    "xwing-public": ("public",),
    "hpke": ("sealed",),
    "signature": ("public", "signature", "field"),
    "frames-reply": ("stream",),
    "frames-whole": ("stream",),
    "reply": ("bytes",),
    "keys": ("answer",),
    "enrolment": ("statement", "signature"),
    "vouch": ("statement", "signature", "vouch"),
    "core": ("core",),
    "wrap": ("sealed",),
    "receipt": ("core", "receipt"),
    "record": ("core", "wrap", "receipt"),
    "log": ("entry",),
    "turn": ("text", "signature"),
    "tombstone": ("statement", "signature", "keyring"),
    "deletion": ("statement", "receipt"),
    "bag": ("sealed",),
    "bagged": ("sealed", "core", "receipt"),
    "keyring": ("keyring",),
    "vault": ("keyring",),
    "identities": ("keyring",),
    "directory": ("signed-entry", "keyring"),
    "lock": ("lock", "rotation"),
    "manifest": ("manifest",),
    "rotation": ("rotation", "manifest"),
    "walk": ("rotation",),
    "keyfile": ("file",),
}
"""What comes from outside, by structure. Other structures are functions of what one has oneself."""

LISTS = {"keyring", "entry", "wrap", "field", "signed-entry", "rotation", "named"}
"""Fields that may stand any number of times."""
TUPLES = {"wrap", "entry", "seen", "signed-entry-seen"}
JSONS = {"answer", "keyring", "lock", "manifest", "rotation", "signed-entry"}

MIX = {
    "json": 22,
    "spelling": 5,
    "pack": 5,
    "frames-reply": 6,
    "frames-whole": 4,
    "reply": 6,
    "core": 5,
    "receipt": 4,
    "enrolment": 4,
    "vouch": 2,
    "signature": 6,
    "turn": 2,
    "log": 2,
    "deletion": 3,
    "tombstone": 4,
    "keys": 5,
    "keyring": 8,
    "identities": 1,
    "directory": 3,
    "manifest": 2.5,
    "rotation": 3,
    "xwing-public": 2,
    "keyfile": 4,
    "hpke": 0.7,
    "wrap": 0.5,
    "record": 0.8,
    "bag": 1.5,
    "bagged": 0.5,
    "lock": 0.8,
    "walk": 0.5,
    "vault": 0.3,
}
"""Weights. What takes X-Wing or Argon2id in JavaScript takes milliseconds, so it is drawn less."""

SLOW = 0.02
"""How many of the key files and password locks that are drawn are let through, where a new Argon2id is needed."""


@cache
def given() -> dict[str, set[str]]:
    """The fields that each structure is given, from the table in README.md: what it shows is left out."""
    out: dict[str, set[str]] = {}
    readme = (VECTORS / "README.md").read_text("utf-8").partition("## The structures")[2].partition("\n## ")[0]
    for what, fields in re.findall(r"^\| `([a-z-]+)` \| (.*?) \| ", readme, re.MULTILINE):
        also = re.match(r"as `([a-z-]+)`", fields)
        out[what] = set(re.findall(r"`([a-z0-9-]+)`", fields)) | (out[also[1]] if also else set())
    return out


@cache
def files() -> dict[str, list[Fields]]:
    """Every vector's given fields, by structure."""
    out: dict[str, list[Fields]] = {}
    for v in vectors().values():
        what = v.text("what")
        kept = {key: values for key, values in v.fields.items() if key in given()[what]}
        out.setdefault(what, []).append({"what": [what], **kept})
    return out


@cache
def _known() -> set[tuple[str, str]]:
    """(password, salt) of the vectors' locks."""
    found = [
        (one["password"], re.findall(r'"salt":"([a-z2-7]{26})"', one["lock"][0]))
        for one in files()["lock"]
        if "password" in one
    ]
    return {(password[0], salts[0]) for password, salts in found if salts}


@cache
def signers() -> dict[bytes, Signer]:
    """Ed25519 public key -> signer, of everybody who appears in the vectors."""
    found: list[Signer] = []
    for value in vars(lies).values():
        if isinstance(value, Signer):
            found.append(value)
        elif isinstance(value, AdminKey):
            found.append(value.signer)
    found += [AccountKey(seed).signer for seed in (lies.ACCOUNT_SEED, lies.OTHER_ACCOUNT_SEED)]
    return {one.public: one for one in found}


class Mutator:
    """Draws changed vectors from a seed."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        whats = [what for what in MIX if what in files()]
        self._whats, self._weights = whats, [MIX[what] for what in whats]

    def draw(self) -> Vector:
        """A changed vector: the given fields alone."""
        while True:
            what = self.r.choices(self._whats, self._weights)[0]
            fields = deepcopy(self.r.choice(files()[what]))
            if what == "lock":
                # A changed kind asks for another secret.
                fields.setdefault("password", ['"none"'])
                fields.setdefault("secret", [form.spell(lies.secret("none"))])
            making = MAKING.get(what)
            if making and self.r.random() < 0.5:
                making(self, fields)
            for _ in range(self.r.choice([0, 1, 1, 1, 1, 2, 3]) if making else self.r.choice([1, 1, 1, 2, 3])):
                self._change(what, fields)
            if self._is_slow(fields) and self.r.random() > SLOW:
                continue
            return form.Vector(what, "".join(f"{line}\n" for line in self._lines(fields)))

    def _lines(self, fields: Fields) -> list[str]:
        return [line for key, values in fields.items() for value in values for line in form.fold(f"{key}: {value}")]

    def _is_slow(self, fields: Fields) -> bool:
        if "file" in fields:
            return "locked" in fields["file"][0]
        return "lock" in fields and '"password"' in fields["lock"][0] and not self._is_known(fields)

    def _is_known(self, fields: Fields) -> bool:
        # Both sides keep what a password and a salt gave.
        salts = re.findall(r'"salt":"([a-z2-7]{26})"', fields["lock"][0])
        return bool(salts) and (fields["password"][0], salts[0]) in _known()

    # --- what is changed ---

    def _change(self, what: str, fields: Fields) -> None:
        if self.r.random() < 0.1 and len(fields) > 1:
            self._change_own(what, fields)
            return
        key = self.r.choice([key for key in SENT[what] if key in fields] or [""])
        if not key:
            return
        values = fields[key]
        if key in LISTS and what != "rotation" and self.r.random() < 0.25:
            self._change_list(values, [one[key] for one in files()[what] if key in one])
            return
        at = self.r.randrange(len(values))
        if self.r.random() < 0.12:
            values[at] = self._other(what, key) or values[at]
        elif key in JSONS:
            values[at] = self._json_text(values[at])
        elif key == "text":
            values[at] = self._text(values[at]).replace("\n", "").encode("utf-8", "replace").decode().strip(" ") or "x"
        elif key in form.STRINGS:
            changed = self._key_file if key == "file" else self._text
            values[at] = json.dumps(changed(json.loads(values[at])))
        elif key in TUPLES:
            cells = values[at].split(" ")
            cell = self.r.randrange(len(cells))
            fixed = key != "wrap" or cell == 0
            cells[cell] = form.spell((self._flipped if fixed else self._bytes)(form.unspell(cells[cell])))
            values[at] = " ".join(cells)
        else:
            changing = self._framed if key in ("stream", "bytes", "core") and what != "pack" else self._bytes
            if what == "json":
                changing = self._json_bytes
            elif what == "pack" or key in ("statement", "receipt"):
                changing = self._packed
            values[at] = form.spell(changing(form.unspell(values[at])))

    def _change_own(self, what: str, fields: Fields) -> None:
        # The opener's own: another one of the same size, or a number.
        key = self.r.choice([key for key in fields if key not in ("what", *SENT[what])] or ["what"])
        if key in form.NUMBERS:
            fields[key] = [str(self.r.choice([0, 1, 2, 2**31, 2**53 - 1, int(fields[key][0]) + 1]))]
        elif key == "label":
            fields[key] = [self.r.choice([one for one in vars(labels).values() if str(one).startswith("securesilo")])]
        elif key == "nonce":
            fields[key] = [b32(self.r.randbytes(32))]
        elif key in form.TEXTS | form.STRINGS | LISTS | TUPLES:
            return
        elif len(fields[key]) == 1:
            other = self._other(what, key)
            if other and len(other) == len(fields[key][0]) and self.r.random() < 0.5:
                fields[key] = [other]
            else:
                fields[key] = [form.spell(self._flipped(form.unspell(fields[key][0])))]

    def _change_list(self, values: list[str], others: list[list[str]]) -> None:
        at, other = self.r.randrange(len(values)), self.r.randrange(len(values))
        match self.r.randrange(4):
            case 0 if len(values) > 1:
                del values[at]
            case 1:
                values[at], values[other] = values[other], values[at]
            case 2:
                values.insert(other, values[at])
            case _:
                values.insert(at, self.r.choice(self.r.choice(others)))

    def _other(self, what: str, key: str) -> str | None:
        found = [one[key] for one in files()[what] if key in one]
        return self.r.choice(self.r.choice(found)) if found else None

    # --- bytes ---

    def _flipped(self, data: bytes) -> bytes:
        if not data:
            return data
        out = bytearray(data)
        for _ in range(self.r.choice([1, 1, 1, 4])):
            out[self.r.randrange(len(out))] ^= 1 << self.r.randrange(8)
        return bytes(out)

    def _bytes(self, data: bytes) -> bytes:
        r = self.r
        at, to = sorted((r.randrange(len(data) + 1), r.randrange(len(data) + 1)))
        near = min(len(data), at + r.choice([1, 1, 2, 4, 8, 16]))
        match r.randrange(10):
            case 0 | 1 | 2:
                return self._flipped(data)
            case 3:
                return data[:at] + data[near:]
            case 4:
                return data[:at] + r.randbytes(r.choice([1, 1, 2, 16])) + data[at:]
            case 5:
                return data[:at] + data[at:near] + data[at:]
            case 6:
                return data[:at]
            case 7:
                return data + r.choice([b"\0", b"\1", r.randbytes(16), data[:at]])
            case 8:
                return data[:at] + bytes(near - at) + data[near:]
            case _:
                return data[:at] + data[to:] + data[at:to]

    def _framed(self, data: bytes) -> bytes:
        """Frames dropped, repeated, swapped, cut, with another length; else bytes."""
        r = self.r
        start = r.choice([0, 32, 197])
        frames: list[bytes] = []
        at = start
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            frames.append(data[at : at + 4 + size])
            at += 4 + size
        if not frames or at != len(data) or r.random() < 0.4:
            return self._bytes(data)
        one, other = r.randrange(len(frames)), r.randrange(len(frames))
        match r.randrange(6):
            case 0:
                del frames[one]
            case 1:
                frames.insert(other, frames[one])
            case 2:
                frames[one], frames[other] = frames[other], frames[one]
            case 3:
                frames[one] = frames[one][: r.randrange(len(frames[one]))]
            case 4:
                length = r.choice([0, 16, 17, 271, 272, 273, 65_552, 65_553, 2**31, 2**32 - 1])
                frames[one] = length.to_bytes(4, "big") + frames[one][4:]
            case _:
                frames[one] = frames[one][:4] + self._flipped(frames[one][4:])
        return data[:start] + b"".join(frames)

    def _packed(self, data: bytes) -> bytes:
        """Fields of a pack changed, with lengths that fit again; a signature may stand behind."""
        r = self.r
        fields: list[bytes] = []
        at = 0
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if at + 4 + size > len(data):
                break
            fields.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        if not fields or r.random() < 0.3:
            return self._bytes(data)
        self._repack(fields)
        return b"".join(len(one).to_bytes(4, "big") + one for one in fields) + data[at:]

    def _repack(self, fields: list[bytes]) -> None:
        r = self.r
        one, other = r.randrange(len(fields)), r.randrange(len(fields))
        match r.randrange(8):
            case 0:
                del fields[one]
            case 1:
                fields.insert(other, fields[one])
            case 2:
                fields[one], fields[other] = fields[other], fields[one]
            case 3 if len(fields[one]) == 8:
                fields[one] = u64(r.choice([0, 1, 2**53 - 1, 2**53, 2**63, 2**64 - 1]))
            case 4:
                fields[one] = bytes(len(fields[one]))
            case 5:
                fields[one] = self._bytes(fields[one])
            case _:
                fields[one] = self._flipped(fields[one])

    # --- texts ---

    LETTERS = (
        *"aZ2_-=/+ \t",
        *("\0", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x7f", "\x85", "\xa0", "\xad", "\u0131", "\u200b", "\u2028"),
        *("\u2029", "\u202e", "\u212a", "\u3000", "\ud800", "\udfff", "\ufeff", "\ufffd", "\ufffe", "\U0001f426"),
        *("\U00013439", "\U0001bca0", "\U000e0001", "\U0010fffd", "é", "e\u0301", "ﬁ", "\u0378", "\u1c89"),
    )

    def _letter(self) -> str:
        if self.r.random() < 0.6:
            return self.r.choice(self.LETTERS)
        return chr(self.r.randrange(0x110000))

    def _text(self, text: str) -> str:
        r = self.r
        at = r.randrange(len(text) + 1)
        match r.randrange(6):
            case 0:
                return text[:at] + self._letter() + text[at:]
            case 1:
                return text[:at] + text[at + 1 :]
            case 2:
                return text[:at]
            case 3:
                return text[:at] + text[at : at + 1].swapcase() + text[at + 1 :]
            case 4:
                return text + r.choice(["=", "==", "a", "A", "\n", " ", text[:at]])
            case _:
                return text[:at] + self._letter() + text[at + 1 :]

    def _key_file(self, text: str) -> str:
        r = self.r
        lines = text.split("\n")
        one, other = r.randrange(len(lines)), r.randrange(len(lines))
        match r.randrange(8):
            case 0:
                del lines[one]
            case 1:
                lines.insert(other, lines[one])
            case 2:
                lines[one], lines[other] = lines[other], lines[one]
            case 3:
                lines[one] = lines[one].swapcase()
            case 4:
                lines[one] = r.choice([" ", "\t", "# ", "\r", "\x0b"]) + lines[one]
            case 5:
                return r.choice(["\r\n", "\r", "\n\n", "\u2028", "\x0c", "\x85"]).join(lines)
            case _:
                return self._text(text)
        return "\n".join(lines)

    # --- JSON ---

    def _json_bytes(self, data: bytes) -> bytes:
        r = self.r
        if r.random() < 0.3:
            return self._bytes(data)
        if r.random() < 0.5:
            text = self._written(self._value(3))
        else:
            try:
                text = data.decode()
            except UnicodeDecodeError:
                return self._bytes(data)
        for _ in range(r.choice([0, 1, 1, 2])):
            text = self._noise(text)
        return text.encode("utf-8", "surrogatepass")

    TOKENS = (
        *(
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"',
            "\\",
            "0",
            "-",
            "-0",
            "7.0",
            "7e0",
            "1E400",
            "-1e400",
            "1e-400",
            "01",
            "+1",
        ),
        *(
            ".5",
            "5.",
            "1.e1",
            "NaN",
            "Infinity",
            "-Infinity",
            "null",
            "true",
            "false",
            "nul",
            "True",
            "//",
            "/**/",
            "'",
        ),
        *(" ", "\t", "\n", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u2028", "\ufeff", "\0", "\x01", "\x1f", "\x7f"),
        *(
            "9007199254740991",
            "9007199254740992",
            "-9007199254740991",
            "-9007199254740992",
            "1" * 17,
            "1" * 18,
            "1" * 400,
        ),
        *("9007199254740993", "900719925474099.1e1", "0e0", "0.0", "1e5", "1E+5", "0x10", "1_000", "١"),
        *(r"\u0041", r"\ud83d\udc26", r"\ud83d", r"\udc26", r"\udc26\ud83d", r"\uD83Dx", r"\u12", r"\u 041", r"\u+041"),
        *(r"\x41", r"\n", r"\/", r"\b", r"\0", r"\U0041", "\ud800", "\U0001f426", '"at":1', '"__proto__":1', '"at":1,'),
        *("[" * 62, "[" * 66, '{"a":' * 63, "[" * 3000, "[[]]", "{}", '""'),
    )

    def _noise(self, text: str) -> str:
        at = self.r.randrange(len(text) + 1)
        cut = self.r.choice([0, 0, 1, 2])
        token = self.r.choice(self.TOKENS)
        if self.r.random() < 0.1:
            return token + text
        if self.r.random() < 0.05:
            deep = self.r.choice([5, 61, 62, 63, 64, 65, 66, 400, 2000])
            return "[" * deep + text + "]" * deep
        return text[:at] + token + text[at + cut :]

    def _value(self, depth: int) -> Any:
        r = self.r
        kind = r.randrange(9 if depth else 6)
        if kind == 0:
            return r.choice([None, True, False])
        if kind in (1, 2):
            return r.choice([0, 1, -1, 7, 2**31, 2**53 - 1, -(2**53) + 1, r.randrange(2**53)])
        if kind == 3:
            return r.choice([0.5, 1e5, 1.5e300, -2.25, 1e-7])
        if kind in (4, 5):
            return "".join(chr(r.randrange(32, 0x300)) for _ in range(r.randrange(4)))
        if kind == 6:
            return [self._value(depth - 1) for _ in range(r.randrange(4))]
        keys = [r.choice(["a", "b", "at", "hash", "", "é", "__proto__", "constructor"]) for _ in range(r.randrange(4))]
        return {key: self._value(depth - 1) for key in keys}

    def _written(self, value: Any) -> str:
        return json.dumps(
            value, ensure_ascii=self.r.random() < 0.5, separators=self.r.choice([(",", ":"), (", ", " : ")])
        )

    def _json_text(self, text: str) -> str:
        """A message's JSON, changed as a value or as a text; a line feed cannot stand in a file, so it is left out."""
        r = self.r
        out = text
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or not value or r.random() < 0.25:
            out = self._noise(text) if r.random() < 0.5 else self._text(text)
        else:
            inner = next((key for key in ("document", "statement", "manifest") if key in value), None)
            within = None
            if inner and isinstance(value[inner], str) and value[inner].startswith("{") and r.random() < 0.75:
                within = self._json_text(value[inner])
            if inner and within is not None:
                value[inner] = within
                if r.random() < 0.7:
                    self._sign_again(value, inner)
            else:
                self._edit(value)
            out = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
            if r.random() < 0.1 and out.startswith("{"):
                # A key that stands twice, which json cannot write.
                out = out[:-1] + "," + out[1:]
        clean = out.replace("\n", "\t").replace("\r", "\t").encode("utf-8", "replace").decode().strip(" ")
        return clean or "x"

    def _sign_again(self, value: dict[str, Any], inner: str) -> None:
        said = value[inner].encode("utf-8", "replace")
        if "signature" in value:
            admins = [lies.ADMIN, lies.OTHER_ADMIN]
            by = next((one for one in admins if b32(one.public.fingerprint) == value.get("signer")), None)
            label = labels.KEYRING if inner == "document" else labels.KEYS
            signer = by.signer if by else lies.IDENTITY
            value["signature"] = b64(signer.sign(label, said))
        elif "mac" in value:
            value["mac"] = b32(AccountKey(lies.ACCOUNT_SEED).mac(labels.LOCK_MANIFEST, said))

    def _edit(self, value: Any) -> None:
        """Change one place somewhere in an object or a list."""
        r = self.r
        places: list[tuple[Any, Any]] = []

        def walk(one: Any) -> None:
            items = one.items() if isinstance(one, dict) else enumerate(one)
            for key, inside in list(items):
                places.append((one, key))
                if isinstance(inside, dict | list):
                    walk(inside)

        walk(value)
        if not places:
            return
        holder, key = r.choice(places)
        other_holder, other_key = r.choice(places)
        old = holder[key]
        choice = r.randrange(9)
        if choice == 0:
            del holder[key]
        elif choice == 1 and isinstance(holder, list):
            holder.insert(r.randrange(len(holder) + 1), deepcopy(old))
        elif choice == 2 and isinstance(holder, dict):
            holder[r.choice(["more", "", "id", "__proto__", key + " "])] = deepcopy(old)
        elif choice == 3:
            holder[key] = self._value(1)
        elif choice == 4 and not isinstance(other_holder[other_key], dict | list):
            holder[key] = other_holder[other_key]
        elif isinstance(old, bool):
            holder[key] = not old
        elif isinstance(old, int):
            holder[key] = r.choice([old + 1, old - 1, 0, -1, 2**53, 2**53 - 1, float(old), old + 0.5, str(old), None])
        elif isinstance(old, str):
            holder[key] = self._spelled(old)
        else:
            holder[key] = self._value(1)

    def _spelled(self, text: str) -> str:
        r = self.r
        if r.random() < 0.5:
            try:
                data = unb32(text, len(text) * 5 // 8)
                return b32(self._flipped(data))
            except ValueError:
                pass
            try:
                data = unb64(text) if len(text) > 60 else b""
                return b64(r.choice([self._flipped, self._bytes, self._packed])(data)) if data else self._text(text)
            except ValueError:
                pass
        words = ["", "current", "draining", "retired", "admin", "backup", "auditor", "off", "admins", "all", " a", "a "]
        words += ["x" * 64, "x" * 65, "\U0001f426" * 64, "\U0001f426" * 33, *("a" + self._letter() for _ in range(8))]
        return r.choice([*words, self._text(text)])


# --- made anew by who holds the key ---


def _frames(r: random.Random, key: bytes, context: bytes, plains: list[bytes]) -> bytes:
    """Sealed as a sender would; now and then a frame is marked last too early, or never."""
    out: list[bytes] = []
    counter = 0
    for at, plain in enumerate(plains):
        last = at == len(plains) - 1
        if r.random() < 0.04:
            last = not last
        sealed = AESGCM(key).encrypt(counter.to_bytes(11, "big") + bytes([last]), plain, context)
        out.append(len(sealed).to_bytes(4, "big") + sealed)
        counter += 1 if r.random() > 0.02 else 2
    return b"".join(out)


def _reply_plain(m: Mutator, payload: bytes) -> bytes:
    r = m.r
    size = -(-(4 + len(payload)) // 256) * 256 + r.choice([0, 0, 0, 256, 1])
    length = (
        len(payload) if r.random() < 0.93 else r.choice([0, len(payload) + 1, size - 4, size - 3, 2**31, 2**32 - 1])
    )
    plain = bytearray((length.to_bytes(4, "big") + payload).ljust(size, b"\0"))
    if r.random() < 0.04:
        plain[-1] ^= 1
    return bytes(plain)


def _payloads(r: random.Random, data: bytes) -> list[bytes]:
    out: list[bytes] = []
    while data:
        size = r.choice([1, 3, 4, 5, 40, 252, 253, 600])
        out.append(data[:size])
        data = data[size:]
        if r.random() < 0.2:
            out.append(b"")
    return out or [b""]


def _make_reply_frames(m: Mutator, fields: Fields) -> None:
    payloads = _payloads(m.r, m.r.randbytes(m.r.choice([0, 5, 300, 900])))
    key, context = (form.unspell(fields[one][0]) for one in ("key", "context"))
    fields["stream"] = [form.spell(_frames(m.r, key, context, [_reply_plain(m, one) for one in payloads]))]


def _whole(m: Mutator, content: bytes, key: bytes, context: bytes) -> bytes:
    r = m.r
    size = len(content) if r.random() < 0.9 else r.choice([0, len(content) + 1, 2**32, 2**53, 2**63, 2**64 - 1])
    plain = bytearray(u64(size) + content)
    plain += bytes(max(0, padme(len(plain)) - len(plain) + (r.choice([1, 255, 256, -1]) if r.random() < 0.1 else 0)))
    if r.random() < 0.05:
        plain[-1] ^= 1
    cut = 65_536 if r.random() < 0.95 else r.choice([1, 100, 256])
    cuts = [bytes(plain[at : at + cut]) for at in range(0, min(len(plain), cut * 12), cut)]
    if r.random() < 0.03:
        cuts.append(b"")
    return _frames(r, key, context, cuts)


def _make_whole(m: Mutator, fields: Fields) -> None:
    content = m.r.randbytes(m.r.choice([0, 1, 247, 248, 249, 700, 2000]))
    key, context = (form.unspell(fields[one][0]) for one in ("key", "context"))
    fields["stream"] = [form.spell(_whole(m, content, key, context))]


def _make_reply(m: Mutator, fields: Fields) -> None:
    r = m.r
    kinds = [1, *([2] * r.randrange(5)), 3]
    if r.random() < 0.3:
        kinds.insert(r.randrange(len(kinds) + 1), r.choice([0, 1, 2, 3, 4, 255]))
    if r.random() < 0.2:
        del kinds[r.randrange(len(kinds))]
    parts = b""
    for kind in kinds:
        data = r.randbytes(r.choice([0, 1, 20, 300]))
        size = len(data) if r.random() < 0.97 else r.choice([0, len(data) + 1, 2**24 - 1])
        parts += bytes([kind]) + size.to_bytes(3, "big") + data
    secret, transcript = (form.unspell(fields[one][0]) for one in ("secret", "transcript"))
    salt = r.randbytes(32)
    key = derive(secret, labels.DOOR_REPLY, salt=transcript + salt)
    plains = [_reply_plain(m, one) for one in _payloads(r, parts)]
    fields["bytes"] = [form.spell(salt + _frames(r, key, transcript, plains))]


def _make_core(m: Mutator, fields: Fields) -> None:
    r = m.r
    key = form.unspell(fields["record-key"][0])
    if len(key) != 32:
        return
    spelled = b"securesilo/1 record\n" + r.randbytes(32) + u64(r.choice([0, 1, 7, 2**53, 2**64 - 1])) + r.randbytes(80)
    spelled += bytes([r.choice([0, 1, 2, 255])]) + r.randbytes(16) + u64(r.choice([0, 5, 2**53 - 1, 2**53, 2**64 - 1]))
    header = spelled + commitment(key, spelled)
    head = head_hash(header)
    fields["core"] = [form.spell(header + _whole(m, r.randbytes(r.choice([0, 30, 600])), frame_key(key, head), head))]


def _make_bag(m: Mutator, fields: Fields) -> None:
    r = m.r
    entries = sorted(r.randrange(1, 12) for _ in range(r.randrange(5)))
    if r.random() < 0.2:
        entries.append(r.choice([0, 2**53, 2**63, 2**64 - 1]))
    content = b"".join(u64(one) + r.randbytes(32) for one in entries) + (b"\0" if r.random() < 0.05 else b"")
    size = len(content) if r.random() < 0.9 else r.choice([0, 40, len(content) + 40, 2**53, 2**64 - 1])
    padded = bytearray(u64(size) + content)
    padded += bytes(max(0, padme(len(padded)) - len(padded)) + (1 if r.random() < 0.05 else 0))
    if r.random() < 0.05:
        padded[-1] ^= 1
    place = [form.unspell(fields[one][0]) for one in ("silo", "user", "thread")]
    place += [u64(int(fields[one][0])) for one in ("version", "at")] + [form.unspell(fields["entry-hash"][0])]
    to: Recipient = recipient_of(form.unspell(fields["seed"][0]))
    fields["sealed"] = [form.spell(to.seal(bytes(padded), labels.KEY_BAG, *place))]


def _make_wrap(m: Mutator, fields: Fields) -> None:
    to, core = recipient_of(form.unspell(fields["seed"][0])), form.unspell(fields["core-hash"][0])
    key = m.r.randbytes(m.r.choice([32, 32, 32, 0, 31, 33]))
    fields["sealed"] = [form.spell(to.seal(key, labels.RECORD_WRAP, core, to.fingerprint))]


def _signed(label: str, statement: str, signature: str, public: str) -> Callable[[Mutator, Fields], None]:
    def make(m: Mutator, fields: Fields) -> None:
        said = m._packed(form.unspell(fields[statement][0]))
        signer = signers().get(form.unspell(fields[public][0])) or lies.IDENTITY
        fields[statement] = [form.spell(said)]
        fields[signature] = [form.spell(signer.sign(label, said))]

    return make


def _make_enrolment(m: Mutator, fields: Fields) -> None:
    said = m._packed(form.unspell(fields["statement"][0]))
    fields["statement"] = [form.spell(said)]
    fields["signature"] = [form.spell(lies.DEVICE_KEY.sign(labels.ENROLMENT, said))]


def _make_vouch(m: Mutator, fields: Fields) -> None:
    _make_enrolment(m, fields)
    said, signature, account = (form.unspell(fields[one][0]) for one in ("statement", "signature", "account"))
    revoked = u64(int(fields["revoked"][0])) if "revoked" in fields else b""
    # As the file says, or with another revocation than stands beside it.
    revoked = m.r.choice([revoked, revoked, b"", bytes(7), u64(m.r.choice([0, 5, 2**53]))])
    signer = signers().get(form.unspell(fields["sign"][0])) or lies.IDENTITY
    fields["vouch"] = [form.spell(signer.sign(labels.ENROLMENT_VOUCH, said, signature, account, revoked))]


def _receipt(label: str) -> Callable[[Mutator, Fields], None]:
    def make(m: Mutator, fields: Fields) -> None:
        said = form.unspell(fields["receipt"][0])[:-64]
        said = m._packed(said) if said else pack(label)
        signer = signers().get(form.unspell(fields["identity"][0])) or lies.IDENTITY
        fields["receipt"] = [form.spell(said + signer.sign(label, said))]

    return make


def _make_entry(m: Mutator, fields: Fields) -> None:
    at = m.r.randrange(len(fields["signed-entry"]))
    try:
        value = json.loads(fields["signed-entry"][at])
        said = m._packed(unb64(value["statement"]))
    except (ValueError, KeyError, TypeError):
        return
    admins = [lies.ADMIN, lies.OTHER_ADMIN]
    by = next((one for one in admins if b32(one.public.fingerprint) == value.get("signer")), lies.ADMIN)
    value |= {"statement": b64(said), "signature": b64(by.signer.sign(labels.DIRECTORY_ENTRY, said))}
    fields["signed-entry"][at] = json.dumps(value, separators=(",", ":"))


def _make_signature(m: Mutator, fields: Fields) -> None:
    signer = m.r.choice(list(signers().values()))
    signed = [form.unspell(one) for one in fields.get("field", [])]
    fields["public"] = [form.spell(signer.public)]
    signature = signer.sign(fields["label"][0], *signed)
    if m.r.random() < 0.5:
        # S + L, S with high bits: what a lax reader takes for the same.
        order = 2**252 + 27742317777372353535851937790883648493
        scalar = int.from_bytes(signature[32:], "little") + m.r.choice([order, 2 * order, 8 * order])
        signature = signature[:32] + (scalar % 2**256).to_bytes(32, "little")
    fields["signature"] = [form.spell(signature)]


MAKING: dict[str, Callable[[Mutator, Fields], None]] = {
    "frames-reply": _make_reply_frames,
    "frames-whole": _make_whole,
    "reply": _make_reply,
    "core": _make_core,
    "bag": _make_bag,
    "wrap": _make_wrap,
    "signature": _make_signature,
    "enrolment": _make_enrolment,
    "vouch": _make_vouch,
    "receipt": _receipt(labels.RECEIPT),
    "deletion": _receipt(labels.DELETION),
    "tombstone": _signed(labels.TOMBSTONE, "statement", "signature", "device-public"),
    "directory": _make_entry,
}
