"""What may be shown, and how."""

import pytest

from silo.cli.screen import when
from silo.client.inert import InertStream, inert

DANGEROUS = [
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b]0;title\x07x", "x"),
    ("\x1b]8;;http://evil/\x1b\\here\x1b]8;;\x1b\\", "here"),
    ("\x1bP1$r0m\x1b\\x", "x"),
    ("\x9b31mred", "red"),
    ("\x1b", ""),
    ("\x1b[", "["),
    ("\x1b]never ends", "]never ends"),
    ("a\rb\x08c\x7fd\x00e", "abcde"),
    ("one\n\ttwo", "one\n\ttwo"),
    ("\u202eexe.txt\u202c", "exe.txt"),
    ("\u2066\u2069\u200f\u061c", ""),
    ("hi\U000e0041\U000e0042", "hi"),
    ("👩\u200d🚀 é ü 漢", "👩\u200d🚀 é ü 漢"),
    ("\x1b[3\x1b[1m1mx", "[31mx"),
]


@pytest.mark.parametrize(("text", "shown"), DANGEROUS)
def test_what_could_do_harm_is_taken_out(text: str, shown: str):
    assert inert(text) == shown


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("text", [text for text, _ in DANGEROUS])
def test_however_it_is_cut(text: str, size: int):
    stream = InertStream()
    pieces = [stream.push(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + stream.finish() == inert(text)


def test_words_are_not_held_back():
    stream = InertStream()
    assert stream.push("word ") == "word "
    assert stream.push("\x1b[3") == ""
    assert stream.push("1mred") == "red"


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3_599, "59 min ago"),
        (3_600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 day ago"),
        (3 * 86_400, "3 days ago"),
        (13 * 86_400, "13 days ago"),
    ],
)
def test_times_as_people_say_them(ago: int, said: str):
    now = 1_800_000_000_000
    assert when(now - ago * 1000, now) == said


def test_long_ago_has_a_date():
    now = 1_800_000_000_000
    assert when(now - 20 * 86_400_000, now).startswith("2026-12-2")
