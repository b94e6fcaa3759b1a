"""Lies about what is kept: enrolments, cores, wraps, receipts, the log, turns (SPEC 6, 7)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

from form import Fields, join, released

from lies import (
    ACCOUNT_SEED,
    DEVICE,
    DEVICE_KEY,
    EPOCH_SEED,
    IDENTITY,
    NOW,
    OTHER_DEVICE,
    OTHER_DEVICE_KEY,
    OTHER_IDENTITY,
    OTHER_SILO,
    OTHER_THREAD,
    OTHER_TURN,
    OTHER_USER,
    SILO,
    THREAD,
    TURN,
    USER,
    ZERO_POINT,
    flip,
    lie,
    low_order,
    public,
    recipient,
    secret,
    tell,
)
from lies.frames import whole
from silo.crypto import labels
from silo.crypto.encoding import u64
from silo.crypto.frames import seal_whole
from silo.crypto.keys import Enrolment, Signer, fingerprint
from silo.crypto.labels import digest, pack, unpack
from silo.crypto.sealing import (
    NO_HASH,
    Place,
    TurnPlace,
    commitment,
    core_hash,
    entry_hash,
    frame_key,
    head_hash,
    log_entry,
    sign_turn,
)

# --- enrolments (SPEC 6.1) ---

DEVICE_SEAL = secret("device seal")
ENROLMENT = Enrolment(SILO, USER, DEVICE, DEVICE_KEY.public, public(DEVICE_SEAL), NOW)


def _enrolled(statement: bytes, signature: bytes | None = None) -> Fields:
    signature = DEVICE_KEY.sign(labels.ENROLMENT, statement) if signature is None else signature
    return [("statement", statement), ("signature", signature)]


@lie("enrolment", "success", "a device's two keys, signed by itself")
def enrolment() -> Fields:
    return [
        ("silo", SILO),
        ("user", USER),
        ("device", DEVICE),
        ("sign", ENROLMENT.sign),
        ("seal", ENROLMENT.seal),
        ("time", NOW),
        *_enrolled(ENROLMENT.statement()),
        ("fingerprint", ENROLMENT.fingerprint),
    ]


_GOOD_ENROLMENT = DEVICE_KEY.sign(labels.ENROLMENT, ENROLMENT.statement())
_ENROLLED = (SILO, USER, DEVICE, ENROLMENT.sign, ENROLMENT.seal, u64(NOW))


def _other(**changes: bytes | int) -> bytes:
    return replace(ENROLMENT, **changes).statement()


for _name, _lie, _fields in (
    ("other-user", "moved to another user after the signature", _enrolled(_other(user=OTHER_USER), _GOOD_ENROLMENT)),
    ("other-silo", "moved to another silo after the signature", _enrolled(_other(silo=OTHER_SILO), _GOOD_ENROLMENT)),
    ("other-device", "given another id after the signature", _enrolled(_other(device=OTHER_DEVICE), _GOOD_ENROLMENT)),
    ("other-time", "made a millisecond younger after the signature", _enrolled(_other(time=NOW + 1), _GOOD_ENROLMENT)),
    (
        "other-seal",
        "another X-Wing key put in after the signature",
        _enrolled(_other(seal=public(EPOCH_SEED)), _GOOD_ENROLMENT),
    ),
    (
        "signed-by-other",
        "signed by another device's key",
        _enrolled(ENROLMENT.statement(), OTHER_DEVICE_KEY.sign(labels.ENROLMENT, ENROLMENT.statement())),
    ),
    (
        "other-label",
        "signed under the label of a turn",
        _enrolled(ENROLMENT.statement(), DEVICE_KEY.sign(labels.TURN, ENROLMENT.statement())),
    ),
    (
        "fields-signed",
        "the signature is over the six fields, where the statement itself is the field",
        _enrolled(ENROLMENT.statement(), DEVICE_KEY.sign(labels.ENROLMENT, *_ENROLLED)),
    ),
    ("not-signed", "no signature", _enrolled(ENROLMENT.statement(), b"")),
    ("low-order", "its X25519 point is 0", _enrolled(_other(seal=low_order(ENROLMENT.seal, ZERO_POINT)))),
    ("short-seal", "its X-Wing key has 1,215 bytes", _enrolled(_other(seal=ENROLMENT.seal[:-1]))),
    ("short-id", "its device id has 15 bytes", _enrolled(_other(device=DEVICE[:15]))),
    ("short-time", "its time has 7 bytes", _enrolled(pack(labels.ENROLMENT, *_ENROLLED[:5], u64(NOW)[1:]))),
    ("field-more", "a seventh field", _enrolled(pack(labels.ENROLMENT, *_ENROLLED, b""))),
    ("field-less", "no time", _enrolled(pack(labels.ENROLMENT, *_ENROLLED[:5]))),
    ("byte-after", "a byte after the last field", _enrolled(ENROLMENT.statement() + b"\0")),
    ("other-statement", "a statement for another purpose", _enrolled(pack(labels.DEVICE, *_ENROLLED))),
):
    tell(f"enrolment-{_name}", "enrolment", "forged", _lie, lambda fields=_fields: fields)


# --- cores (SPEC 7.1) ---

RECORD_KEY, OTHER_RECORD_KEY = secret("record key"), secret("another record key")
PLACE = Place(SILO, USER, 7, secret("entry 6"), THREAD, secret("parent"), 1, TURN, NOW)
CONTENT = b'{"turn":"{}","reply":{"content":"A bird with a long beak."}}'


def make_core(
    place: Place = PLACE,
    content: bytes = CONTENT,
    committed: bytes = RECORD_KEY,
    framed: bytes = RECORD_KEY,
    frames: bytes | None = None,
) -> bytes:
    """A core; the key that it commits to and the key of its frames may differ."""
    head = place.spell() + commitment(committed, place.spell())
    hashed = head_hash(head)
    return head + (seal_whole(frame_key(framed, hashed), hashed, content) if frames is None else frames)


@cache
def good_core() -> bytes:
    """The core that most lies begin with."""
    return make_core()


def _core(core: bytes, *out: bytes, key: bytes = RECORD_KEY) -> Fields:
    return [("record-key", key), ("core", core), released(*out)]


@lie("core", "success", "the seventh record of a user's log")
def core() -> Fields:
    head = good_core()[:197]
    return [
        ("record-key", RECORD_KEY),
        ("silo", SILO),
        ("user", USER),
        ("index", PLACE.index),
        ("previous", PLACE.previous),
        ("thread", THREAD),
        ("parent", PLACE.parent),
        ("id", TURN),
        ("time", NOW),
        ("commitment", head[165:]),
        ("head-hash", head_hash(head)),
        ("frame-key", frame_key(RECORD_KEY, head_hash(head))),
        ("content", CONTENT),
        ("core", good_core()),
        ("core-hash", core_hash(good_core())),
        released(CONTENT),
    ]


# Where each field begins in the core.
_AT = {
    "magic": 0,
    "silo": 20,
    "user": 36,
    "index": 52,
    "previous": 60,
    "thread": 92,
    "parent": 108,
    "kind": 140,
    "id": 141,
    "time": 157,
    "commitment": 165,
}
_INSTEAD = {
    "silo": OTHER_SILO,
    "user": OTHER_USER,
    "index": u64(8),
    "previous": secret("entry 7"),
    "thread": OTHER_THREAD,
    "parent": NO_HASH,
    "kind": b"\2",
    "id": OTHER_TURN,
    "time": u64(NOW + 1),
    "commitment": secret("a commitment"),
    "magic": b"securesilo/2 record\n",
}


def _with(core_bytes: bytes, name: str, value: bytes) -> bytes:
    at = _AT[name]
    return core_bytes[:at] + value + core_bytes[at + len(value) :]


for _name, _value in _INSTEAD.items():
    tell(
        f"core-other-{_name}",
        "core",
        "header failure",
        f"another {_name} was put into the core",
        lambda name=_name, value=_value: _core(_with(good_core(), name, value)),
    )

_OTHER_PLACE = replace(PLACE, index=8)
_NO_COMMITMENT = commitment(RECORD_KEY, _OTHER_PLACE.spell())

for _name, _expect, _lie, _make in (
    (
        "second-key",
        "header failure",
        "its frames open under a second key, to which it is not committed",
        lambda: _core(make_core(framed=OTHER_RECORD_KEY), key=OTHER_RECORD_KEY),
    ),
    (
        "frames-under-second-key",
        "payload failure",
        "committed to one key, its frames sealed with another",
        lambda: _core(make_core(framed=OTHER_RECORD_KEY)),
    ),
    ("other-key", "header failure", "the key of another record", lambda: _core(good_core(), key=OTHER_RECORD_KEY)),
    (
        "frames-of-other-core",
        "payload failure",
        "the frames of another core with the same key",
        lambda: _core(good_core()[:197] + make_core(_OTHER_PLACE)[197:]),
    ),
    (
        "head-of-other-core",
        "payload failure",
        "the head of another core with the same key, well committed",
        lambda: _core(_OTHER_PLACE.spell() + _NO_COMMITMENT + good_core()[197:]),
    ),
    (
        "frames-not-salted",
        "payload failure",
        "frames sealed with the record key itself",
        lambda: _core(make_core(frames=seal_whole(RECORD_KEY, head_hash(good_core()[:197]), CONTENT))),
    ),
    ("flipped", "payload failure", "a changed byte in its frames", lambda: _core(flip(good_core(), 250))),
    ("byte-after", "payload failure", "a byte after its last frame", lambda: _core(good_core() + b"\0")),
    (
        "length",
        "payload failure",
        "L is one too small",
        lambda: _core(good_core()[:197] + (271).to_bytes(4, "big") + good_core()[201:]),
    ),
    ("not-padme", "payload failure", "512 bytes where Padmé says 256", lambda: _core(make_core(frames=_wide()))),
    ("cut", "truncated", "it ends inside its frame", lambda: _core(good_core()[:-1])),
    ("no-frames", "truncated", "a head without frames", lambda: _core(good_core()[:197])),
    ("cut-in-head", "truncated", "it ends inside its head", lambda: _core(good_core()[:196])),
    ("cut-in-magic", "truncated", "it ends inside its magic line", lambda: _core(good_core()[:5])),
    ("empty", "truncated", "nothing at all", lambda: _core(b"")),
    ("other-file", "header failure", "something else altogether", lambda: _core(b"\x89PNG\r\n")),
):
    tell(f"core-{_name}", "core", _expect, _lie, _make)


def _wide() -> bytes:
    head = head_hash(good_core()[:197])
    return whole(frame_key(RECORD_KEY, head), head, (u64(len(CONTENT)) + CONTENT).ljust(512, b"\0"))


def _another() -> bytes:
    """Another core at the same place with the same key."""
    return make_core(content=b'{"turn":"{}","reply":{"content":"Something else."}}')


@lie("core", "success", "a record without content, the first of its log")
def core_first() -> Fields:
    place = Place(SILO, USER, 1, NO_HASH, THREAD, NO_HASH, 1, TURN, NOW)
    return _core(make_core(place, b""))


# --- wraps (SPEC 7.2) ---


def make_wrap(
    core_bytes: bytes | None = None,
    seed: bytes = ACCOUNT_SEED,
    key: bytes = RECORD_KEY,
    named: bytes | None = None,
    label: str = labels.RECORD_WRAP,
) -> bytes:
    """A record key sealed to somebody; `named` is whose fingerprint it is bound to."""
    hashed = core_hash(good_core() if core_bytes is None else core_bytes)
    return recipient(seed).seal(key, label, hashed, named or fingerprint(public(seed)))


@cache
def good_wrap() -> bytes:
    """The good core's wrap to the account key."""
    return make_wrap()


def _wrapped(sealed: bytes) -> Fields:
    return [("seed", ACCOUNT_SEED), ("core-hash", core_hash(good_core())), ("sealed", sealed)]


@lie("wrap", "success", "a record key sealed to the account key")
def wrap() -> Fields:
    return [
        ("seed", ACCOUNT_SEED),
        ("recipient", fingerprint(public(ACCOUNT_SEED))),
        ("core-hash", core_hash(good_core())),
        ("sealed", good_wrap()),
        ("record-key", RECORD_KEY),
    ]


def _door_header() -> bytes:
    mark = fingerprint(public(ACCOUNT_SEED))
    return recipient(ACCOUNT_SEED).seal(RECORD_KEY, labels.DOOR_HEADER, b"\1", SILO, fingerprint(IDENTITY.public), mark)


for _name, _lie, _make in (
    ("other-core", "the wrap of another core with the same key", lambda: make_wrap(_another())),
    (
        "other-recipient",
        "bound to another recipient's fingerprint",
        lambda: make_wrap(named=fingerprint(public(EPOCH_SEED))),
    ),
    ("sealed-to-other", "sealed to another key", lambda: make_wrap(seed=EPOCH_SEED)),
    ("door-header", "a sealed header key of the door, for a transport key that is this key", _door_header),
    ("other-label", "sealed under the label of an epoch's half", lambda: make_wrap(label=labels.EPOCH_HALF)),
    ("flipped", "a changed byte", lambda: flip(good_wrap(), 1130)),
    ("flipped-enc", "a changed byte in enc", lambda: flip(good_wrap(), 500)),
    ("cut", "a byte is missing", lambda: good_wrap()[:-1]),
    ("byte-after", "a byte too many", lambda: good_wrap() + b"\0"),
    ("empty", "nothing at all", lambda: b""),
):
    tell(f"wrap-{_name}", "wrap", "no match", _lie, lambda make=_make: _wrapped(make()))


# --- receipts (SPEC 7.4) ---

MARKS = (fingerprint(public(ACCOUNT_SEED)), fingerprint(public(EPOCH_SEED)))


@dataclass(frozen=True)
class Said:
    """What a receipt says; every field can be a lie."""

    silo: bytes = SILO
    user: bytes = USER
    index: bytes = field(default_factory=lambda: u64(PLACE.index))
    core: bytes = field(default_factory=lambda: core_hash(good_core()))
    entry: bytes = field(default_factory=lambda: entry_hash(PLACE, core_hash(good_core())))
    recipients: bytes = b"".join(MARKS)
    time: bytes = field(default_factory=lambda: u64(NOW))

    def payload(self) -> bytes:
        """The bytes that are signed."""
        fields = (self.silo, self.user, self.index, self.core, self.entry, self.recipients, self.time)
        return pack(labels.RECEIPT, *fields)


def sign(payload: bytes, signer: Signer = IDENTITY, label: str = labels.RECEIPT) -> bytes:
    """A receipt."""
    return payload + signer.sign(label, payload)


def good_receipt() -> bytes:
    """The receipt of the good core."""
    return sign(Said().payload())


def _unreduced(receipt: bytes) -> bytes:
    order = 2**252 + 27742317777372353535851937790883648493
    return receipt[:-32] + (int.from_bytes(receipt[-32:], "little") + order).to_bytes(32, "little")


def _receipt(receipt: bytes) -> Fields:
    return [("identity", IDENTITY.public), ("core", good_core()), ("receipt", receipt)]


@lie("receipt", "success", "of the good core, for the account key and the vault epoch")
def receipt() -> Fields:
    said = Said()
    return [
        *_receipt(good_receipt()),
        ("core-hash", said.core),
        ("entry-hash", said.entry),
        *(("recipient", mark) for mark in MARKS),
        ("time", NOW),
    ]


_EXTRA = fingerprint(public(secret("auditor")))
_NAMED = (*MARKS, _EXTRA)

for _name, _expect, _lie, _marks, _named in (
    ("named", "success", "for the keys that the request named, an extra one among them", _NAMED, _NAMED),
    ("other-account", "forged", "for another account key than was named", (_EXTRA, MARKS[1]), MARKS),
    ("other-epoch", "forged", "for another vault epoch than was named", (MARKS[0], _EXTRA), MARKS),
    ("recipient-more", "forged", "for an extra recipient whom nobody named", _NAMED, MARKS),
    ("recipient-less", "forged", "without the extra recipient that was named", MARKS, _NAMED),
    ("recipients-swapped", "forged", "for the keys that were named, in another order", MARKS[::-1], MARKS),
    ("recipient-twice", "forged", "for the vault epoch twice", (*MARKS, MARKS[1]), MARKS),
):
    tell(
        f"receipt-{_name}",
        "receipt",
        _expect,
        _lie,
        lambda marks=_marks, named=_named: [
            *_receipt(sign(Said(recipients=b"".join(marks)).payload())),
            *(("named", mark) for mark in named),
        ],
    )


def _elsewhere(**changes: bytes | int) -> bytes:
    """The good core's content at another place, honestly kept there: its receipt."""
    place = replace(PLACE, **changes)
    made = make_core(place)
    return sign(
        Said(
            silo=place.silo,
            user=place.user,
            index=u64(place.index),
            core=core_hash(made),
            entry=entry_hash(place, core_hash(made)),
            time=u64(place.time),
        ).payload()
    )


def _of_another() -> bytes:
    hashed = core_hash(_another())
    return sign(Said(core=hashed, entry=entry_hash(PLACE, hashed)).payload())


_RECEIPTS: tuple[tuple[str, str, Callable[[], bytes]], ...] = (
    ("other-core", "the receipt of another core at the same place", lambda: _of_another()),
    ("other-index", "the receipt of the same content at another index", lambda: _elsewhere(index=8)),
    ("other-user", "the receipt of the same content of another user", lambda: _elsewhere(user=OTHER_USER)),
    ("other-silo", "the receipt of the same content on another silo", lambda: _elsewhere(silo=OTHER_SILO)),
    ("other-time", "the receipt of the same content a millisecond later", lambda: _elsewhere(time=NOW + 1)),
    ("says-other-silo", "for this core, and says another silo", lambda: sign(Said(silo=OTHER_SILO).payload())),
    ("says-other-user", "for this core, and says another user", lambda: sign(Said(user=OTHER_USER).payload())),
    ("says-other-index", "for this core, and says another index", lambda: sign(Said(index=u64(8)).payload())),
    ("says-other-time", "for this core, and says another time", lambda: sign(Said(time=u64(NOW + 1)).payload())),
    (
        "says-other-core",
        "for this place, and says another core hash",
        lambda: sign(Said(core=secret("a core hash")).payload()),
    ),
    (
        "says-other-entry",
        "for this core, and says another entry hash",
        lambda: sign(Said(entry=secret("an entry hash")).payload()),
    ),
    (
        "recipients-changed",
        "a recipient was taken out after the signature",
        lambda: Said(recipients=MARKS[0]).payload() + good_receipt()[-64:],
    ),
    ("no-recipient", "it names no recipient", lambda: sign(Said(recipients=b"").payload())),
    ("half-recipient", "its recipients are 63 bytes", lambda: sign(Said(recipients=b"".join(MARKS)[:-1]).payload())),
    ("short-time", "its time has 7 bytes", lambda: sign(Said(time=u64(NOW)[1:]).payload())),
    ("field-more", "an eighth field", lambda: sign(Said().payload() + bytes(4))),
    (
        "other-statement",
        "a statement for another purpose",
        lambda: sign(Said().payload().replace(b"1 receipt", b"1 receipz")),
    ),
    ("signed-by-other", "signed by another silo's identity", lambda: sign(Said().payload(), OTHER_IDENTITY)),
    ("signed-by-device", "signed by the user's own device", lambda: sign(Said().payload(), DEVICE_KEY)),
    ("other-label", "signed for another purpose", lambda: sign(Said().payload(), label=labels.HEADS)),
    (
        "fields-signed",
        "the signature is over the seven fields, where the payload itself is the field",
        lambda: Said().payload() + IDENTITY.sign(labels.RECEIPT, *unpack(labels.RECEIPT, Said().payload(), 7)),
    ),
    ("flipped", "a changed byte in the signature", lambda: flip(good_receipt(), -40)),
    ("unreduced", "the group's order is added to the signature's S", lambda: _unreduced(good_receipt())),
    ("no-signature", "the payload alone", lambda: Said().payload()),
    ("zero-signature", "64 zeros for a signature", lambda: Said().payload() + bytes(64)),
    ("missing", "no receipt", lambda: b""),
)

for _name, _lie, _make in _RECEIPTS:
    tell(f"receipt-{_name}", "receipt", "forged", _lie, lambda make=_make: _receipt(make()))


# --- whole records (SPEC 7, 10) ---


def _record(
    core_bytes: bytes | None = None,
    wraps: tuple[tuple[bytes, bytes], ...] | None = None,
    receipt: bytes | None = None,
    out: tuple[bytes, ...] = (),
) -> Fields:
    if wraps is None:
        wraps = ((MARKS[0], good_wrap()), (MARKS[1], make_wrap(seed=EPOCH_SEED)))
    return [
        ("silo", SILO),
        ("user", USER),
        ("identity", IDENTITY.public),
        ("seed", ACCOUNT_SEED),
        ("core", good_core() if core_bytes is None else core_bytes),
        *(("wrap", join(mark, sealed)) for mark, sealed in wraps),
        ("receipt", good_receipt() if receipt is None else receipt),
        released(*out),
    ]


@lie("record", "success", "as the silo hands it out: core, two wraps, receipt")
def record() -> Fields:
    return _record(out=(CONTENT,))


def _mine(sealed: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((MARKS[0], sealed),)


def _moved(name: str) -> Fields:
    """The good core with another field, wrapped anew by somebody who knows its key."""
    core_bytes = _with(good_core(), name, _INSTEAD[name])
    return _record(core_bytes, _mine(make_wrap(core_bytes)))


def _honest(place: Place) -> Fields:
    """Everything right, and for another place."""
    core_bytes = make_core(place)
    said = Said(
        silo=place.silo,
        user=place.user,
        core=core_hash(core_bytes),
        entry=entry_hash(place, core_hash(core_bytes)),
    )
    return _record(core_bytes, _mine(make_wrap(core_bytes)), sign(said.payload()))


def _remade() -> Fields:
    core_bytes = _another()
    return _record(core_bytes, _mine(make_wrap(core_bytes)))


def _other_key() -> Fields:
    return _record(wraps=_mine(make_wrap(key=OTHER_RECORD_KEY)))


_RECORDS: tuple[tuple[str, str, str, Callable[[], Fields]], ...] = (
    ("no-wrap", "no match", "no wrap for this key", lambda: _record(wraps=((MARKS[1], make_wrap(seed=EPOCH_SEED)),))),
    ("no-wraps", "no match", "no wrap at all", lambda: _record(wraps=())),
    (
        "wrap-of-other-core",
        "no match",
        "the wrap of another core with the same key",
        lambda: _record(wraps=_mine(make_wrap(_another()))),
    ),
    (
        "wraps-swapped",
        "no match",
        "two recipients' wraps have changed places",
        lambda: _record(wraps=((MARKS[0], make_wrap(seed=EPOCH_SEED)), (MARKS[1], good_wrap()))),
    ),
    (
        "wrap-is-door-header",
        "no match",
        "a door header passed off as the wrap",
        lambda: _record(wraps=_mine(_door_header())),
    ),
    ("wrap-flipped", "no match", "a changed byte in the wrap", lambda: _record(wraps=_mine(flip(good_wrap(), 1140)))),
    ("wrap-holds-other-key", "header failure", "the wrap holds another record's key", _other_key),
    (
        "wrap-holds-short-key",
        "header failure",
        "the wrap holds 16 bytes",
        lambda: _record(wraps=_mine(make_wrap(key=RECORD_KEY[:16]))),
    ),
    (
        "flipped",
        "no match",
        "a changed byte in the core's frames, so that no wrap is for it",
        lambda: _record(flip(good_core(), 300)),
    ),
    (
        "flipped-and-wrapped",
        "payload failure",
        "a changed byte in the core's frames, and a wrap for that",
        lambda: _record(flip(good_core(), 300), _mine(make_wrap(flip(good_core(), 300)))),
    ),
    (
        "cut-and-wrapped",
        "truncated",
        "the core's last byte is missing, and a wrap for that",
        lambda: _record(good_core()[:-1], _mine(make_wrap(good_core()[:-1]))),
    ),
    (
        "thread-changed",
        "no match",
        "moved to another thread by somebody without its key",
        lambda: _record(_with(good_core(), "thread", OTHER_THREAD)),
    ),
    (
        "thread-changed-and-wrapped",
        "header failure",
        "moved to another thread by somebody with its key",
        lambda: _moved("thread"),
    ),
    (
        "index-changed-and-wrapped",
        "header failure",
        "moved to another index by somebody with its key",
        lambda: _moved("index"),
    ),
    (
        "of-other-user",
        "header failure",
        "another user's record, right in itself, wrapped for this user",
        lambda: _honest(replace(PLACE, user=OTHER_USER)),
    ),
    (
        "of-other-silo",
        "header failure",
        "another silo's record, right in itself, wrapped for this user",
        lambda: _honest(replace(PLACE, silo=OTHER_SILO)),
    ),
    ("made-up", "forged", "made by somebody who has only public keys, with an older receipt", _remade),
    ("receipt-missing", "forged", "no receipt", lambda: _record(receipt=b"")),
    ("receipt-of-other", "forged", "another record's receipt", lambda: _record(receipt=_elsewhere(index=8))),
    (
        "receipt-signed-by-other",
        "forged",
        "another silo's receipt",
        lambda: _record(receipt=sign(Said().payload(), OTHER_IDENTITY)),
    ),
)

for _name, _expect, _lie, _make in _RECORDS:
    tell(f"record-{_name}", "record", _expect, _lie, _make)


# --- the user's log (SPEC 7.3) ---

_CORES = [secret(f"core {index}") for index in range(1, 5)]
_THREADS = [THREAD, THREAD, OTHER_THREAD, THREAD]


def _chain(user: bytes = USER, silo: bytes = SILO) -> list[bytes]:
    hashes = [NO_HASH]
    for index, (thread, hashed) in enumerate(zip(_THREADS, _CORES, strict=True), 1):
        hashes.append(log_entry(hashes[-1], silo, user, index, thread, hashed))
    return hashes


Entry = tuple[int, bytes, bytes]
_ENTRIES: list[Entry] = [
    (index, thread, hashed) for index, (thread, hashed) in enumerate(zip(_THREADS, _CORES, strict=True), 1)
]


def _log(
    entries: list[Entry], at: int = 0, start: bytes = NO_HASH, head: bytes | None = None, seen: int | None = None
) -> Fields:
    known: Fields = [("seen", join(u64(seen), _chain()[seen]))] if seen is not None else []
    return [
        *known,
        ("silo", SILO),
        ("user", USER),
        ("at", at),
        ("start", start),
        *(("entry", join(u64(index), thread, hashed)) for index, thread, hashed in entries),
        ("head-hash", head or _chain()[-1]),
    ]


_FIRST, _SECOND, _THIRD, _FOURTH = _ENTRIES


def _rewritten() -> Fields:
    other = secret("another core")
    hashed = log_entry(_chain()[1], SILO, USER, 2, THREAD, other)
    for index, thread, core in (_THIRD, _FOURTH):
        hashed = log_entry(hashed, SILO, USER, index, thread, core)
    return _log([_FIRST, (2, THREAD, other), _THIRD, _FOURTH], head=hashed, seen=3)


for _name, _expect, _lie, _fields in (
    ("entries", "success", "four entries in two threads", _log(_ENTRIES)),
    ("from-second", "success", "goes on from the entry that was seen", _log([_THIRD, _FOURTH], 2, _chain()[2])),
    ("empty", "success", "no entry", _log([], head=NO_HASH)),
    ("entry-missing", "forged", "the second entry is missing", _log([_FIRST, _THIRD, _FOURTH])),
    (
        "entry-missing-renumbered",
        "forged",
        "the second entry is missing and the rest moved up",
        _log([_FIRST, (2, *_THIRD[1:]), (3, *_FOURTH[1:])]),
    ),
    ("entry-twice", "forged", "the second entry comes twice", _log([_FIRST, _SECOND, _SECOND, _THIRD])),
    (
        "entries-swapped",
        "forged",
        "the second and third entry have changed places",
        _log([_FIRST, (2, *_THIRD[1:]), (3, *_SECOND[1:]), _FOURTH]),
    ),
    ("from-zero", "forged", "it begins with index 0", _log([(0, *_FIRST[1:]), _SECOND])),
    (
        "other-core",
        "forged",
        "another core hash in the third entry",
        _log([_FIRST, _SECOND, (3, OTHER_THREAD, secret("another core")), _FOURTH]),
    ),
    (
        "other-thread",
        "forged",
        "the third entry moved to another thread",
        _log([_FIRST, _SECOND, (3, THREAD, _CORES[2]), _FOURTH]),
    ),
    ("seen", "success", "it goes past the entry that was seen", _log(_ENTRIES, seen=2)),
    ("seen-last", "success", "it ends with the entry that was seen", _log(_ENTRIES, seen=4)),
    (
        "rolled-back",
        "stale",
        "the log as it was before the entry that was seen, with its own head",
        _log(_ENTRIES[:3], head=_chain()[3], seen=4),
    ),
    ("rolled-back-whole", "stale", "an empty log, where an entry was seen", _log([], head=NO_HASH, seen=1)),
    (
        "rolled-back-from-entry",
        "stale",
        "nothing after an entry that was seen, where a later one was seen too",
        _log([], 2, _chain()[2], head=_chain()[2], seen=4),
    ),
    ("rewritten", "forged", "another log from before the entry that was seen, right in itself", _rewritten()),
    ("of-other-user", "forged", "another user's log", _log(_ENTRIES, head=_chain(OTHER_USER)[-1])),
    (
        "of-other-silo",
        "forged",
        "the same user's log on another silo",
        _log(_ENTRIES, head=_chain(silo=OTHER_SILO)[-1]),
    ),
    ("cut", "forged", "the last entry is missing", _log(_ENTRIES[:3])),
    (
        "forked",
        "forged",
        "it goes on from another second entry than was seen",
        _log([_THIRD, _FOURTH], 2, secret("another second entry")),
    ),
):
    tell(f"log-{_name}", "log", _expect, _lie, lambda fields=_fields: fields)


@lie("log", "success", "one entry, and the hash of it")
def log_one() -> Fields:
    return [
        ("silo", SILO),
        ("user", USER),
        ("at", PLACE.index - 1),
        ("start", PLACE.previous),
        ("entry", join(u64(PLACE.index), THREAD, core_hash(good_core()))),
        ("head-hash", entry_hash(PLACE, core_hash(good_core()))),
    ]


# --- turns (SPEC 7.6) ---

TEXT = '{"messages":[{"role":"user","content":"What is a pelican?"}],"model":null,"options":{}}'
TURN_PLACE = TurnPlace(SILO, USER, THREAD, TURN, NO_HASH)


def _turn(signature: bytes, text: str = TEXT) -> Fields:
    return [
        ("device-public", DEVICE_KEY.public),
        ("silo", SILO),
        ("user", USER),
        ("thread", THREAD),
        ("turn", TURN),
        ("parent", NO_HASH),
        ("text", text),
        ("signature", signature),
    ]


def _signed(**changes: bytes) -> Fields:
    return _turn(sign_turn(DEVICE_KEY, replace(TURN_PLACE, **changes), TEXT.encode()))


@lie("turn", "success", "a question, signed by the device")
def turn() -> Fields:
    return [*_signed(), ("text-digest", digest(labels.TURN, TEXT.encode()))]


for _name, _lie, _make in (
    ("other-silo", "signed for another silo", lambda: _signed(silo=OTHER_SILO)),
    ("other-user", "signed for another user", lambda: _signed(user=OTHER_USER)),
    ("other-thread", "signed for another thread", lambda: _signed(thread=OTHER_THREAD)),
    ("other-turn", "signed for another turn", lambda: _signed(id=OTHER_TURN)),
    ("other-parent", "signed for another branch", lambda: _signed(parent=secret("parent"))),
    (
        "other-text",
        "another question under the signature",
        lambda: _turn(sign_turn(DEVICE_KEY, TURN_PLACE, TEXT.encode()), TEXT.replace("pelican", "penguin")),
    ),
    (
        "reordered",
        "the same JSON with a space more",
        lambda: _turn(sign_turn(DEVICE_KEY, TURN_PLACE, TEXT.encode()), TEXT.replace(",", ", ")),
    ),
    ("other-device", "signed by another device", lambda: _turn(sign_turn(OTHER_DEVICE_KEY, TURN_PLACE, TEXT.encode()))),
    (
        "text-itself",
        "signed over the text instead of its digest",
        lambda: _turn(DEVICE_KEY.sign(labels.TURN, SILO, USER, THREAD, TURN, NO_HASH, TEXT.encode())),
    ),
    ("other-label", "signed for another purpose", lambda: _turn(DEVICE_KEY.sign(labels.ENROLMENT, TEXT.encode()))),
):
    tell(f"turn-{_name}", "turn", "forged", _lie, _make)
