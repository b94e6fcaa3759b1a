"""Lies about account keys: vouches, manifests, rotations, the directory, the silo's spare (SPEC 6.2, 8.7, 8.8, 9)."""

import hmac
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from form import Fields, join

from lies import (
    ACCOUNT_SEED,
    ADMIN,
    DEVICE,
    DEVICE_KEY,
    GENESIS,
    IDENTITY,
    NOW,
    OTHER_ACCOUNT_SEED,
    OTHER_ADMIN,
    OTHER_DEVICE,
    OTHER_DEVICE_KEY,
    OTHER_IDENTITY,
    OTHER_SILO,
    OTHER_USER,
    SILO,
    USER,
    ZERO_POINT,
    flip,
    ident,
    lie,
    low_order,
    public,
    recipient,
    secret,
    tell,
)
from lies.keyring import SUCCESSOR, after, document, epoch, first, half, holder, mark_of, sealing_holder, signed
from lies.locks import LOCK, SECRETS, derived, lock, shown
from silo.crypto import labels
from silo.crypto.encoding import b32, b64, u64
from silo.crypto.keys import AdminKey, Signer, derive, fingerprint
from silo.crypto.labels import pack

Json = dict[str, Any]

SEEDS = [ACCOUNT_SEED, secret("account, rotated once"), secret("account, rotated twice")]
"""One account key after the other."""


def mark(seed: bytes) -> bytes:
    """An account key's fingerprint."""
    return fingerprint(public(seed))


@cache
def signer(seed: bytes) -> Signer:
    """An account's signing key."""
    return Signer(derive(seed, labels.ACCOUNT_SIGN))


def mac(seed: bytes, label: str, *fields: bytes) -> bytes:
    """What an account key MACs."""
    return hmac.digest(derive(seed, labels.ACCOUNT_MAC_KEY), pack(label, *fields), "sha256")


def compact(value: Any) -> str:
    """JSON without white space; fields that are `...` are left out."""
    return json.dumps({key: one for key, one in value.items() if one is not ...}, separators=(",", ":"))


@lie("account", "success", "what an account key derives")
def account() -> Fields:
    one = signer(ACCOUNT_SEED)
    return [
        ("seed", ACCOUNT_SEED),
        ("public", public(ACCOUNT_SEED)),
        ("fingerprint", mark(ACCOUNT_SEED)),
        ("sign-seed", one.seed),
        ("sign", one.public),
        ("mac-key", derive(ACCOUNT_SEED, labels.ACCOUNT_MAC_KEY)),
    ]


# --- vouches (SPEC 6.2) ---


def enrolment(device: bytes = DEVICE, key: Signer = DEVICE_KEY, silo: bytes = SILO, user: bytes = USER) -> bytes:
    """An enrolment's statement."""
    return pack(labels.ENROLMENT, silo, user, device, key.public, public(SECRETS["device"]), u64(NOW))


def enrolled(statement: bytes, key: Signer = DEVICE_KEY) -> bytes:
    """The device's signature under it."""
    return key.sign(labels.ENROLMENT, statement)


_STATED = enrolment()
_SIGNED = enrolled(_STATED)


def vouched(
    statement: bytes = _STATED,
    signature: bytes = _SIGNED,
    seed: bytes = ACCOUNT_SEED,
    named: bytes | None = None,
    label: str = labels.ENROLMENT_VOUCH,
    revoked: bytes = b"",
) -> bytes:
    """The account's word on an enrolment."""
    return signer(seed).sign(label, statement, signature, named or mark(seed), revoked)


def _vouch(
    vouch: bytes,
    statement: bytes = _STATED,
    signature: bytes = _SIGNED,
    seed: bytes = ACCOUNT_SEED,
    revoked: int | None = None,
) -> Fields:
    given: Fields = [
        ("sign", signer(seed).public),
        ("account", mark(seed)),
        ("statement", statement),
        ("signature", signature),
        ("vouch", vouch),
    ]
    return given if revoked is None else [*given, ("revoked", revoked)]


@lie("vouch", "success", "an account vouches for a device of its own")
def vouch() -> Fields:
    return [*_vouch(vouched()), ("device", DEVICE), ("device-public", DEVICE_KEY.public)]


@lie("vouch", "success", "a device that the account has revoked, and when")
def vouch_revoked() -> Fields:
    return [*_vouch(vouched(revoked=u64(NOW)), revoked=NOW), ("device", DEVICE), ("device-public", DEVICE_KEY.public)]


_OTHER_STATED = enrolment(OTHER_DEVICE, OTHER_DEVICE_KEY)
_OTHER_SIGNED = enrolled(_OTHER_STATED, OTHER_DEVICE_KEY)

_VOUCHES: tuple[tuple[str, str, Callable[[], Fields]], ...] = (
    (
        "for-other-device",
        "an enrolment that the box made up, and the vouch for another",
        lambda: _vouch(vouched(), _OTHER_STATED, _OTHER_SIGNED),
    ),
    (
        "by-other-account",
        "another account vouches",
        lambda: _vouch(vouched(seed=OTHER_ACCOUNT_SEED)),
    ),
    (
        "for-other-account",
        "the account's own key signed, for another account key",
        lambda: _vouch(vouched(named=mark(OTHER_ACCOUNT_SEED))),
    ),
    (
        "by-device",
        "the device vouches for itself",
        lambda: _vouch(DEVICE_KEY.sign(labels.ENROLMENT_VOUCH, _STATED, _SIGNED, mark(ACCOUNT_SEED), b"")),
    ),
    (
        "statement-alone",
        "it covers the statement, and not its signature",
        lambda: _vouch(signer(ACCOUNT_SEED).sign(labels.ENROLMENT_VOUCH, _STATED, mark(ACCOUNT_SEED), b"")),
    ),
    (
        "without-revocation",
        "it says nothing of revocation, not even that there is none",
        lambda: _vouch(signer(ACCOUNT_SEED).sign(labels.ENROLMENT_VOUCH, _STATED, _SIGNED, mark(ACCOUNT_SEED))),
    ),
    (
        "made-live-again",
        "the account revoked the device, and the silo lists it as live",
        lambda: _vouch(vouched(revoked=u64(NOW))),
    ),
    (
        "revoked-by-silo",
        "the account vouched for a live device, and the silo lists it as revoked",
        lambda: _vouch(vouched(), revoked=NOW),
    ),
    (
        "revoked-later",
        "a time of revocation after the one that the account signed",
        lambda: _vouch(vouched(revoked=u64(NOW)), revoked=NOW + 1),
    ),
    (
        "revoked-at-0",
        "the account vouched for a live device, and the silo lists it as revoked at the time 0",
        lambda: _vouch(vouched(), revoked=0),
    ),
    ("other-label", "signed for another purpose", lambda: _vouch(vouched(label=labels.ENROLMENT))),
    ("zeros", "zeros for a vouch", lambda: _vouch(bytes(64))),
    ("missing", "no vouch", lambda: _vouch(b"")),
    (
        "enrolment-not-signed",
        "vouched for, and never signed by its own device",
        lambda: _vouch(vouched(signature=_OTHER_SIGNED), signature=_OTHER_SIGNED),
    ),
    (
        "before-rotation",
        "the account key before the present one vouches",
        lambda: _vouch(vouched(), seed=SEEDS[1]),
    ),
)

for _name, _lie, _make in _VOUCHES:
    tell(f"vouch-{_name}", "vouch", "forged", _lie, _make)


# --- the lock manifest (SPEC 9.3) ---


def listed(kind: str = "recovery", **changes: Any) -> Json:
    """A lock as the manifest names it."""
    pair = SECRETS["device"] if kind == "device" else derived(SECRETS[kind], labels.LOCK_SEAL, kind)
    return {"id": b32(DEVICE if kind == "device" else LOCK), "kind": kind, "public": b64(public(pair))} | changes


def manifest_text(seed: bytes = ACCOUNT_SEED, **changes: Any) -> str:
    """A manifest's document; what is changed to `...` is left out."""
    return compact(
        {
            "format": "securesilo/1 lock manifest",
            "silo": b32(SILO),
            "user": b32(USER),
            "version": 1,
            "account": b32(mark(seed)),
            "locks": [listed(), listed("device")],
        }
        | changes
    )


def maced(text: str, seed: bytes = ACCOUNT_SEED, said: str | None = None, label: str = labels.LOCK_MANIFEST) -> str:
    """A manifest with its MAC; `said` is what the MAC covers, if not the text."""
    return compact({"manifest": text, "mac": b32(mac(seed, label, (said or text).encode()))})


def _manifest(text: str, least: int | None = None) -> Fields:
    given: Fields = [("seed", ACCOUNT_SEED), ("silo", SILO), ("user", USER), ("manifest", text)]
    return given if least is None else [*given, ("least", least)]


@lie("manifest", "success", "a recovery sheet and a device")
def manifest() -> Fields:
    text = manifest_text()
    return [
        *_manifest(maced(text), 1),
        ("version", 1),
        ("text", text),
        ("mac", mac(ACCOUNT_SEED, labels.LOCK_MANIFEST, text.encode())),
        ("listed", LOCK),
        ("listed", DEVICE),
    ]


@lie("manifest", "success", "a newer version than was seen")
def manifest_newer() -> Fields:
    return [*_manifest(maced(manifest_text(version=7)), 3), ("version", 7)]


_THIEF = listed("device", id=b32(ident("a thief's lock")), public=b64(public(secret("a thief's lock"))))

_MANIFESTS: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    (
        "lower",
        "stale",
        "a manifest from before the newest that was seen",
        lambda: _manifest(maced(manifest_text(version=2)), 3),
    ),
    (
        "lock-added",
        "forged",
        "a lock of the silo's own, to which the next seed would be sealed",
        lambda: _manifest(maced(manifest_text(locks=[listed(), _THIEF]), said=manifest_text())),
    ),
    (
        "lock-left-out",
        "forged",
        "a lock was left out",
        lambda: _manifest(maced(manifest_text(locks=[listed()]), said=manifest_text())),
    ),
    (
        "version-raised",
        "forged",
        "another version than the MAC covers",
        lambda: _manifest(maced(manifest_text(version=2), said=manifest_text())),
    ),
    (
        "space-more",
        "forged",
        "the same fields, with a space more",
        lambda: _manifest(maced(manifest_text() + " ", said=manifest_text())),
    ),
    ("of-other-seed", "forged", "MACed under another seed", lambda: _manifest(maced(manifest_text(), SEEDS[1]))),
    (
        "under-seed-itself",
        "forged",
        "MACed under the seed itself, and not under the key that it derives",
        lambda: _manifest(
            compact(
                {
                    "manifest": manifest_text(),
                    "mac": b32(
                        hmac.digest(ACCOUNT_SEED, pack(labels.LOCK_MANIFEST, manifest_text().encode()), "sha256")
                    ),
                }
            )
        ),
    ),
    (
        "other-label",
        "forged",
        "MACed for another purpose",
        lambda: _manifest(maced(manifest_text(), label=labels.ACCOUNT_ROTATION_MAC)),
    ),
    (
        "of-other-account",
        "forged",
        "it names another account key",
        lambda: _manifest(maced(manifest_text(SEEDS[1]))),
    ),
    ("of-other-silo", "forged", "another silo's", lambda: _manifest(maced(manifest_text(silo=b32(OTHER_SILO))))),
    ("of-other-user", "forged", "another user's", lambda: _manifest(maced(manifest_text(user=b32(OTHER_USER))))),
    ("zeros", "forged", "zeros for a MAC", lambda: _manifest(compact({"manifest": "{}", "mac": b32(bytes(32))}))),
    (
        "lock-twice",
        "header failure",
        "a lock stands twice",
        lambda: _manifest(maced(manifest_text(locks=[listed(), listed()]))),
    ),
    (
        "id-twice",
        "header failure",
        "two locks with one id",
        lambda: _manifest(maced(manifest_text(locks=[listed(), listed("device", id=b32(LOCK))]))),
    ),
    (
        "public-twice",
        "header failure",
        "two locks with one public half",
        lambda: _manifest(maced(manifest_text(locks=[listed(), listed("device", public=listed()["public"])]))),
    ),
    ("no-lock", "header failure", "no lock at all", lambda: _manifest(maced(manifest_text(locks=[])))),
    ("version-0", "header failure", "version 0", lambda: _manifest(maced(manifest_text(version=0)))),
    (
        "other-format",
        "header failure",
        "another format",
        lambda: _manifest(maced(manifest_text(format="securesilo/2 lock manifest"))),
    ),
    ("missing-field", "header failure", "no account key", lambda: _manifest(maced(manifest_text(account=...)))),
    ("unknown-field", "header failure", "a field that nobody knows", lambda: _manifest(maced(manifest_text(note=1)))),
    (
        "unknown-kind",
        "header failure",
        "a lock of a kind that nobody knows",
        lambda: _manifest(maced(manifest_text(locks=[listed(), listed("device") | {"kind": "pin"}]))),
    ),
    (
        "low-order",
        "header failure",
        "a public half whose X25519 point is 0",
        lambda: _manifest(
            maced(manifest_text(locks=[listed(public=b64(low_order(public(ACCOUNT_SEED), ZERO_POINT)))]))
        ),
    ),
    (
        "short-public",
        "header failure",
        "a public half of 1,215 bytes",
        lambda: _manifest(maced(manifest_text(locks=[listed(public=b64(public(ACCOUNT_SEED)[1:]))]))),
    ),
)

for _name, _expect, _lie, _make in _MANIFESTS:
    tell(f"manifest-{_name}", "manifest", _expect, _lie, _make)


# --- rotation (SPEC 9.4) ---


def rotated(
    old: bytes,
    new: bytes,
    manifest: int,
    silo: bytes = SILO,
    user: bytes = USER,
    device: bytes = DEVICE,
    sign: bytes | None = None,
    named_old: bytes | None = None,
    named_new: bytes | None = None,
) -> bytes:
    """A rotation's statement."""
    return pack(
        labels.ACCOUNT_ROTATION,
        *(silo, user, named_old or mark(old), named_new or mark(new), sign or signer(new).public),
        *(u64(manifest), device, u64(NOW)),
    )


def rotation(
    step: int = 1,
    manifest: int | None = None,
    old: bytes | None = None,
    new: bytes | None = None,
    said: bytes | None = None,
    by: Signer = DEVICE_KEY,
    stated: bytes = _STATED,
    enrolled_by: bytes = _SIGNED,
    vouch_seed: bytes | None = None,
    revoked: bytes = b"",
    mac_seed: bytes | None = None,
    mac_label: str = labels.ACCOUNT_ROTATION_MAC,
    sign_label: str = labels.ACCOUNT_ROTATION,
    mac_said: bytes | None = None,
    signed_said: bytes | None = None,
    past_seed: bytes | None = None,
    past_said: bytes | None = None,
    **changes: Any,
) -> str:
    """Rotation `step`'s JSON, from the seed before to the seed `step`; every argument can be a lie."""
    old, new = old or SEEDS[step - 1], new or SEEDS[step]
    said = rotated(old, new, manifest or step + 1) if said is None else said
    return compact(
        {
            "statement": b64(said),
            "mac": b32(mac(mac_seed or old, mac_label, mac_said or said)),
            "signature": b64(by.sign(sign_label, signed_said or said)),
            "enrolment": {
                "statement": b64(stated),
                "signature": b64(enrolled_by),
                "vouch": b64(vouched(stated, enrolled_by, vouch_seed or old, revoked=revoked)),
            },
            "past": b64(recipient(new).seal(past_seed or old, labels.ACCOUNT_PAST, past_said or said)),
        }
        | changes
    )


def _read(text: str) -> Fields:
    return [("silo", SILO), ("user", USER), ("sign", signer(ACCOUNT_SEED).public), ("rotation", text)]


def _with_manifests(before: str, now: str, text: str | None = None) -> Fields:
    return [*_read(text or rotation()), ("manifest", before), ("manifest", now)]


def _after(seed: bytes = SEEDS[1], **changes: Any) -> str:
    return maced(manifest_text(seed, **{"version": 2} | changes), seed)


@lie("rotation", "success", "a device rotates the account key, and brings the next manifest")
def rotation_one() -> Fields:
    said = rotated(SEEDS[0], SEEDS[1], 2)
    return [
        *_with_manifests(maced(manifest_text()), _after()),
        ("statement", said),
        ("old", mark(SEEDS[0])),
        ("new", mark(SEEDS[1])),
        ("new-sign", signer(SEEDS[1]).public),
        ("version", 2),
        ("device", DEVICE),
        ("time", NOW),
    ]


@lie("rotation", "success", "the lock of a device that was revoked is left out")
def rotation_lock_left_out() -> Fields:
    return _with_manifests(maced(manifest_text()), _after(locks=[listed()]))


def _of(**changes: Any) -> str:
    """The first rotation with another statement, and every proof made for that."""
    return rotation(said=rotated(SEEDS[0], SEEDS[1], 2, **changes))


def _stranger(vouch_seed: bytes = ACCOUNT_SEED) -> str:
    return rotation(by=OTHER_DEVICE_KEY, stated=_OTHER_STATED, enrolled_by=_OTHER_SIGNED, vouch_seed=vouch_seed)


_OTHERS_STATED = enrolment(user=OTHER_USER)

_ROTATIONS: tuple[tuple[str, str, Callable[[], Fields]], ...] = (
    ("other-user", "another user's", lambda: _read(_of(user=OTHER_USER))),
    ("other-silo", "another silo's", lambda: _read(_of(silo=OTHER_SILO))),
    (
        "not-vouched",
        "the old account key never vouched for the device that signed",
        lambda: _read(
            rotation(
                said=rotated(SEEDS[0], SEEDS[1], 2, device=OTHER_DEVICE),
                by=OTHER_DEVICE_KEY,
                stated=_OTHER_STATED,
                enrolled_by=_OTHER_SIGNED,
                vouch_seed=SEEDS[1],
            )
        ),
    ),
    (
        "by-revoked-device",
        "the account had revoked the device that rotates",
        lambda: _read(rotation(revoked=u64(NOW - 1))),
    ),
    ("names-other-device", "it names another device than the enrolment beside it", lambda: _read(_stranger())),
    (
        "enrolled-elsewhere",
        "the device is another user's, and the account vouched for it",
        lambda: _read(rotation(stated=_OTHERS_STATED, enrolled_by=enrolled(_OTHERS_STATED))),
    ),
    ("signed-by-other", "another device signed", lambda: _read(rotation(by=OTHER_DEVICE_KEY))),
    ("other-label", "the device signed for another purpose", lambda: _read(rotation(sign_label=labels.ENROLMENT))),
    (
        "version-changed",
        "another version of the manifest than the device signed",
        lambda: _read(rotation(said=rotated(SEEDS[0], SEEDS[1], 3), signed_said=rotated(SEEDS[0], SEEDS[1], 2))),
    ),
    (
        "enrolment-not-signed",
        "an enrolment that its device did not sign",
        lambda: _read(rotation(enrolled_by=_OTHER_SIGNED)),
    ),
    ("cut", "the last byte is missing", lambda: _read(rotation(said=rotated(SEEDS[0], SEEDS[1], 2)[:-1]))),
    (
        "short-time",
        "a time of 7 bytes",
        lambda: _read(
            rotation(
                said=pack(
                    labels.ACCOUNT_ROTATION,
                    SILO,
                    USER,
                    mark(SEEDS[0]),
                    mark(SEEDS[1]),
                    signer(SEEDS[1]).public,
                    u64(2),
                    DEVICE,
                    u64(NOW)[1:],
                )
            )
        ),
    ),
    (
        "manifest-of-other-version",
        "the manifest is of another version than the statement says",
        lambda: _with_manifests(maced(manifest_text()), _after(version=3)),
    ),
    (
        "manifest-not-next",
        "statement and manifest leave a version out",
        lambda: _with_manifests(maced(manifest_text()), _after(version=3), rotation(manifest=3)),
    ),
    (
        "manifest-of-old-account",
        "the manifest is the old account key's",
        lambda: _with_manifests(maced(manifest_text()), maced(manifest_text(version=2))),
    ),
    (
        "manifest-with-lock-more",
        "a lock more than the manifest before lists",
        lambda: _with_manifests(maced(manifest_text()), _after(locks=[listed(), _THIEF])),
    ),
    (
        "manifest-with-other-public",
        "another public half than the manifest before lists",
        lambda: _with_manifests(maced(manifest_text()), _after(locks=[listed(public=_THIEF["public"])])),
    ),
)

for _name, _lie, _make in _ROTATIONS:
    tell(f"rotation-{_name}", "rotation", "forged", _lie, _make)


# --- the walk back over rotations (SPEC 9.5) ---


def _walk(*rotations: str, seed: bytes = SEEDS[2], start: bytes | None = SEEDS[0]) -> Fields:
    given: Fields = [("seed", seed), ("silo", SILO), ("user", USER)]
    if start is not None:
        given.append(("start", mark(start)))
    return [*given, *(("rotation", one) for one in rotations)]


def _back(*seeds: bytes) -> Fields:
    return [("account", mark(seed)) for seed in seeds]


@lie("walk", "success", "back over two rotations to the account key that was accepted last")
def walk() -> Fields:
    return [*_walk(rotation(1), rotation(2)), *_back(SEEDS[2], SEEDS[1], SEEDS[0])]


@lie("walk", "success", "back over the last of two rotations")
def walk_from_second() -> Fields:
    return [*_walk(rotation(1), rotation(2), start=SEEDS[1]), *_back(SEEDS[2], SEEDS[1])]


@lie("walk", "success", "an account key that was never rotated")
def walk_none() -> Fields:
    return [*_walk(seed=SEEDS[0]), *_back(SEEDS[0])]


@lie("walk", "success", "the account key that was accepted last is the newest")
def walk_to_itself() -> Fields:
    return [*_walk(rotation(1), rotation(2), start=SEEDS[2]), *_back(SEEDS[2])]


@lie("walk", "success", "without a start: back to the first")
def walk_whole() -> Fields:
    return [*_walk(rotation(1), rotation(2), start=None), *_back(SEEDS[2], SEEDS[1], SEEDS[0])]


def _bent(**lies: Any) -> Fields:
    return _walk(rotation(1, **lies), rotation(2))


_WALKS: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    ("skipped", "forged", "a rotation is missing", lambda: _walk(rotation(2))),
    ("last-missing", "forged", "the last rotation is missing", lambda: _walk(rotation(1))),
    ("none-left", "forged", "no rotation leads there", lambda: _walk()),
    ("swapped", "forged", "two rotations stand in the wrong order", lambda: _walk(rotation(2), rotation(1))),
    ("twice", "forged", "a rotation stands twice", lambda: _walk(rotation(1), rotation(2), rotation(2))),
    (
        "forked",
        "forged",
        "two rotations begin with one account key",
        lambda: _walk(rotation(1), rotation(2, old=SEEDS[0], manifest=3), rotation(2)),
    ),
    (
        "circle",
        "forged",
        "it comes back to where it began",
        lambda: _walk(rotation(1), rotation(2, old=SEEDS[1], new=SEEDS[0], manifest=3), seed=SEEDS[0], start=SEEDS[1]),
    ),
    (
        "version-falls",
        "forged",
        "the manifest's version does not rise",
        lambda: _walk(rotation(1, manifest=3), rotation(2, manifest=3)),
    ),
    (
        "other-seed",
        "forged",
        "the silo put a seed of its own into the lock",
        lambda: _walk(rotation(1), rotation(2), seed=OTHER_ACCOUNT_SEED),
    ),
    (
        "other-start",
        "forged",
        "the account key that was accepted is in no rotation",
        lambda: _walk(rotation(1), rotation(2), start=OTHER_ACCOUNT_SEED),
    ),
    (
        "old-seed",
        "stale",
        "a lock from before the last rotation",
        lambda: _walk(rotation(1), rotation(2), seed=SEEDS[1]),
    ),
    ("mac-of-other-seed", "forged", "MACed under another seed", lambda: _bent(mac_seed=OTHER_ACCOUNT_SEED)),
    ("mac-of-new-seed", "forged", "MACed under the new seed", lambda: _bent(mac_seed=SEEDS[1])),
    ("mac-zeros", "forged", "zeros for a MAC in a rotation", lambda: _bent(mac=b32(bytes(32)))),
    ("mac-other-label", "forged", "MACed for another purpose", lambda: _bent(mac_label=labels.LOCK_MANIFEST)),
    (
        "mac-of-other-statement",
        "forged",
        "the MAC of another statement",
        lambda: _bent(mac_said=rotated(SEEDS[0], SEEDS[1], 3)),
    ),
    ("signed-by-other", "forged", "another device signed a rotation", lambda: _bent(by=OTHER_DEVICE_KEY)),
    (
        "vouched-by-new",
        "forged",
        "the new account key vouches for the device that rotated, the old one does not",
        lambda: _bent(vouch_seed=SEEDS[1]),
    ),
    (
        "past-of-other-seed",
        "forged",
        "another seed in the past",
        lambda: _bent(past_seed=OTHER_ACCOUNT_SEED),
    ),
    (
        "past-of-other-statement",
        "forged",
        "a past that is bound to another statement",
        lambda: _bent(past_said=rotated(SEEDS[0], SEEDS[1], 3)),
    ),
    ("past-of-31-bytes", "forged", "a seed of 31 bytes in the past", lambda: _bent(past_seed=SEEDS[0][1:])),
    ("past-empty", "forged", "no past", lambda: _bent(past="")),
    (
        "past-flipped",
        "forged",
        "a changed byte in the past",
        lambda: _bent(
            past=b64(flip(recipient(SEEDS[1]).seal(SEEDS[0], labels.ACCOUNT_PAST, rotated(SEEDS[0], SEEDS[1], 2)), -1))
        ),
    ),
    (
        "of-other-user",
        "forged",
        "a rotation of another user, proven in every way",
        lambda: _bent(said=rotated(SEEDS[0], SEEDS[1], 2, user=OTHER_USER)),
    ),
    (
        "of-other-silo",
        "forged",
        "a rotation on another silo, proven in every way",
        lambda: _bent(said=rotated(SEEDS[0], SEEDS[1], 2, silo=OTHER_SILO)),
    ),
    (
        "other-signing-key",
        "forged",
        "it names a signing key that the new account key does not derive",
        lambda: _bent(said=rotated(SEEDS[0], SEEDS[1], 2, sign=signer(OTHER_ACCOUNT_SEED).public)),
    ),
    ("byte-after", "forged", "a byte after a statement", lambda: _bent(said=rotated(SEEDS[0], SEEDS[1], 2) + b"\0")),
)

for _name, _expect, _lie, _make in _WALKS:
    tell(f"walk-{_name}", "walk", _expect, _lie, _make)


def _rotated_lock(
    kind: str, text: str, *rotations: str, accepted: bytes | None = None, named: bytes | None = None
) -> Fields:
    given = shown(kind, text)
    if accepted is not None:
        given.append(("accepted", mark(accepted)))
    if named is not None:
        given.append(("listed", mark(named)))
    return [*given, *(("rotation", one) for one in rotations)]


@lie("lock", "success", "rotated twice, while the recovery sheet lay in a drawer")
def lock_rotated() -> Fields:
    return [
        *_rotated_lock("recovery", lock("recovery", seed=SEEDS[2]), rotation(1), rotation(2)),
        *(("account-seed", seed) for seed in reversed(SEEDS)),
        ("least", 3),
    ]


@lie("lock", "success", "a device that was away while the account key was rotated")
def lock_rotated_device() -> Fields:
    text = lock("device", seed=SEEDS[2])
    return [
        *_rotated_lock("device", text, rotation(1), rotation(2), accepted=SEEDS[1]),
        ("account-seed", SEEDS[2]),
        ("account-seed", SEEDS[1]),
        ("least", 3),
    ]


@lie("lock", "success", "a device that met the rotation: the manifest is none from before it")
def lock_rotated_and_met() -> Fields:
    text = lock("device", seed=SEEDS[2])
    return [
        *_rotated_lock("device", text, rotation(1), rotation(2), accepted=SEEDS[2]),
        ("account-seed", SEEDS[2]),
        ("least", 3),
    ]


@lie("lock", "success", "a sheet proven in a later manifest than the rotation brought")
def lock_rotated_and_proven_since() -> Fields:
    text = lock("recovery", seed=SEEDS[1], mac_seed=SEEDS[1], mac_manifest=5, manifest=5)
    return [*_rotated_lock("recovery", text, rotation(1)), ("account-seed", SEEDS[1]), ("least", 5)]


@lie("lock", "success", "rotated twice, and the directory lists the newest account key")
def lock_listed() -> Fields:
    text = lock("recovery", seed=SEEDS[2])
    return [
        *_rotated_lock("recovery", text, rotation(1), rotation(2), named=SEEDS[2]),
        *(("account-seed", seed) for seed in reversed(SEEDS)),
        ("is-listed", 1),
    ]


@lie("lock", "success", "rotated once since the directory's newest entry: not the very key that it lists")
def lock_listed_before() -> Fields:
    text = lock("device", seed=SEEDS[2])
    return [
        *_rotated_lock("device", text, rotation(1), rotation(2), accepted=SEEDS[2], named=SEEDS[1]),
        ("account-seed", SEEDS[2]),
        ("account-seed", SEEDS[1]),
        ("is-listed", 0),
    ]


_ROTATED_LOCKS: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    (
        "rotated-by-nobody",
        "forged",
        "another seed than the lock's proof names, and no rotation",
        lambda: _rotated_lock("recovery", lock("recovery", seed=SEEDS[1])),
    ),
    (
        "rotated-to-other",
        "forged",
        "the silo's own seed, beside true rotations",
        lambda: _rotated_lock("recovery", lock("recovery", seed=OTHER_ACCOUNT_SEED), rotation(1), rotation(2)),
    ),
    (
        "rotated-and-rolled-back",
        "stale",
        "a lock from before the rotation that stands beside it",
        lambda: _rotated_lock("recovery", lock("recovery"), rotation(1)),
    ),
    (
        "rotated-before-proof",
        "forged",
        "the lock was proven with the old account key in a manifest after the rotation",
        lambda: _rotated_lock("recovery", lock("recovery", seed=SEEDS[1], mac_manifest=2, manifest=2), rotation(1)),
    ),
    (
        "rotated-past-missing",
        "forged",
        "the past that leads to the proven account key was taken out",
        lambda: _rotated_lock("recovery", lock("recovery", seed=SEEDS[2]), rotation(1, past=""), rotation(2)),
    ),
    (
        "forked-beside-listed",
        "forged",
        "who holds the old seed rotated it once more, and the directory lists where the true rotation led",
        lambda: _rotated_lock(
            "recovery",
            lock("recovery", seed=OTHER_ACCOUNT_SEED),
            rotation(new=OTHER_ACCOUNT_SEED),
            named=SEEDS[1],
        ),
    ),
    (
        "rolled-back-behind-listed",
        "forged",
        "a lock from before the rotation without the rotation, and the directory lists where that led",
        lambda: _rotated_lock("recovery", lock("recovery"), named=SEEDS[1]),
    ),
    (
        "listed-stated-alone",
        "forged",
        "a rotation from the listed account key that its holder never made, before the thief's",
        lambda: _rotated_lock(
            "recovery",
            lock("recovery", seed=OTHER_ACCOUNT_SEED, mac_manifest=2, manifest=2),
            rotation(old=SEEDS[1], new=SEEDS[0], vouch_seed=SEEDS[0], mac_seed=SEEDS[0], past_seed=SEEDS[0]),
            rotation(new=OTHER_ACCOUNT_SEED, manifest=3),
            named=SEEDS[1],
        ),
    ),
)

for _name, _expect, _lie, _make in _ROTATED_LOCKS:
    tell(f"lock-{_name}", "lock", _expect, _lie, _make)


# --- the directory (SPEC 8.8) ---


def _entered(*fields: bytes) -> bytes:
    return pack(labels.DIRECTORY_ENTRY, *fields)


_ENTERED = [SILO, USER, b"alice", mark(ACCOUNT_SEED), signer(ACCOUNT_SEED).public, u64(NOW)]


def entry(
    admin: AdminKey = ADMIN,
    silo: bytes = SILO,
    user: bytes = USER,
    name: str = "alice",
    seed: bytes = ACCOUNT_SEED,
    time: int = NOW,
    named: str | None = None,
    label: str = labels.DIRECTORY_ENTRY,
    said: bytes | None = None,
    signed_said: bytes | None = None,
) -> str:
    """An entry's JSON."""
    if said is None:
        said = _entered(silo, user, name.encode(), mark(seed), signer(seed).public, u64(time))
    return compact(
        {
            "statement": b64(said),
            "signer": named or mark_of(admin),
            "signature": b64(admin.signer.sign(label, signed_said or said)),
        }
    )


def _directory(*entries: str, rings: tuple[str, ...] | None = None, seen: tuple[bytes, int] | None = None) -> Fields:
    given: Fields = [("silo", SILO), ("pin", GENESIS)]
    given += [("keyring", one) for one in rings or (signed(document()),)]
    if seen:
        given.append(("seen", join(seen[0], u64(seen[1]))))
    return [*given, *(("signed-entry", one) for one in entries)]


def _named(user: bytes, seed: bytes, name: bytes = b"alice") -> tuple[str, str]:
    return "listed", join(user, name, mark(seed), signer(seed).public)


@lie("directory", "success", "an administrator names a user's account key")
def directory() -> Fields:
    said = _entered(*_ENTERED)
    shows: Fields = [("statement", said), ("signature", ADMIN.signer.sign(labels.DIRECTORY_ENTRY, said))]
    return [*_directory(entry()), *shows, _named(USER, ACCOUNT_SEED)]


@lie("directory", "success", "two users, and of one of them a newer entry, which counts")
def directory_newer() -> Fields:
    entries = (entry(seed=SEEDS[1], time=NOW + 1), entry(), entry(user=OTHER_USER, name="Zoë", seed=OTHER_ACCOUNT_SEED))
    return [
        *_directory(*entries, seen=(USER, NOW)),
        _named(USER, SEEDS[1]),
        _named(OTHER_USER, OTHER_ACCOUNT_SEED, "Zoë".encode()),
    ]


def _handed_over() -> tuple[str, str]:
    both = epoch(halves=[half(), half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])
    begun = document(holders=[holder(), holder(OTHER_ADMIN)], epochs=[both], waiver=None)
    one = epoch(halves=[half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])
    ended = after(begun, holders=[holder(revoked=NOW), holder(OTHER_ADMIN)], epochs=[one])
    return signed(begun), signed(ended)


_DIRECTORIES: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    ("by-nobody", "forged", "a key that is in no keyring signed", lambda: _directory(entry(OTHER_ADMIN))),
    (
        "signer-misnamed",
        "forged",
        "it names the administrator, and another key signed",
        lambda: _directory(entry(OTHER_ADMIN, named=mark_of(ADMIN))),
    ),
    (
        "by-revoked",
        "forged",
        "the administrator who signed has been revoked since",
        lambda: _directory(entry(), rings=_handed_over()),
    ),
    (
        "by-successor",
        "forged",
        "a successor signed, who signs keyrings and nothing else",
        lambda: _directory(entry(SUCCESSOR), rings=(signed(first()),)),
    ),
    ("other-silo", "forged", "an entry of another silo", lambda: _directory(entry(silo=OTHER_SILO))),
    (
        "account-replaced",
        "forged",
        "another account key than the administrator signed",
        lambda: _directory(
            entry(
                seed=OTHER_ACCOUNT_SEED,
                signed_said=_entered(*_ENTERED),
            )
        ),
    ),
    (
        "name-replaced",
        "forged",
        "another name than the administrator signed",
        lambda: _directory(entry(name="bob", signed_said=_entered(*_ENTERED))),
    ),
    ("no-name", "forged", "a name of no letter", lambda: _directory(entry(name=""))),
    ("name-with-escape", "forged", "a name that moves a terminal's cursor", lambda: _directory(entry(name="\x1b[2J"))),
    (
        "name-not-utf-8",
        "forged",
        "a name that is not UTF-8",
        lambda: _directory(entry(said=_entered(SILO, USER, b"alic\xe9", *_ENTERED[3:]))),
    ),
    (
        "without-name",
        "forged",
        "no field for the name",
        lambda: _directory(entry(said=_entered(*_ENTERED[:2], *_ENTERED[3:]))),
    ),
    ("other-label", "forged", "signed for another purpose", lambda: _directory(entry(label=labels.KEYRING))),
    (
        "field-more",
        "forged",
        "a field more",
        lambda: _directory(entry(said=_entered(*_ENTERED, b""))),
    ),
    (
        "whole-account-key",
        "forged",
        "the account key itself where its fingerprint belongs",
        lambda: _directory(entry(said=_entered(*_ENTERED[:3], public(ACCOUNT_SEED), *_ENTERED[4:]))),
    ),
    (
        "two-of-one-time",
        "forged",
        "two entries of one time that differ",
        lambda: _directory(entry(), entry(seed=OTHER_ACCOUNT_SEED)),
    ),
    (
        "two-of-one-time-after-newer",
        "forged",
        "two entries of one time that differ, behind a newer one",
        lambda: _directory(entry(seed=SEEDS[1], time=NOW + 1), entry(), entry(seed=OTHER_ACCOUNT_SEED)),
    ),
    (
        "two-of-one-time-around-newer",
        "forged",
        "two entries of one time that differ, a newer one between",
        lambda: _directory(entry(), entry(seed=SEEDS[1], time=NOW + 1), entry(seed=OTHER_ACCOUNT_SEED)),
    ),
    (
        "two-names-of-one-time",
        "forged",
        "two entries of one time under two names",
        lambda: _directory(entry(), entry(name="bob")),
    ),
    (
        "older",
        "stale",
        "an entry from before the newest that was seen",
        lambda: _directory(entry(), seen=(USER, NOW + 1)),
    ),
    (
        "gone",
        "stale",
        "no entry of a user of whom one was seen",
        lambda: _directory(entry(), seen=(OTHER_USER, NOW)),
    ),
)

for _name, _expect, _lie, _make in _DIRECTORIES:
    tell(f"directory-{_name}", "directory", _expect, _lie, _make)


# --- the silo's identity and its spare (SPEC 8.7) ---

_SPARE, _NEXT_SPARE = OTHER_IDENTITY.public, Signer(secret("the next spare")).public


def _identities(*rings: str, former: bytes | None = None) -> Fields:
    given: Fields = [("silo", SILO), ("pin", GENESIS), *(("keyring", ring) for ring in rings)]
    return given if former is None else [*given, ("former", former)]


def _spared(**changes: Any) -> str:
    return document(**{"spare": b32(_SPARE)} | changes)


def _shows(*identities: bytes) -> Fields:
    return [("identity", one) for one in identities]


@lie("identities", "success", "no spare: the identity speaks alone")
def identities_alone() -> Fields:
    return [*_identities(signed(document())), *_shows(IDENTITY.public)]


@lie("identities", "success", "a spare that was never met: both may speak")
def identities_spare() -> Fields:
    return [*_identities(signed(_spared())), *_shows(IDENTITY.public, _SPARE)]


@lie("identities", "success", "the spare was met: the former identity speaks no more")
def identities_met() -> Fields:
    return [*_identities(signed(_spared()), former=IDENTITY.public), *_shows(_SPARE)]


@lie("identities", "success", "the next keyring drops the former identity, and certifies another spare")
def identities_dropped() -> Fields:
    dropped = after(_spared(), identity=b32(_SPARE), spare=b32(_NEXT_SPARE))
    return [
        *_identities(signed(_spared()), signed(dropped), former=IDENTITY.public),
        *_shows(_SPARE, _NEXT_SPARE),
    ]


_IDENTITIES: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    (
        "former-alone",
        "wrong silo",
        "a keyring that still certifies the identity which was given up, and no other",
        lambda: _identities(signed(_spared()), signed(after(_spared())), former=IDENTITY.public),
    ),
    (
        "spare-is-identity",
        "header failure",
        "a spare that is the identity itself",
        lambda: _identities(signed(_spared(spare=b32(IDENTITY.public)))),
    ),
)

for _name, _expect, _lie, _make in _IDENTITIES:
    tell(f"identities-{_name}", "identities", _expect, _lie, _make)


# --- extras (SPEC 8.2) ---

_AUDITOR_SEED = secret("auditor")


def _audited(live: bool = True, times: int = 1) -> Fields:
    extra = {"user": b32(USER), "recipient": b64(public(_AUDITOR_SEED))}
    auditor = sealing_holder(_AUDITOR_SEED, "auditor", revoked=None if live else NOW)
    text = document(holders=[holder(), auditor], extras=[extra] * times)
    return [("silo", SILO), ("pin", GENESIS), ("keyring", signed(text))]


@lie("keyring", "success", "an auditor reads one user's records")
def keyring_extra() -> Fields:
    return [*_audited(), ("version", 1), ("extra", join(USER, mark(_AUDITOR_SEED)))]


@lie("keyring", "header failure", "an extra recipient who has been revoked")
def keyring_extra_revoked() -> Fields:
    return _audited(live=False)


@lie("keyring", "header failure", "an extra recipient that stands twice for one user")
def keyring_extra_twice() -> Fields:
    return _audited(times=2)


@lie("keyring", "header failure", "an extra recipient that is no holder's key")
def keyring_extra_nobody() -> Fields:
    extra = {"user": b32(USER), "recipient": b64(public(_AUDITOR_SEED))}
    return [("silo", SILO), ("pin", GENESIS), ("keyring", signed(document(extras=[extra])))]
