"""Keys: who signs, who is sealed to, and the fingerprints that name them (SPEC 2.5, 6).

Signer and Verifier are Ed25519; Opener and Recipient are X-Wing. An Opener here only derives and
names: opening stands in `opening` (records) and `channel` (the door), each under its own label.
"""

import hmac
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import BadSignatureError
from nacl.exceptions import ValueError as NaClValueError
from nacl.signing import SigningKey, VerifyKey

from silo.crypto import _hpke, labels
from silo.crypto.encoding import b32, u64
from silo.crypto.labels import digest, pack, unpack
from silo.errors import SiloError

SEED_SIZE = 32
SIGN_SIZE = 32
SEAL_SIZE = _hpke.PUBLIC_SIZE
SIGNATURE_SIZE = 64


def derive(secret: bytes, label: str, *fields: bytes, salt: bytes = b"") -> bytes:
    """32 bytes by HKDF-SHA256: `info` is label and fields packed (RFC 5869; SPEC 2.4)."""
    return HKDF(hashes.SHA256(), 32, salt or None, pack(label, *fields)).derive(secret)


def fingerprint(public: bytes) -> bytes:
    """32 bytes that name one public key, Ed25519 or X-Wing (SPEC 2.5)."""
    return digest(labels.FINGERPRINT, public)


def same(one: bytes, other: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)


def spoken(mark: bytes) -> str:
    """A fingerprint as people compare it: base32 in groups of four."""
    text = b32(mark)
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


class Signer:
    """An Ed25519 private key: it signs and opens nothing. Its repr shows the fingerprint."""

    def __init__(self, seed: bytes | None = None) -> None:
        """From its 32-byte seed, or a fresh one. Raises ValueError for another size."""
        if seed is not None and len(seed) != SEED_SIZE:
            raise ValueError("an Ed25519 seed has 32 bytes")
        self._key = SigningKey(seed) if seed is not None else SigningKey.generate()
        self.public = bytes(self._key.verify_key)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for whoever keeps the key."""
        return bytes(self._key)

    def sign(self, label: str, *fields: bytes) -> bytes:
        """64 bytes over label and fields packed (SPEC 2.5)."""
        return self._key.sign(pack(label, *fields)).signature

    def __repr__(self) -> str:
        return f"<Signer {b32(fingerprint(self.public))[:13]}>"


def verify(public: bytes, signature: bytes, label: str, *fields: bytes) -> None:
    """Raises SiloError `forged` unless `public` signed label and fields.

    The rules are libsodium's (SPEC 2.4): cofactorless; a small-order key or R, a key spelled in a second way and a
    scalar that is not below the group's order are refused.
    """
    try:
        VerifyKey(public).verify(pack(label, *fields), signature)
    except (BadSignatureError, NaClValueError, ValueError, TypeError):
        raise SiloError("forged") from None


class Recipient:
    """An X-Wing public key (1,216 bytes): it can be sealed to."""

    def __init__(self, public: bytes) -> None:
        """Raises ValueError for a public key that nothing can be sealed to."""
        _hpke.check_public(public)
        self.public = public
        self.fingerprint = fingerprint(public)

    def seal(self, plaintext: bytes, label: str, *fields: bytes) -> bytes:
        """HPKE seal: enc (1,120 bytes), ciphertext (plaintext + 16). Raises ValueError."""
        return _hpke.seal(self.public, plaintext, pack(label, *fields))

    def __repr__(self) -> str:
        return f"<Recipient {b32(self.fingerprint)[:13]}>"


def recipient_of(seed: bytes) -> Recipient:
    """The public half of an X-Wing seed. Raises ValueError for another size."""
    return Recipient(_hpke.PrivateKey(seed).public)


@dataclass(frozen=True)
class AdminPublic:
    """The public halves of an admin key."""

    sign: bytes
    seal: bytes

    @property
    def fingerprint(self) -> bytes:
        """32 bytes over both halves. Of the key that signed keyring version 1 it is the genesis pin."""
        return digest(labels.ADMIN, self.sign, self.seal)


class AdminKey:
    """An admin key from its one 32-byte seed: signs keyrings, holds vault epochs (SPEC 8.1).

    It belongs on its holder's own device and nowhere else. Its repr shows the fingerprint.
    """

    def __init__(self, seed: bytes | None = None) -> None:
        """From its seed, or a fresh one. Raises ValueError for another size."""
        self.seed = secrets.token_bytes(SEED_SIZE) if seed is None else seed
        if len(self.seed) != SEED_SIZE:
            raise ValueError("an admin key's seed has 32 bytes")
        self.signer = Signer(derive(self.seed, labels.ADMIN_SIGN))
        self.seal_seed = derive(self.seed, labels.ADMIN_SEAL)
        self.public = AdminPublic(self.signer.public, recipient_of(self.seal_seed).public)

    def __repr__(self) -> str:
        return f"<AdminKey {b32(self.public.fingerprint)[:13]}>"


@dataclass(frozen=True)
class Enrolment:
    """What a device says of itself once, signed by itself (SPEC 6.1). All fields are raw bytes."""

    silo: bytes
    user: bytes
    device: bytes
    sign: bytes
    """Ed25519 public key, 32 bytes."""
    seal: bytes
    """X-Wing public key, 1,216 bytes."""
    time: int
    """Milliseconds since 1970."""
    revoked: int | None = None
    """When it was revoked. Not the device's own word, and in no statement: the account's vouch says it (SPEC 6.2)."""

    def statement(self) -> bytes:
        """The bytes that are signed and kept."""
        return pack(labels.ENROLMENT, self.silo, self.user, self.device, self.sign, self.seal, u64(self.time))

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name the device's pair of keys."""
        return digest(labels.DEVICE, self.sign, self.seal)


def read_enrolment(statement: bytes, signature: bytes) -> Enrolment:
    """The enrolment that `statement` spells. Raises SiloError `forged` unless its own key signed it
    and everything in it has its size."""
    try:
        fields = unpack(labels.ENROLMENT, statement, 6)
        if [len(field) for field in fields] != [16, 16, 16, SIGN_SIZE, SEAL_SIZE, 8]:
            raise ValueError
        Recipient(fields[4])
    except ValueError:
        raise SiloError("forged") from None
    silo, user, device, sign, seal, time = fields
    enrolment = Enrolment(silo, user, device, sign, seal, int.from_bytes(time, "big"))
    verify(enrolment.sign, signature, labels.ENROLMENT, statement)
    return enrolment


class AccountKey:
    """A user's account key from its one 32-byte seed, and what is derived from it (SPEC 9.1).

    The seed is an X-Wing private key: records are sealed to its public half. Its MACs convince who has the seed, its
    signatures everybody else. It belongs on its user's devices and nowhere else. Its repr shows the fingerprint.
    """

    def __init__(self, seed: bytes | None = None) -> None:
        """From its seed, or a fresh one. Raises ValueError for another size."""
        self.seed = secrets.token_bytes(SEED_SIZE) if seed is None else seed
        self.recipient = recipient_of(self.seed)
        self.fingerprint = self.recipient.fingerprint
        """32 bytes, of the X-Wing key alone: they name the account key everywhere."""
        self.signer = Signer(derive(self.seed, labels.ACCOUNT_SIGN))
        self.mac_key = derive(self.seed, labels.ACCOUNT_MAC_KEY)

    def mac(self, label: str, *fields: bytes) -> bytes:
        """32 bytes by HMAC-SHA256 over label and fields packed."""
        return mac(self.mac_key, label, *fields)

    def vouch(self, statement: bytes, signature: bytes, revoked: int | None = None) -> bytes:
        """64 bytes: the account's word that this enrolment is a device of its own, or was one until `revoked`, in
        milliseconds since 1970 (SPEC 6.2).

        `statement` and `signature` are the enrolment's; nothing of them is checked here.
        """
        return self.signer.sign(labels.ENROLMENT_VOUCH, statement, signature, self.fingerprint, _or_nothing(revoked))

    def __repr__(self) -> str:
        return f"<AccountKey {b32(self.fingerprint)[:13]}>"


def mac(key: bytes, label: str, *fields: bytes) -> bytes:
    """HMAC-SHA256 over label and fields packed: 32 bytes."""
    return hmac.digest(key, pack(label, *fields), "sha256")


def check_vouch(
    sign: bytes, account: bytes, vouch: bytes, statement: bytes, signature: bytes, revoked: int | None = None
) -> None:
    """Raises SiloError `forged` unless the account vouched for exactly this enrolment and revocation (SPEC 6.2).

    `sign` is the account's signing key, `account` the account key's fingerprint, `revoked` what stands beside the vouch
    (None: live). The enrolment itself is read by `read_enrolment`.
    """
    verify(sign, vouch, labels.ENROLMENT_VOUCH, statement, signature, account, _or_nothing(revoked))


def _or_nothing(time: int | None) -> bytes:
    return b"" if time is None else u64(time)


def setup_bearer(secret: bytes) -> bytes:
    """What a setup link's 32-byte secret sends: the secret itself stays in the link (SPEC 8.5)."""
    return derive(secret, labels.SETUP_BEARER)


def setup_hash(bearer: bytes) -> bytes:
    """What the silo keeps of a setup link."""
    return digest(labels.SETUP_HASH, bearer)
