"""The first run: the admin key, keyring version 1, the first account and this device (SPEC 8.5).

What cannot be had back is made and proven before anything is sent: the admin key's file is written, read
again, and has to open the vault. If the silo's answer is lost, `GET /me` tells whether it took place.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from silo.client.door import Door, Pin, Refused, Unanswered
from silo.client.home import Home, Profile, Secrets, Warn
from silo.client.session import key_mark
from silo.crypto.directory import Entry, sign_entry
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, is_name, new_id, unb64
from silo.crypto.keyfile import is_locked, read_admin_key, write_admin_key
from silo.crypto.keyring import Keyring, first_keyring, verify_keyring
from silo.crypto.keys import AdminKey, Enrolment, Signer, fingerprint, recipient_of, setup_bearer
from silo.crypto.labels import ENROLMENT
from silo.crypto.locks import (
    FIRST_MANIFEST,
    device_secret,
    lock_salt,
    make_lock,
    make_password_lock,
    read_manifest,
    state_manifest,
    stretch,
)
from silo.crypto.opening import open_core, open_epochs
from silo.crypto.rotation import Vouched
from silo.crypto.sealing import KIND_TURN, NO_HASH, Place, seal_record
from silo.crypto.unlocking import open_lock
from silo.errors import SiloError
from silo.files import write_private
from silo.messages import AskSetupLink, Me, NewUser, Setup, SetupDone, read_answer

_MARK = "#setup."
_SIZES = (32, 32, 16)


@dataclass(frozen=True, repr=False)
class SetupLink:
    """A setup link's parts (SPEC 5.2)."""

    url: str
    secret: bytes
    identity: bytes
    """Fingerprint of the silo's identity."""
    silo: bytes

    @property
    def pin(self) -> Pin:
        """What the link says of the silo."""
        return Pin(self.silo, self.identity)


def parse_link(text: str) -> SetupLink:
    """Raises SiloError `bad_link`."""
    url, mark, spelled = text.strip().partition(_MARK)
    try:
        parsed = httpx.URL(url)
        data = unb64(spelled)
        if not mark or parsed.scheme not in ("http", "https") or not parsed.host or parsed.query:
            raise ValueError
        if len(data) != sum(_SIZES) or (parsed.port or 1) not in range(1, 65_536):
            raise ValueError
    except (ValueError, httpx.InvalidURL):
        raise SiloError("bad_link") from None
    return SetupLink(url.rstrip("/"), data[:32], data[32:64], data[64:])


def check_name(name: str) -> None:
    """Raises SiloError `bad_request` unless it is a name that a silo takes (SPEC 5.6)."""
    if not is_name(name):
        raise SiloError("bad_request", "the name has 1 to 64 printable characters, no white space around them")


# --- the admin key's file ---


def load_admin_key(path: Path, passphrase: Callable[[], str]) -> AdminKey:
    """The admin key in a file; `passphrase` is asked where it is under one.

    Raises SiloError `bad_file`, `bad_key_file`, `wrong_passphrase`, `bad_password`.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SiloError("bad_file", f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError:
        raise SiloError("bad_key_file", str(path)) from None
    return read_admin_key(text, passphrase() if is_locked(text) else None)


def check_new_file(path: Path) -> None:
    """Raises SiloError `bad_file` where no new file can be written there."""
    if path.exists() or path.is_symlink():
        raise SiloError("bad_file", f"{path} exists already; name another, or take the key in it: --use-admin-key")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise SiloError("bad_file", f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SiloError("bad_file", f"the folder {folder} cannot be written")


def write_admin_key_file(path: Path, key: AdminKey, comment: str, passphrase: str | None) -> None:
    """Write a new 0600 file. Raises SiloError `bad_file` where something stands there or it cannot be written."""
    try:
        write_private(path, write_admin_key(key, comment, passphrase).encode(), new=True)
    except FileExistsError:
        raise SiloError("bad_file", f"{path} exists already, and is not overwritten") from None
    except OSError as error:
        raise SiloError("bad_file", f"{path}: {(error.strerror or 'cannot be written').lower()}") from None


def prove_admin_key(key: AdminKey, keyring: Keyring) -> None:
    """Open the vault with the key, and a record sealed to the vault. Raises SiloError as `open_epochs`."""
    vault = open_epochs(key, keyring)[0]
    place = Place(id_bytes(keyring.document.silo), os.urandom(16), 1, NO_HASH, os.urandom(16), NO_HASH, KIND_TURN,
                  os.urandom(16), keyring.document.time)  # fmt: skip
    sealed = seal_record(place, b"a test record", [keyring.vault])
    record_key = vault.open_wrap(dict(sealed.wraps)[vault.fingerprint], sealed.core_hash)
    if open_core(sealed.core, record_key) != b"a test record":
        raise SiloError("payload_failure")


# --- the first run ---


@dataclass(frozen=True, repr=False)
class Plan:
    """What the person has decided."""

    name: str
    password: str
    key_path: Path
    use_key: bool = False
    """Take the admin key in the file that is there."""
    key_passphrase: str | None = None
    """Locks the admin key's file."""
    passphrase: str | None = None
    """Locks this device's keys."""


def _door(home: Home, profile: Profile, signer: Signer, now: Callable[[], int], warn: Warn) -> Door:
    pin = Pin(id_bytes(profile.silo), fingerprint(hash_bytes(profile.identity)))
    return Door(profile.url, pin, now, warn, id_bytes(profile.device), signer, home.keys_path)


async def resume(home: Home, passphrase: Callable[[], str], now: Callable[[], int], warn: Warn) -> Profile | None:
    """Finish a setup whose answer never came; None where there is none, or where the silo does not know of it.

    Raises SiloError `has_identity` where this device is ready, and as Door.ask.
    """
    profile = home.read_begun()
    if profile is None:
        return None
    if profile.state == "ready":
        raise SiloError("has_identity")
    async with _door(home, profile, home.secrets(profile, passphrase).signer, now, warn) as door:
        try:
            return await _finish(home, profile, door)
        except Refused as refused:
            if refused.code not in ("not_ready", "unknown_device"):
                raise
    home.discard()
    return None


async def meet(link: SetupLink, now: Callable[[], int], warn: Warn) -> bytes:
    """The identity's public key, from the silo that the link pins, which says that the link works.

    Raises SiloError `setup_wrong`, `setup_used`, `limited`; as Door.ask.
    """
    async with Door(link.url, link.pin, now, warn) as door:
        identity = await door.identity()
        await door.ask(door.request("POST", "/setup-link"), AskSetupLink(bearer=b32(setup_bearer(link.secret))))
        return identity


async def set_up(home: Home, link: SetupLink, plan: Plan, now: Callable[[], int], warn: Warn) -> Profile:
    """Make everything, prove it, send it.

    Raises SiloError `setup_wrong`, `setup_used`, `limited`, `bad_file`, `has_identity`; as Door.ask. Where the silo
    says no, nothing is left; where it says nothing, `resume` finds out later.
    """
    check_name(plan.name)
    home.make()
    async with Door(link.url, link.pin, now, warn, cache=home.keys_path) as door:
        identity = await door.identity()
        time = door.now()
        admin = _admin_key(plan, link.silo)
        signed = first_keyring(admin, plan.name, link.silo, identity, time)
        keyring = verify_keyring(signed, link.silo, admin.public.fingerprint)
        # What is trusted from now on is the file, not the memory that it was written from.
        prove_admin_key(load_admin_key(plan.key_path, lambda: plan.key_passphrase or ""), keyring)
        profile, secrets, body = _first_account(link, plan, admin, keyring, time)
        profile = home.begin(profile, secrets, plan.passphrase, warn)
        signer = secrets.signer
        request = door.request("POST", "/setup")
        try:
            answer = await door.ask(request, body)
        except (Unanswered, Refused) as failure:
            return await _find_out(home, profile, door, signer, failure, plan, warn)
        done = read_answer(answer.body, SetupDone)
        if (done.user, done.device, done.keyring) != (profile.user, profile.device, keyring.seen):
            raise SiloError("bad_reply", "it set up something else")
        return _ready(home)


def _admin_key(plan: Plan, silo: bytes) -> AdminKey:
    if plan.use_key:
        return load_admin_key(plan.key_path, lambda: plan.key_passphrase or "")
    key = AdminKey()
    write_admin_key_file(plan.key_path, key, f"admin key of the silo {b32(silo)}", plan.key_passphrase)
    return key


def _first_account(
    link: SetupLink, plan: Plan, admin: AdminKey, keyring: Keyring, time: int
) -> tuple[Profile, Secrets, Setup]:
    user, device = new_id(), new_id()
    silo, genesis, who = link.silo, keyring.genesis, id_bytes(user)
    secrets = Secrets(os.urandom(32), os.urandom(32), os.urandom(32))
    account = secrets.account_key
    enrolment = Enrolment(silo, who, id_bytes(device), secrets.signer.public, recipient_of(secrets.seal).public, time)
    statement = enrolment.statement()
    signature = secrets.signer.sign(ENROLMENT, statement)
    password = make_password_lock(plan.password, account, silo, genesis, who)
    own = make_lock(device_secret(secrets.seal), id_bytes(device), account, silo, genesis, who)
    manifest = state_manifest(account, silo, who, FIRST_MANIFEST, [password, own])
    # What the password opens is what will be used: a lock that does not open would be found too late.
    again = stretch(plan.password, lock_salt(password), silo, genesis)
    opened = open_lock(password, again, silo, genesis, who)
    if opened.account.seed != secrets.account:
        raise SiloError("forged")
    read_manifest(manifest, opened.account, silo, who, opened.manifest)
    profile = Profile(
        format="securesilo/1 identity",
        state="begun",
        url=link.url,
        silo=b32(silo),
        identity=keyring.document.identity,
        genesis=b32(genesis),
        keyrings=[keyring.signed],
        user=user,
        name=plan.name,
        account=b32(account.fingerprint),
        device=device,
        since=time,
        secrets="file",
    )
    body = Setup(
        bearer=b32(setup_bearer(link.secret)),
        keyring=keyring.signed,
        user=NewUser(id=user, name=plan.name, account=b64(account.recipient.public), sign=b32(account.signer.public)),
        enrolment=Vouched(
            statement=b64(statement), signature=b64(signature), vouch=b64(account.vouch(statement, signature))
        ),
        locks=[password, own],
        manifest=manifest,
        entry=sign_entry(admin, Entry(silo, who, plan.name, account.fingerprint, account.signer.public, time)),
    )
    return profile, secrets, body


async def _find_out(
    home: Home, profile: Profile, door: Door, signer: Signer, failure: SiloError, plan: Plan, warn: Warn
) -> Profile:
    """Ask whether a setup took place, after an answer that may be about an earlier sending of the same."""
    door.enrol(id_bytes(profile.device), signer)
    try:
        return await _finish(home, profile, door)
    except Refused as refused:
        if refused.code not in ("not_ready", "unknown_device"):
            raise
        if isinstance(failure, Refused):
            home.discard()
            if not plan.use_key:
                # Made a moment ago, for a silo that did not take it: it opens nothing.
                plan.key_path.unlink(missing_ok=True)
        raise failure from None
    except Unanswered:
        warn("whether the silo was set up is not known yet: run the same command again")
        raise failure from None


async def _finish(home: Home, profile: Profile, door: Door) -> Profile:
    me = read_answer((await door.ask(door.request("GET", "/me"), {})).body, Me)
    if (me.user.id, me.device.id, key_mark(me.user.account), me.keyring) != (
        profile.user,
        profile.device,
        profile.account,
        profile.keyring().seen,
    ):
        raise SiloError("bad_reply", "it set up something else")
    return _ready(home)


def _ready(home: Home) -> Profile:
    return home.update(lambda profile: msgspec.structs.replace(profile, state="ready"))
