"""The keyring: one signed JSON document a version, which says who may read what (SPEC 8).

Verified by everybody; made and signed on the administrator's own device.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import msgspec

from silo.crypto import _hpke, labels
from silo.crypto.channel import Seen
from silo.crypto.encoding import (
    Blob,
    Count,
    Hash,
    Id,
    Millis,
    b32,
    b64,
    hash_bytes,
    is_name,
    read_json,
    u64,
    unb64,
    write_json,
)
from silo.crypto.keys import AdminKey, AdminPublic, Recipient, recipient_of, verify
from silo.crypto.labels import digest
from silo.errors import SiloError

FORMAT = "securesilo/1 keyring"


class Holder(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Someone who holds a key."""

    name: str
    role: Literal["admin", "backup", "auditor"]
    sign: Hash | None
    """Ed25519 public key; null for who never signs."""
    seal: Blob
    """X-Wing public key."""
    successor: bool
    since: Millis
    revoked: Millis | None

    @property
    def public(self) -> AdminPublic:
        """The public halves. Raises ValueError where they are not spelled right."""
        return AdminPublic(hash_bytes(self.sign) if self.sign else b"", unb64(self.seal))


class Half(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An epoch's private half, sealed to one holder."""

    holder: Hash
    sealed: Blob


class Epoch(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A vault epoch: records are sealed to the current one."""

    id: Count
    state: Literal["current", "draining", "retired"]
    public: Blob
    halves: list[Half]


class Extra(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A further recipient of one user's records."""

    user: Id
    recipient: Blob


class Waiver(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The administrator's word that there is no backup yet, and that losing the key loses everything."""

    since: Millis


class Policy(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The signed policy (SPEC 8.4). No field may be left out: two readers would fill it in differently."""

    second_factor: Literal["off", "admins", "all"]
    passkeys: Literal["off", "admins", "all"]
    temporary_chats: bool
    user_deletion: bool
    retention_days: Count | None
    plain_api_behind_tls: bool
    record_v1: bool
    show_yourself_days: Count
    keyring_fresh_days: Count


FIRST_POLICY = Policy(
    second_factor="off",
    passkeys="off",
    temporary_chats=False,
    user_deletion=True,
    retention_days=None,
    plain_api_behind_tls=False,
    record_v1=True,
    show_yourself_days=90,
    keyring_fresh_days=365,
)
"""What keyring version 1 says."""


class Document(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A keyring version's content."""

    format: Literal["securesilo/1 keyring"]
    silo: Id
    version: Count
    previous: Hash | None
    identity: Hash
    """The silo's Ed25519 public key, certified by this signature."""
    spare: Hash | None
    time: Millis
    holders: list[Holder]
    epochs: list[Epoch]
    extras: list[Extra]
    waiver: Waiver | None
    policy: Policy


class SignedKeyring(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A keyring as it travels and as it is stored."""

    document: str
    """The JSON text that was signed, to the byte."""
    signer: Hash
    """Fingerprint of the admin key that signed."""
    signature: Blob


@dataclass(frozen=True)
class Keyring:
    """A verified keyring. Only `verify_keyring` makes one."""

    signed: SignedKeyring
    document: Document
    genesis: bytes
    """Fingerprint of the admin key that signed version 1."""

    @property
    def hash(self) -> bytes:
        """32 bytes over the document."""
        return keyring_hash(self.signed)

    @property
    def seen(self) -> Seen:
        """Version and hash, as a client sends them."""
        return Seen(at=self.document.version, hash=b32(self.hash))

    @property
    def identity(self) -> bytes:
        """The silo's Ed25519 public key."""
        return hash_bytes(self.document.identity)

    @property
    def vault(self) -> Recipient:
        """The current epoch's public half: every record is sealed to it."""
        return Recipient(unb64(next(epoch.public for epoch in self.document.epochs if epoch.state == "current")))

    @property
    def admins(self) -> dict[str, bytes]:
        """fingerprint -> Ed25519 public key of every live admin."""
        return {
            b32(holder.public.fingerprint): holder.public.sign
            for holder in self.document.holders
            if holder.role == "admin" and holder.revoked is None
        }

    def identities(self, former: Collection[bytes] = ()) -> list[bytes]:
        """The Ed25519 keys that may speak for the silo: the identity, then the spare; never one that is `former`
        to this client, because it met the spare since (SPEC 8.7). Raises SiloError `wrong_silo` for none."""
        certified = [self.identity]
        if self.document.spare:
            certified.append(hash_bytes(self.document.spare))
        allowed = [one for one in certified if one not in former]
        if not allowed:
            raise SiloError("wrong_silo", "the keyring certifies an identity that this device has given up")
        return allowed

    def extras(self, user: str) -> list[Recipient]:
        """Further recipients of this user's records."""
        return [Recipient(unb64(extra.recipient)) for extra in self.document.extras if extra.user == user]

    def half_context(self, epoch: Epoch, holder: bytes) -> tuple[bytes, ...]:
        """What a sealed half is bound to, beside its label."""
        return half_context(self.document.silo, epoch.id, holder, unb64(epoch.public))


def half_context(silo: str, epoch: int, holder: bytes, public: bytes) -> tuple[bytes, ...]:
    """Silo id, epoch, holder's fingerprint, the epoch's public key (SPEC 8.3)."""
    return silo.encode(), u64(epoch), holder, public


def keyring_hash(signed: SignedKeyring) -> bytes:
    """32 bytes over the document as signed."""
    return digest(labels.KEYRING_HASH, signed.document.encode())


def sign_keyring(admin: AdminKey, document: Document) -> SignedKeyring:
    """The document as this admin key signs it."""
    text = write_json(document)
    return SignedKeyring(
        document=text.decode(),
        signer=b32(admin.public.fingerprint),
        signature=b64(admin.signer.sign(labels.KEYRING, text)),
    )


def first_keyring(admin: AdminKey, name: str, silo: bytes, identity: bytes, now: int) -> SignedKeyring:
    """Keyring version 1: one admin, one vault epoch, the waiver (SPEC 8.5).

    `silo` is the silo's id (16 bytes), `identity` its Ed25519 public key. The epoch's private half is made
    here, sealed to the admin key, and forgotten.
    """
    epoch_seed = secrets.token_bytes(_hpke.SEED_SIZE)
    public = recipient_of(epoch_seed).public
    mark = admin.public.fingerprint
    sealed = Recipient(admin.public.seal).seal(epoch_seed, labels.EPOCH_HALF, *half_context(b32(silo), 1, mark, public))
    holder = Holder(
        name=name,
        role="admin",
        sign=b32(admin.public.sign),
        seal=b64(admin.public.seal),
        successor=False,
        since=now,
        revoked=None,
    )
    document = Document(
        format=FORMAT,
        silo=b32(silo),
        version=1,
        previous=None,
        identity=b32(identity),
        spare=None,
        time=now,
        holders=[holder],
        epochs=[Epoch(id=1, state="current", public=b64(public), halves=[Half(holder=b32(mark), sealed=b64(sealed))])],
        extras=[],
        waiver=Waiver(since=now),
        policy=FIRST_POLICY,
    )
    return sign_keyring(admin, document)


def verify_keyring(signed: SignedKeyring, silo: bytes, pin: bytes, previous: Keyring | None = None) -> Keyring:
    """The keyring, if it may follow `previous` (None: it must be version 1, signed by the key that `pin` names).

    Raises SiloError `header_failure` for a document that is not well formed, `wrong_silo`, `stale` for a version
    that does not rise by one, `forged` for a chain, signer or signature that does not fit (SPEC 8.2).
    """
    try:
        text = signed.document.encode()
        document = read_json(text, Document)
        signature = unb64(signed.signature)
        _check_document(document)
    except ValueError as error:
        raise SiloError("header_failure", str(error)) from None
    if document.silo != b32(silo):
        raise SiloError("wrong_silo")
    if document.version != (previous.document.version if previous else 0) + 1:
        raise SiloError("stale", f"version {document.version}")
    if document.previous != (b32(previous.hash) if previous else None):
        raise SiloError("forged", "the keyring before is another")
    signers = {
        b32(holder.public.fingerprint): holder.public.sign
        for holder in (previous.document if previous else document).holders
        if holder.revoked is None and (holder.role == "admin" or (holder.successor and previous is not None))
    }
    if signed.signer not in signers or (previous is None and signed.signer != b32(pin)):
        raise SiloError("forged", "no administrator's key signed it")
    verify(signers[signed.signer], signature, labels.KEYRING, text)
    return Keyring(signed, document, previous.genesis if previous else hash_bytes(signed.signer))


def verify_chain(chain: list[SignedKeyring], silo: bytes, pin: bytes, after: Keyring | None = None) -> Keyring:
    """The last of `chain`, each of which follows the one before. Raises as `verify_keyring`, `stale` for none."""
    for signed in chain:
        after = verify_keyring(signed, silo, pin, after)
    if after is None:
        raise SiloError("stale", "no keyring")
    return after


def _check_document(document: Document) -> None:
    """Raises ValueError, naming what does not fit."""
    live: set[str] = set()
    revoked: set[str] = set()
    marks: set[str] = set()
    for holder in document.holders:
        public = holder.public
        Recipient(public.seal)
        mark = b32(public.fingerprint)
        if mark in marks:
            raise ValueError("a holder stands twice")
        if not is_name(holder.name):
            raise ValueError("a holder's name is not 1 to 64 printable characters")
        if not public.sign and (holder.role == "admin" or holder.successor):
            raise ValueError("an admin or successor has no key to sign with")
        marks.add(mark)
        if holder.revoked is not None:
            revoked.add(mark)
        elif holder.role != "auditor":
            live.add(mark)
    admins = [holder for holder in document.holders if holder.role == "admin" and holder.revoked is None]
    if not admins:
        raise ValueError("there is no admin")
    if (document.waiver is not None) != (len(live) == 1):
        raise ValueError("the waiver stands exactly while one admin key is the only one that opens the vault")
    if [epoch.id for epoch in document.epochs] != sorted({epoch.id for epoch in document.epochs}):
        raise ValueError("epochs do not rise")
    states = [epoch.state for epoch in document.epochs]
    if states.count("current") != 1 or states[-1] != "current":
        raise ValueError("not exactly one epoch is current, or it is not the newest")
    for epoch in document.epochs:
        Recipient(unb64(epoch.public))
        held = [half.holder for half in epoch.halves]
        if len(set(held)) != len(held) or not set(held) <= marks:
            raise ValueError("a sealed half is not one holder's")
        if revoked & set(held):
            raise ValueError("a sealed half is a revoked holder's")
        if epoch.state == "retired" and held:
            raise ValueError("a retired epoch has a private half")
        if epoch.state != "retired" and not live <= set(held):
            raise ValueError("a holder lacks a sealed half")
        if any(len(unb64(half.sealed)) != _hpke.OVERHEAD + _hpke.SEED_SIZE for half in epoch.halves):
            raise ValueError("a sealed half has the wrong size")
    if document.spare == document.identity:
        raise ValueError("the spare is the identity")
    open_to = {holder.seal for holder in document.holders if holder.revoked is None}
    listed = [(extra.user, extra.recipient) for extra in document.extras]
    if len(set(listed)) != len(listed):
        raise ValueError("an extra recipient stands twice for a user")
    if not {recipient for _, recipient in listed} <= open_to:
        raise ValueError("an extra recipient is no live holder's key")
