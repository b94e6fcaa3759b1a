"""First run: the setup link, and the one administrator that it lets in (SPEC 8.5)."""

import secrets

from appliance.accounts.box import Box
from appliance.store import people
from appliance.store.rows import Account, Conflict, EnrolledDevice, StoredKeyring
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, is_name, unb64, write_json
from silo.crypto.keyring import Keyring, SignedKeyring, verify_keyring
from silo.crypto.keys import Enrolment, Recipient, read_enrolment, same, setup_bearer, setup_hash
from silo.crypto.locks import FIRST_MANIFEST, SEALED_SIZE, Lock
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
    _check_lock(body.lock)
    # The pin lies in no database, so it and the keyring cannot be written in one step. A crash between the two
    # leaves a proposal, which the next start settles.
    try:
        box.propose_pin(keyring.genesis)
        await people.first_run(
            StoredKeyring(1, body.keyring.document, body.keyring.signer, body.keyring.signature),
            Account(body.user.id, body.user.name, "admin", account, now),
            EnrolledDevice(
                b32(enrolment.device),
                body.user.id,
                enrolment.sign,
                unb64(body.enrolment.statement),
                unb64(body.enrolment.signature),
                now,
                None,
            ),
            body.lock.kind,
            write_json(body.lock).decode(),
            b32(hashed),
        )
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


def _public(text: str, place: str) -> bytes:
    try:
        return Recipient(unb64(text)).public
    except ValueError:
        raise SiloError("bad_request", place) from None


def _check_lock(lock: Lock) -> None:
    # Whether it opens, only its person can tell; what could never open would be found when it is needed.
    _public(lock.public, "lock.public")
    if len(unb64(lock.sealed)) != SEALED_SIZE:
        raise SiloError("bad_request", "lock.sealed")
    if lock.manifest != FIRST_MANIFEST:
        raise SiloError("bad_request", "lock.manifest")
