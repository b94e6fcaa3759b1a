"""Lies about the keyring and its vault epochs (SPEC 8.1 to 8.4)."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from form import Fields, unspell

from lies import (
    ADMIN,
    EPOCH_SEED,
    GENESIS,
    IDENTITY,
    NOW,
    OTHER_ADMIN,
    OTHER_EPOCH_SEED,
    OTHER_SILO,
    SILO,
    USER,
    ZERO_POINT,
    lie,
    low_order,
    public,
    recipient,
    secret,
    tell,
)
from silo.crypto import labels
from silo.crypto.encoding import b32, b64, u64
from silo.crypto.keys import AdminKey, AdminPublic, fingerprint
from silo.crypto.labels import digest

Json = dict[str, Any]

BACKUP_SEED, AUDITOR_SEED = secret("backup"), secret("auditor")
SUCCESSOR = AdminKey(secret("successor"))


def mark_of(key: AdminKey) -> str:
    """How a document names an admin key."""
    return b32(key.public.fingerprint)


def sealing_mark(seed: bytes) -> str:
    """How a document names a holder that never signs."""
    return b32(AdminPublic(b"", public(seed)).fingerprint)


def holder(key: AdminKey = ADMIN, **changes: Any) -> Json:
    """An admin as a holder."""
    return {
        "name": "admin",
        "role": "admin",
        "sign": b32(key.public.sign),
        "seal": b64(key.public.seal),
        "successor": False,
        "since": NOW,
        "revoked": None,
    } | changes


def sealing_holder(seed: bytes, role: str, **changes: Any) -> Json:
    """A holder that never signs."""
    return holder(name=role, role=role, sign=None, seal=b64(public(seed)), **changes)


@cache
def half(
    mark: str | None = None,
    to: bytes | None = None,
    epoch: int = 1,
    seed: bytes = EPOCH_SEED,
    silo: str | None = None,
    named: bytes | None = None,
) -> Json:
    """An epoch's private half for one holder (X-Wing seed `to`)."""
    to = ADMIN.seal_seed if to is None else to
    mark = mark_of(ADMIN) if mark is None else mark
    fields = ((silo or b32(SILO)).encode(), u64(epoch), _unb32(mark), named or public(seed))
    return {"holder": mark, "sealed": b64(recipient(to).seal(seed, labels.EPOCH_HALF, *fields))}


def _unb32(mark: str) -> bytes:
    for key in (ADMIN, OTHER_ADMIN, SUCCESSOR):
        if mark == mark_of(key):
            return key.public.fingerprint
    return next(
        AdminPublic(b"", public(seed)).fingerprint for seed in (BACKUP_SEED, AUDITOR_SEED) if mark == sealing_mark(seed)
    )


def epoch(**changes: Any) -> Json:
    """The one vault epoch."""
    fields = {"id": 1, "state": "current", "public": b64(public(EPOCH_SEED)), "halves": [half()]}
    return fields | changes


POLICY: Json = {
    "second_factor": "off",
    "passkeys": "off",
    "temporary_chats": False,
    "user_deletion": True,
    "retention_days": None,
    "plain_api_behind_tls": False,
    "record_v1": True,
    "show_yourself_days": 90,
    "keyring_fresh_days": 365,
}


def document(**changes: Any) -> str:
    """Keyring version 1; what is changed to `...` is left out."""
    fields: Json = {
        "format": "securesilo/1 keyring",
        "silo": b32(SILO),
        "version": 1,
        "previous": None,
        "identity": b32(IDENTITY.public),
        "spare": None,
        "time": NOW,
        "holders": [holder()],
        "epochs": [epoch()],
        "extras": [],
        "waiver": {"since": NOW},
        "policy": POLICY,
    } | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}, separators=(",", ":"))


def signed(
    text: str, signer: AdminKey = ADMIN, named: str | None = None, label: str = labels.KEYRING, said: str | None = None
) -> str:
    """A signed keyring's JSON; `said` is what was signed, if not the text."""
    return json.dumps(
        {
            "document": text,
            "signer": named or mark_of(signer),
            "signature": b64(signer.signer.sign(label, (said or text).encode())),
        },
        separators=(",", ":"),
    )


def hash_of(text: str) -> bytes:
    """A document's hash."""
    return digest(labels.KEYRING_HASH, text.encode())


def after(text: str, **changes: Any) -> str:
    """The version that follows `text`, which is version 1."""
    return document(**{"version": 2, "previous": b32(hash_of(text))} | changes)


def _ring(*texts: str, pin: bytes = GENESIS) -> Fields:
    return [("silo", SILO), ("pin", pin), *(("keyring", text) for text in texts)]


def _accepted(*texts: str) -> Fields:
    last = json.loads(texts[-1])["document"]
    return [*_ring(*texts), ("version", len(texts)), ("hash", hash_of(last))]


@cache
def first() -> str:
    """Version 1, with a successor besides the admin."""
    return document(holders=[holder(), _successor()], epochs=[_for_both()], waiver=None)


def _successor(**changes: Any) -> Json:
    return holder(SUCCESSOR, name="successor", role="backup", successor=True, **changes)


def _for_both(**changes: Any) -> Json:
    return epoch(halves=[half(), half(mark_of(SUCCESSOR), SUCCESSOR.seal_seed)], **changes)


# --- truths ---


@lie("keyring", "success", "version 1: one admin, one epoch, the waiver")
def keyring() -> Fields:
    text = document()
    ring = signed(text)
    return [
        *_accepted(ring),
        ("document", text),
        ("signer", mark_of(ADMIN)),
        ("signature", ADMIN.signer.sign(labels.KEYRING, text.encode())),
    ]


def _two_admins(**changes: Any) -> str:
    both = epoch(halves=[half(), half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])
    return document(**{"holders": [holder(), holder(OTHER_ADMIN)], "epochs": [both], "waiver": None} | changes)


def _chain(second: Callable[[], str], signer: AdminKey = ADMIN, **lies: Any) -> Fields:
    return _ring(signed(first()), signed(second(), signer, **lies))


def _same(**changes: Any) -> str:
    """Version 2 with nobody new."""
    kept: Json = {"holders": [holder(), _successor()], "epochs": [_for_both()], "waiver": None}
    return after(first(), **kept | changes)


_TRUTHS: tuple[tuple[str, str, Callable[[], Fields]], ...] = (
    ("second-by-admin", "version 2, signed by the admin", lambda: _accepted(signed(first()), signed(_same()))),
    (
        "second-by-successor",
        "version 2, signed by a successor that version 1 names",
        lambda: _accepted(signed(first()), signed(_same(), SUCCESSOR)),
    ),
    (
        "auditor",
        "an auditor is no second holder: the waiver stands",
        lambda: _accepted(signed(document(holders=[holder(), sealing_holder(AUDITOR_SEED, "auditor")]))),
    ),
    (
        "backup-revoked",
        "a revoked backup is no second holder: the waiver stands",
        lambda: _accepted(signed(document(holders=[holder(), sealing_holder(BACKUP_SEED, "backup", revoked=NOW)]))),
    ),
    (
        "backup-without-sign",
        "a live backup that never signs: its fingerprint has an empty first half",
        lambda: _accepted(
            signed(
                document(
                    holders=[holder(), sealing_holder(BACKUP_SEED, "backup")],
                    epochs=[epoch(halves=[half(), half(sealing_mark(BACKUP_SEED), BACKUP_SEED)])],
                    waiver=None,
                )
            )
        ),
    ),
    (
        "name-64",
        "a name of 64 characters, which are 256 bytes and 128 units of UTF-16",
        lambda: _accepted(signed(document(holders=[holder(name="\U0001f9a9" * 64)]))),
    ),
    (
        "name-with-space",
        "a name with spaces, and letters of several scripts",
        lambda: _accepted(signed(document(holders=[holder(name="admin  é ペリカン")]))),
    ),
    (
        "own-revocation",
        "an admin's last signature revokes itself; another takes over",
        lambda: _accepted(signed(_two_admins()), signed(_after_handover())),
    ),
)

_NAMES: tuple[tuple[str, str, str], ...] = (
    ("empty", "a holder without a name", ""),
    ("65", "a name of 65 characters", "a" * 65),
    ("space-before", "a space before a name", " admin"),
    ("space-after", "a space after a name", "admin "),
    ("line-feed", "a line feed in a name", "ad\nmin"),
    ("delete", "a control character in a name", "ad\x7fmin"),
    ("bidi", "a mark in a name that turns its letters round", "\u202enimda"),
    ("joiner", "a joiner in a name, which nobody sees", "ad\u200dmin"),
    ("no-break-space", "a space in a name that is not U+0020", "the\u00a0admin"),
    ("line-separator", "a line separator in a name", "ad\u2028min"),
    ("format-of-unicode-15", "a mark in a name that Unicode 14 does not know yet", "ad\U00013439min"),
    ("private-use", "a character in a name that every font shows otherwise", "admin \ue000"),
)
"""Names of holders that nobody could tell apart, or read."""

for _name, _lie, _make in _TRUTHS:
    tell(f"keyring-{_name}", "keyring", "success", _lie, _make)


def _after_handover() -> str:
    one = epoch(halves=[half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])
    return after(_two_admins(), holders=[holder(revoked=NOW), holder(OTHER_ADMIN)], epochs=[one])


@lie("keyring", "success", "two epochs: an old one that drains, and the current one")
def keyring_two_epochs() -> Fields:
    current = epoch(id=2, public=b64(public(OTHER_EPOCH_SEED)), halves=[half(epoch=2, seed=OTHER_EPOCH_SEED)])
    return _accepted(signed(document(epochs=[epoch(state="draining"), current])))


@lie("keyring", "success", "a retired epoch, which nobody holds any more")
def keyring_retired_epoch() -> Fields:
    return _accepted(signed(document(epochs=_drained(state="retired", halves=[]))))


# --- documents that are not well formed (SPEC 8.2: header failure) ---


def _drained(**changes: Any) -> list[Json]:
    current = epoch(id=2, public=b64(public(OTHER_EPOCH_SEED)), halves=[half(epoch=2, seed=OTHER_EPOCH_SEED)])
    return [epoch(**{"state": "draining"} | changes), current]


def _short_half(size: int) -> Json:
    return {"holder": mark_of(ADMIN), "sealed": b64(bytes(size))}


def _half_by_seal_fingerprint() -> Json:
    mark = fingerprint(public(BACKUP_SEED))
    fields = (b32(SILO).encode(), u64(1), mark, public(EPOCH_SEED))
    sealed = recipient(BACKUP_SEED).seal(EPOCH_SEED, labels.EPOCH_HALF, *fields)
    return {"holder": b32(mark), "sealed": b64(sealed)}


_TEXT = document
_MALFORMED: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("holder-twice", "two holders alike", lambda: _TEXT(holders=[holder(), holder(name="again")])),
    (
        "admin-without-sign",
        "an admin that cannot sign",
        lambda: _TEXT(holders=[holder(), holder(OTHER_ADMIN, sign=None, revoked=NOW)]),
    ),
    (
        "successor-without-sign",
        "a successor that cannot sign",
        lambda: _TEXT(holders=[holder(), sealing_holder(BACKUP_SEED, "backup", successor=True, revoked=NOW)]),
    ),
    (
        "no-admin",
        "no admin at all",
        lambda: _TEXT(
            holders=[sealing_holder(BACKUP_SEED, "backup")],
            epochs=[epoch(halves=[half(sealing_mark(BACKUP_SEED), BACKUP_SEED)])],
        ),
    ),
    (
        "no-live-admin",
        "the only admin is revoked",
        lambda: _TEXT(
            holders=[holder(revoked=NOW), sealing_holder(BACKUP_SEED, "backup")],
            epochs=[epoch(halves=[half(sealing_mark(BACKUP_SEED), BACKUP_SEED)])],
        ),
    ),
    ("no-holder", "no holder at all", lambda: _TEXT(holders=[], epochs=[epoch(halves=[])])),
    ("epoch-twice", "two epochs with one number", lambda: _TEXT(epochs=_drained(id=2))),
    ("epochs-fall", "epochs in falling order", lambda: _TEXT(epochs=_drained()[::-1])),
    ("no-epoch", "no epoch at all", lambda: _TEXT(epochs=[])),
    ("no-current-epoch", "no epoch is current", lambda: _TEXT(epochs=[epoch(state="draining")])),
    (
        "current-epoch-not-last",
        "the current epoch has a lower number than a draining one",
        lambda: _TEXT(epochs=[_drained()[0] | {"state": "current"}, _drained()[1] | {"state": "draining"}]),
    ),
    (
        "current-epoch-before-retired",
        "the current epoch has a lower number than a retired one",
        lambda: _TEXT(epochs=[epoch(), _drained()[1] | {"state": "retired", "halves": []}]),
    ),
    ("two-current-epochs", "two epochs are current", lambda: _TEXT(epochs=_drained(state="current"))),
    (
        "half-for-nobody",
        "a half for somebody who is no holder",
        lambda: _TEXT(epochs=[epoch(halves=[half(), half(mark_of(SUCCESSOR), SUCCESSOR.seal_seed)])]),
    ),
    (
        "half-by-seal-fingerprint",
        "a half under the fingerprint of a holder's X-Wing key alone",
        lambda: _TEXT(
            holders=[holder(), sealing_holder(BACKUP_SEED, "backup")],
            epochs=[epoch(halves=[half(), _half_by_seal_fingerprint()])],
            waiver=None,
        ),
    ),
    (
        "revoked-with-half",
        "a half of the current epoch for a revoked backup",
        lambda: _TEXT(
            holders=[holder(), sealing_holder(BACKUP_SEED, "backup", revoked=NOW)],
            epochs=[epoch(halves=[half(), half(sealing_mark(BACKUP_SEED), BACKUP_SEED)])],
        ),
    ),
    (
        "revoked-admin-with-half",
        "a half of the current epoch for a revoked admin",
        lambda: _TEXT(
            holders=[holder(), holder(OTHER_ADMIN, revoked=NOW)],
            epochs=[epoch(halves=[half(), half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])],
        ),
    ),
    (
        "revoked-with-draining-half",
        "a half of a draining epoch for a revoked auditor",
        lambda: _TEXT(
            holders=[holder(), sealing_holder(AUDITOR_SEED, "auditor", revoked=NOW)],
            epochs=_drained(halves=[half(), half(sealing_mark(AUDITOR_SEED), AUDITOR_SEED)]),
        ),
    ),
    ("half-twice", "two halves for one holder", lambda: _TEXT(epochs=[epoch(halves=[half(), half()])])),
    ("retired-with-half", "a retired epoch with a half", lambda: _TEXT(epochs=_drained(state="retired"))),
    ("admin-without-half", "a live admin without a half of the current epoch", lambda: _two_admins(epochs=[epoch()])),
    (
        "admin-without-draining-half",
        "a live admin without a half of a draining epoch",
        lambda: _TEXT(epochs=_drained(halves=[])),
    ),
    (
        "backup-without-half",
        "a live backup without a half of the current epoch",
        lambda: _TEXT(holders=[holder(), sealing_holder(BACKUP_SEED, "backup")], waiver=None),
    ),
    ("half-short", "a half of 1,167 bytes", lambda: _TEXT(epochs=[epoch(halves=[_short_half(1167)])])),
    ("half-long", "a half of 1,169 bytes", lambda: _TEXT(epochs=[epoch(halves=[_short_half(1169)])])),
    ("no-waiver", "one admin key alone, and no waiver", lambda: _TEXT(waiver=None)),
    (
        "waiver-and-backup",
        "a waiver beside a live backup",
        lambda: _TEXT(
            holders=[holder(), sealing_holder(BACKUP_SEED, "backup")],
            epochs=[epoch(halves=[half(), half(sealing_mark(BACKUP_SEED), BACKUP_SEED)])],
        ),
    ),
    ("waiver-and-admins", "a waiver beside two admins", lambda: _two_admins(waiver={"since": NOW})),
    (
        "no-waiver-for-auditor",
        "an auditor passed off as a second holder",
        lambda: _TEXT(holders=[holder(), sealing_holder(AUDITOR_SEED, "auditor")], waiver=None),
    ),
    ("unknown-field", "a field that nobody knows", lambda: _TEXT(more=None)),
    ("unknown-policy", "a policy that nobody knows", lambda: _TEXT(policy=POLICY | {"more": True})),
    ("missing-field", "no `spare`, not even null", lambda: _TEXT(spare=...)),
    (
        "missing-policy",
        "no word on temporary chats",
        lambda: _TEXT(policy={key: POLICY[key] for key in POLICY if key != "temporary_chats"}),
    ),
    ("key-twice", "`version` stands twice", lambda: _TEXT()[:-1] + ',"version":1}'),
    ("bom", "a byte order mark", lambda: "\ufeff" + _TEXT()),
    ("lone-surrogate", "a lone surrogate in a name", lambda: _TEXT(holders=[holder(name="\ud800")])),
    ("2-to-the-53", "a time of 2^53", lambda: _TEXT(time=2**53)),
    ("version-with-point", "version 1.0", lambda: _TEXT(version=1.0)),
    ("other-format", "another format", lambda: _TEXT(format="securesilo/2 keyring")),
    ("unknown-role", "a role that nobody knows", lambda: _TEXT(holders=[holder(), holder(OTHER_ADMIN, role="root")])),
    ("unknown-state", "an epoch in a state that nobody knows", lambda: _TEXT(epochs=[epoch(state="frozen")])),
    (
        "holder-spare-bits",
        "a second spelling of a holder's key",
        lambda: _TEXT(holders=[holder(sign=_again(b32(ADMIN.public.sign)))]),
    ),
    (
        "holder-low-order",
        "a holder whose X25519 point is 0",
        lambda: _TEXT(holders=[holder(), sealing_holder(AUDITOR_SEED, "auditor") | _LOW_SEAL]),
    ),
    (
        "holder-short",
        "a holder whose X-Wing key has 1,215 bytes",
        lambda: _TEXT(holders=[holder(), holder(OTHER_ADMIN, role="auditor", seal=b64(OTHER_ADMIN.public.seal[:-1]))]),
    ),
    (
        "epoch-low-order",
        "an epoch whose X25519 point is 0",
        lambda: _TEXT(epochs=[epoch(public=b64(low_order(public(EPOCH_SEED), ZERO_POINT)))]),
    ),
    (
        "epoch-coefficient",
        "an epoch with a coefficient out of range",
        lambda: _TEXT(epochs=[epoch(public=b64(b"\xff" * 3 + public(EPOCH_SEED)[3:]))]),
    ),
    (
        "extra-no-key",
        "an extra recipient of 32 bytes",
        lambda: _TEXT(extras=[{"user": b32(USER), "recipient": b64(public(AUDITOR_SEED)[-32:])}]),
    ),
    (
        "extra-low-order",
        "an extra recipient whose X25519 point is 0",
        lambda: _TEXT(extras=[{"user": b32(USER), "recipient": _LOW_SEAL["seal"]}]),
    ),
)

_LOW_SEAL: Json = {"seal": b64(low_order(public(AUDITOR_SEED), ZERO_POINT))}


def _again(text: str) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return text[:-1] + letters[letters.index(text[-1]) + 1]


def _lone(text: str) -> str:
    # What is signed has to be UTF-8, so a lone surrogate can only stand there escaped.
    return text.encode("ascii", "backslashreplace").decode()


for _name, _lie, _make_text in _MALFORMED:
    tell(
        f"keyring-{_name}",
        "keyring",
        "header failure",
        _lie,
        lambda make=_make_text: _ring(signed(_lone(make()) if "\ud800" in make() else make())),
    )


for _name, _lie, _called in _NAMES:
    tell(
        f"keyring-name-{_name}",
        "keyring",
        "header failure",
        _lie,
        lambda called=_called: _ring(signed(_TEXT(holders=[holder(name=called)]))),
    )


# --- documents of others, from before, or not signed as they must be ---


def _with_other_admin() -> str:
    both = epoch(halves=[half(), half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])
    return after(first(), holders=[holder(), holder(OTHER_ADMIN)], epochs=[both], waiver=None)


def _revoked_successor() -> str:
    return document(holders=[holder(), _successor(revoked=NOW)])


_REFUSED: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    ("other-silo", "wrong silo", "another silo's keyring", lambda: _ring(signed(document(silo=b32(OTHER_SILO))))),
    ("none", "stale", "no keyring at all", lambda: _ring()),
    ("version-0", "stale", "version 0", lambda: _ring(signed(document(version=0)))),
    ("begins-with-2", "stale", "version 2 without version 1", lambda: _ring(signed(_same()))),
    ("version-again", "stale", "version 1 a second time", lambda: _ring(signed(first()), signed(first()))),
    (
        "version-1-rewritten",
        "stale",
        "another version 1 after version 1",
        lambda: _chain(lambda: after(first(), version=1)),
    ),
    ("version-skipped", "stale", "version 3 after version 1", lambda: _chain(lambda: _same(version=3))),
    (
        "rolled-back",
        "stale",
        "version 1 after version 2",
        lambda: _ring(signed(first()), signed(_same()), signed(first())),
    ),
    (
        "other-previous",
        "forged",
        "it follows another version 1",
        lambda: _chain(lambda: _same(previous=b32(secret("x")))),
    ),
    ("no-previous", "forged", "version 2 names no version before", lambda: _chain(lambda: _same(previous=None))),
    (
        "first-with-previous",
        "forged",
        "version 1 names a version before",
        lambda: _ring(signed(document(previous=b32(secret("x"))))),
    ),
    (
        "other-pin",
        "forged",
        "signed by its admin, who is not the pinned one",
        lambda: _ring(signed(document()), pin=OTHER_ADMIN.public.fingerprint),
    ),
    (
        "all-new",
        "forged",
        "another admin's keyring altogether, right in itself",
        lambda: _ring(
            signed(
                document(
                    holders=[holder(OTHER_ADMIN)],
                    epochs=[epoch(halves=[half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])],
                ),
                OTHER_ADMIN,
            )
        ),
    ),
    (
        "pinned-not-in-it",
        "forged",
        "signed by the pinned admin key, which is no holder in it",
        lambda: _ring(
            signed(
                document(
                    holders=[holder(OTHER_ADMIN)],
                    epochs=[epoch(halves=[half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])],
                )
            )
        ),
    ),
    (
        "signer-unknown",
        "forged",
        "version 2 is signed by somebody whom nothing names",
        lambda: _chain(_same, OTHER_ADMIN),
    ),
    (
        "signer-only-new",
        "forged",
        "version 2 is signed by an admin whom only version 2 names",
        lambda: _chain(_with_other_admin, OTHER_ADMIN),
    ),
    (
        "successor-only-new",
        "forged",
        "version 2 is signed by a successor whom only version 2 names",
        lambda: _ring(
            signed(document()),
            signed(after(document(), holders=[holder(), _successor()], epochs=[_for_both()], waiver=None), SUCCESSOR),
        ),
    ),
    (
        "successor-first",
        "forged",
        "version 1 is signed by its successor, and that is the pinned key",
        lambda: _ring(signed(first(), SUCCESSOR), pin=SUCCESSOR.public.fingerprint),
    ),
    (
        "successor-revoked",
        "forged",
        "version 2 is signed by a successor who was revoked before",
        lambda: _ring(
            signed(_revoked_successor()),
            signed(
                after(_revoked_successor(), holders=[holder(), _successor()], epochs=[_for_both()], waiver=None),
                SUCCESSOR,
            ),
        ),
    ),
    (
        "admin-revoked",
        "forged",
        "version 3 is signed by an admin whom version 2 revoked",
        lambda: _ring(
            signed(_two_admins()),
            signed(_after_handover()),
            signed(
                document(
                    version=3,
                    previous=b32(hash_of(_after_handover())),
                    holders=[holder(), holder(OTHER_ADMIN)],
                    epochs=json.loads(_two_admins())["epochs"],
                    waiver=None,
                )
            ),
        ),
    ),
    ("signed-by-backup", "forged", "version 2 is signed by a backup who is no successor", lambda: _by_role("backup")),
    ("signed-by-auditor", "forged", "version 2 is signed by an auditor", lambda: _by_role("auditor")),
    (
        "signed-by-other",
        "forged",
        "somebody else signed in the admin's name",
        lambda: _ring(signed(document(), OTHER_ADMIN, named=mark_of(ADMIN))),
    ),
    (
        "signer-misnamed",
        "forged",
        "the admin signed in somebody else's name",
        lambda: _ring(signed(document(), named=mark_of(OTHER_ADMIN))),
    ),
    (
        "changed",
        "forged",
        "the policy was changed after the signature",
        lambda: _ring(signed(document(policy=POLICY | {"temporary_chats": True}), said=document())),
    ),
    (
        "space-more",
        "forged",
        "the same JSON with a space more",
        lambda: _ring(signed(document() + " ", said=document())),
    ),
    (
        "other-label",
        "forged",
        "the admin signed these bytes for another purpose",
        lambda: _ring(signed(document(), label=labels.HEADS)),
    ),
)


def _by_role(role: str) -> Fields:
    """Version 2 signed by a key that has another role in version 1."""
    both = epoch(halves=[half(), half(mark_of(OTHER_ADMIN), OTHER_ADMIN.seal_seed)])
    who: Json = {"holders": [holder(), holder(OTHER_ADMIN, role=role)], "epochs": [both]}
    who["waiver"] = None if role == "backup" else {"since": NOW}
    text = document(**who)
    return _ring(signed(text), signed(after(text, **who), OTHER_ADMIN))


for _name, _expect, _lie, _make in _REFUSED:
    tell(f"keyring-{_name}", "keyring", _expect, _lie, _make)


# --- vault epochs (SPEC 8.3) ---


def _vault(*epochs: Json, seed: bytes = secret("admin"), **changes: Any) -> Fields:
    text = document(**{"epochs": list(epochs)} | changes)
    return [("seed", seed), ("silo", SILO), ("pin", GENESIS), ("keyring", signed(text))]


@lie("vault", "success", "the admin key opens the current epoch")
def vault() -> Fields:
    sealed = half()
    return [
        *_vault(epoch(halves=[sealed])),
        ("epoch", 1),
        ("holder", GENESIS),
        ("sealed", unspell(sealed["sealed"])),
        ("epoch-seed", EPOCH_SEED),
        ("epoch-public", public(EPOCH_SEED)),
        ("opened", fingerprint(public(EPOCH_SEED))),
    ]


@lie("vault", "success", "a draining epoch and the current one, which comes first")
def vault_two_epochs() -> Fields:
    return [
        *_vault(*_drained()),
        ("opened", fingerprint(public(OTHER_EPOCH_SEED))),
        ("opened", fingerprint(public(EPOCH_SEED))),
    ]


_VAULTS: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    (
        "other-seed",
        "forged",
        "a half that holds another seed than the listed key's",
        lambda: _vault(epoch(halves=[half(seed=OTHER_EPOCH_SEED, named=public(EPOCH_SEED))])),
    ),
    ("of-other-epoch", "no match", "the half of another epoch", lambda: _vault(epoch(halves=[half(epoch=2)]))),
    (
        "of-other-silo",
        "no match",
        "the half of another silo",
        lambda: _vault(epoch(halves=[half(silo=b32(OTHER_SILO))])),
    ),
    (
        "of-other-key",
        "no match",
        "a half bound to another public key",
        lambda: _vault(epoch(halves=[half(named=public(OTHER_EPOCH_SEED))])),
    ),
    (
        "sealed-to-other",
        "no match",
        "a half sealed to another key under this holder's name",
        lambda: _vault(epoch(halves=[half(to=OTHER_ADMIN.seal_seed)])),
    ),
    (
        "silo-as-bytes",
        "no match",
        "the silo's id in 16 bytes, where its text belongs",
        lambda: _vault(epoch(halves=[_half_with_silo_bytes()])),
    ),
    (
        "other-label",
        "no match",
        "a record's wrap passed off as a half",
        lambda: _vault(epoch(halves=[_wrap_as_half()])),
    ),
    (
        "nothing-for-me",
        "no match",
        "an admin key that is no holder",
        lambda: _vault(epoch(), seed=secret("another admin")),
    ),
)


def _half_with_silo_bytes() -> Json:
    fields = (SILO, u64(1), GENESIS, public(EPOCH_SEED))
    return {
        "holder": mark_of(ADMIN),
        "sealed": b64(recipient(ADMIN.seal_seed).seal(EPOCH_SEED, labels.EPOCH_HALF, *fields)),
    }


def _wrap_as_half() -> Json:
    fields = (b32(SILO).encode(), u64(1), GENESIS, public(EPOCH_SEED))
    return {
        "holder": mark_of(ADMIN),
        "sealed": b64(recipient(ADMIN.seal_seed).seal(EPOCH_SEED, labels.RECORD_WRAP, *fields)),
    }


for _name, _expect, _lie, _make in _VAULTS:
    tell(f"vault-{_name}", "vault", _expect, _lie, _make)
