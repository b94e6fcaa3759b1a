"""An export, opened offline with an admin key (SPEC 7.5): nothing here uses the network.

Every record is tried. What does not open, or opens and does not fit, is in the report with its reason.

    OUT/report.json                    what was found, and every fault
    OUT/<user id>/<thread id>.md       the chat to read
    OUT/<user id>/<thread id>.jsonl    the same for machines, one turn a line
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from silo.client.history import (
    Deleted,
    Turn,
    Voucher,
    envelope_of,
    open_certified,
    read_device,
    read_gone,
    read_turn,
)
from silo.client.inert import inert
from silo.crypto.directory import Entry, SignedEntry, newest, read_entry
from silo.crypto.encoding import Count, Id, b32, hash_bytes, id_bytes, parse_json, read_json, unb64
from silo.crypto.keyring import Keyring, SignedKeyring, verify_keyring
from silo.crypto.keys import AdminKey, Enrolment, fingerprint, verify
from silo.crypto.labels import HEADS
from silo.crypto.opening import (
    Envelope,
    Log,
    OpenedRecord,
    Opener,
    Receipt,
    open_core,
    open_epochs,
    read_place,
)
from silo.crypto.rotation import Rotation, follow
from silo.crypto.sealing import core_hash, log_entry, read_receipt
from silo.crypto.tombstones import read_tombstone
from silo.errors import SiloError
from silo.messages import (
    ExportEnd,
    ExportEnrolment,
    ExportEntry,
    ExportKeyring,
    ExportRecord,
    ExportRotation,
    ExportSilo,
    ExportTombstone,
    ExportUser,
    Heads,
    Record,
    UserHead,
)

T = TypeVar("T")
Progress = Callable[[int], None]
"""Takes the number of bytes read so far."""


ANOTHER = "make another with siloctl export, or take an older one"
"""The next step with a damaged export."""
CUT = "the export is cut off: its last line is missing"
BAD_END = "the last line of the export is damaged"
ORDER = {"keyring": 1, "entry": 2, "user": 3, "rotation": 4, "enrolment": 5, "record": 6, "tombstone": 6, "end": 7}
"""In which order the lines stand: nothing counts before all that judges it was read (SPEC 7.5)."""


class _Told(SiloError):
    """A reason that stands alone: of a damaged line, the table's sentence would say the wrong thing."""

    def sentence(self) -> str:
        """The detail."""
        return self.detail


@dataclass(frozen=True)
class Fault:
    """What does not open or does not fit."""

    what: str
    """`export`, `keyring`, `directory`, `enrolment`, `record` or `log`."""
    code: str
    why: str
    line: int = 0
    user: str = ""
    index: int = 0
    opened: bool = False
    """A record that was written out all the same."""
    thread: str = ""
    """The chat of a record, where that is known."""


@dataclass
class _Person:
    name: str = ""
    stated: Voucher | None = None
    """The account as the export itself names it."""
    rotations: list[Rotation] = field(default_factory=list)
    voucher: Voucher | None = None
    """Who must have vouched for a device; found when the first is read."""
    vouched: str = ""
    """Whose word that is: `directory`, `export`; empty where there is none."""
    devices: dict[str, Enrolment] = field(default_factory=dict)
    entries: dict[int, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    """index -> previous, thread and core hash as the record says them"""
    gone: dict[int, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    """index -> thread, core hash and entry hash of what was deleted"""
    opened: int = 0
    failed: int = 0
    threads: set[str] = field(default_factory=set)
    signed: set[str] = field(default_factory=set)
    """threads of cores that the silo signed for"""
    last: int = 0
    """The highest index that the silo signed for."""


@dataclass(frozen=True)
class Report:
    """What an export held."""

    silo: str
    identity: str
    """The silo's Ed25519 public key."""
    time: int
    keyring: int
    """The newest keyring's version; 0: none that counts."""
    trust: str
    """`genesis`: the key signed the first keyring; `signed`: a later one; `listed`: others say that it is a holder."""
    records: int
    """How many the export holds."""
    promised: int
    """How many there should be, as far as the export tells."""
    cut: str
    """What is wrong with the export's end; empty where its last line is there."""
    opened: int
    deleted: int
    """How many records have a valid tombstone in their place."""
    users: list[dict[str, Any]]
    faults: list[Fault]

    @property
    def whole(self) -> bool:
        """Whether everything opened and fits."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """For report.json: sentences from the table of errors beside the codes."""
        return {
            "format": "securesilo/1 recovery",
            **{name: getattr(self, name) for name in ("silo", "identity", "time", "keyring", "trust")},
            "records": self.records,
            "promised": self.promised,
            "cut": self.cut,
            "opened": self.opened,
            "deleted": self.deleted,
            "users": self.users,
            "faults": [{**vars(fault)} for fault in self.faults],
        }


class _Recovery:
    """One run over one export."""

    def __init__(self, key: AdminKey, out: Path) -> None:
        self._key = key
        self._out = out
        self._silo: ExportSilo | None = None
        self._keyring: Keyring | None = None
        self._accepted: list[Keyring] = []
        self._trust = "listed"
        self._identities: list[bytes] = []
        self._openers: dict[bytes, Opener] = {}
        self._entries: list[tuple[int, SignedEntry]] = []
        """With their lines."""
        self._directory: list[Entry] | None = None
        """The entries that count; read when the first is needed, under the last keyring."""
        self._after = 0
        self._late_keyring = False
        self._people: dict[str, _Person] = {}
        self._end: ExportEnd | None = None
        self._end_line = 0
        self._cut = CUT
        self._records = 0
        self._opened = 0
        self._line = 0
        self._thread = ""
        self._keyrings = 0
        self._checked = False
        self.faults: list[Fault] = []

    # --- line by line ---

    def take(self, number: int, line: bytes) -> None:
        """One line. Raises SiloError `bad_export` where the first is not an export's; other faults are noted."""
        self._line = number
        if self._silo is None:
            self._silo = _read(line, ExportSilo, number, "bad_export")
            return
        self._cut = self._cut and CUT
        try:
            if self._end is not None:
                raise _Told("header_failure", f"line {number} stands after the last line")
            kind = _kind(line, number)
            if ORDER.get(kind, self._after) < self._after:
                self._late_keyring |= kind == "keyring"
                raise _Told("header_failure", f"line {number} stands behind lines that belong after it: {kind}")
            self._after = ORDER.get(kind, self._after)
            if kind == "record":
                self._take_record(line)
            elif kind == "tombstone":
                self._take_tombstone(_read(line, ExportTombstone, number))
            elif kind == "keyring":
                self._keyrings += 1
                self._take_keyring(_read(line, ExportKeyring, number).signed)
            elif kind == "user":
                user = _read(line, ExportUser, number)
                self._take_user(user)
            elif kind == "entry":
                self._entries.append((number, _read(line, ExportEntry, number).entry))
            elif kind == "rotation":
                rotation = _read(line, ExportRotation, number)
                self._person(rotation.user).rotations.append(rotation.rotation)
            elif kind == "enrolment":
                self._take_enrolment(_read(line, ExportEnrolment, number))
            elif kind == "end":
                self._end, self._end_line = _read(line, ExportEnd, number), number
                self._cut = ""
            else:
                raise _Told("header_failure", f"line {number} is damaged: field type")
        except _Told as error:
            self._cut = self._cut and (BAD_END if line.endswith(b"\n") else CUT)
            self._fault("export", error)

    def _fault(self, what: str, error: SiloError, user: str = "", index: int = 0, opened: bool = False) -> None:
        thread = self._thread if what == "record" else ""
        self.faults.append(Fault(what, error.code, error.sentence(), self._line, user, index, opened, thread))

    def _person(self, user: str) -> _Person:
        return self._people.setdefault(user, _Person())

    @property
    def _silo_id(self) -> bytes:
        return id_bytes(_there(self._silo).silo)

    # --- keyring and identity (SPEC 8) ---

    def _take_keyring(self, signed: SignedKeyring) -> None:
        mine = b32(self._key.public.fingerprint)
        try:
            # Whoever signed version 1 is checked against our key where it is ours, and below where it is not.
            pin = self._keyring.genesis if self._keyring else hash_bytes(signed.signer)
            keyring = verify_keyring(signed, self._silo_id, pin, self._keyring)
            stated = _there(self._silo).genesis
            if keyring.document.version == 1 and stated not in (None, b32(keyring.genesis)):
                raise SiloError("forged", "line 1 names another genesis pin")
        except SiloError as error:
            if error.code == "header_failure":
                error = _Told(error.code, f"its document {_what_is_wrong(signed.document.encode(), error.detail)}")
            elif error.code == "wrong_silo":
                error = _Told(error.code, "it is of another silo than line 1 names")
            self._fault("keyring", error)
            return
        self._keyring = keyring
        self._accepted.append(keyring)
        if signed.signer == mine:
            self._trust = "genesis" if b32(keyring.genesis) == mine else "signed"
        self._identities = list(dict.fromkeys([keyring.identity, *self._identities]))
        if keyring.document.spare:
            self._identities.append(hash_bytes(keyring.document.spare))
        try:
            # A retired epoch's half stands in older versions alone.
            for opener in open_epochs(self._key, keyring):
                self._openers.setdefault(opener.fingerprint, opener)
        except SiloError as error:
            listed = any(half.holder == mine for epoch in keyring.document.epochs for half in epoch.halves)
            if error.code != "no_match" or listed:
                self._fault("keyring", error)

    # --- whose devices they are (SPEC 6.2, 8.8) ---

    def _listed(self) -> list[Entry]:
        if self._keyring is None:
            return []
        if self._directory is None:
            self._directory, here = [], self._line
            for line, signed in self._entries:
                self._line = line
                try:
                    self._directory.append(read_entry(signed, self._keyring))
                except SiloError as error:
                    self._fault("directory", error)
            self._line = here
        return self._directory

    def _take_user(self, line: ExportUser) -> None:
        person = self._person(line.id)
        person.name = line.name
        try:
            person.stated = Voucher(fingerprint(unb64(line.account)), hash_bytes(line.sign))
        except ValueError:
            raise _Told("header_failure", f"line {self._line} is damaged: field account or sign") from None

    def _voucher(self, user: str, person: _Person) -> Voucher:
        """The account that must have vouched for the devices of this user: as an administrator signed it last, led on
        by the rotations from there; else as the export says, which proves less. Raises SiloError `forged` for none."""
        if person.voucher is None:
            person.voucher = self._find_voucher(user, person)
        return person.voucher

    def _find_voucher(self, user: str, person: _Person) -> Voucher:
        silo, who = self._silo_id, id_bytes(user)
        try:
            entry = newest(one for one in self._listed() if one.user == who).get(who)
            if entry is not None:
                named = Voucher(*follow(person.rotations, silo, who, entry.account, entry.sign))
                person.vouched = "directory"
                if person.stated is not None and person.name != entry.name:
                    error = SiloError("forged", "the export gives another name than the administrator signed")
                    self._fault("directory", error, user)
                person.name = entry.name
                if person.stated not in (None, named):
                    error = SiloError("forged", "the export names another account key than the administrator signed")
                    self._fault("directory", error, user)
                return named
        except SiloError as error:
            self._fault("directory", error, user)
        if person.stated is None:
            raise SiloError("forged", "nobody says whose account it is")
        person.vouched = "export"
        return person.stated

    def _take_enrolment(self, line: ExportEnrolment) -> None:
        person = self._person(line.user)
        try:
            voucher = self._voucher(line.user, person)
            enrolment = read_device(line, self._silo_id, id_bytes(line.user), voucher)
        except SiloError as error:
            self._fault("enrolment", error, line.user)
            return
        person.devices[line.device] = enrolment

    # --- records ---

    def _take_record(self, text: bytes) -> None:
        self._records += 1
        if not self._checked:
            self._check_keyrings()
        user, index = "", 0
        self._thread = ""
        try:
            user, index = _place_of(text)
            line = _read(text, ExportRecord, self._line)
            turn, doubt = self._open(line, self._person(line.user))
        except SiloError as error:
            if user:
                self._person(user).failed += 1
            self._fault("record", error, user, index)
            return
        person = self._person(line.user)
        person.opened += 1
        self._opened += 1
        person.threads.add(turn.thread)
        self._thread = turn.thread
        if doubt:
            self._fault("record", doubt, line.user, line.index, opened=True)
        _write_turn(self._out, line.user, turn, doubt)

    def _take_tombstone(self, line: ExportTombstone) -> None:
        """What stands for a deleted record. Its place in the log is checked at the end, with all others."""
        if not self._checked:
            self._check_keyrings()
        person = self._person(line.user)
        try:
            erased = read_tombstone(unb64(line.statement)).erased
            if (erased.silo, erased.user, erased.index) != (self._silo_id, id_bytes(line.user), line.index):
                raise SiloError("forged", "the tombstone is another record's")
            if line.index in person.entries or line.index in person.gone:
                raise SiloError("replay", "this place in the log is taken")
            _, deleted = read_gone(line, erased, self._accepted, person.devices, self._identities)
        except (SiloError, ValueError) as error:
            failure = error if isinstance(error, SiloError) else SiloError("forged", "the tombstone is damaged")
            self._fault("record", failure, line.user, line.index)
            return
        person.gone[line.index] = (id_bytes(line.thread), erased.core_hash, erased.entry_hash)
        _write_gone(self._out, line, deleted)

    def _check_keyrings(self) -> None:
        self._checked = True
        if self._keyring is None:
            # Whose key it is, only a keyring that verifies could tell.
            first = next(iter(self.faults), None)
            where = f"keyring in line {first.line}: " if first and first.what == "keyring" else ""
            reason = f"{where}{first.why}" if first else "there is none"
            raise SiloError(
                "bad_export", f"it is damaged or was changed, for no keyring in it holds ({reason}); {ANOTHER}"
            )
        if not self._openers:
            bad = self._keyrings - self._keyring.document.version
            others = f"; {bad} of {self._keyrings} keyrings do not verify and might" if bad > 0 else ""
            raise SiloError("no_match", f"no keyring in the export has a vault half for this admin key{others}")
        if _there(self._silo).identity not in [b32(one) for one in self._identities]:
            error = SiloError("forged", "no keyring certifies the identity that line 1 names")
            self.faults.append(Fault("keyring", error.code, error.sentence()))

    def _open(self, line: ExportRecord, person: _Person) -> tuple[Turn, SiloError | None]:
        """The turn, and what does not fit of it. Raises SiloError where it does not open."""
        try:
            envelope = envelope_of(Record(index=line.index, core=line.core, wraps=line.wraps, receipt=line.receipt))
        except SiloError as error:
            raise _Told(error.code, f"line {self._line} is damaged: it is misspelled") from None
        receipt = self._receipt(envelope.receipt)
        try:
            place = read_place(envelope.core)
            self._thread = b32(place.thread)
            if receipt and receipt.core_hash == core_hash(envelope.core):
                person.signed.add(self._thread)
            if place.index == line.index:
                if place.index in person.entries or place.index in person.gone:
                    raise SiloError("replay", "this place in the log is taken")
                person.entries[place.index] = (place.previous, place.thread, core_hash(envelope.core))
            opened, doubt = self._open_envelope(envelope, line, receipt)
        except SiloError as error:
            if error.code in ("forged", "replay"):
                raise
            raise _Told(error.code, self._why(error, envelope, line, receipt)) from None
        if place.index != line.index:
            # As `silo logs` has it (SPEC 7.4): what it is does not fit where it stands.
            raise SiloError("forged", f"it is record {place.index}, moved to the place of {line.index}")
        if not doubt:
            person.last = max(person.last, place.index)
        return self._read_turn(opened, person, doubt)

    def _receipt(self, receipt: bytes) -> Receipt | None:
        """The receipt, where a certified identity signed it."""
        for identity in self._identities:
            try:
                return read_receipt(receipt, identity)
            except SiloError:
                continue
        return None

    def _why(self, error: SiloError, envelope: Envelope, line: ExportRecord, receipt: Receipt | None) -> str:
        """Why a record does not open. What the silo signed tells which part of it was changed."""
        mine = [mark for mark in self._openers if mark in envelope.wraps]
        if receipt and receipt.core_hash != core_hash(envelope.core):
            if (receipt.user, receipt.index) == (id_bytes(line.user), line.index):
                return "it was changed: its receipt is for other bytes"
            return "it was changed, or has another record's receipt"
        if error.code != "no_match":
            changed = "" if receipt else "; its receipt does not hold either, so it was changed"
            return f"{error.sentence()}{changed}"
        if receipt is None and mine:
            return "it was changed: neither its wrap for this key's vault nor its receipt holds"
        if receipt is None:
            return (
                "it was changed, or is sealed to others: it has no wrap for this key's vault and no receipt that holds"
            )
        if mine or any(mark in receipt.recipients for mark in self._openers):
            return f"its wrap for this key's vault was {'changed' if mine else 'changed or taken out'}"
        return "it is sealed to others, and not to a vault that this key opens"

    def _open_envelope(
        self, envelope: Envelope, line: ExportRecord, signed: Receipt | None
    ) -> tuple[OpenedRecord, SiloError | None]:
        user = id_bytes(line.user)
        place, hashed = read_place(envelope.core), core_hash(envelope.core)
        for name, said, wanted in (("silo", place.silo, self._silo_id), ("user", place.user, user)):
            if said != wanted:
                raise SiloError("header_failure", f"it is another {name}'s record")
        doubt: SiloError | None = None
        openers = list(self._openers.values())
        try:
            opened = open_certified(envelope, openers, self._silo_id, user, self._identities)
        except SiloError as error:
            if error.code != "forged":
                raise
            # The key opens it and its receipt does not hold: the words are worth having, with the doubt beside them.
            lack = "is missing" if not envelope.receipt else "is another record's" if signed else "does not hold"
            doubt = SiloError("forged", f"its receipt {lack}")
            mine = next(one for one in openers if one.fingerprint in envelope.wraps)
            record_key = mine.open_wrap(envelope.wraps[mine.fingerprint], hashed)
            content = open_core(envelope.core, record_key)
            entry = log_entry(place.previous, place.silo, place.user, place.index, place.thread, hashed)
            receipt = Receipt(place.silo, place.user, place.index, hashed, entry, (), place.time)
            opened = OpenedRecord(place, content, hashed, entry, receipt)
        return opened, doubt

    def _read_turn(
        self, opened: OpenedRecord, person: _Person, doubt: SiloError | None
    ) -> tuple[Turn, SiloError | None]:
        try:
            turn = read_turn(opened, person.devices)
        except SiloError as error:
            if error.code == "payload_failure":
                raise _Told(error.code, "it opens, and holds no turn") from None
            if error.code != "forged":
                raise
            return read_turn(opened, None), doubt or error
        return turn, doubt

    # --- at the end ---

    def finish(self) -> Report:
        """Check what only the whole shows: the logs, the heads, the last line."""
        silo = _there(self._silo)
        if not self._checked:
            self._check_keyrings()
        self._line = 0
        self._check_directory()
        heads: dict[str, UserHead] = {}
        deleted = sum(len(person.gone) for person in self._people.values())
        promised = max(self._records, sum(person.last for person in self._people.values()) - deleted)
        try:
            heads = self._heads()
            # The number in the last line is nobody's word; the heads are signed.
            promised = sum(head.at for head in heads.values()) - deleted
        except SiloError as error:
            self._fault("export", error)
            promised = max(promised, self._end.records if self._end else 0)
        for user, person in self._people.items():
            self._check_log(user, person, heads.pop(user, None))
        for user, head in heads.items():
            self._fault("log", _Told("truncated", f"all {head.at} records are missing"), user)
        users = [
            {
                "id": user,
                "name": person.name,
                "vouched": person.vouched,
                "threads": len(person.threads),
                "opened": person.opened,
                "failed": person.failed,
                "deleted": len(person.gone),
            }
            for user, person in self._people.items()
        ]
        version = self._keyring.document.version if self._keyring else 0
        self.faults = [self._sure(fault) for fault in self.faults]
        return Report(
            silo=silo.silo,
            identity=silo.identity,
            time=silo.time,
            keyring=version,
            trust=self._trust,
            records=self._records,
            promised=max(promised, self._opened),
            cut=self._cut,
            opened=self._opened,
            deleted=deleted,
            users=users,
            faults=self.faults,
        )

    def _sure(self, fault: Fault) -> Fault:
        # A core that was changed may name a chat that never was.
        person = self._people.get(fault.user, _Person())
        return fault if fault.thread in person.threads | person.signed else replace(fault, thread="")

    def _check_directory(self) -> None:
        """Every silo's directory begins with its first account (SPEC 8.8): without that entry it was left out."""
        people = [(user, person) for user, person in self._people.items() if person.stated is not None]
        for user, person in people:
            self._voucher(user, person)
            if self._late_keyring:
                # Which keyring was in force at last, and so whose entries count, the export leaves open.
                person.vouched = "export"
        told = self._late_keyring or any(fault.what == "directory" for fault in self.faults)
        if people and people[0][1].vouched != "directory" and not told:
            self._fault("directory", _Told("truncated", "the entry of the first account is missing"), people[0][0])

    def _heads(self) -> dict[str, UserHead]:
        if self._end is None:
            raise _Told("truncated", self._cut)
        if self._end.records != self._records:
            self._fault(
                "export",
                _Told(
                    "truncated", f"the last line promises {self._end.records} records, and {self._records} are there"
                ),
            )
        text = self._end.statement.encode()
        try:
            stated = read_json(text, Heads)
            signature = unb64(self._end.signature)
        except ValueError:
            raise _Told("header_failure", f"line {self._end_line} is damaged: field statement or signature") from None
        for identity in self._identities:
            try:
                verify(identity, signature, HEADS, text)
                break
            except SiloError:
                continue
        else:
            raise SiloError("forged", f"the heads of the logs in line {self._end_line}")
        if stated.silo != _there(self._silo).silo:
            raise _Told("wrong_silo", f"line {self._end_line} is of another silo than line 1 names")
        return {head.user: head for head in stated.heads}

    def _check_log(self, user: str, person: _Person, head: UserHead | None) -> None:
        log = Log(self._silo_id, id_bytes(user))
        last = head.at if head else 0
        for index in sorted(person.entries | person.gone):
            if index in person.gone:
                log = self._step_over(log, user, index, *person.gone[index])
                self._check_head(log, user, head)
                continue
            previous, thread, hashed = person.entries[index]
            if index != log.at + 1:
                self._fault("log", _missing(log.at + 1, index - 1), user, index)
                log = Log(self._silo_id, id_bytes(user), index - 1, previous)
            elif previous != log.hash:
                self._fault("log", SiloError("forged", f"entry {index} follows another than {index - 1}"), user, index)
                log = Log(self._silo_id, id_bytes(user), index - 1, previous)
            log.step(index, thread, hashed)
            self._check_head(log, user, head)
        if head and log.at < last:
            self._fault("log", _missing(log.at + 1, last), user, last)

    def _check_head(self, log: Log, user: str, head: UserHead | None) -> None:
        if head and log.at == head.at and b32(log.hash) != head.hash:
            self._fault("log", SiloError("forged", f"the silo's head differs at {log.at}"), user, log.at)

    def _step_over(self, log: Log, user: str, index: int, thread: bytes, core: bytes, entry: bytes) -> Log:
        """The log behind a deleted record, whose tombstone says what its entry was."""
        if index != log.at + 1:
            self._fault("log", _missing(log.at + 1, index - 1), user, index)
            return Log(self._silo_id, id_bytes(user), index, entry)
        log.step(index, thread, core)
        if log.hash != entry:
            self._fault("log", SiloError("forged", f"the tombstone of entry {index} is another log's"), user, index)
            return Log(self._silo_id, id_bytes(user), index, entry)
        return log


def _missing(first: int, last: int) -> SiloError:
    """What a log lacks."""
    entries = f"entry {first} of the log is" if first == last else f"entries {first} to {last} of the log are"
    return _Told("truncated", f"{entries} missing")


def _there(value: T | None) -> T:
    assert value is not None
    return value


def _kind(line: bytes, number: int) -> str:
    """The line's type. Raises _Told."""
    try:
        value = parse_json(line)
    except ValueError:
        if not line.endswith(b"\n"):
            raise _Told("truncated", f"line {number} is cut off") from None
        raise _Told("header_failure", f"line {number} is not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise _Told("header_failure", f"line {number} is damaged: field type")
    return value["type"]


def _read(line: bytes, kind: type[T], number: int, code: str = "header_failure") -> T:
    """The line as `kind`. Raises SiloError `code`: which field of which line is damaged, in plain words."""
    try:
        return read_json(line, kind)
    except ValueError as error:
        made = SiloError if code == "bad_export" else _Told
        raise made(code, f"line {number} {_what_is_wrong(line, str(error), kind)}") from None


def _what_is_wrong(text: bytes, said: str, kind: type | None = None) -> str:
    """What keeps a JSON text from being read, in plain words; `said` is the reader's reason."""
    try:
        value = parse_json(text)
    except ValueError:
        return "is not JSON"
    if path := re.search(r"\$\.(\w+)", said):
        return f"is damaged: field {path[1]}"
    for one in msgspec.structs.fields(kind) if kind and isinstance(value, dict) else ():
        if one.required and one.name not in value:
            return f"is damaged: field {one.name} is missing"
    return f"is damaged: {said}" if "$" not in said else "is damaged: it is not what it must be"


def _place_of(line: bytes) -> tuple[str, int]:
    """User and index of a record's line, so that one that does not fit can still be named."""
    value = parse_json(line)
    try:
        return msgspec.convert(value.get("user"), Id), msgspec.convert(value.get("index"), Count)
    except msgspec.ValidationError:
        return "", 0


# --- what is written ---


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "a", encoding="utf-8"
    ) as file:
        file.write(text)


def _write_turn(out: Path, user: str, turn: Turn, doubt: SiloError | None) -> None:
    stem = out / user / turn.thread
    when = datetime.fromtimestamp(turn.time / 1000, UTC)
    line = {
        "index": turn.index,
        "thread": turn.thread,
        "turn": turn.id,
        "parent": turn.parent,
        "time": turn.time,
        "device": turn.device,
        "model": turn.reply.model,
        "options": msgspec.to_builtins(turn.asked.options),
        "messages": [{"role": one.role, "content": one.content} for one in turn.asked.messages],
        "reply": turn.reply.content,
        "finish": turn.reply.finish,
        "core": turn.core,
        "doubt": doubt.sentence() if doubt else None,
    }
    _append(stem.with_suffix(".jsonl"), json.dumps(line) + "\n")
    page = [] if stem.with_suffix(".md").exists() else [f"# Chat {turn.thread}\n"]
    page.append(f"## {turn.index} · {when:%Y-%m-%d %H:%M:%S} UTC\n")
    if doubt:
        page.append(f"> Not proven: {doubt.sentence()}.\n")
    page += [f"**{one.role}**\n\n{one.content}\n" for one in turn.asked.messages]
    page.append(f"**{turn.reply.model}** ({turn.reply.finish})\n\n{turn.reply.content}\n")
    # The page may be shown in a terminal; what was said to the letter stands in the other file.
    _append(stem.with_suffix(".md"), inert("\n".join(page) + "\n"))


def _write_gone(out: Path, line: ExportTombstone, deleted: Deleted) -> None:
    stem = out / line.user / line.thread
    when = datetime.fromtimestamp(deleted.time / 1000, UTC)
    entry = {"index": line.index, "thread": line.thread, "deleted": {"device": deleted.device, "time": deleted.time}}
    _append(stem.with_suffix(".jsonl"), json.dumps(entry) + "\n")
    page = [] if stem.with_suffix(".md").exists() else [f"# Chat {line.thread}\n"]
    by = f"device {deleted.device}" if deleted.device else "the retention policy"
    page.append(f"## {line.index}\n\n> Deleted by {by} on {when:%Y-%m-%d %H:%M:%S} UTC.\n")
    _append(stem.with_suffix(".md"), "\n".join(page) + "\n")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise SiloError("bad_file", f"{path}: {reason}; name the file that siloctl export wrote") from None


def recover(export: Path, key: AdminKey, out: Path, progress: Progress = lambda _: None) -> Report:
    """Open all of `export` with `key` into the new folder `out` (0700, files 0600).

    Raises SiloError `bad_export` (also where no keyring in it verifies), `bad_file` (also for an `out` that holds
    something), `no_match` where none that verifies has a half for the key. What fails of single records is in the
    report.
    """
    lines = _lines(export)
    first = next(lines, None)
    if first is None:
        raise SiloError("bad_export", "it is empty")
    recovery = _Recovery(key, out)
    recovery.take(*first)
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise SiloError("bad_file", f"{out} holds something already; name a new folder with --out")
        out.chmod(0o700)
        size = len(first[1])
        for number, line in lines:
            recovery.take(number, line)
            size += len(line)
            progress(size)
        report = recovery.finish()
        text = json.dumps(report.as_json(), indent=1) + "\n"
        _append(out / "report.json", text)
    except OSError as error:
        raise SiloError(
            "bad_file", f"{out}: {(error.strerror or 'cannot be written').lower()}; name another with --out"
        ) from None
    return report


def counted(faults: list[Fault]) -> dict[str, int]:
    """How often each code occurs, most frequent first."""
    return dict(Counter(fault.code for fault in faults).most_common())
