"""Where a device keeps what it is: one folder, `SILO_HOME`, its own. The only reader of the environment in silo.

    identity.json   public: which silo, which user, which device, what was seen of it (0600 all the same)
    secrets.json    the private seeds: locked under a passphrase, or plain where nothing better is there
    keys.json       the silo's transport keys as it signed them; a cache
    lock            held while any of them is changed

Where the system has a keyring, the seeds lie there and secrets.json says so.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from silo.crypto.channel import Seen
from silo.crypto.encoding import Blob, Count, Hash, Id, Millis, b64, hash_bytes, id_bytes, read_json, unb64
from silo.crypto.keyfile import lock_bytes, unlock_bytes
from silo.crypto.keyring import Keyring, SignedKeyring, verify_chain
from silo.crypto.keys import SEED_SIZE, AccountKey, Signer, recipient_of
from silo.crypto.labels import DEVICE_SECRETS
from silo.errors import SiloError
from silo.files import write_private

Warn = Callable[[str], None]
"""Takes one sentence for the person: no capital, no full stop."""

SERVICE = "securesilo"
"""The name in the system's keyring."""


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`SILO_HOME`, else the platform's place for a program's own data."""
    if chosen := environ.get("SILO_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "silo"
    base = environ.get("XDG_DATA_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "silo"


def default_passphrase_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`SILO_PASSPHRASE_FILE`, or None."""
    chosen = environ.get("SILO_PASSPHRASE_FILE")
    return Path(chosen).expanduser() if chosen else None


Where = Literal["keyring", "passphrase", "file"]


class Last(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The turn that was asked last on this device."""

    thread: Id
    turn: Id


class Profile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a device knows of itself and of its silo; nothing in it is secret."""

    format: Literal["securesilo/1 identity"]
    state: Literal["begun", "ready"]
    """`begun`: the silo's answer to the setup has not come yet."""
    url: str
    silo: Id
    identity: Hash
    """The silo's Ed25519 public key, as the newest accepted keyring certifies it."""
    genesis: Hash
    """Fingerprint of the admin key that signed keyring version 1."""
    keyrings: list[SignedKeyring]
    """All that were accepted, from version 1."""
    user: Id
    name: str
    account: Hash
    """Fingerprint of the account key."""
    device: Id
    since: Millis
    secrets: Where
    head: Seen | None = None
    """The end of the user's log as this device has seen it."""
    last: Last | None = None
    manifest: Count = 1
    """The highest version of the lock manifest that this device has seen."""
    former: list[Hash] = []
    """Identities of the silo that this device has given up, because it met the spare (SPEC 8.7)."""

    def identities(self) -> list[bytes]:
        """The Ed25519 keys that may speak for the silo now. Raises SiloError `wrong_silo` for none."""
        return self.keyring().identities([hash_bytes(one) for one in self.former])

    def keyring(self) -> Keyring:
        """The newest accepted keyring, verified again from the genesis pin."""
        return verify_chain(self.keyrings, id_bytes(self.silo), hash_bytes(self.genesis))


@dataclass(frozen=True, repr=False)
class Secrets:
    """A device's private seeds, 32 bytes each."""

    sign: bytes
    """Ed25519: signs this device's requests."""
    seal: bytes
    """X-Wing: what other devices seal to."""
    account: bytes
    """X-Wing: opens the user's history."""

    @property
    def signer(self) -> Signer:
        """The device key that signs."""
        return Signer(self.sign)

    @property
    def account_key(self) -> AccountKey:
        """The account key, and what it derives."""
        return AccountKey(self.account)


class _Stored(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    where: Where
    device: Id
    locked: Blob | None = None
    plain: Blob | None = None


def read_secret_line(path: Path) -> str:
    """The first line of a password or passphrase file. Raises SiloError `bad_file`."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SiloError("bad_file", f"{path}: {_why(error)}") from None
    if not lines or not lines[0]:
        raise SiloError("bad_file", f"{path}: its first line is empty")
    return lines[0]


def _why(error: Exception) -> str:
    return (error.strerror or "cannot be read").lower() if isinstance(error, OSError) else "not UTF-8"


class Home:
    """The folder of one device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys_path = folder / "keys.json"
        """Where the door keeps the silo's transport keys."""
        self._identity = folder / "identity.json"
        self._secrets = folder / "secrets.json"

    def make(self) -> None:
        """Make the folder, 0700. Raises SiloError `bad_file` for one that is somebody else's or in other use."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            own = {self._identity.name, self._secrets.name, self.keys_path.name, "lock"}
            if self.folder.stat().st_mode & 0o077:
                if {path.name for path in self.folder.iterdir()} - own:
                    raise SiloError("bad_file", f"{self.folder}: SILO_HOME wants a folder of its own")
                self.folder.chmod(0o700)
        except OSError as error:
            raise SiloError("bad_file", f"{self.folder}: {_why(error)}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # --- the public part ---

    def read(self) -> Profile:
        """This device's identity. Raises SiloError `no_identity`, or `bad_file` for one that is damaged."""
        profile = self.read_begun()
        if profile is None or profile.state != "ready":
            raise SiloError("no_identity")
        return profile

    def read_begun(self) -> Profile | None:
        """The identity, finished or not. Raises SiloError `bad_file`."""
        try:
            return read_json(self._identity.read_bytes(), Profile)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SiloError("bad_file", f"{self._identity}: {_why(error)}") from None
        except ValueError as error:
            raise SiloError("bad_file", f"{self._identity}: {error}") from None

    def update(self, change: Callable[[Profile], Profile]) -> Profile:
        """Read, change and write the identity while no other process does. Raises as `read_begun`."""
        with self._locked():
            profile = self.read_begun()
            if profile is None:
                raise SiloError("no_identity")
            changed = change(profile)
            if changed != profile:
                self._write(self._identity, changed)
            return changed

    def _write(self, path: Path, value: msgspec.Struct) -> None:
        try:
            write_private(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        except OSError as error:
            raise SiloError("bad_file", f"{path}: {_why(error)}") from None

    # --- the first run ---

    def begin(self, profile: Profile, secrets: Secrets, passphrase: str | None, warn: Warn) -> Profile:
        """Keep a new device: its seeds first, then its identity as `begun`.

        Raises SiloError `has_identity` where one is there already.
        """
        self.make()
        with self._locked():
            if self._identity.exists():
                raise SiloError("has_identity")
            where = self._keep(profile.device, secrets, passphrase, warn)
            profile = msgspec.structs.replace(profile, state="begun", secrets=where)
            self._write(self._identity, profile)
        return profile

    def discard(self) -> None:
        """Forget an identity that the silo never took. Raises SiloError `has_identity` for one that it did."""
        with self._locked():
            profile = self.read_begun()
            if profile is None:
                return
            if profile.state == "ready":
                raise SiloError("has_identity")
            if profile.secrets == "keyring":
                _forget_in_keyring(profile.device)
            self._identity.unlink()
            self._secrets.unlink(missing_ok=True)
            self.keys_path.unlink(missing_ok=True)

    # --- the secret part ---

    def _keep(self, device: str, secrets: Secrets, passphrase: str | None, warn: Warn) -> Where:
        seeds = secrets.sign + secrets.seal + secrets.account
        where: Where
        locked = plain = None
        if passphrase is not None:
            where, locked = "passphrase", b64(lock_bytes(seeds, passphrase, DEVICE_SECRETS))
        elif _keep_in_keyring(device, seeds):
            where = "keyring"
        else:
            where, plain = "file", b64(seeds)
            warn(
                f"this system has no keyring, so the keys of this device lie in {self._secrets}, "
                "readable for you alone; --passphrase-file locks them"
            )
        self._write(self._secrets, _Stored(where=where, device=device, locked=locked, plain=plain))
        return where

    def secrets(self, profile: Profile, passphrase: Callable[[], str]) -> Secrets:
        """This device's seeds; `passphrase` is asked where they are under one.

        Raises SiloError `wrong_passphrase`, `bad_password`, `bad_file` where they are missing, damaged or another's.
        """
        try:
            stored = read_json(self._secrets.read_bytes(), _Stored)
            if stored.device != profile.device:
                raise ValueError("another device's")
            if stored.where == "keyring":
                seeds = _read_in_keyring(profile.device)
            elif stored.where == "passphrase":
                seeds = unlock_bytes(unb64(stored.locked or ""), passphrase(), DEVICE_SECRETS)
            else:
                seeds = unb64(stored.plain or "")
            if len(seeds) != 3 * SEED_SIZE:
                raise ValueError("incomplete")
            secrets = Secrets(seeds[:SEED_SIZE], seeds[SEED_SIZE : 2 * SEED_SIZE], seeds[2 * SEED_SIZE :])
            if recipient_of(secrets.account).fingerprint != hash_bytes(profile.account):
                raise ValueError("another account's")
        except OSError as error:
            raise SiloError("bad_file", f"{self._secrets}: {_why(error)}") from None
        except ValueError as error:
            raise SiloError("bad_file", f"{self._secrets}: {error}") from None
        return secrets


# --- the system's keyring ---


def _backends() -> list[object]:
    import keyring
    from keyring.backends.chainer import ChainerBackend

    backend = keyring.get_keyring()
    return list(backend.backends) if isinstance(backend, ChainerBackend) else [backend]


def _is_real(backend: object) -> bool:
    """Whether a backend keeps secrets: `fail` and `null` do not, and a plain file is ours to write."""
    kind = type(backend)
    return (
        getattr(backend, "priority", 0) > 0
        and not kind.__module__.startswith(("keyring.backends.fail", "keyring.backends.null", "keyrings.alt"))
        and "plaintext" not in kind.__name__.lower()
    )


def _keep_in_keyring(device: str, seeds: bytes) -> bool:
    # Whatever a backend raises (locked, no session bus, refused by the person), a file is the answer.
    try:
        import keyring

        backends = _backends()
        if not backends or not all(_is_real(backend) for backend in backends):
            return False
        keyring.set_password(SERVICE, device, b64(seeds))
        return keyring.get_password(SERVICE, device) == b64(seeds)
    except Exception:
        return False


def _read_in_keyring(device: str) -> bytes:
    import keyring
    from keyring.errors import KeyringError

    try:
        text = keyring.get_password(SERVICE, device)
    except KeyringError:
        raise SiloError("bad_file", "the system's keyring does not open") from None
    if text is None:
        raise SiloError("bad_file", "the system's keyring does not hold this device's keys")
    return unb64(text)


def _forget_in_keyring(device: str) -> None:
    from contextlib import suppress

    import keyring
    from keyring.errors import KeyringError

    with suppress(KeyringError):
        keyring.delete_password(SERVICE, device)
