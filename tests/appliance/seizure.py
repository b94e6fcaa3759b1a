"""What somebody does who has taken the box: gather all it has, search it for words, try all it has as a key."""

import base64
import binascii
import json
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from silo.crypto import labels
from silo.crypto.encoding import hash_bytes, unb64
from silo.crypto.frames import WholeOpener
from silo.crypto.keyring import SignedKeyring, verify_keyring
from silo.crypto.keys import AdminKey, derive, fingerprint, setup_bearer
from silo.crypto.locks import Lock
from silo.crypto.opening import Envelope, Opener, core_hash, open_core, open_epochs
from silo.crypto.sealing import HEADER_SIZE, head_hash
from silo.errors import SiloError
from tests import postgres

Material = dict[str, bytes]
"""Where it was found -> the bytes."""

# --- gathering ---


def gather(root: Path, pid: int | None = None, since: float | None = None) -> Material:
    """All files under `root`; of the process `pid` and of its children arguments, environment and open files, the
    deleted ones too; what this user's programs left in the system's temporary folders after `since` (seconds)."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in _files(root)}
    if pid is not None:
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            found |= of_process(one)
    if since is not None:
        for path in _left_behind(since):
            with suppress(OSError):
                found[str(path)] = path.read_bytes()
    return found


def of_process(process: psutil.Process) -> Material:
    """Arguments, environment and open regular files of one process."""
    name = f"process {process.pid}"
    found = {
        f"{name} arguments": "\0".join(process.cmdline()).encode(),
        f"{name} environment": "\0".join(f"{key}={value}" for key, value in process.environ().items()).encode(),
    }
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        with suppress(OSError):
            # What is installed is public: the model, the libraries.
            if stat.S_ISREG(link.stat().st_mode) and not os.readlink(link).endswith((".gguf", ".so")):
                found[f"{name} file {link.name}"] = link.read_bytes()
    return found


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _left_behind(since: float) -> Iterator[Path]:
    for folder in {Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")}:
        for path in _entries(folder):
            # Not pytest's own: there lie the other tests' silos, and this one's, which is gathered as it is.
            inner = _entries(path) if not path.name.startswith("pytest-") else []
            for one in (path, *inner):
                with suppress(OSError):
                    seen = one.lstat()
                    mine = seen.st_uid == os.geteuid() and seen.st_mtime >= since
                    if mine and stat.S_ISREG(seen.st_mode) and seen.st_size < 2**26:
                        yield one


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


# --- searching ---


def spellings(word: str) -> dict[str, set[bytes]]:
    """The ways in which a text may lie somewhere: name -> its bytes, any of which."""
    raw = word.encode()
    escaped = json.dumps(word)[1:-1]
    upper = re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda match: match[0].upper(), escaped)
    return {
        "utf-8": {raw},
        "utf-16": {word.encode("utf-16-le"), word.encode("utf-16-be")},
        "json": {escaped.encode(), upper.encode()},
        "base64": _based(raw, 3, 4, base64.b64encode) | _based(raw, 3, 4, base64.urlsafe_b64encode),
        "base32": _based(raw, 5, 8, base64.b32encode, lower=True),
        "hex": {binascii.hexlify(raw), binascii.hexlify(raw).upper()},
    }


def _based(raw: bytes, group: int, letters: int, encode: Callable[[bytes], bytes], lower: bool = False) -> set[bytes]:
    """The letters that stand for `raw` alone, wherever in a longer text it begins."""
    found: set[bytes] = set()
    for offset in range(group):
        text = encode(bytes(offset) + raw)
        before = -(-offset * 8 // (5 if letters == 8 else 6))
        whole = (offset + len(raw)) * 8 // (5 if letters == 8 else 6)
        found.add(text[before:whole])
        if lower:
            found.add(text[before:whole].lower())
    return found


def expanded(data: bytes) -> Iterator[bytes]:
    """What lies compressed in `data`, wherever it begins."""
    for match in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data):
        with suppress(zlib.error):
            if inner := zlib.decompressobj(47).decompress(data[match.start() :], 2**24):
                yield inner


def search(material: Material, words: Iterable[str]) -> set[tuple[str, str, str]]:
    """(where, word, how) for every word that is found, however it is spelled or packed."""
    patterns = [(word, how, one) for word in words for how, ones in spellings(word).items() for one in ones]
    found: set[tuple[str, str, str]] = set()
    for where, data in material.items():
        for packed, text in [("", data), *(("packed ", inner) for inner in expanded(data))]:
            found |= {(where, word, packed + how) for word, how, one in patterns if one in text}
    return found


# --- trying keys ---

SEALED, PUBLIC = 1168, 1216
"""Bytes of a wrap, and of a public key."""


def candidates(material: Material, database: str) -> set[bytes]:
    """Every 32 bytes that could be a key: in every spelling that the box uses, and all that lie side by side in its
    small files and in the fields of its database (a URL) that are not sealed or public keys."""
    texts = list(material.values())
    small = [data for data in texts if len(data) < 2**10]
    names = postgres.tables(database)
    with postgres.behind(database) as opened:
        for name in names:
            for row in opened.execute(f'SELECT * FROM "{name}"'):
                fields = [value.encode() if isinstance(value, str) else value for value in row]
                texts += [data for data in fields if isinstance(data, bytes)]
                small += [data for data in fields if isinstance(data, bytes) and _is_plain(data)]
    found = written(texts)
    for data in small:
        found |= {data[at : at + 32] for at in range(len(data) - 31)}
    return found


def written(texts: Iterable[bytes]) -> set[bytes]:
    """Every 32 bytes that stand there as text: in base32, base64 or hexadecimal digits."""
    found: set[bytes] = set()
    for text in texts:
        for match in re.finditer(rb"[a-z2-7]{52}(?![a-z2-7])", text):
            with suppress(ValueError):
                found.add(hash_bytes(match[0].decode()))
        for match in re.finditer(rb"(?<![\w-])[\w-]{43}(?![\w-])", text, re.ASCII):
            with suppress(ValueError):
                found.add(unb64(match[0].decode()))
        found |= {bytes.fromhex(match[0].decode()) for match in re.finditer(rb"[0-9a-fA-F]{64}", text)}
    return found


def _is_plain(data: bytes) -> bool:
    return len(data) < 2**11 and len(data) not in (SEALED, PUBLIC)


@dataclass
class Loot:
    """What a thief wants to open."""

    records: list[Envelope]
    keyring: SignedKeyring
    lock: Lock
    silo: bytes
    genesis: bytes

    def __post_init__(self) -> None:
        self.verified = verify_keyring(self.keyring, self.silo, self.genesis)
        self.heads = [head_hash(record.core[:HEADER_SIZE]) for record in self.records]

    def opened_with(self, key: bytes) -> str:
        """What 32 bytes open, in whatever role; empty where they open nothing."""
        opener = Opener(key)
        for record in self.records:
            with suppress(SiloError, KeyError):
                open_core(record.core, opener.open_wrap(record.wraps[opener.fingerprint], core_hash(record.core)))
                return "account key or vault epoch"
            with suppress(SiloError):
                open_core(record.core, key)
                return "record key"
        for record, head in zip(self.records, self.heads, strict=True):
            with suppress(SiloError):
                frames = WholeOpener(key, head, len(record.core))
                frames.push(record.core[HEADER_SIZE:])
                frames.finish()
                return "frame key"
        with suppress(SiloError):
            open_epochs(AdminKey(key), self.verified)
            return "admin key"
        return "password lock" if opener.fingerprint == fingerprint(unb64(self.lock.public)) else ""

    def forced_with(self, key: bytes) -> bool:
        """Whether the key opens any wrap at all, whoever it is for: the slow way, without a look at fingerprints."""
        opener = Opener(key)
        for record in self.records:
            for sealed in record.wraps.values():
                with suppress(SiloError):
                    opener.open_wrap(sealed, core_hash(record.core))
                    return True
        return False


def derived(keys: Iterable[bytes]) -> set[bytes]:
    """What the protocol would derive from each, under every one of its labels."""
    names = [value for name, value in vars(labels).items() if name.isupper() and isinstance(value, str)]
    return {derive(key, label) for key in keys for label in names} | {setup_bearer(key) for key in keys}
