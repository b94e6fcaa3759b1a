"""Faults that take more than one request."""

import asyncio
from contextlib import suppress

from tests.middleman.proxy import Reply, Way


class Held:
    """Requests that are kept back, while their senders are left, and sent on later."""

    def __init__(self) -> None:
        self.ways: list[Way] = []

    async def fault(self, way: Way) -> None:
        """Keep it."""
        self.ways.append(way)
        way.hang_up()

    async def release(self) -> None:
        """Send all of them on, the last one first; nobody reads the answers."""
        while self.ways:
            await self.ways.pop().ask()


class Meeting:
    """Two requests of two senders, which wait for each other."""

    def __init__(self) -> None:
        self._waiting: tuple[Reply, asyncio.Future[Reply]] | None = None
        self._gone: asyncio.Event | None = None

    async def swapped(self, way: Way) -> None:
        """Each gets the other's answer; who meets nobody in time gets its own."""
        reply = await way.ask()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result(reply)
            reply = waiting[0]
        else:
            mine: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            self._waiting = reply, mine
            await asyncio.wait([mine], timeout=0.4)
            if mine.done():
                reply = mine.result()
            else:
                self._waiting = None
        await way.say(reply)

    async def reordered(self, way: Way) -> None:
        """The first one is sent on when the second has its answer."""
        if self._gone is None:
            self._gone = gone = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    await gone.wait()
            await way.stream()
        else:
            await way.stream()
            self._gone.set()


class Former:
    """Answers of before, given again."""

    def __init__(self) -> None:
        self._replies: list[Reply] = []

    async def fault(self, way: Way) -> None:
        """The first one gets its own answer, each other one the one before's."""
        self._replies.append(await way.ask())
        await way.say(self._replies[-2:][0])
