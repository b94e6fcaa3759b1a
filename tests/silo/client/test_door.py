"""The transport against a silo, a network and strangers that lie."""

import json
import time
from typing import Any

import pytest

from silo.client.door import RETIMED, Broken, Door, Pin, Refused
from silo.client.history import Turn
from silo.client.session import Session
from silo.crypto.channel import Destination
from silo.crypto.encoding import b32, new_id
from silo.crypto.keys import Signer, fingerprint
from silo.errors import REFUSED, SiloError
from tests.silo.liar import HOUR, Liar, clear, http, refused
from tests.silo.talk import chat


async def test_a_turn_is_streamed_kept_and_opened(session: Session, liar: Liar):
    end = await chat(session, "grüße 🦩")
    assert (end.text, end.finish, end.error) == ("grüße 🦩", "stop", None)
    assert isinstance(end.opened, Turn)
    assert end.opened.reply.model == "liar"
    assert session.profile.head is not None
    assert session.profile.head.hash == b32(liar.records[0].sealed.entry_hash)
    assert session.home.read().last is not None


async def test_a_stale_key_is_replaced_under_the_same_request_id(session: Session, liar: Liar):
    await chat(session, "one")
    old = liar.keys
    # Still opened by the silo of the test, so that it can read which request came; the client is told otherwise.
    liar.keys = [*old, liar.new_key()]
    liar.keys_bent = {"keys": liar.keys[1:]}
    liar.before = [clear(409, "stale_key", keys=json.loads(liar.keys_answer(None)))]
    liar.seen.clear()
    await chat(session, "two")
    first, second = liar.seen[:2]
    assert (first.header.id, first.header.time) == (second.header.id, second.header.time)
    assert first.header.reply != second.header.reply


async def test_three_keys_are_tried_and_no_more(session: Session, liar: Liar):
    stranger = clear(409, "stale_key")
    liar.before = [stranger] * 9

    def another(nonce: str | None) -> bytes:
        liar.keys.append(liar.new_key())
        liar.keys_bent = {"keys": liar.keys[-1:]}
        return honest(nonce)

    honest, liar.keys_answer = liar.keys_answer, another
    with pytest.raises(SiloError) as caught:
        await session.me()
    assert caught.value.code == "stale_key"
    assert len(liar.before) == 6
    assert len({opened.header.id for opened in liar.seen}) == 1


async def test_one_key_that_is_always_stale_ends_too(session: Session, liar: Liar):
    liar.before = [clear(409, "stale_key", keys=json.loads(liar.keys_answer(None)))] * 9
    with pytest.raises(SiloError) as caught:
        await chat(session, "hello")
    assert caught.value.code == "stale_key"
    assert len(liar.seen) <= 3


async def test_keys_beside_stale_key_count_only_as_the_silo_signed_them(session: Session, liar: Liar):
    await chat(session, "one")
    liar.keys_bent = {"signer": Signer()}
    forged = json.loads(liar.keys_answer(None))
    liar.keys_bent = {}
    liar.keys = [liar.new_key()]
    liar.before = [clear(409, "stale_key", keys=forged)]
    liar.fetched = 0
    assert (await chat(session, "two")).text == "two"
    assert liar.fetched == 1


async def test_after_the_network_failed_it_is_the_same_request_sealed_anew(session: Session, liar: Liar):
    liar.before = [b""]
    end = await chat(session, "hello")
    assert end.text == "hello"
    first, second = liar.seen[:2]
    assert (first.header.id, first.header.time) == (second.header.id, second.header.time)
    assert first.header.request != second.header.request


async def test_busy_is_waited_for(session: Session, liar: Liar):
    liar.before = [clear(503, "busy")]
    assert (await chat(session, "hello")).text == "hello"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (clear(400, "cannot_open"), "cannot_open"),
        (clear(400, "bad_version"), "bad_version"),
        (clear(413, "too_large"), "too_large"),
        (clear(503, "not_ready"), "not_ready"),
        (clear(400, "unknown_device"), "bad_reply"),
        (clear(200, "cannot_open"), "bad_reply"),
        (clear(500, "cannot_open"), "bad_reply"),
        (http(502, b"<h1>Bad gateway</h1>", "text/html"), "bad_reply"),
        (http(200, b"<h1>Log in to the hotel</h1>", "text/html"), "bad_reply"),
        (http(404, b"[1]"), "bad_reply"),
        (http(400, b'{"error":{"code":[]}}'), "bad_reply"),
        (http(500, b"x" * 100_000), "bad_reply"),
        (b"HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n", "bad_reply"),
        (http(200, bytes(32) + bytes(272), "application/octet-stream"), "payload_failure"),
    ],
)
async def test_what_comes_in_the_clear_ends_the_request_and_nothing_else(
    session: Session, liar: Liar, answer: bytes, code: str
):
    before = session.home.read()
    liar.before = [answer]
    with pytest.raises(SiloError) as caught:
        await chat(session, "hello")
    assert caught.value.code == code
    assert not isinstance(caught.value, Refused)
    assert session.home.read() == before
    # It may have run all the same: that is asked, but not where the answer was changed under seal.
    asked = [opened.header.path.split("/")[1] for opened in liar.seen]
    assert asked == (["chat"] if code == "payload_failure" else ["chat", "turns"])


@pytest.mark.parametrize(
    ("bent", "code"),
    [
        ({"silo": bytes(16)}, "wrong_silo"),
        ({"signer": Signer()}, "wrong_silo"),
        ({"nonce": b32(bytes(32))}, "replay"),
        ({"nonce": None}, "replay"),
    ],
)
async def test_keys_of_another_silo_or_time_are_refused(session: Session, liar: Liar, bent: dict, code: str):
    session.home.keys_path.unlink()
    liar.keys_bent = bent
    with pytest.raises(SiloError) as caught:
        await chat(session, "hello")
    assert caught.value.code == code
    assert not liar.seen


async def test_a_key_that_lives_too_long_is_refused(session: Session, liar: Liar):
    session.home.keys_path.unlink()
    liar.keys = [liar.new_key(life=26 * HOUR)]
    with pytest.raises(SiloError) as caught:
        await chat(session, "hello")
    assert caught.value.code == "stale"


async def test_keys_that_are_not_signed_are_refused(session: Session, liar: Liar):
    session.home.keys_path.unlink()
    answer = json.loads(liar.keys_answer(None))
    answer["statement"] = answer["statement"].replace('"nonce":null', '"nonce": null')
    liar.keys_answer = lambda nonce: json.dumps(answer).encode()
    with pytest.raises(SiloError) as caught:
        await chat(session, "hello")
    assert caught.value.code == "forged"


async def test_transport_keys_are_kept_between_commands(enter, liar: Liar):
    await (await enter()).me()
    first = liar.fetched
    await (await enter()).me()
    assert liar.fetched == first


async def test_a_damaged_cache_is_no_cache(enter, liar: Liar):
    session = await enter()
    session.home.keys_path.write_text("{}")
    assert (await session.me()).user.name == "alice"
    assert liar.fetched == 1


async def test_a_wrong_clock_gives_way_to_the_pinned_silos(session: Session, liar: Liar, warnings: list[str]):
    liar.offset = 2 * HOUR
    liar.keys = [liar.new_key()]
    assert (await chat(session, "hello")).text == "hello"
    assert len(warnings) == 1
    assert "2 h behind the silo's" in warnings[0]


async def test_a_silo_that_always_says_clock_is_left(session: Session, liar: Liar):
    liar.instead["/me"] = lambda _: refused("clock", now=liar.now())
    with pytest.raises(Refused) as caught:
        await session.me()
    assert caught.value.code == "clock"
    assert len(liar.seen) == 2


async def test_nobody_there(liar: Liar):
    door = Door("http://127.0.0.1:9", Pin(liar.silo, bytes(32)), lambda: time.time_ns() // 10**6, print)
    async with door:
        with pytest.raises(Broken) as caught:
            await door.identity()
    assert caught.value.code == "unreachable"


async def test_without_a_device_it_signs_nothing(liar: Liar):
    pin = Pin(liar.silo, fingerprint(liar.identity.public))
    liar.instead["/me"] = lambda _: refused("unknown_device")
    async with Door(liar.url, pin, lambda: time.time_ns() // 10**6, print) as door:
        with pytest.raises(Refused):
            await door.ask(door.request("GET", "/me"), {})
    liar.seen[0].check_signature(None)


async def test_a_header_that_does_not_fit_is_not_sent(session: Session, liar: Liar):
    with pytest.raises(SiloError) as caught:
        await session.door.ask(session.door.request("GET", f"/turns/{new_id() * 80}"), {})
    assert caught.value.code == "too_large"
    assert not liar.seen


async def test_a_refusal_carries_what_the_silo_added(session: Session, liar: Liar):
    liar.instead["/chat"] = lambda _: refused("engine_busy", retry_after=7)
    with pytest.raises(Refused) as caught:
        await chat(session, "hello")
    assert (caught.value.code, caught.value.extra) == ("engine_busy", {"retry_after": 7})


@pytest.mark.parametrize(
    "body", [{}, {"error": "no"}, {"error": {"detail": 1}}, {"error": {"code": "busy", "detail": 1}}]
)
async def test_a_refusal_without_a_reason_is_no_answer(session: Session, liar: Liar, body: dict):
    liar.instead["/me"] = lambda _: (400, body)
    with pytest.raises(SiloError) as caught:
        await session.me()
    assert caught.value.code == "bad_reply"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "clock", "now": "x"}, "bad_reply"),
        ({"code": "clock", "now": None}, "bad_reply"),
        ({"code": "clock", "now": True}, "bad_reply"),
        ({"code": "clock", "now": 1.5}, "bad_reply"),
        ({"code": "clock", "now": -1}, "bad_reply"),
        ({"code": "clock", "now": 2**53}, "bad_reply"),
        ({"code": "clock"}, "bad_reply"),
        ({"code": "engine_busy", "retry_after": "soon"}, "bad_reply"),
        ({"code": "nonsense"}, "unknown_code"),
        ({"code": "wrong_passphrase"}, "unknown_code"),
        ({"code": "non\nsense"}, "bad_reply"),
        ({"code": "nonsense\n"}, "bad_reply"),
        ({"code": "\x1b[2J"}, "bad_reply"),
        ({"code": "x" * 41}, "bad_reply"),
        ({"code": ""}, "bad_reply"),
        ({"code": 1}, "bad_reply"),
        ({"code": "lost", "self": 1}, "lost"),
        ({"code": "keyring_changed"}, "bad_reply"),
        ({"code": "keyring_changed", "keyrings": [1]}, "bad_reply"),
    ],
)
async def test_a_refusal_of_any_shape_ends_in_a_sentence(session: Session, liar: Liar, error: dict, code: str):
    liar.instead["/chat"] = lambda _: (409, {"error": error})
    with pytest.raises(SiloError) as caught:
        await session._agree(session.door.request("POST", "/chat"), {})
    assert caught.value.code == code
    assert caught.value.sentence().isprintable()
    if code == "unknown_code":
        assert caught.value.sentence().endswith(f"does not know: {error['code']}")
        assert caught.value.row.exit == REFUSED


async def test_the_minutes_for_a_new_time_begin_with_the_first_try():
    clock, requests = [1_800_000_000_000], []

    class Cut:
        """An answer that comes slowly, and not to its end."""

        status, headers = 200, {}

        async def whole(self) -> bytes:
            clock[0] += RETIMED + 1
            raise Broken("truncated")

        async def close(self) -> None: ...

    class Slow(Door):
        async def _destination(self, stale: list[str]) -> Destination:
            return Destination(bytes(16), bytes(32), b"")

        async def _send(self, destination, request, content, sent) -> Any:
            requests.append(request)
            if len(requests) == 1:
                return Cut()
            raise Refused("clock", now=clock[0])

    async with Slow("http://127.0.0.1:9", Pin(bytes(16), bytes(32)), lambda: clock[0], print) as door:
        with pytest.raises(Refused) as caught:
            await door.ask(door.request("POST", "/deletions"), {})
    assert caught.value.code == "clock"
    assert len(requests) == 2
    assert len({(one.id, one.time) for one in requests}) == 1
