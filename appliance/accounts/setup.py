"""First run: the setup link, and the one administrator that it lets in (SPEC 8.5)."""

import secrets

from appliance.accounts.box import Box
from appliance.store import people
from appliance.store.rows import (
    Account,
    Conflict,
    EnrolledDevice,
    FirstRun,
    StoredEntry,
    StoredKeyring,
    StoredLock,
    StoredManifest,
)
from silo.crypto.directory import read_entry
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, is_name, unb64, write_json
from silo.crypto.keyring import Keyring, SignedKeyring, verify_keyring
from silo.crypto.keys import Enrolment, Recipient, check_vouch, read_enrolment, same, setup_bearer, setup_hash
from silo.crypto.locks import FIRST_MANIFEST, SEALED_SIZE, Lock, list_locks, parse_manifest
from silo.errors import SiloError
from silo.messages import Setup

LIFE = 24 * 3_600_000
"""How long a setup link works, in milliseconds."""


async def new_link(box: Box, address: str, now: int) -> str:
    """A fresh setup link; the one before is void. The secret in it is kept nowhere on the box."""
    secret = secrets.token_bytes(32)
    await people.renew_setup(b32(setup_hash(setup_bearer(secret))), now)
    return f"{address}/#setup.{b64(secret + box.fingerprint + box.silo)}"


async def check_link(bearer: bytes, now: int) -> bytes:
    """The hash of the live link, where this is its bearer. Raises SiloError `setup_used`, `setup_wrong`."""
    standing, hashed = await people.setup_hash(now - LIFE), setup_hash(bearer)
    if standing is None or not same(hash_bytes(standing), hashed):
        raise SiloError("setup_used" if await people.users() else "setup_wrong")
    return hashed


def check_name(name: str) -> None:
    """Raises SiloError `bad_request` unless it is 1 to 64 printable characters with none of white space around."""
    if not is_name(name):
        raise SiloError("bad_request", "user.name")


async def set_up(box: Box, body: Setup, now: int) -> tuple[Keyring, Enrolment]:
    """Check everything, then write everything, or nothing. One at a time, and not to be cancelled half-way.

    Raises SiloError `setup_used`, `setup_wrong`, `storage_full`, `bad_request` naming the part.
    """
    hashed = await check_link(hash_bytes(body.bearer), now)
    check_name(body.user.name)
    keyring = _keyring(box, body.keyring)
    enrolment = _enrolment(box, body)
    account = _public(body.user.account, "user.account")
    _check_vouch(body, account.fingerprint)
    _check_locks(box, body, enrolment, account.fingerprint)
    time = _entry(body, keyring, account.fingerprint)
    brought = FirstRun(
        StoredKeyring(1, body.keyring.document, body.keyring.signer, body.keyring.signature),
        Account(body.user.id, body.user.name, "admin", account.public, hash_bytes(body.user.sign), now),
        EnrolledDevice(
            b32(enrolment.device),
            body.user.id,
            enrolment.sign,
            unb64(body.enrolment.statement),
            unb64(body.enrolment.signature),
            unb64(body.enrolment.vouch),
            now,
            None,
        ),
        tuple(StoredLock(lock.id, lock.kind, write_json(lock).decode()) for lock in body.locks),
        StoredManifest(FIRST_MANIFEST, write_json(body.manifest).decode()),
        StoredEntry(time, write_json(body.entry).decode()),
    )
    # The pin lies in no database, so it and the keyring cannot be written in one step. A crash between the two
    # leaves a proposal, which the next start settles.
    try:
        box.propose_pin(keyring.genesis)
        await people.first_run(brought, b32(hashed))
    except Exception as error:
        box.settle_pin(None)
        if isinstance(error, Conflict):
            raise SiloError("setup_used") from None
        if isinstance(error, OSError):
            raise SiloError("storage_full") from None
        raise
    box.settle_pin(keyring.genesis)
    return keyring, enrolment


def _keyring(box: Box, signed: SignedKeyring) -> Keyring:
    try:
        keyring = verify_keyring(signed, box.silo, hash_bytes(signed.signer))
    except (SiloError, ValueError):
        raise SiloError("bad_request", "keyring") from None
    if keyring.identity != box.identity.public:
        raise SiloError("bad_request", "keyring.identity")
    return keyring


def _enrolment(box: Box, body: Setup) -> Enrolment:
    try:
        enrolment = read_enrolment(unb64(body.enrolment.statement), unb64(body.enrolment.signature))
        fits = (enrolment.silo, enrolment.user) == (box.silo, id_bytes(body.user.id)) and any(enrolment.device)
    except (SiloError, ValueError):
        fits, enrolment = False, None
    if not fits or enrolment is None:
        raise SiloError("bad_request", "enrolment")
    return enrolment


def _public(text: str, place: str) -> Recipient:
    try:
        return Recipient(unb64(text))
    except ValueError:
        raise SiloError("bad_request", place) from None


def _check_vouch(body: Setup, account: bytes) -> None:
    enrolment = body.enrolment
    try:
        sign, vouch = hash_bytes(body.user.sign), unb64(enrolment.vouch)
        check_vouch(sign, account, vouch, unb64(enrolment.statement), unb64(enrolment.signature))
    except (SiloError, ValueError):
        raise SiloError("bad_request", "enrolment.vouch") from None


def _check_locks(box: Box, body: Setup, enrolment: Enrolment, account: bytes) -> None:
    """Whether they open, and whether the MACs hold, only their person can tell; what could never open would be found
    when it is needed."""
    for lock in body.locks:
        _check_lock(lock, enrolment, b32(account))
    try:
        manifest = parse_manifest(body.manifest)
    except SiloError:
        raise SiloError("bad_request", "manifest") from None
    said = (manifest.silo, manifest.user, manifest.account, manifest.version)
    if said != (b32(box.silo), body.user.id, b32(account), FIRST_MANIFEST) or manifest.locks != list_locks(body.locks):
        raise SiloError("bad_request", "manifest")


def _check_lock(lock: Lock, enrolment: Enrolment, account: str) -> None:
    _public(lock.public, "locks.public")
    if len(unb64(lock.sealed)) != SEALED_SIZE:
        raise SiloError("bad_request", "locks.sealed")
    if lock.kind == "device":
        if (lock.id, lock.public) != (b32(enrolment.device), b64(enrolment.seal)):
            raise SiloError("bad_request", "locks.id")
    elif lock.manifest != FIRST_MANIFEST:
        raise SiloError("bad_request", "locks.manifest")
    elif lock.account != account:
        raise SiloError("bad_request", "locks.account")


def _entry(body: Setup, keyring: Keyring, account: bytes) -> int:
    """The time of the directory's first entry."""
    try:
        entry = read_entry(body.entry, keyring)
    except SiloError:
        raise SiloError("bad_request", "entry") from None
    said = (entry.user, entry.name, entry.account, entry.sign)
    if said != (id_bytes(body.user.id), body.user.name, account, hash_bytes(body.user.sign)):
        raise SiloError("bad_request", "entry")
    if entry.time >= 2**53:
        raise SiloError("bad_request", "entry")
    return entry.time
