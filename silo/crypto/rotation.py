"""Rotating an account key without anybody's password or touch (SPEC 9.4). What stands here makes and checks; the walk
back over rotations, which opens, stands in `unlocking`.

A rotation is a statement with two proofs, the MAC of the old account key and the signature of the device that rotated,
and beside it the old seed, sealed to the new account key.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from silo.crypto import labels
from silo.crypto.encoding import Blob, Hash, Id, b32, b64, hash_bytes, id_bytes, u64, unb64
from silo.crypto.keys import (
    SIGN_SIZE,
    AccountKey,
    Enrolment,
    Recipient,
    Signer,
    check_vouch,
    read_enrolment,
    verify,
)
from silo.crypto.labels import pack, unpack
from silo.crypto.locks import Manifest, SignedManifest, seal_to, state_manifest
from silo.errors import SiloError


class Vouched(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An enrolment and the account's word on it (SPEC 6)."""

    statement: Blob
    signature: Blob
    vouch: Blob


class Rotation(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A rotation as it travels and as it is stored. Nothing in it is secret."""

    statement: Blob
    mac: Hash
    """By the old account key."""
    signature: Blob
    """By the rotating device."""
    enrolment: Vouched
    """The rotating device's, vouched for by the old account key."""
    past: Blob
    """The old seed, sealed to the new account key."""


@dataclass(frozen=True)
class Rotated:
    """What a rotation states. All fields but the numbers are raw bytes."""

    silo: bytes
    user: bytes
    old: bytes
    """Fingerprint of the account key before."""
    new: bytes
    sign: bytes
    """The new account's signing key (Ed25519), so that who knew the old one goes on to it."""
    manifest: int
    """Version of the lock manifest that came with it."""
    device: bytes
    time: int
    """Milliseconds since 1970."""

    def statement(self) -> bytes:
        """The bytes that are signed and MACed."""
        return pack(
            labels.ACCOUNT_ROTATION,
            *(self.silo, self.user, self.old, self.new, self.sign),
            *(u64(self.manifest), self.device, u64(self.time)),
        )


def parse_rotation(rotation: Rotation) -> Rotated:
    """What a rotation states, not yet proven. Raises SiloError `forged` where it is not well formed."""
    try:
        fields = unpack(labels.ACCOUNT_ROTATION, unb64(rotation.statement), 8)
        if [len(field) for field in fields] != [16, 16, 32, 32, SIGN_SIZE, 8, 16, 8]:
            raise ValueError
    except ValueError:
        raise SiloError("forged", "a rotation") from None
    silo, user, old, new, sign, manifest, device, time = fields
    return Rotated(silo, user, old, new, sign, int.from_bytes(manifest, "big"), device, int.from_bytes(time, "big"))


def read_rotation(rotation: Rotation, silo: bytes, user: bytes, sign: bytes) -> tuple[Rotated, Enrolment]:
    """What a rotation states and the device that made it, as far as everybody can check it who knows the signing key
    `sign` of the account key before. Raises SiloError `forged`."""
    rotated = parse_rotation(rotation)
    try:
        said, signature = unb64(rotation.enrolment.statement), unb64(rotation.enrolment.signature)
        vouch, signed = unb64(rotation.enrolment.vouch), unb64(rotation.signature)
    except ValueError:
        raise SiloError("forged", "a rotation") from None
    device = read_enrolment(said, signature)
    named = (rotated.silo, rotated.user, rotated.device)
    if named != (silo, user, device.device) or (device.silo, device.user) != (silo, user):
        raise SiloError("forged", "a rotation of another user, or by another device")
    check_vouch(sign, rotated.old, vouch, said, signature)
    verify(device.sign, signed, labels.ACCOUNT_ROTATION, rotated.statement())
    return rotated, device


def follow(rotations: list[Rotation], silo: bytes, user: bytes, account: bytes, sign: bytes) -> tuple[bytes, bytes]:
    """From an account key whose fingerprint and signing key the reader trusts, on over the rotations that come after
    it: fingerprint and signing key of the newest. For who has no seed. Raises SiloError `forged`."""
    begun = False
    for rotation in rotations:
        if not begun and parse_rotation(rotation).old != account:
            continue
        begun = True
        rotated, _ = read_rotation(rotation, silo, user, sign)
        if rotated.old != account:
            raise SiloError("forged", "a rotation does not follow the one before")
        account, sign = rotated.new, rotated.sign
    return account, sign


def past_context(rotated: Rotated) -> tuple[bytes, ...]:
    """What a sealed old seed is bound to, beside its label: the whole statement."""
    return (rotated.statement(),)


def make_rotation(
    old: AccountKey,
    new: AccountKey,
    device: Signer,
    enrolment: Vouched,
    manifest: int,
    silo: bytes,
    user: bytes,
    now: int,
) -> Rotation:
    """`device` (its enrolment vouched for by `old`) replaces `old` with `new`; `manifest` is the new one's version.

    Raises ValueError for an enrolment that is misspelled, SiloError `forged` for one that its device did not sign.
    """
    enrolled = read_enrolment(unb64(enrolment.statement), unb64(enrolment.signature))
    rotated = Rotated(silo, user, old.fingerprint, new.fingerprint, new.signer.public, manifest, enrolled.device, now)
    said = rotated.statement()
    return Rotation(
        statement=b64(said),
        mac=b32(old.mac(labels.ACCOUNT_ROTATION_MAC, said)),
        signature=b64(device.sign(labels.ACCOUNT_ROTATION, said)),
        enrolment=enrolment,
        past=b64(new.recipient.seal(old.seed, labels.ACCOUNT_PAST, *past_context(rotated))),
    )


def vouch_anew(
    old: AccountKey,
    new: AccountKey,
    listed: Iterable[tuple[Vouched, int | None]],
    silo: bytes,
    user: bytes,
    known: Mapping[bytes, int | None],
) -> list[tuple[Vouched, int | None]]:
    """The enrolments of an account as `new` vouches for them, each with its time of revocation (None: live).

    `listed` are those that the silo has, `known` those that the person was shown and knows: device id -> since when it
    is revoked, None for live. Whoever stole the old seed has enrolled devices too, so what is not known is revoked from
    the beginning of time; what was revoked stays so (SPEC 6.2). Raises SiloError `forged` for what `old` did not vouch
    for.
    """
    anew: list[tuple[Vouched, int | None]] = []
    for one, before in listed:
        try:
            said, signature, vouch = unb64(one.statement), unb64(one.signature), unb64(one.vouch)
        except ValueError:
            raise SiloError("forged", "an enrolment") from None
        device = read_enrolment(said, signature)
        check_vouch(old.signer.public, old.fingerprint, vouch, said, signature, before)
        if (device.silo, device.user) != (silo, user):
            raise SiloError("forged", "another user's device")
        times = [time for time in (before, known.get(device.device, 0)) if time is not None]
        revoked = min(times, default=None)
        anew.append((Vouched(one.statement, one.signature, b64(new.vouch(said, signature, revoked))), revoked))
    return anew


class Resealed(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a rotation changes of a lock: all else of it only its secret could make anew."""

    id: Id
    sealed: Blob


def next_locks(
    before: Manifest, new: AccountKey, genesis: bytes, drop: Collection[str] = ()
) -> tuple[list[Resealed], SignedManifest]:
    """`new` sealed to every lock that `before` lists but those in `drop` (ids), and the manifest that follows.

    The caller has verified `before` under the old account key: no other public half is sealed to. Raises ValueError
    where no lock would be left.
    """
    silo, user = id_bytes(before.silo), id_bytes(before.user)
    kept = [listed for listed in before.locks if listed.id not in drop]
    if not kept:
        raise ValueError("an account key has a lock")
    resealed = [
        Resealed(
            id=one.id,
            sealed=seal_to(Recipient(unb64(one.public)), one.kind, id_bytes(one.id), new, silo, genesis, user),
        )
        for one in kept
    ]
    return resealed, state_manifest(new, silo, user, before.version + 1, kept)


def check_next(rotated: Rotated, before: Manifest, after: Manifest) -> None:
    """Raises SiloError `forged` unless `after` is the manifest that this rotation brought: next after `before`, of the
    version stated, of the new account key, and with no lock that `before` did not list."""
    known = {(one.id, one.kind, one.public) for one in before.locks}
    if (
        (after.silo, after.user) != (b32(rotated.silo), b32(rotated.user))
        or (hash_bytes(before.account), hash_bytes(after.account)) != (rotated.old, rotated.new)
        or after.version != rotated.manifest
        or after.version != before.version + 1
        or not {(one.id, one.kind, one.public) for one in after.locks} <= known
    ):
        raise SiloError("forged", "the manifest is not the rotation's")
