"""The protocol as it is: nothing is found. With one line of it taken out: the attack, by its shortest trace."""

from typing import Any

import pytest

from tests.model import door, reply, store
from tests.model.checker import Found, search

HOSTS = {"hosts": 2, "crashes": 1, "tries": 3}
"""Two hosts over one database, one of which crashes once; no time passes."""
CLOCK = {"hosts": 1, "tries": 2, "ticks": 9}
"""45 minutes."""


def of_door(**rules: Any) -> Found:
    chosen = door.Rules(**rules)
    return search(door.start(chosen), door.steps(chosen), door.wrong)


def of_reply(**rules: Any) -> Found:
    return search(reply.State(), reply.steps(reply.Rules(**rules)), reply.wrong)


def of_store(**rules: Any) -> Found:
    return search(store.State(), store.steps(store.Rules(**rules)), store.wrong)


# --- the checker itself ---


def test_the_checker_finds_the_shortest_way():
    def steps(number: int):
        yield "one more", number + 1
        yield "twice as many", 2 * number

    found = search(1, steps, lambda number: "ten" if number == 10 else "")
    assert (found.broken, found.trace) == ("ten", ("one more", "twice as many", "one more", "twice as many"))
    assert str(found).splitlines()[:2] == ["ten", "  1. one more"]


def test_the_checker_says_when_a_model_is_too_large(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.model.checker.MOST", 100)
    with pytest.raises(RuntimeError):
        search(0, lambda number: [("on", number + 1)], lambda _: "")


# --- as it is ---


def test_with_hosts_and_a_crash_it_runs_once():
    found = of_door(**HOSTS)
    assert not found.broken, found
    assert found.states > 2000


@pytest.mark.parametrize("ahead", range(-6, 9))
def test_whatever_the_time_it_runs_once(ahead: int):
    found = of_door(**CLOCK, ahead=ahead)
    assert not found.broken, found
    assert found.states > 1000


def test_with_everything_at_once_it_runs_once():
    found = of_door(hosts=2, crashes=1, tries=2, ticks=7, ahead=3)
    assert not found.broken, found


def test_every_answer_is_its_requests():
    found = of_reply()
    assert not found.broken, found


def test_a_database_that_is_written_to_is_noticed():
    found = of_store()
    assert not found.broken, found
    assert found.states > 10_000


def test_a_longer_history_changes_nothing():
    found = of_store(versions=3, entries=3)
    assert not found.broken, found


# --- one line taken out of the door ---

SEAL, RUN = "the client seals {} to key {}", "{} arrives and runs"


def sealed(number: int, key: int = 0) -> str:
    return SEAL.format(number, key)


def runs(number: int) -> str:
    return RUN.format(number)


REPEATED = (sealed(0), runs(0), runs(0))
RETRIED = (sealed(0), sealed(1), runs(0), runs(1))
OTHER_KEY = (sealed(0), sealed(1, 1), runs(0), runs(1))


@pytest.mark.parametrize(
    ("rules", "broken", "trace"),
    [
        ({"once": False}, door.HERE, REPEATED),
        ({"same_id": False}, door.HERE, RETRIED),
        ({"shared": False}, door.HERE, OTHER_KEY),
        ({"refused_stay": False}, door.HERE, (sealed(0), runs(0), "0 fails", runs(0))),
        (
            {"commit_first": False},
            door.GONE,
            (sealed(0), runs(0), "0 is answered", "the client hears receipt", "host 0 crashes"),
        ),
        (
            {"asks_host": False},
            door.AFTER,
            (
                *(sealed(0), sealed(1, 1), runs(0)),
                *("1 arrives: lost", "the client hears lost", "0 is kept and answered"),
            ),
        ),
        (
            {"doubts": False},
            door.AFTER,
            (sealed(0), "the client hears a hint and believes it", runs(0), "0 is kept and answered"),
        ),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else None,
)
def test_a_line_is_missing_at_the_door(rules: dict[str, Any], broken: str, trace: tuple[str, ...]):
    found = of_door(**HOSTS, **rules)
    assert (found.broken, found.trace) == (broken, trace), found


@pytest.mark.parametrize(
    ("rules", "between"),
    [
        # The same bytes, when the silo has forgotten them and still takes their time.
        ({"life": 2}, ()),
        ({"window": 4, "ahead": 4}, ()),
        # The same bytes late: refused, so the client takes a new time, and that is acceptable for longer.
        ({"retimed": 99}, ("0 arrives: late", "the client hears late and takes a new time", sealed(1))),
        ({"life": 3}, ("0 arrives: late", "the client hears late and takes a new time", sealed(1))),
        # The first time comes true.
        (
            {"early_written": False, "ahead": 4},
            ("0 arrives: early", "the client hears early and takes a new time", sealed(1), runs(1)),
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, dict) else None,
)
def test_the_times_do_not_fit(rules: dict[str, Any], between: tuple[str, ...]):
    found = of_door(**CLOCK, **rules)
    assert found.broken == door.HERE, found
    order = [step for step in found.trace if step != "time passes"]
    assert "time passes" in found.trace
    if "ahead" in rules and between:
        assert order == [sealed(0), *between, runs(0)]
    else:
        assert order == [sealed(0), runs(0), *between, runs(1 if between else 0)]


def test_what_is_forgotten_after_twenty_minutes_is_forgotten_too_early():
    """Where the row lives exactly as long as a time is good, a client whose clock is a little fast has it run twice."""
    assert of_door(**CLOCK, life=4, ahead=2).broken == door.HERE


# --- one line taken out of answers ---


@pytest.mark.parametrize(
    "missing", [("two_secrets",), ("labels",), ("salt",), ("labels", "salt"), ("fresh",), ("transcript",)]
)
def test_answers_have_more_than_one_guard(missing: tuple[str, ...]):
    assert not of_reply(**dict.fromkeys(missing, False)).broken


def test_a_request_comes_back_as_its_own_answer():
    """No label for the direction, where nothing else tells the two streams apart either."""
    found = of_reply(labels=False, two_secrets=False, salt=False)
    assert found.broken == reply.OTHER
    assert found.trace == ("request 0 is sealed", "request 0 is given request 0")


def test_an_answer_comes_to_another_request():
    """No transcript in the key, where the secret is a lasting one."""
    found = of_reply(transcript=False, fresh=False)
    assert found.broken == reply.OTHER
    assert found.trace[-1] in ("request 1 is given answer 0", "request 0 is given answer 1")
    assert len(found.trace) == 4


# --- one line taken out of keyring and log ---


@pytest.mark.parametrize(
    ("rules", "broken", "trace"),
    [
        (
            {"names_account": False},
            store.NOBODYS,
            ("the account key is exchanged", "device 0 asks: entry 1 is written"),
        ),
        (
            {"names_keyring": False, "pin_file": False},
            store.NOBODYS,
            ("a stranger's keyring is put in", "device 0 asks: entry 1 is written"),
        ),
        (
            {"names_keyring": False},
            store.OLD,
            (
                "the administrator signs keyring 2",
                "device 0 looks for keyrings",
                "keyring 1 is put back",
                "device 0 asks: entry 1 is written",
            ),
        ),
        (
            {"keeps_newest": False},
            store.OLD,
            (
                "the administrator signs keyring 2",
                "device 0 asks: learns keyring 2",
                "keyring 1 is put back",
                "device 0 asks: learns keyring 1",
                "device 0 asks: entry 1 is written",
            ),
        ),
        (
            {"names_head": False},
            store.SHORT,
            ("device 0 asks: entry 1 is written", "the log is cut to 0", "device 0 asks: entry 1 is written"),
        ),
        (
            {"compares": False},
            store.UNSEEN,
            ("device 0 asks: entry 1 is written", "the log is cut to 0", "device 0 opens"),
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, dict) else None,
)
def test_a_line_is_missing_at_the_store(rules: dict[str, Any], broken: str, trace: tuple[str, ...]):
    found = of_store(**rules)
    assert (found.broken, found.trace) == (broken, trace), found


def test_the_pin_is_a_second_guard():
    """A device that has accepted a keyring names it: whoever exchanges pin and keyring together gains nothing."""
    assert not of_store(pin_file=False).broken
