"""Answers as a model: two requests, each sealed twice, and whoever carries the bytes gives anything to anybody.

Keys are terms: two keys are one exactly when they were derived from the same things. A frame opens with its own key.
"""

from collections.abc import Iterator
from typing import NamedTuple

OTHER = "a client took what is no answer to its request"


class Rules(NamedTuple):
    """What tells one stream's key from another's (SPEC 4.1, 4.4)."""

    two_secrets: bool = True
    """One for the request, one for the reply."""
    labels: bool = True
    """A label for each direction."""
    salt: bool = True
    """The silo's own, beside the transcript."""
    fresh: bool = True
    """Both secrets are drawn at each sealing; False: once in a device's life."""
    transcript: bool = True
    """The hash of the request's first bytes."""


Key = tuple[object, ...]
REQUESTS, TRIES = 2, 2


class State(NamedTuple):
    """What is in the air, and what each request was answered with."""

    air: frozenset[tuple[Key, str]] = frozenset()
    """Frames: (key, what is in them)."""
    sent: tuple[int, ...] = (0,) * REQUESTS
    took: tuple[str, ...] = ("",) * REQUESTS


def _keys(rules: Rules, request: int, number: int) -> tuple[Key, Key]:
    """The keys of one sealing: of its request and, under whichever salt is shown, of its reply."""
    sealing = (request, number)
    source = sealing if rules.fresh else "device"
    common = sealing if rules.transcript else ""
    one: Key = (source, "request" if rules.two_secrets else "", "request" if rules.labels else "", common, "")
    two = (source, "reply" if rules.two_secrets else "", "reply" if rules.labels else "", common)
    return one, (*two, "salt" if rules.salt else "")


def steps(rules: Rules):
    """What can happen in a state, under these rules."""

    def happens(state: State) -> Iterator[tuple[str, State]]:
        for request in range(REQUESTS):
            number = state.sent[request]
            if number < TRIES and not state.took[request]:
                one, _ = _keys(rules, request, number)
                sent = tuple(number + 1 if each == request else count for each, count in enumerate(state.sent))
                frame = one, f"request {request}"
                yield f"request {request} is sealed", state._replace(air=state.air | {frame}, sent=sent)
            for sealing in range(number):
                one, two = _keys(rules, request, sealing)
                frame = two, f"answer {request}"
                yield f"the silo answers request {request}", state._replace(air=state.air | {frame})
            if number and not state.took[request]:
                _, two = _keys(rules, request, number - 1)
                for key, what in sorted(state.air, key=repr):
                    if key == two:
                        took = tuple(what if each == request else old for each, old in enumerate(state.took))
                        yield f"request {request} is given {what}", state._replace(took=took)

    return happens


def wrong(state: State) -> str:
    """The property that does not hold."""
    fits = all(took in ("", f"answer {request}") for request, took in enumerate(state.took))
    return "" if fits else OTHER
