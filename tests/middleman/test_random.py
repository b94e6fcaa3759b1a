"""Chance: any fault at any moment, one asker or two. `MIDDLEMAN_SEEDS=2000` runs more, `=5000-5010` these alone."""

import asyncio
import os
import random

import pytest

from tests.middleman.company import World
from tests.middleman.faults import NAMES, cut, flipped, live, make
from tests.middleman.pairs import Former, Held, Meeting
from tests.middleman.proxy import Fault, Passing, Reply, Way
from tests.middleman.test_keys import lies

MOST = 12
"""Faults a scenario; then the middleman tires, so that every one ends."""
TOLD = {
    *("kept", "bad_request", "bad_version", "cannot_open", "too_large", "not_ready", "busy", "stale_key", "bad_reply"),
    *("payload_failure", "forged", "replay", "wrong_silo", "unreachable", "truncated", "unsettled", "in_progress"),
    *("lost",),
}


def seeds() -> range:
    first, _, last = os.environ.get("MIDDLEMAN_SEEDS", "150").rpartition("-")
    return range(int(first), int(last) + 1) if first else range(int(last))


class Chance:
    """A script that throws dice."""

    def __init__(self, seed: int, world: World, other: World) -> None:
        self._dice = random.Random(seed)
        self._faults = make(world, other)
        self._lies = [fault for fault, _ in lies(world, other).values()]
        self._left = MOST
        self._often = self._dice.choice((0.2, 0.5, 0.9))
        self.held = Held()
        self._meeting = Meeting()
        self._former = Former()

    def __call__(self, passing: Passing) -> Fault | None:
        dice = self._dice
        if not self._left or dice.random() > self._often:
            return None
        self._left -= 1
        if passing.kind == "keys":
            return dice.choice(self._lies)
        return dice.choice((self._named, self._named, self._placed, self._paired, self._slow))()

    def _named(self) -> Fault:
        return self._faults[self._dice.choice(NAMES)]

    def _placed(self) -> Fault:
        at, odds = self._dice.randrange(1500), self._dice.random()

        def where(_: Reply) -> int:
            return at

        return cut(where) if odds < 0.4 else flipped(where) if odds < 0.5 else live(at, keep=odds < 0.8)

    def _paired(self) -> Fault:
        meeting = self._meeting
        return self._dice.choice((self.held.fault, meeting.swapped, meeting.reordered, self._former.fault))

    def _slow(self) -> Fault:
        before, gap = self._dice.uniform(0, 0.2), self._dice.uniform(0, 0.03)

        async def fault(way: Way) -> None:
            await asyncio.sleep(before)
            await way.stream(gap=gap)

        return fault


@pytest.mark.parametrize("seed", seeds())
async def test_by_chance(world: World, other: World, seed: int):
    script = Chance(seed, world, other)
    dice = random.Random(-seed - 1)
    async with world.scene() as scene, scene.session(fresh=dice.random() < 0.3) as one, scene.session() as two:
        scene.man.script = script
        prompts = dice.sample(("one two three", "gap 4 chunks 10", "gap 40 late"), dice.choice((1, 1, 2)))
        tolds = await asyncio.gather(
            *(scene.ask(session, prompt) for session, prompt in zip((one, two), prompts, strict=False))
        )
        assert {told.how for told in tolds} <= TOLD
        # What was kept back comes after all.
        scene.man.script = lambda _: None
        await script.held.release()
        await scene.judge(one, *tolds)
