"""Lies about what was deleted, and about key bags (SPEC 7.7, 7.8)."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from form import Fields, join, released

from lies import (
    ACCOUNT_SEED,
    DEVICE,
    DEVICE_KEY,
    EPOCH_SEED,
    GENESIS,
    IDENTITY,
    NOW,
    OTHER_ACCOUNT_SEED,
    OTHER_DEVICE,
    OTHER_DEVICE_KEY,
    OTHER_IDENTITY,
    OTHER_SILO,
    OTHER_THREAD,
    OTHER_USER,
    SILO,
    THREAD,
    USER,
    flip,
    lie,
    recipient,
    secret,
    tell,
)
from lies.keyring import POLICY, after, document, hash_of, signed
from lies.records import (
    CONTENT,
    OTHER_RECORD_KEY,
    PLACE,
    RECORD_KEY,
    Said,
    good_core,
    good_receipt,
    make_core,
    make_wrap,
    sign,
)
from silo.crypto import labels
from silo.crypto.encoding import b32, padme, u64
from silo.crypto.keys import Signer
from silo.crypto.labels import digest, pack
from silo.crypto.sealing import core_hash, entry_hash

DAY = 86_400_000
SPARE = Signer(secret("spare identity"))

# --- tombstones (SPEC 7.7) ---

_CORE = core_hash(good_core())
_ENTRY = entry_hash(PLACE, _CORE)


def _policy(**changes: Any) -> dict[str, Any]:
    return POLICY | changes


@cache
def _ring(name: str) -> str:
    """Keyring version 1, by what its policy says of deleting."""
    return {
        "free": lambda: document(),
        "never": lambda: document(policy=_policy(user_deletion=False)),
        "month": lambda: document(policy=_policy(retention_days=30), spare=b32(SPARE.public)),
        "month-alone": lambda: document(policy=_policy(user_deletion=False, retention_days=30)),
    }[name]()


@dataclass(frozen=True)
class Stone:
    """What a tombstone says; every field can be a lie."""

    silo: bytes = SILO
    user: bytes = USER
    index: bytes = field(default_factory=lambda: u64(PLACE.index))
    core: bytes = _CORE
    entry: bytes = _ENTRY
    made: bytes = field(default_factory=lambda: u64(PLACE.time))
    who: bytes = DEVICE
    why: bytes = b"user"
    version: bytes = field(default_factory=lambda: u64(1))
    ring: bytes = field(default_factory=lambda: hash_of(_ring("free")))
    time: bytes = field(default_factory=lambda: u64(NOW + DAY))

    def fields(self) -> tuple[bytes, ...]:
        """In their order."""
        return tuple(vars(self).values())

    def statement(self) -> bytes:
        """The bytes that are signed."""
        return pack(labels.TOMBSTONE, *self.fields())


def _swept(**changes: bytes) -> Stone:
    """A tombstone of the policy that keeps a record for 30 days."""
    said: dict[str, bytes] = {
        "who": bytes(16),
        "why": b"retention",
        "ring": hash_of(_ring("month")),
        "time": u64(NOW + 30 * DAY),
    }
    return Stone(**said | changes)


def _told(
    statement: bytes,
    signature: bytes | None = None,
    ring: str = "free",
    signer: Signer = DEVICE_KEY,
    more: tuple[str, ...] = (),
) -> Fields:
    signature = signer.sign(labels.TOMBSTONE, statement) if signature is None else signature
    return [
        ("silo", SILO),
        ("user", USER),
        ("index", PLACE.index),
        ("core-hash", _CORE),
        ("entry-hash", _ENTRY),
        ("pin", GENESIS),
        ("keyring", signed(_ring(ring))),
        *(("keyring", text) for text in more),
        ("device", DEVICE),
        ("device-public", DEVICE_KEY.public),
        ("statement", statement),
        ("signature", signature),
    ]


def _shown(stone: Stone) -> Fields:
    return [
        ("made", int.from_bytes(stone.made, "big")),
        ("who", stone.who),
        ("why", stone.why.decode()),
        ("version", int.from_bytes(stone.version, "big")),
        ("keyring-hash", stone.ring),
        ("time", int.from_bytes(stone.time, "big")),
        ("tombstone-hash", digest(labels.TOMBSTONE_HASH, stone.statement())),
    ]


@lie("tombstone", "success", "of a record that its user's device deleted")
def tombstone() -> Fields:
    return [*_told(Stone().statement()), *_shown(Stone())]


@lie("tombstone", "success", "of a record that the policy dropped on the day when it might")
def tombstone_retention() -> Fields:
    return [*_told(_swept().statement(), ring="month", signer=IDENTITY), *_shown(_swept())]


def _second(**changes: Any) -> str:
    return after(_ring("free"), **changes)


def _of(**changes: bytes) -> Callable[[], Fields]:
    return lambda: _told(replace(Stone(), **changes).statement())


def _moved(**changes: bytes) -> Callable[[], Fields]:
    """Changed after the signature."""
    good = DEVICE_KEY.sign(labels.TOMBSTONE, Stone().statement())
    return lambda: _told(replace(Stone(), **changes).statement(), good)


def _swept_by(under: str = "month", signer: Signer = IDENTITY, **changes: bytes) -> Callable[[], Fields]:
    return lambda: _told(_swept(**changes).statement(), ring=under, signer=signer)


def _packed(*fields: bytes, label: str = labels.TOMBSTONE, end: bytes = b"") -> Callable[[], Fields]:
    return lambda: _told(pack(label, *fields) + end)


MINUTES = 60_000
_FORBIDS = signed(_second(policy=_policy(user_deletion=False), time=NOW + 2 * DAY))


def _withdrawn(time: int) -> Fields:
    """Deleted under version 1, at this time; version 2 does not allow it from two days on."""
    return _told(Stone(time=u64(time)).statement(), more=(_FORBIDS,))


_STONES: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    (
        "retention-by-spare",
        "success",
        "the policy's, signed by the spare identity that the keyring certifies",
        _swept_by(signer=SPARE),
    ),
    (
        "under-older-keyring",
        "success",
        "deleted while version 1 was in force, which allowed it; version 2 does not",
        lambda: _told(Stone().statement(), more=(_FORBIDS,)),
    ),
    (
        "under-older-keyring-by-slow-clock",
        "success",
        "deleted under version 1 up to 10 minutes after version 2, for clocks differ",
        lambda: _withdrawn(NOW + 2 * DAY + 10 * MINUTES - 1),
    ),
    (
        "under-withdrawn-keyring",
        "forged",
        "deleted under version 1, 10 minutes after version 2, which does not allow it",
        lambda: _withdrawn(NOW + 2 * DAY + 10 * MINUTES),
    ),
    (
        "under-followed-keyring",
        "forged",
        "deleted under version 1, long after version 2, which allows it too",
        lambda: _told(Stone(time=u64(NOW + 9 * DAY)).statement(), more=(signed(_second()),)),
    ),
    (
        "retention-withdrawn",
        "forged",
        "the policy's under version 1, after version 2 that keeps everything",
        lambda: _told(
            _swept().statement(), ring="month", signer=IDENTITY, more=(signed(after(_ring("month"), policy=_policy())),)
        ),
    ),
    (
        "before-made-by-slow-clock",
        "success",
        "deleted at once by a device whose clock is 10 minutes slow",
        lambda: _told(Stone(time=u64(PLACE.time - 10 * MINUTES)).statement()),
    ),
    (
        "before-made",
        "forged",
        "deleted more than 10 minutes before it was made",
        lambda: _told(Stone(time=u64(PLACE.time - 10 * MINUTES - 1)).statement()),
    ),
    ("missing", "forged", "no tombstone, where the log names a record that is not there", lambda: _told(b"", b"")),
    ("not-signed", "forged", "no signature", lambda: _told(Stone().statement(), b"")),
    # another record's
    ("other-silo", "forged", "another silo's record", _of(silo=OTHER_SILO)),
    ("other-user", "forged", "another user's record", _of(user=OTHER_USER)),
    ("other-index", "forged", "the record after", _of(index=u64(8))),
    ("other-core", "forged", "another core at this place", _of(core=secret("another core"))),
    ("other-entry", "forged", "this core in another log", _of(entry=secret("another entry"))),
    # moved after the signature
    ("made-changed", "forged", "made a day older after the signature", _moved(made=u64(NOW - DAY))),
    ("time-changed", "forged", "deleted a day later, said after the signature", _moved(time=u64(NOW + 2 * DAY))),
    # who
    (
        "signed-by-other",
        "forged",
        "signed by another device's key",
        lambda: _told(Stone().statement(), signer=OTHER_DEVICE_KEY),
    ),
    (
        "unknown-device",
        "forged",
        "by a device that is not the user's",
        lambda: _told(Stone(who=OTHER_DEVICE).statement(), signer=OTHER_DEVICE_KEY),
    ),
    (
        "of-user-signed-by-silo",
        "forged",
        "in a device's name, signed by the silo's identity",
        lambda: _told(Stone().statement(), signer=IDENTITY),
    ),
    ("retention-signed-by-device", "forged", "in the policy's name, signed by a device", _swept_by(signer=DEVICE_KEY)),
    (
        "retention-signed-by-other-silo",
        "forged",
        "in the policy's name, signed by another identity",
        _swept_by(signer=OTHER_IDENTITY),
    ),
    ("user-without-device", "forged", "a person's, by no device", _of(who=bytes(16))),
    ("retention-with-device", "forged", "the policy's, by a device", _swept_by(who=DEVICE)),
    # under which policy
    (
        "user-forbidden",
        "forged",
        "by a device, where the policy does not let people delete",
        lambda: _told(Stone(ring=hash_of(_ring("never"))).statement(), ring="never"),
    ),
    (
        "user-forbidden-retention-allowed",
        "forged",
        "by a device, where only retention may delete",
        lambda: _told(Stone(ring=hash_of(_ring("month-alone"))).statement(), ring="month-alone"),
    ),
    (
        "no-retention",
        "forged",
        "the policy's, where the policy keeps everything",
        _swept_by("free", ring=hash_of(_ring("free"))),
    ),
    ("retention-too-early", "forged", "the policy's, a millisecond too early", _swept_by(time=u64(NOW + 30 * DAY - 1))),
    ("retention-before-made", "forged", "the policy's, from before the record was made", _swept_by(time=u64(NOW - 1))),
    ("other-keyring", "forged", "under another version 1 than was accepted", _of(ring=hash_of(_ring("month")))),
    (
        "later-keyring",
        "forged",
        "under a version 2 that was not accepted",
        _of(version=u64(2), ring=hash_of(_second())),
    ),
    (
        "version-of-other-keyring",
        "forged",
        "the accepted version 2's hash as version 1's",
        lambda: _told(Stone(ring=hash_of(_second())).statement(), more=(signed(_second()),)),
    ),
    # how it is spelled
    ("other-why", "forged", "for a reason that does not exist", _of(why=b"policy")),
    ("why-capital", "forged", "for the reason User", _of(why=b"User")),
    ("no-why", "forged", "for no reason", _of(why=b"")),
    ("short-device", "forged", "its device id has 15 bytes", _of(who=DEVICE[:15])),
    ("short-time", "forged", "its time has 7 bytes", _of(time=u64(NOW)[1:])),
    ("time-2-to-the-53", "forged", "its time is 2^53", _of(time=u64(2**53))),
    ("field-less", "forged", "no time", _packed(*Stone().fields()[:-1])),
    ("field-more", "forged", "a twelfth field", _packed(*Stone().fields(), b"")),
    ("byte-after", "forged", "a byte after the last field", _packed(*Stone().fields(), end=b"\0")),
    ("other-label", "forged", "a statement for another purpose", _packed(*Stone().fields(), label=labels.RECEIPT)),
    (
        "fields-signed",
        "forged",
        "the signature is over the fields, where the statement itself is the field",
        lambda: _told(Stone().statement(), DEVICE_KEY.sign(labels.TOMBSTONE, *Stone().fields())),
    ),
    (
        "signed-for-other-purpose",
        "forged",
        "signed under the label of a turn",
        lambda: _told(Stone().statement(), DEVICE_KEY.sign(labels.TURN, Stone().statement())),
    ),
)

for _name, _expect, _lie, _make in _STONES:
    tell(f"tombstone-{_name}", "tombstone", _expect, _lie, _make)


# --- deletion receipts (SPEC 7.7) ---

_UNTIL = NOW + 91 * DAY


@dataclass(frozen=True)
class Gone:
    """What a deletion receipt says; every field can be a lie."""

    stone: bytes = field(default_factory=lambda: digest(labels.TOMBSTONE_HASH, Stone().statement()))
    time: bytes = field(default_factory=lambda: u64(NOW + DAY))
    until: bytes = field(default_factory=lambda: u64(_UNTIL))
    also: bytes = b"backups"

    def payload(self) -> bytes:
        """The bytes that are signed."""
        return pack(labels.DELETION, *vars(self).values())


def _given(payload: bytes, signer: Signer = IDENTITY, label: str = labels.DELETION) -> Fields:
    return _receipt(payload + signer.sign(label, payload))


def _receipt(receipt: bytes) -> Fields:
    return [("identity", IDENTITY.public), ("statement", Stone().statement()), ("receipt", receipt)]


@lie("deletion", "success", "gone from the live store, in backups for 90 days")
def deletion() -> Fields:
    said = Gone()
    return [
        *_given(said.payload()),
        ("tombstone-hash", said.stone),
        ("time", NOW + DAY),
        ("until", _UNTIL),
        ("also", "backups"),
    ]


_GONE: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    (
        "unknown-until",
        "success",
        "in a log kept for recovery, replicas and backups, for how long nobody has said",
        lambda: [*_given(Gone(until=b"", also=b"wal,replicas,backups").payload()), ("also", "wal,replicas,backups")],
    ),
    ("nowhere", "success", "nowhere else", lambda: _given(Gone(until=u64(NOW + DAY), also=b"").payload())),
    ("missing", "forged", "no receipt", lambda: _receipt(b"")),
    ("no-signature", "forged", "no signature", lambda: _receipt(Gone().payload())),
    ("signed-by-other", "forged", "another silo's", lambda: _given(Gone().payload(), OTHER_IDENTITY)),
    ("signed-by-device", "forged", "signed by the device that deleted", lambda: _given(Gone().payload(), DEVICE_KEY)),
    (
        "other-tombstone",
        "forged",
        "for another tombstone",
        lambda: _given(Gone(stone=digest(labels.TOMBSTONE_HASH, _swept().statement())).payload()),
    ),
    ("of-the-core", "forged", "for a core hash", lambda: _given(Gone(stone=_CORE).payload())),
    (
        "until-changed",
        "forged",
        "a later end, said after the signature",
        lambda: _receipt(Gone(until=u64(_UNTIL + DAY)).payload() + IDENTITY.sign(labels.DELETION, Gone().payload())),
    ),
    (
        "until-before",
        "forged",
        "in backups until before it was deleted",
        lambda: _given(Gone(until=u64(NOW)).payload()),
    ),
    ("until-short", "forged", "its end has 7 bytes", lambda: _given(Gone(until=u64(_UNTIL)[1:]).payload())),
    ("until-2-to-the-53", "forged", "its end is 2^53", lambda: _given(Gone(until=u64(2**53)).payload())),
    ("other-place", "forged", "in a place that has no name", lambda: _given(Gone(also=b"tapes").payload())),
    ("place-twice", "forged", "in backups twice", lambda: _given(Gone(also=b"backups,backups").payload())),
    ("places-swapped", "forged", "its places in another order", lambda: _given(Gone(also=b"backups,wal").payload())),
    ("comma-after", "forged", "a comma after its last place", lambda: _given(Gone(also=b"backups,").payload())),
    ("field-less", "forged", "no places", lambda: _given(pack(labels.DELETION, *tuple(vars(Gone()).values())[:-1]))),
    ("field-more", "forged", "a fifth field", lambda: _given(pack(labels.DELETION, *vars(Gone()).values(), b""))),
    ("byte-after", "forged", "a byte after the last field", lambda: _given(Gone().payload() + b"\0")),
    (
        "other-label",
        "forged",
        "signed under the label of a record's receipt",
        lambda: _given(Gone().payload(), label=labels.RECEIPT),
    ),
    ("is-record-receipt", "forged", "the deleted record's own receipt", lambda: _receipt(good_receipt())),
    (
        "fields-signed",
        "forged",
        "the signature is over the fields, where the payload itself is the field",
        lambda: _receipt(Gone().payload() + IDENTITY.sign(labels.DELETION, *vars(Gone()).values())),
    ),
)

for _name, _expect, _lie, _make in _GONE:
    tell(f"deletion-{_name}", "deletion", _expect, _lie, _make)


# --- key bags (SPEC 7.8) ---

_KEYS = {3: secret("key 3"), 5: OTHER_RECORD_KEY, 7: RECORD_KEY}
_BOUND = (SILO, USER, THREAD, u64(4), u64(7), _ENTRY)


def _content(keys: list[tuple[int, bytes]]) -> bytes:
    return b"".join(u64(index) + key for index, key in keys)


def _padded(content: bytes) -> bytes:
    return (u64(len(content)) + content).ljust(padme(8 + len(content)), b"\0")


def _sealed(
    padded: bytes | None = None,
    bound: tuple[bytes, ...] = _BOUND,
    seed: bytes = ACCOUNT_SEED,
    label: str = labels.KEY_BAG,
) -> bytes:
    padded = _padded(_content(sorted(_KEYS.items()))) if padded is None else padded
    return recipient(seed).seal(padded, label, *bound)


def _bag(sealed: bytes) -> Fields:
    return [
        ("seed", ACCOUNT_SEED),
        ("silo", SILO),
        ("user", USER),
        ("thread", THREAD),
        ("version", 4),
        ("at", 7),
        ("entry-hash", _ENTRY),
        ("sealed", sealed),
    ]


@lie("bag", "success", "the keys of a thread's three records, in its fourth bag")
def bag() -> Fields:
    plaintext = _padded(_content(sorted(_KEYS.items())))
    return [
        *_bag(_sealed(plaintext)),
        ("plaintext", plaintext),
        *(("held", join(u64(index), key)) for index, key in sorted(_KEYS.items())),
    ]


def _bound(at: int, value: bytes) -> bytes:
    return _sealed(bound=(*_BOUND[:at], value, *_BOUND[at + 1 :]))


def _holding(*keys: tuple[int, bytes]) -> bytes:
    return _sealed(_padded(_content(list(keys))))


_SHORT = _padded(_content([(3, _KEYS[3])]))

_BAGS: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
    ("empty", "success", "of a thread whose records are all gone", lambda: _sealed(_padded(b""))),
    (
        "many",
        "success",
        "the keys of all seven records of a log",
        lambda: _holding(*((one, secret(f"key {one}")) for one in range(1, 8))),
    ),
    ("other-silo", "no match", "made for another silo", lambda: _bound(0, OTHER_SILO)),
    ("other-user", "no match", "made for another user", lambda: _bound(1, OTHER_USER)),
    ("other-thread", "no match", "another thread's", lambda: _bound(2, OTHER_THREAD)),
    ("other-version", "no match", "the bag before this one", lambda: _bound(3, u64(3))),
    ("other-at", "no match", "made when the thread ended earlier", lambda: _bound(4, u64(5))),
    ("other-entry", "no match", "made for another log", lambda: _bound(5, secret("another entry"))),
    ("sealed-to-vault", "no match", "sealed to the vault epoch", lambda: _sealed(seed=EPOCH_SEED)),
    ("sealed-to-other", "no match", "sealed to another account key", lambda: _sealed(seed=OTHER_ACCOUNT_SEED)),
    ("other-label", "no match", "sealed under the label of a wrap", lambda: _sealed(label=labels.RECORD_WRAP)),
    ("wrap", "no match", "a record's wrap in its place", make_wrap),
    ("flipped", "no match", "a changed byte", lambda: flip(_sealed(), 1150)),
    ("cut", "no match", "a byte is missing", lambda: _sealed()[:-1]),
    ("nothing", "no match", "nothing at all", lambda: b""),
    ("not-padme", "payload failure", "512 bytes where Padmé says 256", lambda: _sealed(_SHORT.ljust(512, b"\0"))),
    ("less-than-padme", "payload failure", "not padded", lambda: _sealed(_SHORT[:48])),
    ("padding", "payload failure", "its padding is not zero", lambda: _sealed(_SHORT[:-1] + b"\1")),
    ("length", "payload failure", "a length beyond its end", lambda: _sealed(u64(4000) + _SHORT[8:])),
    ("length-2-to-the-63", "payload failure", "a length of 2^63", lambda: _sealed(u64(2**63) + _SHORT[8:])),
    (
        "half-a-key",
        "payload failure",
        "it ends in the middle of a key",
        lambda: _sealed(_padded(_content([(3, _KEYS[3])])[:-16])),
    ),
    ("index-0", "payload failure", "a key for index 0", lambda: _holding((0, _KEYS[3]), (3, _KEYS[3]))),
    (
        "index-beyond",
        "payload failure",
        "a key for a record after its last",
        lambda: _holding((7, RECORD_KEY), (8, _KEYS[3])),
    ),
    ("index-twice", "payload failure", "two keys for one record", lambda: _holding((3, _KEYS[3]), (3, RECORD_KEY))),
    ("indexes-fall", "payload failure", "its indexes fall", lambda: _holding((5, _KEYS[5]), (3, _KEYS[3]))),
    ("plain-json", "payload failure", "a list as JSON", lambda: _sealed(json.dumps({"3": "key"}).encode())),
)

for _name, _expect, _lie, _make_bag in _BAGS:
    tell(f"bag-{_name}", "bag", _expect, _lie, lambda make=_make_bag: _bag(make()))


def _bagged(
    sealed: bytes | None = None, core: bytes | None = None, receipt: bytes | None = None, *out: bytes
) -> Fields:
    return [
        *_bag(_sealed() if sealed is None else sealed),
        ("identity", IDENTITY.public),
        ("core", good_core() if core is None else core),
        ("receipt", good_receipt() if receipt is None else receipt),
        released(*out),
    ]


@lie("bagged", "success", "a record opened by the key that the bag holds for it")
def bagged() -> Fields:
    return _bagged(None, None, None, CONTENT)


def _forged_core() -> bytes:
    """A record by somebody who has made a bag too: its key is in there."""
    return make_core(
        content=b'{"turn":"{}","reply":{"content":"Nobody said this."}}',
        committed=OTHER_RECORD_KEY,
        framed=OTHER_RECORD_KEY,
    )


def _other_place() -> tuple[bytes, bytes]:
    place = replace(PLACE, user=OTHER_USER)
    core = make_core(place)
    hashed = core_hash(core)
    return core, sign(Said(user=OTHER_USER, core=hashed, entry=entry_hash(place, hashed)).payload())


_BAGGED: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    (
        "other-key",
        "header failure",
        "a forged bag: another key for the record",
        lambda: _bagged(_holding((7, _KEYS[5]))),
    ),
    (
        "no-key",
        "no match",
        "the bag does not hold the record's key",
        lambda: _bagged(_holding((3, _KEYS[3]), (5, _KEYS[5]))),
    ),
    (
        "keys-swapped",
        "header failure",
        "two records' keys have changed places",
        lambda: _bagged(_holding((5, RECORD_KEY), (7, _KEYS[5]))),
    ),
    (
        "forged-record",
        "forged",
        "a forged bag, and a record made with the key in it, under the true one's receipt",
        lambda: _bagged(_holding((7, OTHER_RECORD_KEY)), _forged_core()),
    ),
    (
        "forged-record-without-receipt",
        "forged",
        "a forged bag, and a record made with the key in it, without a receipt",
        lambda: _bagged(_holding((7, OTHER_RECORD_KEY)), _forged_core(), b""),
    ),
    (
        "frames-under-second-key",
        "payload failure",
        "a record whose frames are another key's than it commits to",
        lambda: _bagged(None, make_core(framed=OTHER_RECORD_KEY)),
    ),
    ("receipt-missing", "forged", "the right key, and no receipt", lambda: _bagged(None, None, b"")),
    (
        "of-other-user",
        "header failure",
        "another user's record, right in itself, its key in this user's bag",
        lambda: _bagged(None, *_other_place()),
    ),
)

for _name, _expect, _lie, _make in _BAGGED:
    tell(f"bagged-{_name}", "bagged", _expect, _lie, _make)
