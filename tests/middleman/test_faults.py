"""Every fault at every point of one question: it runs once or not at all, and its person is told which."""

import re

import pytest

from silo.client.door import CLEAR
from tests.middleman.company import Told, World
from tests.middleman.faults import CUTS, NAMES, left, lost_after, make
from tests.middleman.proxy import Fault, Passing, Script, honest

POINTS: dict[str, list[Fault]] = {
    "chat": [],
    "retry": [lost_after],  # the same turn, sealed anew after the first answer was lost
    "turns": [lost_after, honest],  # what became of it?
    "open": [honest],  # what the silo wrote, opened for a test
}
"""What happens before the request that the fault is for."""

CHANGED = {"garbage", "frame twice", "bytes after", *(name for name in NAMES if name.startswith("flipped"))}
"""The answer is another: named, and nothing of it taken."""
OF_FRAMES = {"frame missing", "frames reversed"}
"""The same, where the answer has more than one frame."""
CODES = {
    "bent request": "bad_request",
    "request cut": "bad_request",
    "bent header": "cannot_open",
} | {name: name.split(" ")[0] for name in NAMES if " before" in name and name.split(" ")[0] not in ("lost", "busy")}
"""Faults because of which nothing ran, and what is then said."""
FEW = re.compile("ended: |cut: (inside the salt|inside a length|a frame|a byte more than|two frames|all but the last)")
"""Cuts that tell nothing new of an answer that has one frame."""
PASSES = {"late", "buffered", "dribbled", "twice, the first answer", "twice, the second answer", "again", "five times"}
"""Faults that take nothing away, however often."""


def at(prefix: list[Fault], fault: Fault, always: bool) -> Script:
    """The fault for the door's request after `prefix`, and for all that follow where `always` says so."""

    def script(passing: Passing) -> Fault | None:
        if passing.kind != "door":
            return None
        if passing.number <= len(prefix):
            return prefix[passing.number - 1]
        return fault if always or passing.number == len(prefix) + 1 else None

    return script


async def meet(world: World, script: Script) -> Told:
    async with world.scene() as scene, scene.session() as session:
        scene.man.script = script
        told = await scene.ask(session)
        await scene.judge(session, told)
    return told


@pytest.mark.parametrize(
    ("point", "name"), [(point, name) for point in POINTS for name in NAMES if point == "chat" or not FEW.match(name)]
)
async def test_one_fault_at_one_point(world: World, other: World, point: str, name: str):
    told = await meet(world, at(POINTS[point], make(world, other)[name], always=False))
    if name in CHANGED or (name in OF_FRAMES and point == "chat"):
        assert told.how == "payload_failure"
    elif point == "chat" and name in CODES:
        assert told.how == CODES[name]
        assert world.engine.jobs(told.mark) == 0
    elif name == "left" and told.how == "lost":
        # The silo saw its sender go before the first word.
        assert point == "chat"
    else:
        # It was healed: the whole reply, or what the silo had of it when it was left.
        assert told.how == "kept"
        assert told.end
        if name == "left while it speaks":
            # Cut it may be even when the last word was there.
            assert told.end.finish == "cut" or (told.end.finish == "stop" and told.end.text == told.prompt)
        else:
            assert told.end.finish == "stop"
        assert world.engine.jobs(told.mark) == 1


ALWAYS = [
    name
    for name in NAMES
    if not re.match("cut: |ended: ", name) or name in ("cut: nothing", "ended: a frame", "cut: inside the last frame")
]


@pytest.mark.parametrize("name", ALWAYS)
async def test_a_fault_that_does_not_end(world: World, other: World, name: str):
    told = await meet(world, at([], make(world, other)[name], always=True))
    if name in PASSES:
        assert told.how == "kept"
    elif name in CHANGED or name in OF_FRAMES:
        assert told.how == "payload_failure"
    elif name.startswith("said: "):
        assert told.how == "bad_reply"
    elif name == "ended: a frame":
        # Whether one frame is all of an answer is a matter of how fast the words come.
        assert told.how in ("kept", "unsettled")
    else:
        first = name.split(" ")[0]
        assert told.how == CODES.get(name, first if first in CLEAR else "unsettled")
    if told.error is not None and told.how not in ("payload_failure", "lost"):
        # Nobody is told that it did not run by somebody who cannot know.
        assert "silo logs" in told.error.sentence() + told.error.row.hint


@pytest.mark.parametrize("name", [f"cut: {name}" for name in CUTS] + ["left while it speaks", "listened to alone"])
async def test_a_paced_answer_that_breaks_off(world: World, other: World, name: str):
    """Cover follows the end of these: what is lost of it takes nothing away."""
    told = await meet(other, at([], make(world, other)[name], always=False))
    assert told.how == "kept"


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("upto", [32, 33, 304, 305, 600, 900, 1200])
@pytest.mark.parametrize("keep", [True, False], ids=["the silo is heard to its end", "the silo is left"])
async def test_a_client_that_is_cut_off_while_the_silo_speaks(world: World, upto: int, gap: int, keep: bool):
    async def fault(way):
        await way.stream(upto=upto, keep=keep)

    async with world.scene() as scene, scene.session() as session:
        scene.man.script = at([], fault, always=False)
        told = await scene.ask(session, f"gap {gap} chunks 12 words")
        await scene.judge(session, told)
    assert told.how in ("kept", "lost")
    assert told.how == "kept" or not keep


async def test_a_sender_that_is_gone_at_once(world: World):
    """Nobody ever listens: the turn is cut, before its first word or after it, and never made again."""
    async with world.scene() as scene, scene.session() as session:
        scene.man.script = at([], left, always=False)
        told = await scene.ask(session, "gap 20 words")
        await scene.judge(session, told)
    assert told.how in ("kept", "lost")
