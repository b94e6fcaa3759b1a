"""What takes more than one request: reordered, swapped, kept back, and answers of before."""

import asyncio

import pytest

from tests.middleman.company import World
from tests.middleman.faults import lost_after
from tests.middleman.pairs import Former, Held, Meeting
from tests.middleman.proxy import Fault


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_two_requests_in_another_order(world: World, number: int):
    """The first, second … request of each of two askers changes places with the other's."""
    meeting = Meeting()
    async with world.scene() as scene, scene.session() as one, scene.session() as other:
        scene.man.script = lambda passing: (
            meeting.reordered if passing.kind == "door" and passing.number in (2 * number - 1, 2 * number) else None
        )
        tolds = await asyncio.gather(scene.ask(one), scene.ask(other))
        assert [told.how for told in tolds] == ["kept", "kept"]
        await scene.judge(one, *tolds)


async def test_two_answers_change_places(world: World):
    meeting = Meeting()
    async with world.scene() as scene, scene.session() as one, scene.session() as other:
        scene.man.script = lambda passing: meeting.swapped if passing.kind == "door" and passing.number < 3 else None
        tolds = await asyncio.gather(scene.ask(one), scene.ask(other))
        assert [told.how for told in tolds] == ["payload_failure", "payload_failure"]
        assert [told.heard for told in tolds] == ["", ""]
        await scene.judge(other, *tolds)


async def test_an_answer_of_before_is_none(world: World):
    """To another request, and to the very same one, whose later sealing has keys of its own."""
    former = Former()
    async with world.scene() as scene, scene.session() as session:
        await session.me()
        first = len(scene.man.passed)
        scene.man.script = lambda passing: former.fault if passing.kind == "door" else None
        await session.me()
        told = await scene.ask(session)
        assert told.how == "payload_failure"
        assert len(scene.man.passed) > first
        again = Former()
        faults: list[Fault] = [lost_after, again.fault, again.fault]
        scene.man.script = lambda passing: faults.pop(0) if passing.kind == "door" and faults else None
        other = await scene.ask(session)
        assert other.how == "payload_failure"
        await scene.judge(session, told, other)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
async def test_what_is_kept_back_and_sent_later_runs_once(world: World, count: int):
    """The first sendings are kept back; all of them reach the silo when the person has been told something.

    What the person was told lost does not run then; what may run still is not said to be away or lost.
    """
    held = Held()
    async with world.scene() as scene, scene.session() as session:
        scene.man.script = lambda passing: held.fault if passing.kind == "door" and passing.number <= count else None
        told = await scene.ask(session)
        # With all tries of it kept back the silo makes sure that none runs, unless it cannot be asked that either.
        assert told.how == ("kept" if count < 3 else "lost" if count < 9 else "unsettled")
        await held.release()
        jobs = world.engine.jobs(told.mark)
        # Where the question was kept back too, whichever of the two comes first decides.
        assert jobs in {"kept": (1,), "lost": (0,), "unsettled": (0, 1)}[told.how]
        await scene.judge(session, told)
