"""Opening locks, and the walk from an opened seed back to the account key that its person accepted (SPEC 9.2, 9.5).

Like `opening`, for the person's device alone: nothing in the appliance may import this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from silo.crypto import _hpke, labels
from silo.crypto.encoding import hash_bytes, id_bytes, unb64
from silo.crypto.keys import AccountKey, same
from silo.crypto.labels import pack, unpack
from silo.crypto.locks import Lock, LockSecret, lock_context
from silo.crypto.rotation import Rotated, Rotation, parse_rotation, past_context, read_rotation
from silo.errors import SiloError


@dataclass(frozen=True, repr=False)
class Unlocked:
    """What a lock gave, proven."""

    keys: list[AccountKey]
    """The newest account key first, back to the one that the lock or the device had accepted, or to the one that the
    directory lists, where that is older."""
    manifest: int
    """The lowest version that the account's manifest can have: what `read_manifest` wants as `least`."""
    listed: bool
    """Whether the account key in force is the very one that the directory lists. Where it is not, a fresh sign-in
    compares it with another device of its person's (SPEC 9.5)."""

    @property
    def account(self) -> AccountKey:
        """The account key in force."""
        return self.keys[0]


def open_lock(
    lock: Lock,
    secret: LockSecret,
    silo: bytes,
    genesis: bytes,
    user: bytes,
    rotations: Sequence[Rotation] = (),
    accepted: bytes | None = None,
    listed: bytes | None = None,
) -> Unlocked:
    """The account key behind a lock; `rotations` are all that the silo has of this account, oldest first, `accepted` is
    the fingerprint of the account key that this device accepted last (its own lock needs it), `listed` that of the
    newest entry of the directory (SPEC 8.8).

    Raises SiloError `no_match` for another secret; `forged` where silo, genesis pin or the lock's MAC are not those
    expected, its public half is not the secret's (a later seed would be sealed to that), or no rotation leads from the
    key that the MAC names, or from `listed`, to the one inside; `stale` where the silo has rotated on from that one.
    """
    key = _hpke.PrivateKey(secret.seal_seed)
    try:
        context = lock_context(silo, user, lock.kind, id_bytes(lock.id))
        plain = key.open(unb64(lock.sealed), pack(labels.LOCK_SEAL, *context))
    except _hpke.CannotOpen:
        raise SiloError("no_match") from None
    if lock.kind != secret.kind or not same(unb64(lock.public), key.public):
        raise SiloError("forged", "the lock is not this secret's")
    try:
        seed, inner_silo, inner_genesis = unpack(labels.LOCK, plain, 3)
        newest = AccountKey(seed)
    except ValueError:
        raise SiloError("forged", "what the lock holds") from None
    if (inner_silo, inner_genesis) != (silo, genesis):
        raise SiloError("forged", "the lock is for another silo")
    start, version = _named(lock, secret, silo, user, accepted)
    keys = walk_back(newest, rotations, silo, user, start)
    said = [parse_rotation(one) for one in rotations]
    steps = said[len(said) - len(keys) + 1 :]
    if steps and steps[0].manifest <= version:
        raise SiloError("forged", "a rotation from before the lock was proven")
    if listed is not None and listed not in {key.fingerprint for key in keys}:
        # The lock was proven since: what leads on from the directory's key has to be proven all the same.
        keys = walk_back(newest, rotations, silo, user, listed)
    return Unlocked(keys, max([version, *(one.manifest for one in said)]), keys[0].fingerprint == listed)


def _named(lock: Lock, secret: LockSecret, silo: bytes, user: bytes, accepted: bytes | None) -> tuple[bytes, int]:
    """Fingerprint of the account key that the lock's secret accepted last, and the manifest's version then."""
    if lock.account is None or lock.manifest is None or lock.mac is None:
        if accepted is None:
            raise SiloError("forged", "a device's lock proves nothing to who has accepted no account key")
        return accepted, 0
    start = hash_bytes(lock.account)
    proof = secret.mac(silo, user, id_bytes(lock.id), start, lock.manifest)
    if proof is None or not same(proof, hash_bytes(lock.mac)):
        raise SiloError("forged", "the lock's proof")
    return start, lock.manifest


def walk_back(
    newest: AccountKey, rotations: Sequence[Rotation], silo: bytes, user: bytes, start: bytes | None = None
) -> list[AccountKey]:
    """The account keys from `newest` back to the one with fingerprint `start` (None: the first of all), newest first.

    `rotations` are all that the silo has of this account, oldest first. Raises SiloError `forged` for a chain with a
    gap, a fork or another order, for a seed or a `start` that it does not lead to and for any proof that does not fit;
    `stale` where `newest` is one that the chain goes on from.
    """
    said = [parse_rotation(rotation) for rotation in rotations]
    marks = _chain(said, newest.fingerprint)
    if newest.fingerprint in marks[:-1]:
        raise SiloError("stale", "the account key has been rotated since")
    start = marks[0] if start is None else start
    if newest.fingerprint != marks[-1] or start not in marks:
        raise SiloError("forged", "no rotation leads to the account key")
    keys = [newest]
    for at in range(len(said) - 1, marks.index(start) - 1, -1):
        keys.append(_before(keys[-1], rotations[at], said[at], silo, user))
    return keys


def _chain(said: list[Rotated], alone: bytes) -> list[bytes]:
    """The fingerprints that the rotations go over, oldest first."""
    for one, other in pairwise(said):
        if one.new != other.old or one.manifest >= other.manifest:
            raise SiloError("forged", "a rotation does not follow the one before")
    marks = [said[0].old, *(one.new for one in said)] if said else [alone]
    if len(set(marks)) != len(marks):
        raise SiloError("forged", "an account key comes back")
    return marks


def _before(new: AccountKey, rotation: Rotation, rotated: Rotated, silo: bytes, user: bytes) -> AccountKey:
    """The account key before this rotation, which brought `new`."""
    try:
        seed = _hpke.PrivateKey(new.seed).open(unb64(rotation.past), pack(labels.ACCOUNT_PAST, *past_context(rotated)))
        old = AccountKey(seed)
        proof = old.mac(labels.ACCOUNT_ROTATION_MAC, rotated.statement())
        fits = same(proof, hash_bytes(rotation.mac))
    except (_hpke.CannotOpen, ValueError):
        raise SiloError("forged", "a rotation's past does not open") from None
    if not fits or old.fingerprint != rotated.old or new.signer.public != rotated.sign:
        raise SiloError("forged", "a rotation is not the old account key's")
    read_rotation(rotation, silo, user, old.signer.public)
    return old
