"""What the middleman can do to one request of the sealed door, by name."""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise

from silo.client.door import CLEAR
from tests.harness import now
from tests.middleman.company import HOUR, World
from tests.middleman.proxy import SALT, Fault, Reply, Way, honest

SEALED = "application/octet-stream"


# --- lost, late, repeated ---


async def lost_before(way: Way) -> None:
    """It never reaches the silo."""
    way.hang_up()


async def lost_after(way: Way) -> None:
    """It reaches the silo, and the answer reaches nobody."""
    await way.ask()
    way.hang_up()


async def left(way: Way) -> None:
    """It reaches the silo, and the sender is gone at once."""
    async with way.man.connection() as (_, writer):
        writer.write(way.passing.raw)
        await writer.drain()
    way.hang_up()


async def half(way: Way) -> None:
    """Half of it reaches the silo."""
    async with way.man.connection() as (_, writer):
        writer.write(way.passing.raw[: len(way.passing.raw) // 2])
        await writer.drain()
    way.hang_up()


async def late(way: Way) -> None:
    """Everything takes its time."""
    await asyncio.sleep(0.1)
    await way.stream(gap=0.02)


async def buffered(way: Way) -> None:
    """The answer comes in one piece when it has ended."""
    await way.say(await way.ask())


async def dribbled(way: Way) -> None:
    """The answer comes in small pieces that fit no frame."""
    reply = await way.ask()
    head = b"HTTP/1.1 200 X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    raw = head % (reply.kind.encode(), len(reply.body)) + reply.body
    for at in range(0, len(raw), 97):
        await way.write(raw[at : at + 97])
        await asyncio.sleep(0)


async def twice_first(way: Way) -> None:
    """The same bytes are sent twice at the same time; the first answer is given."""
    first, _ = await asyncio.gather(way.ask(), way.ask())
    await way.say(first)


async def twice_second(way: Way) -> None:
    """The same bytes are sent twice at the same time; the second answer is given."""
    _, second = await asyncio.gather(way.ask(), way.ask())
    await way.say(second)


async def again(way: Way) -> None:
    """The same bytes are sent again when the answer has come; the second answer is given."""
    await way.ask()
    await way.say(await way.ask())


async def five_times(way: Way) -> None:
    """The same bytes are sent five times."""
    replies = await asyncio.gather(*(way.ask() for _ in range(5)))
    await way.say(replies[2])


# --- cut ---


def cut(where: Callable[[Reply], int]) -> Fault:
    """The silo answers in full, and the client gets the first bytes of it."""

    async def fault(way: Way) -> None:
        reply = await way.ask()
        await way.say(reply.cut(max(0, where(reply))), end=False)

    return fault


def ended(where: Callable[[Reply], int]) -> Fault:
    """The same, and HTTP says that this was all."""

    async def fault(way: Way) -> None:
        reply = await way.ask()
        await way.say(reply.cut(max(0, where(reply))))

    return fault


def live(upto: int, keep: bool) -> Fault:
    """The client is left after so many bytes, while the silo still speaks; it is left too, or not."""

    async def fault(way: Way) -> None:
        await way.stream(upto=upto, keep=keep)

    return fault


# --- changed ---


def flipped(where: Callable[[Reply], int]) -> Fault:
    """One bit of the answer is another."""

    async def fault(way: Way) -> None:
        reply = await way.ask()
        at = where(reply) % len(reply.body)
        body = reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :]
        await way.say(Reply(reply.status, reply.kind, body))

    return fault


def shuffled(change: Callable[[list[bytes]], list[bytes]]) -> Fault:
    """The answer's frames come otherwise."""

    async def fault(way: Way) -> None:
        reply = await way.ask()
        ends = reply.frames()
        frames = [reply.body[start:end] for start, end in pairwise(ends)]
        await way.say(Reply(reply.status, reply.kind, reply.body[:SALT] + b"".join(change(frames))))

    return fault


def said(reply: Reply, ran: bool) -> Fault:
    """Something else is said, whether the request `ran` or never came to the silo."""

    async def fault(way: Way) -> None:
        if ran:
            await way.ask()
        await way.say(reply)

    return fault


async def bent_request(way: Way) -> None:
    """One bit of the request's body is another."""
    raw = way.passing.raw
    await way.say(await way.man.ask(raw[:-1] + bytes([raw[-1] ^ 1])))


async def bent_header(way: Way) -> None:
    """One bit of the request's sealed header is another."""
    raw = way.passing.raw
    at = raw.index(b"\r\n\r\n") + 4 + 2000
    await way.say(await way.man.ask(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]))


async def request_cut(way: Way) -> None:
    """The request ends too early, and says so."""
    head, _, body = way.passing.raw.partition(b"\r\n\r\n")
    target = head.split(b" ")[1]
    raw = b"POST %b HTTP/1.1\r\nhost: silo\r\ncontent-length: %d\r\n\r\n" % (target, len(body) - 5)
    await way.say(await way.man.ask(raw + body[:-5]))


# --- hints ---


def clear(code: str, **more: object) -> Reply:
    """An answer in the clear, as anybody can give it."""
    return Reply(CLEAR[code], "application/json", json.dumps({"error": {"code": code}, **more}).encode())


def stale_key(keys: Callable[[Way], "str | None"] | None, ran: bool) -> Fault:
    """`stale_key`, with keys that somebody signed, or none."""

    async def fault(way: Way) -> None:
        if ran:
            await way.ask()
        if keys is None:
            await way.say(clear("stale_key"))
        else:
            await way.say(clear("stale_key", keys=keys(way) or (await way.man.keys()).decode()))

    return fault


# --- by name ---


def end_of(number: int) -> Callable[[Reply], int]:
    """Where a frame ends, counted from the salt (0), from the end where negative."""

    def where(reply: Reply) -> int:
        ends = reply.frames()
        return ends[max(-len(ends), min(number, len(ends) - 1))]

    return where


def near(where: Callable[[Reply], int], by: int) -> Callable[[Reply], int]:
    """A little before or behind."""
    return lambda reply: where(reply) + by


CUTS: dict[str, Callable[[Reply], int]] = {
    "nothing": lambda _: 0,
    "inside the salt": lambda _: SALT - 1,
    "the salt": end_of(0),
    "inside a length": near(end_of(0), 2),
    "a length": near(end_of(0), 4),
    "a byte less than a frame": near(end_of(1), -1),
    "a frame": end_of(1),
    "a byte more than a frame": near(end_of(1), 1),
    "two frames": end_of(2),
    "all but the last frame": end_of(-2),
    "inside the last frame": near(end_of(-1), -150),
    "all but the last byte": near(end_of(-1), -1),
    "all but HTTP's own end": end_of(-1),
}
FLIPS: dict[str, Callable[[Reply], int]] = {
    "salt": lambda _: 3,
    "length": end_of(0),
    "frame": near(end_of(0), 99),
    "last": near(end_of(-1), -9),
}
HTML = {
    "502": Reply(502, "text/html", b"<h1>Bad gateway</h1>"),
    "hotel": Reply(200, "text/html", b"<h1>Log in to the hotel</h1>"),
    "moved": Reply(302, "text/html", b""),
    "empty": Reply(204, "", b""),
    "error without a code": Reply(400, "application/json", b'{"error":{}}'),
    "a sealed refusal's code": Reply(409, "application/json", b'{"error":{"code":"lost"}}'),
    "not JSON": Reply(409, "application/json", b'{"error":{"code":"stale_key"}}{'),
}


class Faults:
    """Every fault at one silo."""

    def __init__(self, world: World, other: World) -> None:
        self._by_name = make(world, other)

    def __getitem__(self, name: str) -> Fault:
        return self._by_name[name]


def make(world: World | None, other: World | None) -> dict[str, Fault]:
    """name -> fault; without worlds, for the names alone."""
    found: dict[str, Fault] = {
        "honest": honest,
        "lost before": lost_before,
        "lost after": lost_after,
        "left": left,
        "half sent": half,
        "late": late,
        "buffered": buffered,
        "dribbled": dribbled,
        "twice, the first answer": twice_first,
        "twice, the second answer": twice_second,
        "again": again,
        "five times": five_times,
        "bent request": bent_request,
        "bent header": bent_header,
        "request cut": request_cut,
        "garbage": said(Reply(200, SEALED, bytes(SALT) + b"\0\0\1\x10" + bytes(272)), True),
        "left while it speaks": live(SALT + 1, keep=False),
        "listened to alone": live(SALT + 1, keep=True),
    }
    for name, where in CUTS.items():
        found[f"cut: {name}"] = cut(where)
        found[f"ended: {name}"] = ended(where)
    for name, where in FLIPS.items():
        found[f"flipped: {name}"] = flipped(where)
    found["frame twice"] = shuffled(lambda frames: [frames[0], *frames])
    found["frame missing"] = shuffled(lambda frames: frames[1:])
    found["frames reversed"] = shuffled(lambda frames: frames[::-1])
    found["bytes after"] = shuffled(lambda frames: [*frames, frames[-1]])
    for name, reply in HTML.items():
        found[f"said: {name}"] = said(reply, True)
    for code in CLEAR:
        if code != "stale_key":
            found[f"{code} before"] = said(clear(code), False)
            found[f"{code} after"] = said(clear(code), True)
    signed: dict[str, Callable[[Way], str | None] | None] = {
        "no keys": None,
        "its own keys": lambda _: None,
        "keys of another host": lambda _: world.other_host()[1](None).decode() if world else "",
        "yesterday's keys": lambda _: world.other_host(now() - 25 * HOUR)[1](None).decode() if world else "",
        "keys of tomorrow": lambda _: world.other_host(now() + 25 * HOUR)[1](None).decode() if world else "",
        "keys of another silo": lambda _: other.other_host()[1](None).decode() if other else "",
        "no JSON": lambda _: "{",
    }
    for name, keys in signed.items():
        found[f"stale_key before, {name}"] = stale_key(keys, False)
        found[f"stale_key after, {name}"] = stale_key(keys, True)
    return found


NAMES = [name for name in make(None, None) if name != "honest"]
