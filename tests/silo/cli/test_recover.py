"""`silo recover` as a person sees it: damage of every kind, told on the screen."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from silo.crypto.encoding import b64, new_id, unb64
from silo.crypto.keyfile import write_admin_key
from silo.crypto.keys import AdminKey
from tests.harness import Served
from tests.silo.cli.conftest import Cli, Ended, to_its_end

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def exported(served: Served, set_up: Cli, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """The lines of a real export of at least two turns."""
    for words in ("the canary sings", "and another"):
        assert set_up(words).code == 0
    path = tmp_path_factory.mktemp("exported") / "export"
    subprocess.run(
        [sys.executable, "-m", "appliance.siloctl", "--data", str(served.data), "export", str(path)],
        check=True,
        capture_output=True,
        env=served.environment,
    )
    return [json.loads(line) for line in path.read_text().splitlines()]


class Desk:
    """The export, to be damaged, and the key, on a device that belongs to no silo."""

    def __init__(self, cli: Cli, lines: Lines) -> None:
        self.cli = cli
        self.lines = lines

    @property
    def records(self) -> Lines:
        """The lines of the records."""
        return [line for line in self.lines if line["type"] == "record"]

    def words(self, *more: str) -> tuple[str, ...]:
        """The command."""
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        (self.cli.folder / "silo.export").write_text(text)
        return ("recover", "silo.export", "--key", "admin.key", "--out", "readable", *more)

    def recover(self, *more: str) -> Ended:
        """Run it."""
        return self.cli(*self.words(*more))


@pytest.fixture
def desk(exported: Lines, set_up: Cli, stranger: Cli) -> Desk:
    (stranger.folder / "admin.key").write_bytes((set_up.folder / "admin.key").read_bytes())
    return Desk(stranger, json.loads(json.dumps(exported)))


def bend(record: dict[str, Any]) -> None:
    core = bytearray(unb64(record["core"]))
    core[-1] ^= 1
    record["core"] = b64(bytes(core))


def last_line(ended: Ended) -> str:
    """What is said of the whole, before the error."""
    return next(line for line in ended.err.splitlines() if " turns are in " in line)


def test_a_wrong_key_and_a_damaged_export_are_two_things(desk: Desk):
    (desk.cli.folder / "admin.key").write_text(write_admin_key(AdminKey(), "another"))
    ended = desk.recover()
    assert ended.code == 8
    assert ended.err.startswith("error: this key is not one that opens this: no keyring in the export has a vault half")
    desk.lines[0]["silo"] = new_id()
    ended = desk.recover()
    assert ended.code == 2
    assert "it is damaged or was changed" in ended.err
    assert "make another with siloctl export" in ended.err
    assert "this key" not in ended.err


def test_a_fault_names_person_and_chat(desk: Desk):
    first = desk.records[0]
    first["wraps"][1]["recipient"] = first["wraps"][0]["recipient"]
    ended = desk.recover("--json")
    (fault,) = ended.json["faults"]
    assert f"\nwarning: alice, record 1 of chat {fault['thread']}: its wrap for this key's vault was" in ended.err
    assert "this key is not one" not in ended.err
    # The directory names whom the export does not.
    desk.lines[:] = [line for line in desk.lines if line["type"] != "user"]
    ended = desk.recover("--out", "again")
    assert f"\nwarning: alice, record 1 of chat {fault['thread']}: " in ended.err
    # Of a person without a name, the id.
    desk.lines[:] = [line for line in desk.lines if line["type"] != "entry"]
    ended = desk.recover("--out", "nameless")
    assert f"\nwarning: {first['user']}, record 1 of chat {fault['thread']}: " in ended.err


def test_a_name_that_no_administrator_signed_stands_beside_its_id(desk: Desk):
    user = desk.records[0]["user"]
    desk.lines[:] = [line for line in desk.lines if line["type"] != "entry"]
    ended = desk.recover()
    assert ended.code == 11
    assert f"alice ({user})" in ended.err
    assert "the entry of the first account is missing" in ended.err


def test_a_fault_on_a_terminal(desk: Desk):
    bend(desk.records[0])
    said = to_its_end(desk.cli.typed(*desk.words(), columns=200))
    assert "alice, record 1" in said
    assert "it was changed: its receipt is for other bytes" in said
    assert "this key is not one" not in said


def test_damaged_lines_are_told_without_a_parsers_words(desk: Desk):
    desk.records[0]["receipt"] = 7
    next(line for line in desk.lines if line["type"] == "enrolment")["revoked"] = "x"
    desk.lines[-1]["records"] = None
    ended = desk.recover()
    assert "\nwarning: line 5 is damaged: field revoked\n" in ended.err
    assert "alice, record 1: line 6 is damaged: field receipt\n" in ended.err
    assert not any(word in ended.err for word in ("$", "`", "Expected", "char", "column"))


def cut_off(desk: Desk) -> None:
    desk.lines.pop()


def one_gone(desk: Desk) -> None:
    desk.lines.remove(desk.records[0])


def cut_off_and_one_gone(desk: Desk) -> None:
    one_gone(desk)
    cut_off(desk)


def one_bent(desk: Desk) -> None:
    bend(desk.records[0])


def one_unproven(desk: Desk) -> None:
    desk.records[0]["receipt"] = ""


CUT = "; the export is cut off: its last line is missing"


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (cut_off, "{all} turns are in readable" + CUT),
        (cut_off_and_one_gone, "{less} of at least {all} turns are in readable" + CUT),
        (one_gone, "{less} of {all} turns are in readable"),
        (one_bent, "{less} of {all} turns are in readable"),
        (one_unproven, "{all} of {all} turns are in readable, 1 of them not proven"),
    ],
)
def test_the_last_line_says_what_is_missing(desk: Desk, lie: Callable[[Desk], None], said: str):
    count = len(desk.records)
    lie(desk)
    ended = desk.recover()
    assert ended.code == 11
    assert last_line(ended) == said.format(all=count, less=count - 1)


def test_a_moved_record_has_the_code_that_logs_gives_it(desk: Desk):
    one, two = desk.records[:2]
    one["index"], two["index"] = two["index"], one["index"]
    ended = desk.recover("--json")
    codes = {(fault["index"], fault["code"]) for fault in ended.json["faults"] if fault["what"] == "record"}
    assert codes == {(1, "forged"), (2, "forged")}
    assert "a signature or a proof is missing or wrong: it is record 2, moved to the place of 1" in ended.err


def test_a_folder_that_holds_something(desk: Desk):
    assert desk.recover().code == 0
    ended = desk.recover()
    assert ended.code == 2
    assert ended.err == (
        "error: this file cannot be used: readable holds something already; name a new folder with --out\n"
    )


def test_no_export_there(desk: Desk):
    ended = desk.cli("recover", "none", "--key", "admin.key", "--out", "readable")
    assert ended.code == 2
    assert ended.err.startswith("error: this file cannot be used: none: no such file or directory; name the file that")
    assert not (desk.cli.folder / "readable").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "this file cannot be used: my.key: no such file or directory; "),
        (b"hello\n", "this is not a key file: my.key: it has one public line and one secret line; "),
        (b"\xff\xfe", "this is not a key file: my.key; "),
    ],
)
def test_what_is_no_key_is_named(desk: Desk, content: bytes | None, said: str):
    if content is not None:
        (desk.cli.folder / "my.key").write_bytes(content)
    ended = desk.recover("--key", "my.key")
    assert ended.code == 2
    assert ended.err == f"error: {said}name the admin key's file with --key; silo init made it\n"


def test_a_passphrase_that_is_wrong_names_the_key(desk: Desk):
    (desk.cli.folder / "my.key").write_text(write_admin_key(AdminKey(), "mine", "correct horse"))
    (desk.cli.folder / "passphrase").write_text("battery staple\n")
    ended = desk.recover("--key", "my.key", "--passphrase-file", "passphrase")
    assert ended.code == 6
    assert ended.err == "error: the passphrase does not open it: my.key\n"
    ended = desk.recover("--key", "my.key", "--passphrase-file", "none")
    assert "none: no such file" in ended.err
    assert "admin key" not in ended.err
