"""A small model checker: every state that can be reached, the nearest first, so that the first fault has the shortest
trace."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

S = TypeVar("S", bound=Hashable)
Steps = Callable[[S], Iterable[tuple[str, S]]]
"""What can happen next: its name, and the state after it."""

MOST = 400_000
"""States. More would make the tests slow; a model that needs more is cut smaller."""


@dataclass(frozen=True)
class Found:
    """What a search found."""

    states: int
    broken: str = ""
    """The property that does not hold; empty where all do."""
    trace: tuple[str, ...] = ()
    """How to get there, step by step."""

    def __str__(self) -> str:
        lines = [f"  {number}. {step}" for number, step in enumerate(self.trace, 1)]
        return "\n".join([self.broken or f"nothing in {self.states} states", *lines])


def search(start: S, steps: Steps[S], wrong: Callable[[S], str]) -> Found:
    """Look for a state of which `wrong` names a property that it breaks. Raises RuntimeError beyond MOST states."""
    before: dict[S, tuple[str, S] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        if broken := wrong(state):
            return Found(len(before), broken, _trace(before, state))
        for name, after in steps(state):
            if after not in before:
                before[after] = name, state
                waiting.append(after)
        if len(before) > MOST:
            raise RuntimeError(f"more than {MOST} states")
    return Found(len(before))


def _trace(before: dict[S, tuple[str, S] | None], state: S) -> tuple[str, ...]:
    names: list[str] = []
    while (step := before[state]) is not None:
        name, state = step
        names.append(name)
    return tuple(reversed(names))
