"""One timer for many streams that each want a turn every so often."""

import asyncio
from collections.abc import Callable


class Beat:
    """Calls each member once every `period` seconds.

    The period is cut into `places`, and a member keeps the one it was given: all members of a place are called in
    a row, so that the process wakes up once for all of them. A beat that was held up goes on from there: it neither
    calls twice to make up for it nor shortens the next round.
    """

    def __init__(self, period: float, places: int) -> None:
        self._step = period / places
        self._places: list[dict[object, Callable[[], object]]] = [{} for _ in range(places)]
        self._next = 0
        self._due = 0.0
        self._runs = False

    def join(self, call: Callable[[], object]) -> Callable[[], object]:
        """Call `call` from now on, the first time after a period less at most one place; gives what ends it.

        `call` must be short and must not block.
        """
        if not self._runs:
            self._runs = True
            self._wait(asyncio.get_running_loop().time() + self._step)
        member = object()
        place = self._places[self._next - 1]  # the one whose time was last
        place[member] = call
        return lambda: place.pop(member, None)

    def _wait(self, due: float) -> None:
        self._due = due
        asyncio.get_running_loop().call_at(due, self._beat)

    def _beat(self) -> None:
        try:
            for call in tuple(self._places[self._next].values()):
                call()
        finally:
            self._next = (self._next + 1) % len(self._places)
            self._runs = any(self._places)
            if self._runs:
                self._wait(max(self._due + self._step, asyncio.get_running_loop().time()))
