"""Key files: a secret as text that can be printed, kept and read back (SPEC 8.6).

# what it is, for whom
public  <fingerprint in base32>
secret  SILO-ADMIN-KEY-1…                    Bech32, with its checksum
locked  <base64url>                          instead, under a passphrase
"""

import re
import secrets

from bech32 import bech32_decode, bech32_encode, convertbits
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.pwhash import argon2id

from silo.crypto import labels
from silo.crypto.encoding import b32, b64, unb64
from silo.crypto.keys import SEED_SIZE, AdminKey
from silo.crypto.labels import pack, unpack
from silo.crypto.locks import stretch_text
from silo.errors import SiloError

HUMAN_PART = "silo-admin-key-"
_NONCE = bytes(12)


def lock_bytes(secret: bytes, passphrase: str, label: str) -> bytes:
    """`secret` under a passphrase: Argon2id, then AES-256-GCM under a key that is used this once.

    Raises SiloError `bad_password` as `stretch_text`.
    """
    salt = secrets.token_bytes(argon2id.SALTBYTES)
    context = pack(label, salt)
    return pack(label, salt, AESGCM(stretch_text(passphrase, salt)).encrypt(_NONCE, secret, context))


def unlock_bytes(locked: bytes, passphrase: str | None, label: str) -> bytes:
    """What `lock_bytes` was given. Raises SiloError `wrong_passphrase` (also for none at all), `bad_password` as
    `stretch_text`; ValueError for what `lock_bytes` did not make."""
    salt, sealed = unpack(label, locked, 2)
    if len(salt) != argon2id.SALTBYTES:
        raise ValueError("a salt has 16 bytes")
    if passphrase is None:
        raise SiloError("wrong_passphrase")
    try:
        return AESGCM(stretch_text(passphrase, salt)).decrypt(_NONCE, sealed, pack(label, salt))
    except InvalidTag:
        raise SiloError("wrong_passphrase") from None


def write_admin_key(key: AdminKey, comment: str, passphrase: str | None = None) -> str:
    """The text of an admin key's file; `comment` is one line. Raises as `lock_bytes`: an empty passphrase is no
    way to write a file without one."""
    lines = [
        f"# {' '.join(comment.split())}",
        "# Whoever has this file can open everything in the silo. Keep it offline.",
    ]
    lines.append(f"public  {b32(key.public.fingerprint)}")
    if passphrase is not None:
        lines.append(f"locked  {b64(lock_bytes(key.seed, passphrase, labels.KEY_FILE))}")
    else:
        bits = convertbits(key.seed, 8, 5)
        lines.append(f"secret  {bech32_encode(HUMAN_PART, bits or []).upper()}")
    return "\n".join(lines) + "\n"


def _lines(text: str) -> list[list[str]]:
    # Python's own ways of splitting know twenty kinds of white space; another language's know others.
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if not line.startswith("#")]
    return [words for line in lines if (words := re.findall(r"[^ \t]+", line))]


def is_locked(text: str) -> bool:
    """Whether the file wants a passphrase."""
    return any(words[0] == "locked" for words in _lines(text))


def read_admin_key(text: str, passphrase: str | None = None) -> AdminKey:
    """The key in a file's text. Raises SiloError `bad_key_file` for a misspelled, incomplete or foreign file,
    `wrong_passphrase`, `bad_password`."""
    lines = _lines(text)
    fields = {words[0]: words[1] for words in lines if len(words) == 2}
    if len(fields) != len(lines) or set(fields) not in ({"public", "secret"}, {"public", "locked"}):
        raise SiloError("bad_key_file", "it has one public line and one secret line")
    try:
        if "secret" in fields:
            seed = _from_bech32(fields["secret"])
        else:
            seed = unlock_bytes(unb64(fields["locked"]), passphrase, labels.KEY_FILE)
        key = AdminKey(seed)
    except ValueError as error:
        raise SiloError("bad_key_file", str(error)) from None
    if b32(key.public.fingerprint) != fields["public"]:
        raise SiloError("bad_key_file", "its public line is another key's")
    return key


def _from_bech32(text: str) -> bytes:
    human, words = bech32_decode(text)
    data = convertbits(words, 5, 8, False) if words is not None else None
    if human != HUMAN_PART or data is None or len(data) != SEED_SIZE:
        raise ValueError("its secret line is misspelled")
    return bytes(data)
