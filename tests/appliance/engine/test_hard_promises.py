"""What protocol.Engine promises when things go wrong, held against every kind of engine."""

import asyncio
import time

import pytest

from silo.errors import SiloError

KINDS = ("llama", "fake", "attached-llama", "attached-fake")


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_frees_the_slot_within_a_second(kind, make_rig):
    rig = await make_rig(kind, parallel=1)
    short = rig.job("Hi", max_tokens=1)
    began = time.monotonic()
    await rig.ask(short)
    alone = time.monotonic() - began
    for _ in range(3):
        reply = rig.begin(rig.long_job())
        await reply.has(3)
        reply.task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await reply.task
        pieces = len(reply.pieces)
        await rig.ask(short)  # there is one slot
        assert time.monotonic() - began < 1 + alone
        if rig.program == "fake":
            assert await rig.fake("running") == {"running": 0}
        assert len(reply.pieces) == pieces


async def test_cancelling_while_the_prompt_is_read_frees_the_slot_within_a_second(make_rig):
    rig = await make_rig("llama", parallel=1, context=4096)
    short = rig.job("Hi", max_tokens=1)
    began = time.monotonic()
    await rig.ask(short)
    alone = time.monotonic() - began
    reply = rig.begin(rig.job("word " * 3000))
    await asyncio.sleep(0.5)
    assert not reply.task.done()
    assert not reply.pieces
    reply.task.cancel()
    began = time.monotonic()
    await rig.ask(short)
    assert time.monotonic() - began < 1 + alone


async def test_a_crash_in_the_middle_fails_and_the_engine_comes_back(rig):
    reply = rig.begin(rig.long_job())
    await reply.has(3)
    before = reply.text
    rig.kill()
    with pytest.raises(SiloError) as caught:
        await asyncio.wait_for(reply.task, 5)
    assert caught.value.code == "engine_failed"
    assert reply.text.startswith(before)
    await rig.until(lambda: not rig.engine.ready, 5)
    assert rig.engine.models()
    with pytest.raises(SiloError) as caught:
        await rig.ask(rig.job())
    assert caught.value.code == "engine_down"
    rig.serve()
    await rig.until(lambda: rig.engine.ready)
    assert (await rig.ask(rig.job()))[0]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_queue_is_bounded_and_first_come_first_served(kind, make_rig):
    rig = await make_rig(kind, parallel=1, queue=2)
    running = rig.begin(rig.long_job())
    await running.has(1)
    order: list[int] = []
    waiting = []
    for number in range(2):
        waiting.append(rig.begin(rig.job(max_tokens=2)))
        waiting[-1].task.add_done_callback(lambda _, number=number: order.append(number))
    await asyncio.sleep(0)
    began = time.monotonic()
    with pytest.raises(SiloError) as caught:
        await rig.engine.run(rig.job(), print)
    assert time.monotonic() - began < 0.5  # refused, not queued
    assert caught.value.code == "engine_busy"
    assert 1 <= caught.value.extra["retry_after"] <= 60
    assert type(caught.value.extra["retry_after"]) is int

    left = rig.begin(rig.job(max_tokens=2))
    with pytest.raises(SiloError):
        await left.task
    waiting[0].task.cancel()  # leaves the queue, and makes room in it
    await asyncio.sleep(0)
    last = rig.begin(rig.job(max_tokens=2))
    await asyncio.sleep(0.05)
    assert not any(reply.pieces for reply in (*waiting, last))
    running.task.cancel()
    assert (await waiting[1].task).completion_tokens
    assert not last.task.done()
    assert (await last.task).completion_tokens
    assert order == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_ends_where_the_context_does(kind, make_rig):
    rig = await make_rig(kind, context=256)
    job = rig.job("the sea " * 40 + "chunks 500", max_tokens=None, temperature=1.0, seed=3, stop=())
    _, finish = await rig.ask(job)
    assert finish.prompt_tokens + finish.completion_tokens <= 257
    assert finish.reason in ("length", "stop")


async def test_stop_ends_the_streams_and_everything_it_started(rig):
    replies = [rig.begin(rig.long_job()) for _ in range(rig.parallel)]
    for reply in replies:
        await reply.has(1)
    waiting = rig.begin(rig.job())
    await asyncio.sleep(0)
    await rig.engine.stop()
    for reply in (*replies, waiting):
        with pytest.raises(SiloError) as caught:
            await reply.task
        assert caught.value.code == "engine_down"
    assert not waiting.pieces
    assert not rig.engine.ready
    with pytest.raises(SiloError) as caught:
        await rig.ask(rig.job())
    assert caught.value.code == "engine_down"
    await rig.engine.stop()
    if rig.attached:
        assert rig.socket.exists()  # it is not ours to end
    else:
        assert not rig.folder.exists()
