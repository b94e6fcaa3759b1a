"""Exports opened offline, honest and otherwise."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from silo.client.recover import Report, counted, recover
from silo.client.session import Session
from silo.client.setup import Plan, load_admin_key
from silo.crypto import _hpke, labels
from silo.crypto.directory import Entry, sign_entry
from silo.crypto.encoding import b32, b64, id_bytes, new_id, unb64
from silo.crypto.keyring import Holder, SignedKeyring, Waiver
from silo.crypto.keys import AccountKey, AdminKey, Recipient, Signer
from silo.crypto.rotation import Vouched, make_rotation
from silo.crypto.sealing import make_receipt, state_heads
from silo.crypto.tombstones import Erased, Tombstone, sign_tombstone
from silo.errors import SiloError
from tests.silo.liar import Liar
from tests.silo.talk import chat

Lines = list[dict[str, Any]]


def export_of(liar: Liar) -> Lines:
    """What SPEC 7.5 makes of the silo in the test."""
    user = liar.user["id"]
    lines: Lines = [
        {
            "type": "silo",
            "format": "securesilo/1 export",
            "silo": b32(liar.silo),
            "identity": b32(liar.identity.public),
            "genesis": b32(liar.ring.genesis),
            "time": 1,
        }
    ]
    lines += [{"type": "keyring", "signed": msgspec.to_builtins(signed)} for signed in liar.chain]
    lines += [{"type": "entry", "entry": {**entry}} for entry in liar.directory]
    account = {name: liar.user[name] for name in ("account", "sign")}
    lines.append({"type": "user", "id": user, "name": "alice", "role": "admin", **account, "time": 1})
    lines += [{"type": "rotation", "user": user, "rotation": rotation} for rotation in liar.rotations]
    lines.append({"type": "enrolment", "user": user, "device": b32(liar.device), **liar.enrolment, "revoked": None})
    status, page = liar._history({"after": 0, "limit": 1000, "thread": None})
    assert status == 200
    lines += [{"type": "record", "user": user, **record} for record in page["records"]]
    last = liar.records[-1].sealed if liar.records else None
    heads = [(user, len(liar.records), last.entry_hash)] if last else []
    statement, signature = state_heads(liar.identity, liar.silo, 1, heads)
    lines.append({"type": "end", "records": len(liar.records), "statement": statement, "signature": signature})
    return lines


class Bench:
    """An export of three turns in two threads, and what recovering it gives."""

    def __init__(self, lines: Lines, key: AdminKey, folder: Path) -> None:
        self.lines = lines
        self.key = key
        self.folder = folder
        self.out = folder / "out"

    def recover(self) -> Report:
        """Recover the lines as they are now."""
        path = self.folder / "export"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        return recover(path, self.key, self.out)

    def pages(self) -> str:
        """All that was written to read."""
        return "\n".join(path.read_text() for path in sorted(self.out.rglob("*.md")))

    def faults(self) -> list[tuple[str, str, int, bool]]:
        """(what, code, index, opened) of each fault."""
        return [(one.what, one.code, one.index, one.opened) for one in self.recover().faults]

    def record(self, number: int) -> dict[str, Any]:
        """The line of a record, from 1."""
        return [line for line in self.lines if line["type"] == "record"][number - 1]


@pytest.fixture
async def bench(session: Session, liar: Liar, plan: Plan, tmp_path: Path) -> Bench:
    thread = new_id()
    first = await chat(session, "canary one", thread=thread)
    assert first.opened is not None
    await chat(session, "canary two", thread=thread, parent=first.opened.core)
    await chat(session, "canary three \x1b]0;title\x07\x1b[2J")
    return Bench(export_of(liar), load_admin_key(plan.key_path, str), tmp_path)


def test_everything_opens(bench: Bench, liar: Liar):
    report = bench.recover()
    assert report.whole
    assert (report.records, report.opened, report.trust, report.keyring) == (3, 3, "genesis", 1)
    user = liar.user["id"]
    assert report.users == [
        {"id": user, "name": "alice", "vouched": "directory", "threads": 2, "opened": 3, "failed": 0, "deleted": 0}
    ]
    names = {path.name for path in (bench.out / user).iterdir()}
    threads = {b32(one.sealed.place.thread) for one in liar.records}
    assert names == {f"{thread}{end}" for thread in threads for end in (".md", ".jsonl")}
    assert all(f"canary {word}" in bench.pages() for word in ("one", "two", "three"))
    lines = [json.loads(line) for path in bench.out.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(line["index"] for line in lines) == [1, 2, 3]
    assert json.loads((bench.out / "report.json").read_text())["opened"] == 3


def test_only_its_owner_may_read_what_was_opened(bench: Bench):
    bench.recover()
    for path in (bench.out, *bench.out.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_page_moves_no_cursor(bench: Bench):
    bench.recover()
    assert "\x1b" not in bench.pages()
    assert "\x07" not in bench.pages()
    exact = [json.loads(line) for path in bench.out.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert any("\x1b[2J" in line["reply"] for line in exact)


def test_nothing_is_overwritten(bench: Bench):
    bench.out.mkdir()
    (bench.out / "report.json").write_text("mine")
    with pytest.raises(SiloError) as caught:
        bench.recover()
    assert caught.value.code == "bad_file"
    assert (bench.out / "report.json").read_text() == "mine"


def test_another_key_opens_nothing(bench: Bench):
    bench.key = AdminKey()
    with pytest.raises(SiloError) as caught:
        bench.recover()
    assert caught.value.code == "no_match"
    assert caught.value.detail == "no keyring in the export has a vault half for this admin key"
    assert not list(bench.out.iterdir())


def first_keyring(bench: Bench) -> dict[str, Any]:
    return next(line for line in bench.lines if line["type"] == "keyring")["signed"]


def other_silo(bench: Bench) -> None:
    bench.lines[0]["silo"] = new_id()


def other_pin(bench: Bench) -> None:
    bench.lines[0]["genesis"] = b32(AdminKey().public.fingerprint)


def bent_signature(bench: Bench) -> None:
    first_keyring(bench)["signature"] = flip(first_keyring(bench)["signature"], 3)


def cut_document(bench: Bench) -> None:
    first_keyring(bench)["document"] = first_keyring(bench)["document"][:-1]


def wrong_version(bench: Bench) -> None:
    first_keyring(bench)["document"] = first_keyring(bench)["document"].replace('"version":1', '"version":"1"')


def no_keyring(bench: Bench) -> None:
    bench.lines[:] = [line for line in bench.lines if line["type"] != "keyring"]


@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (other_silo, "keyring in line 2: it is of another silo than line 1 names"),
        (other_pin, "keyring in line 2: a signature or a proof is missing or wrong: line 1 names another genesis pin"),
        (bent_signature, "keyring in line 2: a signature or a proof is missing or wrong"),
        (cut_document, "keyring in line 2: its document is not JSON"),
        (wrong_version, "keyring in line 2: its document is damaged: field version"),
        (no_keyring, "there is none"),
    ],
)
def test_a_damaged_export_is_told_from_a_wrong_key(bench: Bench, lie: Callable[[Bench], None], why: str, mine: bool):
    lie(bench)
    bench.key = bench.key if mine else AdminKey()
    with pytest.raises(SiloError) as caught:
        bench.recover()
    assert caught.value.code == "bad_export"
    assert caught.value.detail.startswith(f"it is damaged or was changed, for no keyring in it holds ({why}); make")


def test_a_key_that_stands_in_a_damaged_keyring_alone(bench: Bench, liar: Liar):
    other = AdminKey()
    liar.install(second_admin(liar, bench.key, other))
    bench.lines[:] = export_of(liar)
    bench.lines[2]["signed"]["signature"] = flip(bench.lines[2]["signed"]["signature"], 3)
    bench.key = other
    with pytest.raises(SiloError) as caught:
        bench.recover()
    assert caught.value.code == "no_match"
    assert caught.value.detail.endswith("; 1 of 2 keyrings do not verify and might")


def flip(text: str, at: int) -> str:
    data = bytearray(unb64(text))
    data[at] ^= 1
    return b64(bytes(data))


def bend_core(at: int) -> Callable[[Bench], None]:
    def bend(bench: Bench) -> None:
        bench.record(2)["core"] = flip(bench.record(2)["core"], at)

    return bend


def shorten(bench: Bench) -> None:
    bench.record(2)["core"] = b64(unb64(bench.record(2)["core"])[:-1])


def no_vault_wrap(bench: Bench) -> None:
    bench.record(2)["wraps"].pop()


def wrong_wrap(bench: Bench) -> None:
    bench.record(2)["wraps"][1]["sealed"] = bench.record(1)["wraps"][1]["sealed"]


def no_receipt(bench: Bench) -> None:
    bench.record(2)["receipt"] = ""


def others_receipt(bench: Bench) -> None:
    bench.record(2)["receipt"] = bench.record(1)["receipt"]


def elsewhere(bench: Bench) -> None:
    bench.record(2)["index"] = 9


def misspelled(bench: Bench) -> None:
    bench.record(2)["wraps"][0]["recipient"] = "a" * 51 + "b"


@pytest.mark.parametrize(
    ("lie", "code", "opened"),
    [
        (bend_core(30), "header_failure", False),
        (bend_core(170), "no_match", False),
        (bend_core(-1), "no_match", False),
        (shorten, "no_match", False),
        (no_vault_wrap, "no_match", False),
        (wrong_wrap, "no_match", False),
        (no_receipt, "forged", True),
        (others_receipt, "forged", True),
        (elsewhere, "forged", False),
        (misspelled, "header_failure", False),
    ],
)
def test_one_bad_record_is_named_and_the_others_open(
    bench: Bench, lie: Callable[[Bench], None], code: str, opened: bool
):
    lie(bench)
    report = bench.recover()
    assert report.opened == (3 if opened else 2)
    named = [(one.code, one.opened) for one in report.faults if one.what == "record"]
    assert named == [(code, opened)]
    pages = bench.pages()
    assert ("canary two" in pages) is opened
    assert ("Not proven" in pages) is opened
    assert "canary one" in pages
    assert "canary three" in pages


def other_core(bench: Bench) -> None:
    bend_core(-1)(bench)


def other_index(bench: Bench) -> None:
    # The last byte of the index in the core.
    bend_core(59)(bench)


def other_recipient(bench: Bench) -> None:
    bench.record(2)["wraps"][1]["recipient"] = b32(bytes(32))


def other_sealed(bench: Bench) -> None:
    wrap = bench.record(2)["wraps"][1]
    wrap["sealed"] = flip(wrap["sealed"], 9)


def bent_receipt(bench: Bench) -> None:
    bench.record(2)["receipt"] = flip(bench.record(2)["receipt"], 60)


def both(*lies: Callable[[Bench], None]) -> Callable[[Bench], None]:
    def bend(bench: Bench) -> None:
        for lie in lies:
            lie(bench)

    return bend


@pytest.mark.parametrize(
    ("lie", "code", "why", "chat_known"),
    [
        (other_core, "no_match", "it was changed: its receipt is for other bytes", True),
        (other_index, "no_match", "it was changed: its receipt is for other bytes", True),
        (bend_core(100), "no_match", "it was changed: its receipt is for other bytes", False),
        (bend_core(5), "header_failure", "it was changed: its receipt is for other bytes", False),
        (other_recipient, "no_match", "its wrap for this key's vault was changed or taken out", True),
        (no_vault_wrap, "no_match", "its wrap for this key's vault was changed or taken out", True),
        (other_sealed, "no_match", "its wrap for this key's vault was changed", True),
        (both(other_core, others_receipt), "no_match", "it was changed, or has another record's receipt", True),
        (
            both(other_core, bent_receipt),
            "no_match",
            "it was changed: neither its wrap for this key's vault nor its receipt holds",
            True,
        ),
        (
            both(other_recipient, bent_receipt),
            "no_match",
            "it was changed, or is sealed to others: it has no wrap for this key's vault and no receipt that holds",
            True,
        ),
        (bent_receipt, "forged", "a signature or a proof is missing or wrong: its receipt does not hold", True),
        (others_receipt, "forged", "a signature or a proof is missing or wrong: its receipt is another record's", True),
        (no_receipt, "forged", "a signature or a proof is missing or wrong: its receipt is missing", True),
        (
            elsewhere,
            "forged",
            "a signature or a proof is missing or wrong: it is record 2, moved to the place of 9",
            True,
        ),
    ],
)
def test_the_part_of_a_record_that_was_changed_is_told(
    bench: Bench, liar: Liar, lie: Callable[[Bench], None], code: str, why: str, chat_known: bool
):
    lie(bench)
    (fault,) = [one for one in bench.recover().faults if one.what == "record"]
    assert (fault.code, fault.why) == (code, why)
    # A chat is named where an honest record or the receipt vouches for it.
    assert fault.thread == (b32(liar.records[1].sealed.place.thread) if chat_known else "")


async def test_a_record_that_is_sealed_to_others(bench: Bench, session: Session, liar: Liar):
    text = '{"messages":[{"role":"user","content":""}],"model":null,"options":{}}'
    body = {"text": text, "signature": "", "turn": new_id(), "parent": None, "thread": new_id()}
    liar.recipients = lambda honest: honest[:1]
    liar.records.append(liar.write(body, "not for the vault"))
    bench.lines[:] = export_of(liar)
    (fault,) = bench.recover().faults
    assert (fault.code, fault.index) == ("no_match", 4)
    assert fault.why == "it is sealed to others, and not to a vault that this key opens"


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("receipt", 7, "line 7 is damaged: field receipt"),
        ("receipt", None, "line 7 is damaged: field receipt"),
        ("wraps", [{"recipient": 1}], "line 7 is damaged: field wraps"),
        ("wraps", [{}], "line 7 is damaged: field wraps"),
        ("core", "!", "line 7 is damaged: field core"),
        ("novel", 1, "line 7 is damaged: there is an unknown field"),
    ],
)
def test_a_damaged_field_is_told_in_plain_words(bench: Bench, field: str, value: Any, why: str):
    bench.record(2)[field] = value
    (fault,) = [one for one in bench.recover().faults if one.what == "record"]
    assert (fault.code, fault.why, fault.index) == ("header_failure", why, 2)


def test_a_missing_field_is_told_in_plain_words(bench: Bench):
    del bench.record(2)["core"]
    assert "line 7 is damaged: field core is missing" in [one.why for one in bench.recover().faults]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("not json", "line 6 is not JSON"),
        ('{"type":"user\x0c"}', "line 6 is not JSON"),
        ("[]", "line 6 is damaged: field type"),
        ('{"type":"novel"}', "line 6 is damaged: field type"),
        ('{"type":"enrolment"}', "line 6 is damaged: field user is missing"),
        ('{"type":"user"}', "line 6 stands behind lines that belong after it: user"),
    ],
)
def test_a_damaged_line_is_told_in_plain_words(bench: Bench, line: str, why: str):
    path = bench.folder / "export"
    bench.recover()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], line, *lines[5:]]) + "\n")
    (fault,) = recover(path, bench.key, bench.folder / "again").faults
    assert fault.why == why


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [("silo", "A", "line 1 is damaged: field silo"), ("time", "x", "line 1 is damaged: field time")],
)
def test_a_damaged_first_line_is_told_in_plain_words(bench: Bench, field: str, value: str, why: str):
    bench.lines[0][field] = value
    with pytest.raises(SiloError) as caught:
        bench.recover()
    assert (caught.value.code, caught.value.detail) == ("bad_export", why)


def test_how_many_there_should_be(bench: Bench):
    report = bench.recover()
    assert (report.records, report.promised, report.cut) == (3, 3, "")


def rest_missing(bench: Bench) -> None:
    del bench.lines[-2:]


def middle_missing(bench: Bench) -> None:
    bench.lines.remove(bench.record(2))
    bench.lines.pop()


def last_missing(bench: Bench) -> None:
    bench.lines.remove(bench.record(3))


def end_damaged(bench: Bench) -> None:
    bench.lines[-1]["records"] = "three"


def heads_damaged(bench: Bench) -> None:
    bench.lines[-1] |= {"statement": "x", "records": 5}


def number_damaged(bench: Bench) -> None:
    bench.lines[-1]["records"] = 99


@pytest.mark.parametrize(
    ("lie", "opened", "promised", "cut"),
    [
        (rest_missing, 2, 2, "the export is cut off: its last line is missing"),
        (middle_missing, 2, 3, "the export is cut off: its last line is missing"),
        (last_missing, 2, 3, ""),
        (end_damaged, 3, 3, "the last line of the export is damaged"),
        (heads_damaged, 3, 5, ""),
        # The heads are signed, and the number is not.
        (number_damaged, 3, 3, ""),
        (other_core, 2, 3, ""),
    ],
)
def test_what_is_missing_is_counted(bench: Bench, lie: Callable[[Bench], None], opened: int, promised: int, cut: str):
    lie(bench)
    report = bench.recover()
    assert (report.opened, report.promised, report.cut) == (opened, promised, cut)
    assert not report.whole
    assert json.loads((bench.out / "report.json").read_text())["cut"] == cut


@pytest.mark.parametrize("size", [100, 3000])
def test_an_export_that_ends_in_the_middle_of_a_line(bench: Bench, size: int):
    path = bench.folder / "export"
    bench.recover()
    path.write_bytes(path.read_bytes()[:-size])
    report = recover(path, bench.key, bench.folder / "again")
    assert report.cut == "the export is cut off: its last line is missing"
    assert report.faults[0].why.endswith("is cut off")


def test_half_a_record_is_named(bench: Bench):
    del bench.record(2)["receipt"]
    faults = bench.faults()
    assert ("record", "header_failure", 2, False) in faults
    assert ("log", "truncated", 3, False) in faults


def test_a_missing_record_shows_in_the_log(bench: Bench):
    bench.lines.remove(bench.record(2))
    report = bench.recover()
    assert report.opened == 2
    assert counted(report.faults) == {"truncated": 2}
    assert any("entry 2" in one.why for one in report.faults)


def test_missing_last_records_show_in_the_head(bench: Bench):
    bench.lines.remove(bench.record(3))
    bench.lines.remove(bench.record(2))
    assert any("entries 2 to 3" in one.why for one in bench.recover().faults)


def test_all_records_of_a_user_missing(bench: Bench):
    bench.lines[:] = [line for line in bench.lines if line["type"] in ("silo", "keyring", "end")]
    faults = bench.faults()
    assert ("log", "truncated", 0, False) in faults


def test_a_record_twice_is_a_replay(bench: Bench):
    bench.lines.insert(-1, bench.record(1))
    assert ("record", "replay", 1, False) in bench.faults()


def test_a_log_of_the_silos_own_making(bench: Bench, liar: Liar):
    # Re-made from the middle on, receipts and all: what the signed head says of it differs.
    text = '{"messages":[{"role":"user","content":""}],"model":null,"options":{}}'
    body = {"text": text, "signature": "", "turn": new_id(), "parent": None}
    del liar.records[1:]
    for _ in range(2):
        liar.records.append(liar.write(body | {"thread": new_id()}, "other"))
    end = bench.lines[-1]
    bench.lines[:] = [*export_of(liar)[:-1], end]
    faults = bench.faults()
    assert ("log", "forged", 3, False) in faults
    assert ("record", "forged", 2, True) in faults


def test_an_export_without_its_end_is_truncated_and_opens(bench: Bench):
    bench.lines.pop()
    report = bench.recover()
    assert report.opened == 3
    assert [(one.what, one.code) for one in report.faults] == [("export", "truncated")]


def test_heads_that_another_signed(bench: Bench, liar: Liar):
    statement, signature = state_heads(Signer(), liar.silo, 1, [])
    bench.lines[-1] |= {"statement": statement, "signature": signature}
    assert ("export", "forged", 0, False) in bench.faults()


def test_an_identity_that_no_keyring_certifies(bench: Bench):
    bench.lines[0]["identity"] = b32(Signer().public)
    assert ("keyring", "forged", 0, False) in bench.faults()


def test_a_turn_that_no_known_device_signed(bench: Bench):
    bench.lines[:] = [line for line in bench.lines if line["type"] != "enrolment"]
    report = bench.recover()
    assert report.opened == 3
    assert [one.code for one in report.faults] == ["forged"] * 3


def vouched_by(line: dict[str, Any], account: AccountKey) -> None:
    """Let that account vouch for an enrolment's device."""
    line["vouch"] = b64(account.vouch(unb64(line["statement"]), unb64(line["signature"])))


def of_type(bench: Bench, kind: str) -> dict[str, Any]:
    """The line of that type."""
    return next(line for line in bench.lines if line["type"] == kind)


def test_a_device_that_the_database_s_writer_enrolled(bench: Bench):
    # It can put another account beside the user, and have that vouch; the administrator named another.
    thief = AccountKey()
    of_type(bench, "user")["sign"] = b32(thief.signer.public)
    vouched_by(of_type(bench, "enrolment"), thief)
    assert [(one.what, one.code, one.opened) for one in bench.recover().faults] == [
        ("directory", "forged", False),
        ("enrolment", "forged", False),
        *[("record", "forged", True)] * 3,
    ]


def test_without_a_directory_the_export_s_own_word_is_said_to_be_that(bench: Bench):
    bench.lines[:] = [line for line in bench.lines if line["type"] != "entry"]
    report = bench.recover()
    assert not report.whole
    assert [(one.what, one.code) for one in report.faults] == [("directory", "truncated")]
    assert [one["vouched"] for one in report.users] == ["export"]


def test_a_name_that_no_administrator_signed(bench: Bench):
    of_type(bench, "user")["name"] = "bob"
    report = bench.recover()
    assert [(one.what, one.code) for one in report.faults] == [("directory", "forged")]
    assert [one["name"] for one in report.users] == ["alice"]


def test_an_entry_that_no_administrator_signed(bench: Bench):
    entry = of_type(bench, "entry")["entry"]
    entry["signature"] = flip(entry["signature"], 3)
    report = bench.recover()
    assert [(one.what, one.code) for one in report.faults] == [("directory", "forged")]
    assert [one["vouched"] for one in report.users] == ["export"]


def test_an_account_key_that_was_rotated_since_the_administrator_signed(bench: Bench, session: Session, liar: Liar):
    old, new, signer = session._secrets.account_key, AccountKey(), session._secrets.signer
    enrolled = msgspec.convert(liar.enrolment, Vouched)
    silo, user = id_bytes(session.profile.silo), id_bytes(session.profile.user)
    liar.rotations = [msgspec.to_builtins(make_rotation(old, new, signer, enrolled, 2, silo, user, 5))]
    bench.lines[:] = export_of(liar)
    of_type(bench, "user").update(account=b64(new.recipient.public), sign=b32(new.signer.public))
    vouched_by(of_type(bench, "enrolment"), new)
    report = bench.recover()
    assert report.whole
    assert [one["vouched"] for one in report.users] == ["directory"]
    # Without the rotation nobody knows the new one.
    bench.out = bench.folder / "again"
    bench.lines[:] = [line for line in bench.lines if line["type"] != "rotation"]
    assert {one.what for one in bench.recover().faults} == {"directory", "enrolment", "record"}


def revoked(bench: Bench, session: Session, time: int) -> None:
    """Let the account revoke its device."""
    line, account = of_type(bench, "enrolment"), session._secrets.account_key
    vouch = account.vouch(unb64(line["statement"]), unb64(line["signature"]), time)
    line.update(vouch=b64(vouch), revoked=time)


def test_a_turn_after_its_device_was_revoked(bench: Bench, session: Session, liar: Liar):
    times = [one.sealed.place.time for one in liar.records]
    revoked(bench, session, times[0] - 1)
    assert [(one.code, one.opened) for one in bench.recover().faults] == [("forged", True)] * 3
    revoked(bench, session, times[-1])
    bench.out = bench.folder / "again"
    assert bench.recover().whole


@pytest.mark.parametrize("listed", [None, 1])
def test_a_silo_cannot_say_when_a_device_was_revoked(bench: Bench, session: Session, listed: int | None):
    if listed is None:
        revoked(bench, session, 1)
    of_type(bench, "enrolment")["revoked"] = listed
    assert bench.faults() == [("enrolment", "forged", 0, False)] + [("record", "forged", at, True) for at in (1, 2, 3)]


def stone(bench: Bench, session: Session, liar: Liar, index: int, **changes: int) -> dict[str, Any]:
    """The line of a tombstone for a record, signed by its user's device."""
    sealed = liar.records[index - 1].sealed
    place, ring = sealed.place, liar.ring
    said = {"made": place.time, "time": place.time + 1} | changes
    statement = Tombstone(
        erased=Erased(place.silo, place.user, index, sealed.core_hash, sealed.entry_hash),
        who=liar.device,
        why="user",
        keyring_version=ring.document.version,
        keyring_hash=ring.hash,
        **said,
    ).statement()
    signature = sign_tombstone(session._signer, statement)
    line = {"user": b32(place.user), "index": index, "thread": b32(place.thread), "statement": b64(statement)}
    return {"type": "tombstone", **line, "signature": b64(signature), "receipt": None}


def test_a_place_is_taken_once(bench: Bench, session: Session, liar: Liar):
    at = bench.lines.index(bench.record(2))
    gone = stone(bench, session, liar, 2)
    honest = list(bench.lines)
    for place in (at, at + 1, at + 2):
        bench.lines[:] = [*honest[:place], gone, *honest[place:]]
        bench.out = bench.folder / f"out {place}"
        report = bench.recover()
        assert not report.whole
        assert ("record", "replay", 2) in [(one.what, one.code, one.index) for one in report.faults]
        assert (report.opened, report.deleted) == ((2, 1) if place == at else (3, 0))
    bench.lines[:] = [*honest[:at], gone, *honest[at + 1 : -1], honest[-1] | {"records": 2}]
    bench.out = bench.folder / "deleted"
    report = bench.recover()
    assert (report.whole, report.opened, report.deleted) == (True, 2, 1)


def test_a_deletion_after_its_device_was_revoked(bench: Bench, session: Session, liar: Liar):
    at = bench.lines.index(bench.record(3))
    time = liar.records[2].sealed.place.time
    bench.lines[at] = stone(bench, session, liar, 3, time=time + 9)
    bench.lines[-1]["records"] = 2
    revoked(bench, session, time + 8)
    assert bench.faults() == [("record", "forged", 3, False), ("log", "truncated", 3, False)]


async def test_a_deletion_under_a_policy_that_was_withdrawn(bench: Bench, session: Session, liar: Liar):
    at = bench.lines.index(bench.record(3))
    made = liar.records[2].sealed.place.time
    early, late = (stone(bench, session, liar, 3, time=made + minutes * 60_000) for minutes in (9, 10))
    policy = msgspec.structs.replace(liar.ring.document.policy, user_deletion=False)
    liar.install(liar.next_keyring(bench.key, time=made, policy=policy))
    bench.lines.insert(2, {"type": "keyring", "signed": msgspec.to_builtins(liar.chain[1])})
    bench.lines[-1]["records"] = 2
    bench.lines[at + 1] = early
    assert bench.recover().whole
    bench.lines[at + 1] = late
    bench.out = bench.folder / "again"
    assert ("record", "forged", 3, False) in bench.faults()


# --- the order of lines ---


def test_entries_count_under_the_last_keyring(bench: Bench, session: Session, liar: Liar):
    user, other, thief = id_bytes(session.profile.user), AdminKey(), AccountKey()
    liar.install(second_admin(liar, bench.key, other))
    ring = liar.ring.document
    ended = [msgspec.structs.replace(one, revoked=5) if one.name == "other" else one for one in ring.holders]
    halves = [half for half in ring.epochs[0].halves if half.holder != b32(other.public.fingerprint)]
    epochs = [msgspec.structs.replace(ring.epochs[0], halves=halves)]
    liar.install(liar.next_keyring(bench.key, holders=ended, epochs=epochs, waiver=Waiver(since=5)))
    forged = sign_entry(other, Entry(liar.silo, user, "mallory", thief.fingerprint, thief.signer.public, 2**50))
    entry = {"type": "entry", "entry": msgspec.to_builtins(forged)}
    bench.lines[:] = export_of(liar)
    honest = [*bench.lines[:4], entry, *bench.lines[4:]]
    assert [line["type"] for line in honest[:6]] == ["silo", *["keyring"] * 3, "entry", "entry"]
    for name, lines in {
        "honest": honest,
        # Its signer is still live in the keyring before.
        "before": [*honest[:3], entry, honest[3], *honest[5:]],
        "alone": [*honest[:3], entry, honest[3], *honest[6:]],
    }.items():
        bench.lines[:], bench.out = lines, bench.folder / name
        of_type(bench, "user").update(name="alice", account=liar.user["account"], sign=liar.user["sign"])
        report = bench.recover()
        assert not report.whole
        assert [one["vouched"] for one in report.users] == ["directory" if name == "honest" else "export"]
        assert ("header_failure" in {one.code for one in report.faults}) == (name != "honest")
    # The thief's account alone has the export's word, and the report says that it is no more than that.
    bench.lines[:], bench.out = [*honest[:4], entry, *honest[6:]], bench.folder / "thief"
    of_type(bench, "user").update(name="mallory", account=b64(thief.recipient.public), sign=b32(thief.signer.public))
    vouched_by(of_type(bench, "enrolment"), thief)
    report = bench.recover()
    assert [(one.what, one.code) for one in report.faults] == [("directory", "forged")]
    assert [one["vouched"] for one in report.users] == ["export"]


@pytest.mark.parametrize("kind", ["keyring", "entry", "user", "rotation", "enrolment"])
def test_a_line_behind_its_place_is_refused(bench: Bench, kind: str, session: Session, liar: Liar):
    old, new = session._secrets.account_key, AccountKey()
    silo, user = id_bytes(session.profile.silo), id_bytes(session.profile.user)
    enrolled = msgspec.convert(liar.enrolment, Vouched)
    rotation = msgspec.to_builtins(make_rotation(old, new, session._signer, enrolled, 2, silo, user, 5))
    made = {"type": "rotation", "user": b32(user), "rotation": rotation}
    line = made if kind == "rotation" else of_type(bench, kind)
    at = bench.lines.index(bench.record(1))
    bench.lines.insert(at + 1, line)
    report = bench.recover()
    assert (report.opened, report.keyring) == (3, 1)
    faults = [(one.what, one.code, one.line) for one in report.faults]
    assert faults == [("export", "header_failure", at + 2)]
    assert [one["vouched"] for one in report.users] == ["export" if kind == "keyring" else "directory"]


@pytest.mark.parametrize("line", ["{}", "[]", '{"type":"novel"}', '{"type":"user"}', "not json"])
def test_a_line_that_is_none(bench: Bench, line: str):
    path = bench.folder / "export"
    bench.recover()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], line, *lines[5:]]) + "\n")
    report = recover(path, bench.key, bench.folder / "again")
    assert report.opened == 3
    assert [(one.what, one.code, one.line) for one in report.faults] == [("export", "header_failure", 6)]


@pytest.mark.parametrize("text", ["", "\n", "{}\n", "SQLite format 3\x00", '{"type":"silo"}\n'])
def test_what_is_no_export(bench: Bench, text: str):
    path = bench.folder / "none"
    path.write_text(text)
    with pytest.raises(SiloError) as caught:
        recover(path, bench.key, bench.out)
    assert caught.value.code == "bad_export"
    assert not bench.out.exists()


def test_no_file(bench: Bench):
    with pytest.raises(SiloError) as caught:
        recover(bench.folder / "missing", bench.key, bench.out)
    assert caught.value.code == "bad_file"


# --- more than one keyring ---


def second_admin(liar: Liar, admin: AdminKey, other: AdminKey) -> SignedKeyring:
    """A keyring that adds `other`, with the half that an honest administrator seals to it."""
    epoch = liar.ring.document.epochs[0]
    mine = next(half for half in epoch.halves if half.holder == b32(admin.public.fingerprint))
    context = liar.ring.half_context(epoch, admin.public.fingerprint)
    seed = _hpke.PrivateKey(admin.seal_seed).open(unb64(mine.sealed), labels.pack(labels.EPOCH_HALF, *context))
    sealed = Recipient(other.public.seal).seal(
        seed, labels.EPOCH_HALF, *liar.ring.half_context(epoch, other.public.fingerprint)
    )
    half = type(mine)(holder=b32(other.public.fingerprint), sealed=b64(sealed))
    holder = Holder("other", "admin", b32(other.public.sign), b64(other.public.seal), False, liar.now(), None)
    return liar.next_keyring(
        admin,
        holders=[*liar.ring.document.holders, holder],
        epochs=[msgspec.structs.replace(epoch, halves=[*epoch.halves, half])],
        waiver=None,
    )


async def test_a_later_admin_opens_what_was_before(bench: Bench, liar: Liar):
    other = AdminKey()
    liar.install(second_admin(liar, bench.key, other))
    bench.lines[:] = export_of(liar)
    bench.key, first = other, bench.key
    report = bench.recover()
    assert (report.whole, report.opened, report.keyring, report.trust) == (True, 3, 2, "listed")
    bench.out = bench.folder / "again"
    liar.install(liar.next_keyring(other, time=5))
    bench.lines[:] = export_of(liar)
    assert bench.recover().trust == "signed"
    bench.key, bench.out = first, bench.folder / "first"
    assert bench.recover().trust == "genesis"


async def test_a_keyring_that_a_stranger_signed(bench: Bench, liar: Liar):
    lie = liar.next_keyring(AdminKey(), time=5)
    bench.lines.insert(2, {"type": "keyring", "signed": msgspec.to_builtins(lie)})
    report = bench.recover()
    assert (report.opened, report.keyring) == (3, 1)
    assert [(one.what, one.code) for one in report.faults] == [("keyring", "forged")]


def test_another_genesis_pin_than_the_first_signer(bench: Bench):
    bench.lines[0]["genesis"] = b32(AdminKey().public.fingerprint)
    with pytest.raises(SiloError) as caught:
        bench.recover()
    assert caught.value.code == "bad_export"


def test_a_receipt_by_an_identity_that_was_never_certified(bench: Bench, liar: Liar):
    for number, written in enumerate(liar.records, 1):
        bench.record(number)["receipt"] = b64(make_receipt(Signer(), written.sealed))
    report = bench.recover()
    assert report.opened == 3
    assert [one.code for one in report.faults] == ["forged"] * 3


def test_ids_are_what_names_files(bench: Bench, liar: Liar):
    # A name that would climb out of the folder is only ever text.
    bench.lines[:] = [line for line in bench.lines if line["type"] != "entry"]
    of_type(bench, "user")["name"] = "../../evil"
    report = bench.recover()
    assert [one["name"] for one in report.users] == ["../../evil"]
    assert sorted(path.name for path in bench.out.iterdir()) == sorted([liar.user["id"], "report.json"])
