"""What protocol.Engine promises, held against every kind of engine: jobs that leave it as it was."""

import asyncio
import time
from dataclasses import replace

import pytest

from appliance.engine import Message
from silo.errors import SiloError

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_streams_in_pieces(shared):
    reply = shared.begin(shared.job("Tell me about the sea", max_tokens=10))
    finish = await reply.task
    assert len(reply.pieces) >= 3
    assert all(reply.pieces)
    assert finish.prompt_tokens >= 5
    assert finish.completion_tokens >= 5


async def test_is_ready_and_names_its_models(shared):
    assert shared.engine.ready
    (model,) = shared.engine.models()
    assert model.id
    assert model.context == shared.context


async def test_the_same_job_gets_the_same_reply(shared):
    job = shared.job("Name a bird", seed=-5)
    assert (await shared.ask(job))[0] == (await shared.ask(job))[0]


async def test_continues_a_conversation(shared):
    text, finish = await shared.ask(shared.job("My name is Ada", "Hello Ada", "What is my name, do you think?"))
    assert text
    assert finish.prompt_tokens > (await shared.ask(shared.job("What is my name, do you think?")))[1].prompt_tokens


async def test_max_tokens_ends_with_length(shared):
    reply = shared.begin(shared.job("one two three four five six", max_tokens=3))
    finish = await reply.task
    assert finish.reason == "length"
    assert finish.completion_tokens == 3
    assert len(reply.pieces) <= 3


async def test_a_stop_string_ends_with_stop_and_is_left_out(shared):
    whole, _ = await shared.ask(shared.job("Tell me about the wide and stormy sea", max_tokens=30))
    stop = whole.split()[3]
    text, finish = await shared.ask(
        shared.job("Tell me about the wide and stormy sea", max_tokens=30, stop=("¤¤", stop))
    )
    assert finish.reason == "stop"
    assert stop not in text
    assert whole.startswith(text)


async def test_a_reply_may_be_empty(shared):
    job = shared.job("Say hello", temperature=0.0)
    whole, _ = await shared.ask(job)
    text, finish = await shared.ask(replace(job, stop=(whole[0],)))
    assert (text, finish.reason) == ("", "stop")


async def test_jobs_run_side_by_side(shared):
    words = ["red green blue", "one two three"]
    alone = [(await shared.ask(shared.job(each)))[0] for each in words]
    assert [text for text, _ in await asyncio.gather(*(shared.ask(shared.job(each)) for each in words))] == alone


async def test_refuses_a_model_it_does_not_serve(shared):
    with pytest.raises(SiloError) as caught:
        await shared.ask(shared.job(model="no-such-model"))
    assert caught.value.code == "unknown_model"


async def test_a_callback_that_raises_ends_the_stream_with_its_error(shared):
    def on_text(text: str) -> None:
        raise KeyError("mine")

    for _ in range(shared.parallel + 1):  # no slot is lost over it
        with pytest.raises(KeyError, match="mine"):
            await shared.engine.run(shared.long_job(), on_text)
    assert (await shared.ask(shared.job()))[0]


async def test_too_long_a_conversation_is_refused_before_any_text(shared):
    reply = shared.begin(shared.job("word " * (shared.context + 200)))
    with pytest.raises(SiloError) as caught:
        await reply.task
    assert caught.value.code == "context_overflow"
    assert caught.value.extra["limit"] == shared.context
    assert caught.value.extra["needed"] > shared.context
    assert not reply.pieces
    assert (await shared.ask(shared.job()))[0]


async def test_what_cannot_fit_is_not_even_asked(shared):
    began = time.monotonic()
    with pytest.raises(SiloError) as caught:
        await shared.ask(shared.job("🦩" * 4_000_000))  # the engine would count for some ten seconds
    assert time.monotonic() - began < 2
    assert caught.value.code == "context_overflow"
    assert caught.value.extra == {"limit": shared.context}


@pytest.mark.parametrize(
    ("messages", "detail"),
    [((), "messages"), ((Message("user", "\ud800"),), "messages.content"), ((Message("tool", "x"),), "messages.role")],
    ids=["none", "no Unicode", "role"],
)
async def test_refuses_what_is_no_conversation(shared, messages, detail):
    with pytest.raises(SiloError) as caught:
        await shared.ask(replace(shared.job(), messages=messages))
    assert (caught.value.code, caught.value.detail) == ("bad_request", detail)


async def test_answers_odd_text(shared):
    for text in ("", "\x00", "\u202e\u200b\U000e0041", "\x1b]52;c;aGk=\x07", "<|im_start|>", "🦩" * 50):
        _, finish = await shared.ask(shared.job(text, max_tokens=3))
        assert finish.completion_tokens, ascii(text)
