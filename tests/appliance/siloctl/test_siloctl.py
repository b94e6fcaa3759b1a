"""The verbs of the box, run as an operator runs them, beside a silo that serves and without one."""

import errno
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pexpect
import pytest
from click.testing import CliRunner

from appliance.siloctl.main import main as siloctl_main
from appliance.start import main as appliance_main
from silo.crypto import labels
from silo.crypto.encoding import b32, hash_bytes, unb64
from silo.crypto.keys import spoken, verify
from silo.crypto.opening import Log, Opener, open_record
from silo.crypto.sealing import core_hash
from silo.errors import MACHINE, REFUSED, SETTINGS, USAGE
from silo.files import write_private
from tests import postgres
from tests.appliance.powers import without_powers
from tests.harness import Device, Served, clean_environment, envelope, no_settings

Run = subprocess.CompletedProcess[str]
RECORDS = 40


def siloctl(data: Path, *words: str, said: str = "", prepare: Callable[[], None] | None = None, **settings: str) -> Run:
    """Run it; `said` is its standard input."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "appliance.siloctl", "--data", str(data), *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(**postgres.settings_of(data) | settings),
        cwd=no_settings(data.parent),
        input=said,
        preexec_fn=prepare,
    )


def made(folder: Path) -> list[str]:
    """What lies in a folder, beside our own `.env`."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".env")


def told(done: Run) -> Any:
    """The one JSON line that it printed."""
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    return json.loads(line)


def refused(done: Run, code: int, *words: str) -> None:
    """One line on stderr, nothing on stdout."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert not [word for word in words if word not in line], line


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[tuple[Served, Device]]:
    """A silo that serves, with some records; no test here changes what it has."""
    served = Served(tmp_path_factory.mktemp("silo") / "data", SILO_SHAPE="fast")
    try:
        device = Device(served.start().link).set_up()
        for number in range(RECORDS):
            assert device.chat(f"question {number}").status == 200
        yield served, device
        device.http.close()
    finally:
        served.stop()


@pytest.fixture
def stopped(kept: tuple[Served, Device], tmp_path: Path) -> Path:
    """A copy of that silo's data folder, as of a silo that does not run."""
    data = tmp_path / "data"
    postgres.copy_silo(kept[0].data, data)
    return data


# --- the verbs themselves ---

VERBS = ["setup-link", "status", "export", "migrate"]


def test_help_of_every_verb_has_an_example() -> None:
    def helped(command: click.Command, *words: str) -> str:
        done = CliRunner().invoke(command, words)
        assert done.exit_code == 0
        return done.output

    assert list(siloctl_main.commands) == VERBS
    for verb in VERBS:
        assert f"  {verb} " in helped(siloctl_main, "--help")
        shown = helped(siloctl_main, verb, "--help")
        assert "Example: siloctl " in shown
        assert f" {verb} " in f"{shown.partition('Example: ')[2]} ".replace("\n", " ")
        assert helped(siloctl_main, verb, "-h") == shown
    assert "Example: ./dev up --port" in helped(appliance_main, "up", "--help")


def test_verbs_that_it_does_not_know(stopped: Path) -> None:
    for words in (["open"], ["status", "--loud"], ["export"], ["export", "a", "b"], ["migrate", "zero"]):
        done = CliRunner().invoke(siloctl_main, ["--data", str(stopped), *words])
        assert (done.exit_code, done.stdout) == (USAGE, "")
        assert "Error: " in done.stderr
    done = siloctl(stopped, "open")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["setup-link"], ["status"], ["export", "out"], ["migrate", "--to", "zero", "--yes"]])
def test_no_silo_there(tmp_path: Path, words: list[str]) -> None:
    data = tmp_path / "nowhere"
    refused(siloctl(data, *words), MACHINE, "no silo", str(data), "--data")
    assert made(tmp_path) == []


def test_no_silo_in_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "empty"
    data.mkdir()
    refused(siloctl(data, "status"), MACHINE, "no silo", str(data), "SILO_DATA")
    assert list(data.iterdir()) == []


def test_somebody_else_s_folder(stopped: Path) -> None:
    stopped.chmod(0)
    try:
        refused(siloctl(stopped, "status", prepare=without_powers), MACHINE, str(stopped), "Permission denied")
    finally:
        stopped.chmod(0o700)


def test_settings_and_data_that_are_wrong(stopped: Path, database: str) -> None:
    file = database == "sqlite"
    said = ("damaged", "silo.db", "backup") if file else ("database", "answer")
    refused(siloctl(stopped, "status", SILO_PORT="many"), SETTINGS, "SILO_PORT is 'many'")
    if file:
        (stopped / "silo.db").write_bytes(os.urandom(40_000))
    else:
        postgres.cluster().drop(postgres.url_of(stopped))
    for words in (["status"], ["setup-link"], ["export", "out"], ["migrate"]):
        refused(siloctl(stopped, *words), MACHINE, *said)
    assert not (stopped.parent / "out").exists()


# --- status ---


def test_status(kept: tuple[Served, Device], stopped: Path) -> None:
    served, device = kept
    running = told(siloctl(served.data, "status"))
    assert running == {
        "silo": b32(device.silo),
        "fingerprint": b32(device.pin),
        "url": served.url,
        "keyring": 1,
        "users": 1,
        "records": RECORDS,
    }
    # Where none runs, the address is the one that it would get.
    (stopped / "address").unlink()
    assert told(siloctl(stopped, "status")) == running | {"url": "http://localhost:6006"}
    assert told(siloctl(stopped, "status", SILO_PORT="7000")) == running | {"url": "http://localhost:7000"}
    public = siloctl(served.data, "status", SILO_URL="https://silo.example.org", SILO_SSL_CONFIRMED="1")
    assert told(public) == running | {"url": "https://silo.example.org"}


def test_status_at_a_terminal(kept: tuple[Served, Device]) -> None:
    served, device = kept
    words = ["-P", "-m", "appliance.siloctl", "--data", str(served.data), "status"]

    def at_a_terminal(*more: str) -> list[str]:
        where = str(no_settings(served.data.parent))
        environment = clean_environment(**postgres.settings_of(served.data))
        terminal = pexpect.spawn(
            sys.executable, [*words, *more], env=environment, cwd=where, encoding="utf-8", timeout=30
        )
        said = terminal.read().splitlines()
        terminal.close()
        assert terminal.exitstatus == 0, said
        return said

    assert at_a_terminal() == [
        f"silo         {b32(device.silo)}",
        f"fingerprint  {spoken(device.pin)}",
        f"url          {served.url}",
        "keyring      1",
        "users        1",
        f"records      {RECORDS}",
    ]
    assert [json.loads(line) for line in at_a_terminal("--json")] == [told(siloctl(served.data, "status"))]


def test_a_link_is_not_for_a_silo_that_has_its_administrator(kept: tuple[Served, Device], stopped: Path) -> None:
    for data in (kept[0].data, stopped):
        refused(siloctl(data, "setup-link"), REFUSED, "administrator already")


# --- export ---


def lines(path: Path) -> list[dict[str, Any]]:
    """An export's lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def check(path: Path, device: Device) -> list[int]:
    """Whether an export is whole and fits together; the indexes of its records."""
    first, *rest, last = lines(path)
    assert (first["type"], first["format"], last["type"]) == ("silo", "securesilo/1 export", "end")
    assert first["silo"] == b32(device.silo)
    assert first["genesis"] == b32(device.admin.public.fingerprint)
    identity = hash_bytes(first["identity"])
    verify(identity, unb64(last["signature"]), labels.HEADS, last["statement"].encode())
    stated = json.loads(last["statement"])
    found = [one for one in rest if one["type"] == "record"]
    assert last["records"] == len(found)
    assert [one["type"] for one in rest if one["type"] != "record"] == ["keyring", "entry", "user", "enrolment"]
    log = Log(device.silo, device.user)
    for one in found:
        opened = open_record(envelope(one), [Opener(device.account_seed)], device.silo, device.user, identity)
        log.step(one["index"], opened.place.thread, hash_bytes(core_of(one)))
    [head] = stated["heads"]
    assert (head["user"], head["at"]) == (b32(device.user), len(found))
    log.check(hash_bytes(head["hash"]))
    return [one["index"] for one in found]


def core_of(record: dict[str, Any]) -> str:
    """A record's core hash."""
    return b32(core_hash(unb64(record["core"])))


def test_export_while_people_write(kept: tuple[Served, Device], tmp_path: Path) -> None:
    served = Served(tmp_path / "own", SILO_SHAPE="fast")
    device = Device(served.start().link).set_up()
    stop, acknowledged, failed = threading.Event(), list[int](), list[str]()

    def write() -> None:
        while not stop.is_set():
            answered = device.chat("one more")
            if answered.status != 200 or not answered.end["kept"]:
                failed.append(str(answered))
                return
            acknowledged.append(answered.end["kept"]["index"])

    writers = [threading.Thread(target=write) for _ in range(3)]
    try:
        for writer in writers:
            writer.start()
        for number in range(3):
            before = max(acknowledged, default=0)
            out = tmp_path / f"{number}.export"
            said = told(siloctl(served.data, "export", str(out)))
            indexes = check(out, device)
            assert indexes == list(range(1, len(indexes) + 1))
            # All that was acknowledged before is in it, and nothing kept the writers waiting.
            assert len(indexes) >= before
            assert said == {"export": str(out), "bytes": out.stat().st_size, "users": 1, "records": len(indexes)}
            assert stat.S_IMODE(out.stat().st_mode) == 0o600
    finally:
        stop.set()
        for writer in writers:
            writer.join()
        device.http.close()
        served.stop()
    assert not failed
    assert len(acknowledged) > 10
    assert sorted(path.name for path in tmp_path.iterdir() if "export" in path.name) == [
        *("0.export", "1.export", "2.export"),
    ]


def test_export_without_a_silo_that_serves(kept: tuple[Served, Device], stopped: Path, tmp_path: Path) -> None:
    told(siloctl(stopped, "export", "out"))
    assert check(tmp_path / "out", kept[1]) == list(range(1, RECORDS + 1))


def test_export_takes_nothing_s_place(stopped: Path, tmp_path: Path) -> None:
    taken, folder, link = tmp_path / "taken", tmp_path / "folder", tmp_path / "link"
    taken.write_text("mine")
    folder.mkdir()
    link.symlink_to(tmp_path / "nothing")
    for out in (taken, folder, link):
        words = "exists already; name another file, or remove that one"
        refused(siloctl(stopped, "export", str(out)), USAGE, str(out), words)
    refused(siloctl(stopped, "export", str(tmp_path / "no" / "out")), USAGE, "No such file")
    refused(siloctl(stopped, "export", str(taken / "out")), USAGE, "Not a directory")
    refused(siloctl(stopped, "export", "o" * 300), USAGE, "too long")
    assert taken.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()
    assert made(tmp_path) == ["data", "folder", "link", "taken"]


def test_export_onto_a_disk_that_fails(stopped: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    refused(siloctl(stopped, "export", "out", prepare=small_files), USAGE, "out", os.strerror(errno.EFBIG))
    assert made(tmp_path) == ["data"]
    told(siloctl(stopped, "export", "out"))


def test_export_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    out = tmp_path / "out"
    monkeypatch.setattr(os, "link", no_link)
    write_private(out, b"whole", new=True)
    with pytest.raises(FileExistsError):
        write_private(out, b"other", new=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


# --- migrate ---


def tables(data: Path) -> set[str]:
    """The tables of its database."""
    return postgres.tables(postgres.url_of(data))


def count(data: Path) -> int:
    """How many records it has."""
    with postgres.behind(postgres.url_of(data)) as opened:
        return opened.execute("SELECT count(*) FROM record").fetchone()[0]


def test_migrate_not_under_a_silo_that_serves(kept: tuple[Served, Device]) -> None:
    served, device = kept
    for words in ([], ["--to", "zero", "--yes"]):
        refused(siloctl(served.data, "migrate", *words), MACHINE, "another silo", str(served.data))
    assert device.ask("GET", "/me").status == 200
    assert count(served.data) == RECORDS


def test_migrate_asks_before_it_drops(stopped: Path) -> None:
    for said in ("", "n\n", "\n"):
        done = siloctl(stopped, "migrate", "--to", "zero", said=said)
        assert (done.returncode, done.stdout) == (REFUSED, "")
        assert "drops every record" in done.stderr
        assert done.stderr.endswith("nothing was changed\n")
        assert count(stopped) == RECORDS
    assert told(siloctl(stopped, "migrate", "--to", "zero", said="y\n")) == {"migrations": []}
    assert tables(stopped) <= {"tortoise_migrations", "sqlite_sequence"}


def test_migrate_to_zero_and_back(stopped: Path, tmp_path: Path) -> None:
    before = tables(stopped)
    newest = told(siloctl(stopped, "migrate"))
    assert newest["migrations"]
    assert count(stopped) == RECORDS
    assert told(siloctl(stopped, "migrate", "--to", newest["migrations"][-1])) == newest
    assert count(stopped) == RECORDS
    assert told(siloctl(stopped, "migrate", "--to", "zero", "--yes")) == {"migrations": []}
    assert told(siloctl(stopped, "migrate")) == newest
    assert tables(stopped) == before
    assert count(stopped) == 0
    # What is left is no silo any more, and is not taken for a new one.
    refused(siloctl(stopped, "status"), MACHINE, "damaged", "backup")
    refused(siloctl(stopped, "setup-link"), MACHINE, "damaged", "backup")
    refused(siloctl(stopped, "migrate", "--to", "0999_later"), USAGE, "0999_later")
