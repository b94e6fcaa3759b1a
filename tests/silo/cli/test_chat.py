"""`silo chat` at a terminal, and without one."""

import time

import pexpect
import pytest

from tests.silo.cli.conftest import Cli, to_its_end


@pytest.fixture
def chat(silo: Cli):
    """A conversation that has begun."""
    child = silo.typed("chat", "-s", "be brief")
    child.expect("/new begins another chat")
    child.expect("> ")
    yield child
    child.close(force=True)


def say(child: pexpect.spawn, text: str, answer: str) -> None:
    child.sendline(text)
    child.expect_exact(text + "\r\n")
    child.expect_exact(answer)
    child.expect("> ")


def leave(child: pexpect.spawn) -> None:
    child.sendeof()
    to_its_end(child)
    assert child.exitstatus == 0


def last(silo: Cli, count: int) -> list[dict]:
    return silo("logs", "-n", str(count), "--json").lines


def test_a_conversation(silo: Cli, chat: pexpect.spawn):
    say(chat, "good morning", "good morning\r\n")
    say(chat, "and a good night", "and a good night\r\n")
    say(chat, "/new", "a new chat")
    say(chat, "something else", "something else\r\n")
    say(chat, "/help", "Ctrl-C stops a reply")
    say(chat, "/etc/passwd is a file", "/etc/passwd is a file\r\n")
    leave(chat)
    one, two, three, four = last(silo, 4)
    assert one["thread"] == two["thread"]
    assert two["parent"] == one["core"]
    assert three["thread"] != two["thread"]
    assert four["parent"] == three["core"]
    assert [[message["role"] for message in turn["messages"]] for turn in (one, two, three)] == [
        ["system", "user"],
        ["user"],
        ["system", "user"],
    ]


def test_several_lines(silo: Cli, chat: pexpect.spawn):
    chat.sendline('"""')
    chat.expect("… ")
    chat.sendline("first")
    chat.expect("… ")
    chat.sendline('second"""')
    chat.expect_exact("first\r\nsecond\r\n")
    chat.expect("> ")
    chat.sendline("one \\")
    chat.expect("… ")
    chat.sendline("two")
    chat.expect_exact("one \r\ntwo\r\n")
    chat.expect("> ")
    leave(chat)
    assert [turn["messages"][-1]["content"] for turn in last(silo, 2)] == ["first\nsecond", "one \ntwo"]


def test_ctrl_c_stops_the_reply_and_the_chat_goes_on(silo: Cli, chat: pexpect.spawn):
    chat.sendline("chunks 400 gap 25 tick")
    chat.expect_exact("tick chunks")
    chat.sendintr()
    chat.expect_exact("stopped")
    chat.expect("> ")
    say(chat, "go on", "go on\r\n")
    # At the prompt it takes back the line and nothing else.
    chat.send("half a line")
    chat.expect_exact("half a line")
    # Python's readline forgets a Ctrl-C that comes while it handles a key.
    time.sleep(0.3)
    chat.sendintr()
    chat.expect("> ")
    leave(chat)
    stopped, after = last(silo, 2)
    assert stopped["finish"] == "cut"
    assert after["parent"] == stopped["core"]


def test_a_refusal_does_not_end_it(silo: Cli):
    child = silo.typed("chat", "-m", "nope")
    child.expect("> ")
    for _ in range(2):
        say(child, "hello", "this silo does not serve that model")
    leave(child)


def test_going_on_with_the_last_chat(silo: Cli, chat: pexpect.spawn):
    say(chat, "a first thing", "a first thing\r\n")
    leave(chat)
    again = silo.typed("chat", "-c")
    again.expect("> ")
    say(again, "a second thing", "a second thing\r\n")
    again.sendline("/exit")
    to_its_end(again)
    first, second = last(silo, 2)
    assert second["parent"] == first["core"]


def test_without_a_terminal_each_line_is_asked(silo: Cli):
    ended = silo("chat", piped=b"one\n\ntwo\n/exit\nthree\n")
    assert (ended.code, ended.out, ended.err) == (0, "one\ntwo\n", "")
    first, second = last(silo, 2)
    assert second["parent"] == first["core"]


def test_without_a_terminal_a_refusal_is_the_exit_code(silo: Cli):
    ended = silo("chat", "-m", "nope", piped=b"one\n")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: this silo does not serve that model")
