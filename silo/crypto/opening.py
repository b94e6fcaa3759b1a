"""Reading what a silo wrote, with a private key that no silo has (SPEC 7, 10).

Nothing in the appliance may import this file: the silo can write, and cannot read back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from silo.crypto import _hpke, labels
from silo.crypto.bags import BagPlace, read_bag
from silo.crypto.encoding import HASH_SIZE, b32, hash_bytes, unb64
from silo.crypto.frames import WholeOpener
from silo.crypto.keyring import Keyring
from silo.crypto.keys import AdminKey, AdminPublic, fingerprint, recipient_of, same
from silo.crypto.labels import pack
from silo.crypto.sealing import (
    HEADER_SIZE,
    NO_HASH,
    Place,
    Receipt,
    check_receipt,
    commitment,
    core_hash,
    frame_key,
    head_hash,
    log_entry,
    read_place,
)
from silo.errors import SiloError


class Opener:
    """An X-Wing private key that opens wraps. Its repr shows the fingerprint."""

    def __init__(self, seed: bytes) -> None:
        """From its 32-byte seed: an account key's or a vault epoch's."""
        self._key = _hpke.PrivateKey(seed)
        self.fingerprint = fingerprint(self._key.public)

    def open_wrap(self, sealed: bytes, core: bytes) -> bytes:
        """The record key in a wrap for the core with hash `core`. Raises SiloError `no_match`."""
        return self._open(sealed, labels.RECORD_WRAP, core, self.fingerprint)

    def open_bag(self, sealed: bytes, place: BagPlace) -> dict[int, bytes]:
        """index -> record key, from a key bag made for `place` (SPEC 7.8): each counts only with its record.

        Raises SiloError `no_match` where it does not open, `payload_failure` where it is not well formed.
        """
        padded = self._open(sealed, labels.KEY_BAG, *place.fields())
        try:
            return read_bag(padded, place.at)
        except ValueError as error:
            raise SiloError("payload_failure", str(error)) from None

    def _open(self, sealed: bytes, label: str, *fields: bytes) -> bytes:
        return open_sealed(self._key, sealed, label, *fields)

    def __repr__(self) -> str:
        return f"<Opener {b32(self.fingerprint)[:13]}>"


def open_sealed(key: _hpke.PrivateKey, sealed: bytes, label: str, *fields: bytes) -> bytes:
    """HPKE open under label and fields. Raises SiloError `no_match`."""
    try:
        return key.open(sealed, pack(label, *fields))
    except _hpke.CannotOpen:
        raise SiloError("no_match") from None


def open_core(core: bytes, record_key: bytes) -> bytes:
    """The content of a core. Raises SiloError `header_failure` where the key is not committed to this
    place, `payload_failure`, `truncated`."""
    read_place(core)
    header = core[:HEADER_SIZE]
    spelled, committed = header[:-HASH_SIZE], header[-HASH_SIZE:]
    if not same(committed, commitment(record_key, spelled)):
        raise SiloError("header_failure")
    head = head_hash(header)
    opener = WholeOpener(frame_key(record_key, head), head, len(core))
    opener.push(core[HEADER_SIZE:])
    return opener.finish()


def check_recipients(receipt: Receipt, named: Sequence[bytes]) -> None:
    """Raises SiloError `forged` unless the record was sealed to exactly the keys that its request named: fingerprints
    of account key, vault epoch and that keyring's extras for the user, in this order (SPEC 7.4)."""
    if receipt.recipients != tuple(named):
        raise SiloError("forged", "the receipt names other keys than those accepted")


@dataclass(frozen=True)
class Envelope:
    """A record as the silo hands it out: nothing in it is proven yet."""

    core: bytes
    wraps: dict[bytes, bytes]
    """recipient's fingerprint -> sealed record key"""
    receipt: bytes


@dataclass(frozen=True)
class OpenedRecord:
    """A record whose key, place, content and receipt fit each other."""

    place: Place
    content: bytes = field(repr=False)
    core_hash: bytes
    entry_hash: bytes
    receipt: Receipt


def open_record(envelope: Envelope, openers: list[Opener], silo: bytes, user: bytes, identity: bytes) -> OpenedRecord:
    """Open a record of `user` on `silo` with the first opener that a wrap names, and check it whole.

    `identity` is the silo's Ed25519 public key as the keyring certifies it. Raises SiloError: `no_match` (no
    wrap for these keys, or it does not open), `header_failure` (another silo's or user's record, or a key
    for another place), `payload_failure`, `truncated`, `forged` (no receipt, or one for something else).
    """
    _check_owner(envelope, silo, user)
    return open_with_key(envelope, unwrap(envelope, openers), silo, user, identity)


def unwrap(envelope: Envelope, openers: list[Opener]) -> bytes:
    """The record key, by the first opener that a wrap names. Raises SiloError `no_match`."""
    mine = [opener for opener in openers if opener.fingerprint in envelope.wraps]
    if not mine:
        raise SiloError("no_match")
    return mine[0].open_wrap(envelope.wraps[mine[0].fingerprint], core_hash(envelope.core))


def open_with_key(envelope: Envelope, record_key: bytes, silo: bytes, user: bytes, identity: bytes) -> OpenedRecord:
    """The same with the record key at hand, from wherever: commitment and receipt judge it, so that a key bag
    can add nothing (SPEC 7.8). Raises as `open_record`, but for `no_match`."""
    _check_owner(envelope, silo, user)
    place, hashed = read_place(envelope.core), core_hash(envelope.core)
    content = open_core(envelope.core, record_key)
    receipt = check_receipt(envelope.receipt, identity, envelope.core)
    return OpenedRecord(place, content, hashed, receipt.entry_hash, receipt)


def _check_owner(envelope: Envelope, silo: bytes, user: bytes) -> None:
    place = read_place(envelope.core)
    if (place.silo, place.user) != (silo, user):
        raise SiloError("header_failure")


class Log:
    """Walks one user's log: each entry must follow the one before (SPEC 7.3)."""

    def __init__(
        self, silo: bytes, user: bytes, at: int = 0, entry: bytes = NO_HASH, seen: tuple[int, bytes] | None = None
    ) -> None:
        """From its beginning, or from an entry (index, entry hash) that the opener has accepted before.

        `seen` is the newest entry that it has accepted: `step` and `check` hold the log to it.
        """
        self._silo = silo
        self._user = user
        self._seen = seen
        self.at = at
        self.hash = entry

    def step(self, index: int, thread: bytes, core: bytes) -> None:
        """Take the next entry: its index, thread and core hash. Raises SiloError `forged` for any other index, and
        where it differs from what was seen there."""
        if index != self.at + 1:
            raise SiloError("forged", f"the log goes from {self.at} to {index}")
        self.hash = log_entry(self.hash, self._silo, self._user, index, thread, core)
        self.at = index
        if self._seen and self._seen[0] == index:
            self._compare(self._seen[1])

    def check(self, entry: bytes) -> None:
        """Raises SiloError `forged` unless the log ends here, at this entry hash; `stale` where it ends before what
        was seen."""
        self._compare(entry)
        if self._seen and self.at < self._seen[0]:
            raise SiloError("stale", f"the log ends at {self.at}, and {self._seen[0]} was seen")

    def _compare(self, entry: bytes) -> None:
        if not same(self.hash, entry):
            raise SiloError("forged", f"the log differs at {self.at}")


# --- vault epochs (SPEC 8.3) ---


def open_epochs(admin: AdminKey, keyring: Keyring) -> list[Opener]:
    """The epochs that this key opens, the current one first. Raises SiloError `no_match` where none does,
    `forged` where an opened half is not the listed key's."""
    key = _hpke.PrivateKey(admin.seal_seed)
    return _open_epochs(key, admin.public, keyring)


def _open_epochs(key: _hpke.PrivateKey, holder: AdminPublic, keyring: Keyring) -> list[Opener]:
    openers: list[Opener] = []
    for epoch in sorted(keyring.document.epochs, key=lambda epoch: epoch.state != "current"):
        for half in epoch.halves:
            if hash_bytes(half.holder) != holder.fingerprint:
                continue
            public = unb64(epoch.public)
            seed = open_sealed(
                key, unb64(half.sealed), labels.EPOCH_HALF, *keyring.half_context(epoch, holder.fingerprint)
            )
            if len(seed) != _hpke.SEED_SIZE or recipient_of(seed).public != public:
                raise SiloError("forged", f"epoch {epoch.id}")
            openers.append(Opener(seed))
    if not openers:
        raise SiloError("no_match")
    return openers
