"""One timer for many: everyone once a period, nobody twice in a hurry."""

import asyncio
import time
from itertools import pairwise

import pytest

from appliance.beat import Beat

PERIOD = 0.05


async def until(met, within: float = 10) -> None:
    for _ in range(int(within / 0.005)):
        if met():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


@pytest.mark.parametrize("places", [1, 10])
async def test_each_member_is_called_once_a_period(places):
    beat = Beat(PERIOD, places)
    called: list[list[float]] = [[] for _ in range(7)]
    clock = asyncio.get_running_loop().time
    began: list[float] = []
    leaves = []
    for times in called:
        began.append(clock())
        leaves.append(beat.join(lambda times=times: times.append(clock())))
        await asyncio.sleep(PERIOD / 7)
    await until(lambda: all(len(times) >= 8 for times in called))
    for leave in leaves:
        leave()
    for start, times in zip(began, called, strict=True):
        # A call may be late, and the next one on time again; the beat as a whole is never fast.
        assert times[0] - start >= PERIOD - PERIOD / places - 0.005
        assert times[7] - times[0] >= 7 * PERIOD - PERIOD / places - 0.005


async def test_who_has_left_is_not_called_and_an_empty_beat_stops():
    beat = Beat(PERIOD, 10)
    called: list[str] = []
    stays, goes = (beat.join(lambda name=name: called.append(name)) for name in ("stays", "goes"))
    await until(lambda: {"stays", "goes"} <= set(called))
    goes()
    goes()
    called.clear()
    await until(lambda: len(called) >= 3)
    assert set(called) == {"stays"}
    stays()
    await asyncio.sleep(2 * PERIOD)
    called.clear()
    await asyncio.sleep(2 * PERIOD)
    assert called == []
    beat.join(lambda: called.append("again"))
    await until(lambda: bool(called))


async def test_a_beat_that_was_held_up_does_not_hurry():
    beat = Beat(PERIOD, 10)
    clock = asyncio.get_running_loop().time
    times: list[float] = []
    leave = beat.join(lambda: times.append(clock()))
    await until(lambda: len(times) == 2)
    time.sleep(3.5 * PERIOD)  # noqa: ASYNC251 - the loop is to be blocked
    await until(lambda: len(times) == 6)
    leave()
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) >= 3.5 * PERIOD
    assert min(gaps) >= PERIOD * 0.8


async def test_a_member_that_fails_does_not_stop_the_others():
    beat = Beat(PERIOD, 1)
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    called: list[float] = []
    leave = beat.join(lambda: called.append(0))
    beat.join(lambda: 1 / 0)
    await until(lambda: len(called) >= 3)
    leave()
    assert {type(one) for one in failures} == {ZeroDivisionError}
