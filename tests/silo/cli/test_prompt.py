"""`silo "prompt"`: what goes where, and with which exit code it ends."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.silo.cli.conftest import Cli, to_its_end


def test_stdout_holds_the_reply_alone(silo: Cli):
    ended = silo("Three names for a pelican")
    assert (ended.code, ended.out, ended.err) == (0, "Three names for a pelican\n", "")


def test_the_default_verb_may_be_named(silo: Cli):
    assert silo("prompt", "status").out == "status\n"


def test_stdin_comes_first(silo: Cli):
    assert silo("and then", piped=b"first this\n").out == "first this\n\nand then\n"
    assert silo(piped="grüße\n".encode()).out == "grüße\n"


@pytest.mark.parametrize(("words", "piped"), [((), b""), (("",), b"\n"), (("-c",), b""), (("--json",), b"")])
def test_nothing_to_ask_is_a_mistake(silo: Cli, words: tuple[str, ...], piped: bytes):
    ended = silo(*words, piped=piped)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: there is nothing to ask\nhint: silo prompt --help")


def test_stdin_that_is_no_text(silo: Cli):
    ended = silo(piped=b"\xff\xfe")
    assert ended.code == 2
    assert ended.err == "error: this file cannot be used: stdin is not UTF-8\n"


def test_a_reply_for_machines(silo: Cli):
    one = silo("--json", "Say yes").json
    assert (one["reply"], one["finish"], one["model"], one["error"]) == ("Say yes", "stop", "fake", None)
    assert one["usage"]["completion"] == 2
    assert one["kept"]["index"] >= 1


def test_no_stream_prints_the_same(silo: Cli):
    assert silo("--no-stream", "one two").out == "one two\n"


def test_a_chat_goes_on(silo: Cli):
    first = silo("--json", "-s", "be brief", "one").json
    second = silo("--json", "-c", "two").json
    third = silo("--json", "--cid", first["thread"], "-s", "be long", "three").json
    assert first["thread"] == second["thread"] == third["thread"]
    found = silo("logs", "--cid", first["thread"], "--json").lines
    assert [one["parent"] for one in found] == [None, found[0]["core"], found[1]["core"]]
    assert [[message["role"] for message in one["messages"]] for one in found] == [
        ["system", "user"],
        ["user"],
        ["system", "user"],
    ]
    # What was said before travels with the question: the prompt grows.
    used = [one["usage"]["prompt"] for one in found]
    assert used[0] < used[1] < used[2]
    assert silo("-c", "--json", "four").json["thread"] == first["thread"]


def test_options_reach_the_model(silo: Cli):
    ended = silo(
        "--json", "-o", "temperature", "0", "-o", "stop", "two", "-o", "stop", "x", "-o", "seed", "1", "one two"
    )
    assert ended.json["reply"] == "one"
    (last,) = silo("logs", "-n", "1", "--json").lines
    assert last["options"] == {"temperature": 0.0, "stop": ["two", "x"], "seed": 1}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-o", "nope", "1", "x"), "there is no option 'nope'"),
        (("-o", "temperature", "warm", "x"), "temperature is a number"),
        (("-o", "temperature", "9", "x"), "this option cannot be used: temperature is a number from 0 to 2"),
        (("-m", "gpt-7", "x"), "does not serve that model"),
        (("--cid", "nonsense", "x"), "no chat with that id"),
        (("--nope", "x"), "No such option"),
        (("x", "y"), "unexpected extra argument"),
        (("word " * 5_000,), "longer than the model's context"),
    ],
)
def test_mistakes_are_told_in_a_line(silo: Cli, words: tuple[str, ...], says: str):
    ended = silo(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_what_the_model_says_moves_no_cursor(silo: Cli):
    words = "a \x1b[31mred\x1b[0m \x1b]0;title\x07 \u202etxt.exe \U000e0041 b\rc"
    ended = silo(words)
    assert ended.out == "a red  txt.exe  bc\n"
    told = silo("--json", words)
    assert told.out.isascii()
    assert "\x1b" not in told.out
    assert told.json["reply"].startswith("a \x1b[31m")


def test_a_model_that_dies_in_the_middle(silo: Cli):
    ended = silo("crash after 2 one two three four")
    assert ended.code == 9
    assert ended.out == "crash after\n"
    assert "the model stopped in the middle" in ended.err
    (last,) = silo("logs", "-n", "1", "--json").lines
    assert (last["reply"], last["finish"]) == ("crash after", "failed")
    # It is started again; until then a clear refusal.
    deadline = time.monotonic() + 20
    while (ended := silo("hello")).code == 9 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ended.out == "hello\n"


def test_ctrl_c_keeps_what_was_said(silo: Cli):
    process = silo.start("chunks 500 gap 20 tick")
    assert process.stdout
    assert process.stderr
    first = os.read(process.stdout.fileno(), 100)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in err
    said = (first + rest).decode().rstrip("\n")
    assert said
    deadline = time.monotonic() + 10
    while True:
        last = silo("logs", "-n", "1", "--json").lines[0]
        if last["finish"] == "cut" or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert last["finish"] == "cut"
    assert last["reply"].startswith(said)
    assert silo("-c", "--json", "and now?").json["thread"] == last["thread"]


def test_a_reader_who_has_enough_is_let_go(silo: Cli):
    process = silo.start("chunks 300 gap 20 word")
    assert process.stdout
    assert process.stderr
    assert process.stdout.read(4)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 141
    process.stderr.close()


def test_without_a_prompt_a_terminal_gets_help(silo: Cli):
    child = silo.typed()
    child.expect("Chat with the models of your own silo")
    to_its_end(child)
    assert child.exitstatus == 0


def test_a_reply_on_a_terminal_is_as_plain(silo: Cli):
    child = silo.typed("one two")
    assert to_its_end(child) == "one two\r\n"


def test_no_identity(stranger: Cli):
    for verb in (["hello"], ["chat"], ["logs"], ["models"], ["status"]):
        ended = stranger(*verb)
        assert ended.code == 2
        assert ended.err == "error: this device belongs to no silo yet\nhint: silo init LINK\n"
    assert not stranger.home.exists()


def test_a_silo_that_is_not_there(silo: Cli, stranger: Cli):
    subprocess.run(["cp", "-R", str(silo.home), str(stranger.home)], check=True)
    identity = stranger.home / "identity.json"
    here = json.loads(identity.read_text())
    identity.write_text(json.dumps(here | {"url": "http://127.0.0.1:9"}))
    ended = stranger("hello")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.startswith("error: the silo does not answer: http://127.0.0.1:9\nhint: ")


def test_a_damaged_identity(silo: Cli, stranger: Cli):
    stranger.home.mkdir(mode=0o700)
    (stranger.home / "identity.json").write_text("{")
    ended = stranger("hello")
    assert ended.code == 2
    assert "identity.json" in ended.err
    assert "Traceback" not in ended.err
