"""Transport keys and clocks: only the pinned identity, asked just now, moves a device's clock."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from silo.client.door import SKEW
from silo.crypto.encoding import b64, unb64
from tests.harness import now
from tests.middleman.company import HOUR, World
from tests.middleman.faults import HTML, clear, lost_before, said
from tests.middleman.proxy import Fault, Reply, Script, Way

MINUTE = 60_000


def keys(fault: Fault, times: int = 1) -> Script:
    """The fault for the first so many questions for keys."""
    return lambda passing: fault if passing.kind == "keys" and passing.number <= times else None


def nonce_of(way: Way) -> str:
    return way.passing.target.partition("nonce=")[2]


def instead(answer: Callable[[Way], bytes]) -> Fault:
    async def fault(way: Way) -> None:
        await way.say(Reply(200, "application/json", answer(way)))

    return fault


def bent(change: Callable[[dict], None]) -> Fault:
    """The silo's own answer, one thing in it changed."""

    async def fault(way: Way) -> None:
        answer = json.loads((await way.ask()).body)
        statement = json.loads(answer["statement"])
        change(statement)
        answer["statement"] = json.dumps(statement, separators=(",", ":"))
        await way.say(Reply(200, "application/json", json.dumps(answer).encode()))

    return fault


def lies(world: World | None, other: World | None) -> dict[str, tuple[Fault, str]]:
    """What can be said of keys, and what it is called."""

    def honest_of(which: World | None) -> World:
        assert which
        return which

    async def cut(way: Way) -> None:
        reply = await way.ask()
        await way.say(reply.cut(len(reply.body) - 9), end=False)

    async def another_nonce(way: Way) -> None:
        await way.say(Reply(200, "application/json", await way.man.keys("a" * 52)))

    async def no_nonce(way: Way) -> None:
        await way.say(Reply(200, "application/json", await way.man.keys()))

    async def signature(way: Way) -> None:
        answer = json.loads((await way.ask()).body)
        raw = bytearray(unb64(answer["signature"]))
        raw[5] ^= 1
        await way.say(Reply(200, "application/json", json.dumps(answer | {"signature": b64(bytes(raw))}).encode()))

    found: dict[str, tuple[Fault, str]] = {
        "now an hour later": (bent(lambda said: said.update(now=said["now"] + HOUR)), "forged"),
        "now an hour before": (bent(lambda said: said.update(now=said["now"] - HOUR)), "forged"),
        "a longer life": (bent(lambda said: said["keys"][0].update(until=said["keys"][0]["until"] + HOUR)), "forged"),
        "our nonce on another answer": (bent(lambda said: said.update(nonce="a" * 52)), "forged"),
        "another signature": (signature, "forged"),
        "an answer to somebody else": (another_nonce, "replay"),
        "an answer to nobody": (no_nonce, "replay"),
        "another silo's": (instead(lambda way: honest_of(other).other_host()[1](nonce_of(way))), "wrong_silo"),
        "yesterday's": (instead(lambda _: honest_of(world).other_host(now() - 25 * HOUR)[1]("a" * 52)), "replay"),
        "no JSON": (instead(lambda _: b"{"), "bad_reply"),
        "too long": (instead(lambda _: b" " * 100_000), "bad_reply"),
    }
    for name, reply in HTML.items():
        found[f"said: {name}"] = (said(reply, False), "bad_reply")
    found["cut"] = (cut, "kept")
    found["lost"] = (lost_before, "kept")
    return found


@pytest.mark.parametrize("name", lies(None, None))
async def test_a_lie_about_keys(world: World, other: World, name: str):
    fault, how = lies(world, other)[name]
    async with world.scene() as scene, scene.session(fresh=True) as session:
        scene.man.script = keys(fault)
        told = await scene.ask(session)
        assert told.how == how
        # Nothing was sealed to a key that nobody vouched for, and nobody's clock was moved.
        assert (world.engine.jobs(told.mark) == 0) == (how != "kept")
        assert how == "kept" or not any(passing.kind == "door" for passing in scene.man.passed)
        assert abs(session.door.now() - now()) < SKEW
        await scene.judge(session, told)


# --- clocks ---

DAY = 24 * HOUR
YEAR = 365 * DAY


@pytest.mark.parametrize("fresh", [True, False], ids=["no keys", "kept keys"])
@pytest.mark.parametrize(
    "off",
    [0, 3 * MINUTE, -3 * MINUTE, 9 * MINUTE, 11 * MINUTE, -11 * MINUTE, 2 * HOUR, -2 * HOUR, DAY, -DAY, -40 * YEAR],
)
async def test_a_device_whose_clock_is_wrong_is_served(world: World, off: int, fresh: bool):
    async with world.scene() as scene:
        async with scene.session() as session:
            await session.me()
        async with scene.session(lambda: now() + off, fresh) as session:
            told = await scene.ask(session)
            assert told.how == "kept"
            if abs(off) > 10 * MINUTE:
                assert abs(session.door.now() - now()) < MINUTE
                assert len([one for one in told.warnings if "clock" in one]) == 1
            await scene.judge(session, told)


@pytest.mark.parametrize("off", [2 * HOUR, -2 * HOUR])
async def test_a_wrong_clock_is_healed_after_the_first_answer_was_lost(world: World, off: int):
    async def cut(way: Way) -> None:
        reply = await way.ask()
        await way.say(reply.cut(100), end=False)

    async with world.scene() as scene, scene.session(lambda: now() + off, fresh=True) as session:
        scene.man.script = keys(cut)
        told = await scene.ask(session)
        assert told.how == "kept"
        await scene.judge(session, told)


@pytest.mark.parametrize("minutes", [3, 9, 60, 24 * 60])
async def test_an_answer_that_is_kept_back_moves_no_clock(world: World, minutes: int):
    """The middleman lets time pass; the device's clock shows it, and was right all along."""
    passed = 0
    seen: list[int] = []

    async def kept_back(way: Way) -> None:
        nonlocal passed
        reply = await way.ask()
        passed = minutes * MINUTE
        await way.say(reply)

    async with world.scene() as scene, scene.session(lambda: now() + passed, fresh=True) as session:
        scene.man.script = keys(kept_back)
        await session.door.identity()
        seen.append(session.door.now() - (now() + passed))
    assert abs(seen[0]) < 1000
    assert not scene.warnings


async def test_old_keys_beside_a_hint_move_no_clock(world: World):
    """A statement that the silo signed yesterday, given back with every hint."""
    old = world.other_host(now() - 20 * HOUR)[1](None).decode()

    async def hint(way: Way) -> None:
        await way.say(clear("stale_key", keys=old))

    async with world.scene() as scene, scene.session() as session:
        scene.man.script = lambda passing: hint if passing.kind == "door" and passing.number == 1 else None
        told = await scene.ask(session)
        assert abs(session.door.now() - now()) < 1000
        await scene.judge(session, told)
    assert not [one for one in told.warnings if "clock" in one]


async def test_two_silos_are_never_taken_for_each_other(world: World, other: World):
    """Everything that was meant for the one goes to the other."""
    async with world.scene() as scene, other.scene() as elsewhere, scene.session() as session:

        async def astray(way: Way) -> None:
            await way.say(await elsewhere.man.ask(way.passing.raw))

        before = other.written()
        for script in (keys(astray, 99), lambda passing: astray if passing.kind == "door" else None, lambda _: astray):
            scene.man.script = script
            if script is not None:
                world.home.keys_path.unlink(missing_ok=True)
            told = await scene.ask(session)
            assert told.how in ("kept", "stale_key", "wrong_silo")
            assert told.how == "kept" or world.engine.jobs(told.mark) == 0
            assert other.engine.jobs(told.mark) == 0
        assert other.written() == before
        await scene.judge(session)


# --- long waits, on a silo whose clock the test moves ---


class LateWorld(World):
    """A silo whose clock is as far ahead as a file says."""

    def __init__(self, folder: Path) -> None:
        self.ahead = folder / "ahead"
        self._set(0)
        super().__init__(folder, program=("-m", "tests.middleman.late"), SILO_TEST_AHEAD=str(self.ahead))

    def now(self) -> int:
        return now() + int(self.ahead.read_text())

    def _set(self, milliseconds: int) -> None:
        # In one step: the silo reads it at any moment.
        new = self.ahead.with_suffix(".new")
        new.write_text(str(milliseconds))
        new.replace(self.ahead)

    async def wait(self, minutes: int) -> None:
        """Let so much time pass for everybody, and the silo forget what is old."""
        self._set(int(self.ahead.read_text()) + minutes * MINUTE)
        await asyncio.sleep(0.4)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory):
    one = LateWorld(tmp_path_factory.mktemp("late"))
    yield one
    one.end()


async def first_word_never_came(slow: LateWorld, way: Way) -> None:
    """The request runs, and its sender is gone before the first word: nothing is kept of it."""
    jobs = len(slow.engine.prompts)
    async with way.man.connection() as (_, writer):
        writer.write(way.passing.raw)
        while len(slow.engine.prompts) == jobs:  # noqa: ASYNC110 - another thread's doing
            await asyncio.sleep(0.01)
    await slow.quiet()


@pytest.mark.parametrize("minutes", [4, 11, 31, 45])
@pytest.mark.parametrize("hint", ["hint", "silence", "the same bytes"])
async def test_what_was_forgotten_is_not_run_again(slow: LateWorld, minutes: int, hint: str):
    """It ran and left nothing; then the next try, or the same bytes, are kept back until the silo forgets."""

    async def first(way: Way) -> None:
        await first_word_never_came(slow, way)
        if hint == "the same bytes":
            await slow.wait(minutes)
            await way.say(await way.ask())
        elif hint == "hint":
            await way.say(clear("busy"))
        else:
            way.hang_up()

    async def second(way: Way) -> None:
        if hint != "the same bytes":
            await slow.wait(minutes)
        await way.stream()

    faults = {1: first, 2: second}
    async with slow.scene() as scene, scene.session(slow.now) as session:
        await session.me()
        door = sum(passing.kind == "door" for passing in scene.man.passed)
        scene.man.script = lambda passing: faults.get(passing.number - door) if passing.kind == "door" else None
        told = await scene.ask(session, "gap 400 word")
        # What the silo has forgotten it does not know, and the device does not try anew by itself.
        assert told.how == ("lost" if minutes < 30 else "clock")
        assert slow.engine.jobs(told.mark) == 1
        await scene.judge(session, told)


@pytest.mark.parametrize("ends", ["kept", "lost"])
async def test_a_request_from_the_future_is_not_run_when_its_time_comes(slow: LateWorld, ends: str):
    """The clock is refused, the request made anew runs, and hours later the first bytes are given to the silo again."""
    recorded: list[bytes] = []

    async def record(way: Way) -> None:
        recorded.append(way.passing.raw)
        if ends == "lost" and len(recorded) == 2:
            await first_word_never_came(slow, way)
            way.hang_up()
        else:
            await way.stream()

    ahead = 2 * HOUR
    async with slow.scene() as scene:
        async with scene.session(slow.now) as session:
            await session.me()
        async with scene.session(lambda: slow.now() + ahead) as session:
            scene.man.script = lambda passing: record if passing.kind == "door" else None
            told = await scene.ask(session, "gap 300 word" if ends == "lost" else "word")
            assert told.how == ends
            assert slow.engine.jobs(told.mark) == 1
            await slow.wait(115)
            for raw in recorded:
                await scene.man.ask(raw)
            await slow.quiet()
            assert slow.engine.jobs(told.mark) == 1
            await scene.judge(session, told)
