"""The other verbs: what they print, where, and for whom."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from silo.cli.main import cli
from silo.client.home import Home
from silo.crypto.encoding import b32, b64, hash_bytes
from silo.crypto.keys import fingerprint, recipient_of, spoken
from tests.harness import Served, no_settings
from tests.silo.cli.conftest import Cli, Ended, to_its_end
from tests.silo.liar import Liar

VERBS = sorted(cli.commands)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def help_of(*words: str) -> str:
    return CliRunner().invoke(cli, [*words, "--help"], prog_name="silo", catch_exceptions=False).output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps_with_an_example(verb: str):
    words = help_of(verb)
    assert re.search(r"Examples?:\n +\S*.*silo", words)
    assert ("--json" in words) is (verb != "chat")


def test_help_in_words_that_the_house_uses(stranger: Cli):
    ended = stranger("--help")
    assert (ended.code, ended.err) == (0, "")
    words = ended.out + "".join(help_of(verb) for verb in VERBS)
    assert not re.search(r"encrypt|decrypt|secure\b|zero.knowledge|military", words, re.IGNORECASE)


def test_models(silo: Cli):
    assert silo("models").out == "fake\t4,096\tdefault\n"
    assert silo("models", "--json").json == {"id": "fake", "context": 4096, "default": True}


def test_status(silo: Cli, served: Served):
    silo("hello")
    status = silo("status", "--json").json
    profile = json.loads((silo.home / "identity.json").read_text())
    mark = fingerprint(hash_bytes(profile["identity"]))
    assert status["fingerprint"] == b32(mark)
    assert (status["url"], status["name"], status["keyring"]) == (served.url, "alice", 1)
    assert (status["secrets"], status["answers"], status["backup"]) == ("file", True, False)
    assert status["head"] >= 1
    lines = dict(line.split("\t") for line in silo("status").out.splitlines())
    assert lines["fingerprint"] == spoken(mark)
    assert lines["keyring"] == "version 1, no backup key yet"
    assert lines["answers"] == "yes"


def test_status_of_a_silo_that_is_away(silo: Cli, stranger: Cli):
    stranger.home.mkdir(mode=0o700)
    for name in ("identity.json", "secrets.json"):
        text = (silo.home / name).read_text()
        (stranger.home / name).write_text(re.sub(r"http://[^\"]+", "http://127.0.0.1:9", text))
    ended = stranger("status")
    assert ended.code == 5
    assert "answers\tno\n" in ended.out
    assert ended.err.startswith("error: the silo does not answer")
    assert stranger("status", "--json").json["error"] == "unreachable"


def test_logs(silo: Cli):
    first = silo("--json", "logs of one").json
    silo("-c", "logs of two\nin two lines")
    ended = silo("logs", "--cid", first["thread"])
    assert ended.code == 0
    assert ended.out.startswith(f"chat {first['thread']}  just now\n\n> logs of one\n\nlogs of one\n")
    assert "> logs of two\n> in two lines\n\nlogs of two\nin two lines\n" in ended.out
    short = silo("logs", "--cid", first["thread"], "--short").out.splitlines()
    assert [line.split("\t")[3] for line in short] == ["logs of one", "logs of two in two lines"]
    everything = silo("logs", "--all", "--json").lines
    assert [one["index"] for one in everything] == list(range(1, len(everything) + 1))
    assert len(silo("logs", "-n", "1", "--json").lines) == 1


def test_logs_of_a_chat_that_is_none(silo: Cli):
    ended = silo("logs", "--cid", "nonsense")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("no chat with that id; silo logs --short lists them\n")


def test_options_that_exclude_each_other(silo: Cli):
    for words in (("logs", "--all", "-n", "3"), ("-c", "--cid", "x", "hello"), ("chat", "-c", "--cid", "x")):
        ended = silo(*words)
        assert (ended.code, ended.out) == (2, ""), words
        assert "exclude each other" in ended.err


@pytest.mark.parametrize(("word", "meant"), [("lgos", "logs"), ("model", "models"), ("help", "--help")])
def test_a_verb_misspelled_is_not_sent(silo: Cli, word: str, meant: str):
    before = len(silo("logs", "--all", "--json").lines)
    ended = silo(word)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(f"silo prompt {word}\nhint: silo {meant}\n")
    assert len(silo("logs", "--all", "--json").lines) == before
    assert silo("prompt", word).out == f"{word}\n"


# --- stdout that takes nothing ---


@pytest.mark.parametrize("words", [("hello",), ("logs",), ("models", "--json"), ("--help",)])
def test_a_full_or_closed_stdout_is_told_in_a_line(silo: Cli, words: tuple[str, ...]):
    typed = f"exec {shlex.join([sys.executable, '-m', 'silo.cli', *words])}"
    for where, says in (("> /dev/full", "no space left on device"), (">&-", "it is closed")):
        ended = subprocess.run(
            ["/bin/sh", "-c", f"{typed} {where}"],
            cwd=no_settings(silo.folder),
            env=silo.environment | {"PYTHONPATH": os.getcwd()},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            timeout=60,
        )
        assert ended.returncode == 4
        assert ended.stderr.decode().startswith(f"error: the answer cannot be written to stdout: {says}\nhint: ")


def test_logs_for_a_reader_who_has_enough(silo: Cli):
    # More than a pipe holds.
    for _ in range(3):
        silo("long " * 3_000)
    process = silo.start("logs", "--all")
    assert process.stdout
    assert process.stderr
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 141
    process.stderr.close()


def test_logs_lay_out_replies_on_a_terminal(silo: Cli):
    thread = silo("--json", "**loud** \x1b[31mred").json["thread"]
    child = silo.typed("logs", "--cid", thread)
    said = to_its_end(child)
    assert "\x1b[1mloud" in said
    assert "31m" not in said
    assert "│ " in said


def test_colours_on_a_terminal_alone(silo: Cli):
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        silo.more = more
        child = silo.typed("logs", "-n", "1")
        said = to_its_end(child)
        assert bool(COLOURS.search(said)) is coloured, more
    silo.more = {"FORCE_COLOR": "1"}
    assert "\x1b" not in silo("logs", "-n", "1").out
    assert "\x1b" not in silo("-m", "nope", "x").err


def test_errors_are_marked_on_a_terminal(silo: Cli):
    child = silo.typed("-m", "nope", "x")
    said = to_its_end(child)
    assert child.exitstatus == 2
    assert "\x1b[1;31merror:\x1b[0m this silo does not serve that model" in said


# --- recover ---


@pytest.fixture
def export(served: Served, silo: Cli, tmp_path: Path) -> Path:
    """An export of the silo, made with its own program."""
    silo("the canary sings")
    path = tmp_path / "export"
    subprocess.run(
        [sys.executable, "-m", "appliance.siloctl", "--data", str(served.data), "export", str(path)],
        check=True,
        capture_output=True,
        env=served.environment,
    )
    return path


def recovered(silo: Cli, export: Path, *words: str) -> Ended:
    return silo("recover", str(export), "--key", "admin.key", "--out", str(export.parent / "readable"), *words)


def test_recover_opens_everything_offline(silo: Cli, export: Path, stranger: Cli):
    # The key, the export and nothing else: no identity, no silo.
    (stranger.folder / "admin.key").write_bytes((silo.folder / "admin.key").read_bytes())
    ended = recovered(stranger, export)
    assert (ended.code, ended.out) == (0, "")
    turns = len(silo("logs", "--all", "--json").lines)
    assert f"{turns} of {turns} turns are in" in ended.err
    assert not stranger.home.exists()
    pages = "".join(path.read_text() for path in (export.parent / "readable").rglob("*.md"))
    assert "the canary sings" in pages
    again = recovered(stranger, export)
    assert again.code == 2
    assert "holds something already" in again.err


def test_recover_says_what_failed(silo: Cli, export: Path):
    lines = export.read_text().splitlines()
    record = next(number for number, line in enumerate(lines) if '"record"' in line)
    bad = json.loads(lines[record])
    bad["receipt"] = bad["receipt"][:-2]
    lines[record] = json.dumps(bad)
    export.write_text("\n".join(lines) + "\n")
    ended = recovered(silo, export, "--json")
    assert ended.code == 11
    assert [(one["what"], one["code"], one["index"]) for one in ended.json["faults"]] == [("record", "forged", 1)]
    assert re.search(r"warning: alice, record 1 of chat \w{26}: a signature or a proof is missing or wrong", ended.err)
    assert "error: not everything could be opened" in ended.err


def test_recover_with_what_is_no_key(silo: Cli, export: Path, tmp_path: Path):
    (tmp_path / "other.key").write_text("hello\n")
    ended = silo("recover", str(export), "--key", str(tmp_path / "other.key"), "--out", str(tmp_path / "x"))
    assert ended.code == 2
    assert ended.err.startswith("error: this is not a key file")
    ended = silo("recover", str(export), "--key", str(tmp_path / "none.key"), "--out", str(tmp_path / "x"))
    assert ended.code == 2
    assert not (tmp_path / "x").exists()


# --- a reply that was not kept ---


async def test_a_reply_that_was_not_kept_is_printed_and_told(home: Home, liar: Liar, stranger: Cli):
    stranger.more = {"SILO_HOME": str(home.folder)}
    liar.kept = False
    ended = await asyncio.to_thread(stranger, "words of mine")
    assert (ended.code, ended.out) == (10, "words of mine\n")
    assert ended.err.startswith("error: the reply arrived, but the silo could not keep it\nhint: save it yourself")


async def test_a_silo_that_changed_the_account_key_is_not_used(home: Home, liar: Liar, stranger: Cli):
    stranger.more = {"SILO_HOME": str(home.folder)}
    liar.user = liar.user | {"account": b64(recipient_of(bytes(32)).public)}
    ended = await asyncio.to_thread(stranger, "words of mine")
    assert (ended.code, ended.out) == (8, "")
    assert ended.err.startswith("error: the silo's database names another account key than yours\nhint: nothing was")
    assert not liar.records
