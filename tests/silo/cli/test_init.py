"""`silo init`: with every flag, with every question, and at silos where it must not work."""

import os
import re
import stat
import subprocess
import sys

import pytest

from silo.cli.init import check_password, suggest
from silo.crypto.encoding import b64
from silo.crypto.keyfile import write_admin_key
from silo.crypto.keys import AdminKey
from silo.errors import SiloError
from tests.harness import Served
from tests.silo.cli.conftest import PASSWORD, Cli, to_its_end


def test_with_flags_nothing_is_asked(silo_server: Served, stranger: Cli):
    ended = stranger.init(silo_server.link, "--admin-key", "keys.txt", "--json")
    assert ended.code == 0, ended.err
    told = ended.json
    assert (told["name"], told["url"], told["admin_key"]) == ("alice", silo_server.url, "keys.txt")
    assert told["fingerprint"] in ended.err.replace(" ", "")
    assert stat.S_IMODE((stranger.folder / "keys.txt").stat().st_mode) == 0o600
    assert PASSWORD not in ended.out + ended.err
    assert stranger("hello").out == "hello\n"

    again = stranger.init(silo_server.link, "--admin-key", "more.txt")
    assert again.code == 2
    assert again.err.startswith("error: this device belongs to a silo already")
    elsewhere = Cli(stranger.folder / "elsewhere")
    elsewhere.folder.mkdir()
    used = elsewhere.init(silo_server.link)
    assert used.code == 6
    assert "has its administrator already" in used.err
    assert not (elsewhere.folder / "admin.key").exists()
    assert not (elsewhere.home / "identity.json").exists()


@pytest.mark.parametrize("missing", ["--name", "--password-file", "--yes"])
def test_without_a_terminal_a_missing_flag_is_named(served: Served, stranger: Cli, missing: str):
    (stranger.folder / "password").write_text(PASSWORD)
    flags = {"--name": "alice", "--password-file": "password", "--yes": ""}
    del flags[missing]
    words = [word for pair in flags.items() for word in pair if word]
    ended = stranger("init", served.link, *words)
    assert ended.code == 2
    assert f"{missing} is missing" in ended.err
    assert not (stranger.folder / "admin.key").exists()
    assert not stranger.home.exists()


def test_questions(silo_server: Served, stranger: Cli):
    child = stranger.typed("init", silo_server.link)
    child.expect("fingerprint")
    child.expect(r"([a-z2-7]{4} ){12}[a-z2-7]{4}")
    child.expect(r"show the same\? \[y/N\]: ")
    child.sendline("y")
    child.expect(r"Your name \[\w+\]: ")
    child.sendline("Ada Lovelace")
    child.expect(r"\x1b\[1m    (\w+(?:[- ]\w+)+)\x1b")
    assert isinstance(child.match, re.Match)
    suggested = child.match.group(1)
    child.expect("Password: ")
    child.sendline("hunter2")
    child.expect("error:.* the password is too weak")
    child.expect("Password: ")
    child.sendline("a phrase of my own making")
    child.expect("The same again: ")
    child.sendline("a phrase of my own faking")
    child.expect("the two are not the same")
    child.expect("Password: ")
    child.sendline(suggested)
    child.expect(r"admin key \[admin.key\]: ")
    assert suggested not in str(child.before)
    child.sendline("safe.key")
    child.expect("There is no backup key yet:")
    child.expect("if you lose this file, nobody can open the vault")
    child.expect(r"Go on\? \[y/N\]: ")
    child.sendline("y")
    child.expect("The silo is set up")
    to_its_end(child)
    assert child.exitstatus == 0
    assert (stranger.folder / "safe.key").exists()
    assert stranger("status", "--json").json["name"] == "Ada Lovelace"


@pytest.mark.parametrize("answers", [["n"], ["y", "n"]], ids=["fingerprint", "waiver"])
def test_no_means_nothing_was_done(silo_server: Served, stranger: Cli, answers: list[str]):
    (stranger.folder / "password").write_text(PASSWORD)
    child = stranger.typed(
        "init", silo_server.link, "--name", "alice", "--password-file", "password", "--admin-key", "admin.key"
    )
    for answer in answers:
        child.expect(r"\[y/N\]: ")
        child.sendline(answer)
    to_its_end(child)
    assert child.exitstatus != 0
    assert not (stranger.folder / "admin.key").exists()
    assert not stranger.home.exists()


def test_a_key_that_is_there_is_taken_when_asked(silo_server: Served, stranger: Cli):
    path = stranger.folder / "admin.key"
    path.write_text(write_admin_key(AdminKey(), "mine"))
    text = path.read_text()
    refused = stranger.init(silo_server.link)
    assert refused.code == 2
    assert "admin.key exists already; name another, or take the key in it: --use-admin-key" in refused.err
    told = stranger.init(silo_server.link, "--use-admin-key", "--json").json
    assert told["genesis"] in text
    assert path.read_text() == text


def test_passphrases(silo_server: Served, stranger: Cli):
    (stranger.folder / "device").write_text("of the device\n")
    (stranger.folder / "key").write_text("of the key\n")
    ended = stranger.init(silo_server.link, "--passphrase-file", "device", "--admin-passphrase-file", "key")
    assert ended.code == 0, ended.err
    assert "no keyring" not in ended.err
    assert "locked" in (stranger.folder / "admin.key").read_text()
    none = stranger("hello")
    assert none.code == 6
    assert "--passphrase-file" in none.err
    assert stranger("--passphrase-file", "device", "hello").out == "hello\n"
    assert stranger("--passphrase-file", "key", "hello").code == 6
    stranger.more = {"SILO_PASSPHRASE_FILE": "device"}
    assert stranger("hello").out == "hello\n"
    stranger.more = {}
    child = stranger.typed("hello again")
    child.expect("passphrase of this device: ")
    child.sendline("of the device")
    child.expect_exact("hello again")
    to_its_end(child)
    assert child.exitstatus == 0


def test_links_that_are_none(stranger: Cli):
    ended = stranger("init", "http://localhost:6006/")
    assert ended.code == 2
    assert ended.err.startswith("error: this is not a setup link\nhint: it looks like http://localhost:6006/#setup.")
    assert not stranger.home.exists()


def test_a_void_link_is_found_before_anything_is_asked(silo_server: Served, stranger: Cli):
    words = [sys.executable, "-m", "appliance.siloctl", "--data", str(silo_server.data), "setup-link"]
    subprocess.run(words, check=True, capture_output=True, env=silo_server.environment)
    child = stranger.typed("init", silo_server.link)
    assert "this setup link is not valid" in to_its_end(child)
    assert "?" not in str(child.before)
    assert child.exitstatus == 6
    assert not (stranger.folder / "admin.key").exists()
    assert not stranger.home.exists()


def test_a_place_where_no_key_can_be_is_found_before_anything_is_asked(silo_server: Served, stranger: Cli):
    child = stranger.typed("init", silo_server.link, "--admin-key", "no/where.key")
    assert "there is no folder" in to_its_end(child)
    assert "?" not in str(child.before)
    assert child.exitstatus == 2


def test_a_link_of_another_silo(served: Served, stranger: Cli):
    ended = stranger.init(f"{served.url}/#setup.{b64(os.urandom(80))}")
    assert ended.code == 8
    assert ended.err.startswith("error: this is not the silo that this device has pinned")
    assert not (stranger.folder / "admin.key").exists()


def test_a_password_file_that_is_weak_or_missing(served: Served, stranger: Cli):
    (stranger.folder / "weak").write_text("password123\n")
    for name, says in (("weak", "too weak"), ("none", "cannot be used"), (".", "is a directory")):
        ended = stranger("init", served.link, "--name", "a", "--password-file", name, "--yes")
        assert ended.code == 2
        assert says in ended.err
        assert "password123" not in ended.err


def test_suggested_passphrases_are_strong_and_differ():
    made = {suggest() for _ in range(20)}
    assert len(made) == 20
    for one in made:
        assert len(one.split(" ")) == 6
        check_password(one)


@pytest.mark.parametrize("weak", ["", "hunter2", "password123", "qwertyuiop", "aaaaaaaaaaaaaaaa"])
def test_weak_passwords(weak: str):
    with pytest.raises(SiloError) as caught:
        check_password(weak)
    assert caught.value.code == "weak_password"


def test_a_long_password_is_no_trouble():
    check_password("a sentence that goes on and on " * 20)
