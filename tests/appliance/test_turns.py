"""Turns under trouble: clients that go away, requests that come twice, writers at once, engines that fail."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from appliance.engine.fake import Fake
from silo.crypto.channel import KEY_LIFE, Seen
from silo.crypto.encoding import b32, b64, new_id, write_json
from silo.crypto.opening import Log, OpenedRecord
from tests.appliance.company import (
    OwnEngine,
    another_device,
    another_person,
    behind,
    listen,
    send_only,
    until,
    walk_log,
)
from tests.conftest import Serve
from tests.harness import Answered, Device, Served, now

NewDevice = Callable[[str], Device]
Start = Callable[..., tuple[Served, Device, OwnEngine]]


Shared = tuple[Served, Device, OwnEngine]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Shared]:
    """One silo for the tests that do nothing to it; each gets a person of its own there."""
    engine = OwnEngine()
    data = tmp_path_factory.mktemp("turns") / "silo"
    served = Served(data, engine.spec, SILO_SHAPE="fast", SILO_PARALLEL="32", SILO_QUEUE="100").start()
    admin = Device(served.link).set_up()
    yield served, admin, engine
    admin.http.close()
    served.stop()
    engine.end()


@pytest.fixture
def start(
    shared: Shared, serve: Serve, new_device: NewDevice, own_engine: Callable[..., OwnEngine], devices: list[Device]
) -> Start:
    """A silo, one person's device at it, and its engine, which is asked how much it runs.

    With settings, or as its `own`, it is this test's alone.
    """

    def begin(own: bool = False, **settings: str) -> tuple[Served, Device, OwnEngine]:
        if settings or own:
            engine = own_engine("--context", settings.get("SILO_CONTEXT", "4096"))
            served = serve(engine.spec, **{"SILO_SHAPE": "fast"} | settings)
            return served, new_device(served.link).set_up(), engine
        served, admin, engine = shared
        devices.append(another_person(served, admin, new_id()))
        return served, devices[-1], engine

    return begin


@pytest.fixture
def devices() -> Iterator[list[Device]]:
    """Devices whose connections are closed at the end."""
    found: list[Device] = []
    yield found
    for device in found:
        device.http.close()


def written(served: Served, device: Device) -> list[str]:
    """What is written of this device's requests."""
    with behind(served) as database:
        rows = database.execute("SELECT state FROM once WHERE device = ? ORDER BY id", (b32(device.device),))
        return [state for (state,) in rows]


def reply_of(record: OpenedRecord) -> dict[str, Any]:
    return json.loads(record.content)["reply"]


def state_of(device: Device, turn: str) -> str:
    answered = device.ask("GET", f"/turns/{turn}")
    return answered.code or answered.json["state"]


# --- clients that go away ---


@pytest.mark.parametrize("shape", [{}, {"SILO_SHAPE": "steady"}], ids=["fast", "steady"])
def test_a_client_going_away_mid_reply_keeps_its_cut_turn(start: Start, shape: dict[str, str]) -> None:
    _, device, engine = start(**shape)
    prompt, turn = "chunks 1000 gap 20 räksmörgås and so on", new_id()
    reply = listen(device, prompt, turn=turn).until_words(10)
    assert engine.running() == 1
    assert state_of(device, turn) == "running"
    reply.leave()
    # The engine's place is free within a second of it, and the record is there soon after.
    until(lambda: engine.running() == 0, 1)
    until(lambda: state_of(device, turn) == "kept", 5)
    [record] = device.history()
    kept = reply_of(record)
    assert kept["finish"] == "cut"
    assert kept["content"].startswith(reply.heard)
    whole = "".join(Fake.pieces(prompt, 1000, []))
    assert whole.startswith(kept["content"])
    assert len(kept["content"]) < len(whole)
    # Nothing of it stands in the way of the next turn.
    assert device.chat("the next one").end["kept"]["index"] == 2


def test_a_client_going_away_before_the_first_word_keeps_nothing(start: Start) -> None:
    served, device, engine = start()
    request = device.request("POST", "/chat")
    body = device.chat_body("gap 700 patience")
    connection = send_only(device, request, body)
    until(lambda: engine.running() == 1, 5)
    connection.close()
    until(lambda: engine.running() == 0, 1)
    until(lambda: state_of(device, body["turn"]) == "lost", 5)
    assert device.history() == []
    assert written(served, device) == ["refused"]
    # Who recorded it cannot have it run now; its person may ask anew.
    again = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert (again.status, again.code) == (409, "lost")
    assert device.chat("anew").end["kept"]["index"] == 1


def test_a_client_going_away_in_the_middle_of_its_request_leaves_no_trace(start: Start) -> None:
    served, device, engine = start()
    request = device.request("POST", "/chat")
    body = device.chat_body("a long story " * 3000)
    for part in (0.1, 0.5, 0.99):
        send_only(device, request, body, part).close()
    assert device.chat("something else").end["kept"]["index"] == 1
    assert engine.last()["messages"][-1]["content"] == "something else"
    assert state_of(device, body["turn"]) == "not_found"
    assert written(served, device) == ["done"]
    assert "error" not in served.log.read_text()


def test_clients_that_go_away_at_any_moment_leave_a_whole_log(start: Start) -> None:
    """Each leaves a little later than the one before: before, while and after the request is written down."""
    served, device, engine = start()
    bodies = [device.chat_body(f"chunks 3 gap 4 number {number}") for number in range(40)]
    for number, body in enumerate(bodies):
        connection = send_only(device, device.request("POST", "/chat"), body)
        time.sleep(number * 0.0005)
        connection.close()
    until(lambda: engine.running() == 0, 5)
    states = until(lambda: settled([state_of(device, body["turn"]) for body in bodies]), 10)
    log = Log(device.silo, device.user)
    walk_log(device, log)
    assert log.at == states.count("kept") == len(device.history())
    # One that was begun and not kept stays written down; one that never arrived is unknown.
    assert set(states) <= {"kept", "lost", "not_found"}
    assert device.chat("and now").end["kept"]["index"] == log.at + 1
    assert '"level": "error"' not in served.log.read_text()


def settled(states: list[str]) -> list[str]:
    return [] if "running" in states else states


def test_stopping_the_silo_keeps_the_turn_under_way(start: Start, new_device: NewDevice) -> None:
    served, device, _ = start(own=True)
    reply = listen(device, "chunks 1000 gap 20 words").until_words(5)
    assert served.stop() == 0
    served.start()
    [record] = device.moved(served.url).history()
    assert reply_of(record)["finish"] == "cut"
    assert reply_of(record)["content"].startswith(reply.heard)
    reply.leave()


# --- writers at once ---


def test_twenty_writers_on_one_account_leave_one_chain(start: Start, devices: list[Device]) -> None:
    served, device, _ = start()
    others = [another_device(served, device) for _ in range(19)]
    devices += others
    writers = [device, *others]

    def write(writer: Device) -> list[Answered]:
        answers: list[Answered] = []
        for number in range(5):
            answers.append(writer.chat(f"turn {number}"))
            kept = answers[-1].end["kept"]
            # As an honest client does: it has seen what it was given.
            writer.head = Seen(at=kept["index"], hash=kept["entry"])
        return answers

    with ThreadPoolExecutor(len(writers)) as pool:
        answers = [one for each in pool.map(write, writers) for one in each]
    assert sorted(one.end["kept"]["index"] for one in answers) == list(range(1, 101))
    # Each opens, and its receipt is the silo's for this core at this place.
    records = device.history()
    assert [record.place.index for record in records] == list(range(1, 101))
    assert len({record.place.id for record in records}) == 100
    assert not any(records[0].place.previous)
    assert all(one.entry_hash == next_.place.previous for one, next_ in pairwise(records))
    log = Log(device.silo, device.user)
    head = walk_log(device, log)
    assert head is not None
    assert log.hash == records[-1].entry_hash


# --- once only ---


def test_the_same_request_many_times_at_once_runs_once(start: Start) -> None:
    _, device, _ = start()
    request = device.request("POST", "/chat")
    body = device.chat_body("chunks 5 gap 60 only once")

    def ask(_: int) -> Answered:
        return device.ask("POST", "/chat", body, id=request.id, time=request.time)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    ran = [one for one in answers if one.status == 200]
    assert len(ran) == 1
    assert {one.code for one in answers if one.status != 200} <= {"in_progress", "already_done"}
    assert len(device.history()) == 1
    again = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert (again.status, again.code) == (409, "already_done")
    assert again.json["error"]["kept"] == ran[0].end["kept"]


def test_the_same_request_id_for_another_turn_runs_once(start: Start) -> None:
    _, device, _ = start()
    request = device.request("POST", "/chat")
    first = device.ask("POST", "/chat", device.chat_body("one"), id=request.id)
    other = device.ask("POST", "/chat", device.chat_body("two"), id=request.id)
    assert other.code == "already_done"
    assert other.json["error"]["kept"] == first.end["kept"]
    assert len(device.history()) == 1


def test_a_turn_id_under_another_request_id_runs_once(start: Start) -> None:
    _, device, _ = start()
    body = device.chat_body("chunks 10 gap 30 twice")
    request = device.request("POST", "/chat")
    reply = listen(device, "", request=request, **body).until_words(1)
    assert device.ask("POST", "/chat", body).code == "in_progress"
    first = reply.rest()
    again = device.ask("POST", "/chat", body)
    assert again.code == "already_done"
    assert again.json["error"]["kept"] == first.end["kept"]
    assert len(device.history()) == 1


def test_a_turn_id_under_many_request_ids_at_once_runs_once(start: Start) -> None:
    _, device, _ = start()
    body = device.chat_body("chunks 5 gap 30 many")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: device.ask("POST", "/chat", body), range(8)))
    assert [one.status for one in answers].count(200) == 1
    assert {one.code for one in answers if one.status != 200} <= {"in_progress", "already_done"}
    assert len(device.history()) == 1


def test_another_device_may_use_the_same_request_id(start: Start, devices: list[Device]) -> None:
    served, device, _ = start()
    other = another_device(served, device)
    devices.append(other)
    request = device.request("POST", "/chat")
    for one in (device, other):
        assert one.ask("POST", "/chat", one.chat_body("hello"), id=request.id).status == 200
    assert len(device.history()) == 2


def test_states_of_a_turn(start: Start) -> None:
    served, device, _ = start(own=True)
    unknown, body = new_id(), device.chat_body("chunks 10 gap 30 states")
    turn = body["turn"]
    assert state_of(device, unknown) == "not_found"
    reply = listen(device, "", **body).until_words(1)
    assert device.ask("GET", f"/turns/{turn}").json == {"state": "running", "kept": None}
    end = reply.rest().end
    assert device.ask("GET", f"/turns/{turn}").json == {"state": "kept", "kept": end["kept"]}
    body = device.chat_body("chunks 100 gap 30 crash")
    request = device.request("POST", "/chat")
    reply = listen(device, "", request=request, **body).until_words(1)
    served.kill()
    reply.leave()
    served.start()
    device.moved(served.url)
    assert device.ask("GET", f"/turns/{body['turn']}").json == {"state": "lost", "kept": None}
    lost = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert (lost.status, lost.code) == (409, "lost")
    # The turn as a new request is another matter: nothing of it was kept.
    assert device.ask("POST", "/chat", device.chat_body("new", turn=body["turn"])).end["kept"]["index"] == 2
    assert state_of(device, body["turn"]) == "kept"


def test_a_request_that_was_asked_for_and_not_found_never_runs(start: Start, devices: list[Device]) -> None:
    """A middleman keeps it back, lets its client ask what became of it, and sends it on afterwards (SPEC 4.3)."""
    served, device, engine = start()
    body, request = device.chat_body("kept back"), device.request("POST", "/chat")
    data, opener = device.seal(request, write_json(body))
    path, asked = f"/turns/{body['turn']}", {"request": request.id}
    # Only a look: without the request's id nothing is written down.
    for look in ({}, {"request": None}):
        assert device.ask("GET", path, look).code == "not_found"
    assert written(served, device) == []
    # Another device's word does not count.
    other = another_device(served, device)
    devices.append(other)
    assert other.ask("GET", path, asked).code == "not_found"
    assert written(served, device) == []
    # As often as it is asked.
    for _ in range(3):
        assert device.ask("GET", path, asked).code == "not_found"
        assert written(served, device) == ["refused"]
    late = device.post(data, opener)
    assert (late.status, late.code) == (409, "lost")
    assert device.ask("GET", path, asked).code == "not_found"
    assert engine.last().get("messages", []) != [{"role": "user", "content": "kept back"}]
    # What is once only anywhere else stays away too.
    bag = {"version": 1, "last": {"at": 1, "hash": "a" * 52}, "sealed": b64(bytes(2000))}
    assert device.ask("PUT", f"/bags/{new_id()}", bag, id=request.id).code == "lost"
    # The turn as a new request is its person's next try.
    assert device.ask("POST", "/chat", body).end["kept"]["index"] == 1
    assert device.ask("GET", path, asked).json["state"] == "kept"


def test_it_stays_refused_for_as_long_as_a_key_could_open_it(start: Start) -> None:
    served, device, _ = start()
    request = new_id()
    assert device.ask("GET", f"/turns/{new_id()}", {"request": request}).code == "not_found"
    with behind(served) as database:
        [(time_,)] = database.execute("SELECT time FROM once WHERE request = ?", (request,))
    assert abs(time_ - KEY_LIFE - now()) < 60_000


def test_a_lost_turn_does_not_come_back_under_its_other_request(start: Start) -> None:
    """One turn, two requests: the first was refused, the second is kept back."""
    served, device, _ = start()
    body = device.chat_body("two requests")
    request = device.request("POST", "/chat")
    with behind(served) as database:
        database.execute(
            "INSERT INTO once (device, request, time, host, state, turn) VALUES (?, ?, ?, 'gone', 'running', ?)",
            (b32(device.device), new_id(), now(), body["turn"]),
        )
    assert device.ask("GET", f"/turns/{body['turn']}", {"request": request.id}).json["state"] == "lost"
    assert device.ask("POST", "/chat", body, id=request.id, time=request.time).code == "lost"
    assert device.history() == []


def test_asking_and_arriving_at_once_agree(start: Start) -> None:
    _, device, _ = start()
    met: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(2) as pool:
        for round_ in range(40):
            body, request = device.chat_body("race"), device.request("POST", "/chat")
            data, opener = device.seal(request, write_json(body))
            asking = pool.submit(device.ask, "GET", f"/turns/{body['turn']}", {"request": request.id})
            time.sleep(0.0004 * (round_ % 10))
            arrived = device.post(data, opener)
            said = asking.result()
            met.add((said.code or said.json["state"], arrived.code or "ran"))
            assert device.ask("GET", f"/turns/{body['turn']}").code == ("not_found" if arrived.code else "")
    assert met <= {("not_found", "lost"), ("running", "ran"), ("kept", "ran")}
    assert ("not_found", "lost") in met


def test_another_persons_turn_is_unknown(start: Start, devices: list[Device]) -> None:
    served, device, _ = start()
    body = device.chat_body("mine")
    device.ask("POST", "/chat", body)
    other = another_person(served, device, new_id())
    devices.append(other)
    assert state_of(other, body["turn"]) == "not_found"
    # The id is the client's own choice: somebody else may have chosen the same.
    assert other.chat("theirs", turn=body["turn"]).end["kept"]["index"] == 1
    assert [len(one.history()) for one in (device, other)] == [1, 1]


# --- engines that fail ---


def test_an_engine_killed_mid_stream_is_a_clear_end_and_comes_back(serve: Serve, new_device: NewDevice) -> None:
    served = serve("fake", SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    answered = device.chat("chunks 50 gap 5 crash after 7 or so")
    assert answered.status == 200
    assert answered.end["finish"] == "failed"
    assert answered.end["error"]["code"] == "engine_failed"
    assert answered.end["kept"]["index"] == 1
    [record] = device.history()
    kept = reply_of(record)
    assert kept["finish"] == "failed"
    assert kept["content"] == answered.text
    assert len(answered.text.split()) == 7

    def answers() -> bool:
        again = device.chat("are you back")
        assert again.code in ("", "engine_down", "engine_failed")
        return again.status == 200

    until(answers, 20)
    assert len(device.history()) == 2


def test_an_engine_killed_before_the_first_word_is_a_refusal(serve: Serve, new_device: NewDevice) -> None:
    device = new_device(serve("fake", SILO_SHAPE="fast").link).set_up()
    body = device.chat_body("crash after 0")
    answered = device.ask("POST", "/chat", body)
    assert (answered.status, answered.code) == (502, "engine_failed")
    assert device.history() == []
    assert state_of(device, body["turn"]) == "lost"


def test_a_busy_engine_is_a_refusal_that_says_when(start: Start) -> None:
    _, device, engine = start(SILO_PARALLEL="1", SILO_QUEUE="0")
    reply = listen(device, "chunks 1000 gap 20 long").until_words(1)
    request, body = device.request("POST", "/chat"), device.chat_body("short")
    answered = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert (answered.status, answered.code) == (429, "engine_busy")
    assert 1 <= answered.json["error"]["retry_after"] <= 60
    reply.leave()
    until(lambda: engine.running() == 0, 1)
    # Its person was told that it did not run, so it never does; the next try is a request of its own.
    again = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert (again.status, again.code) == (409, "lost")
    assert device.ask("POST", "/chat", body).status == 200


def test_one_that_waits_in_the_queue_may_go_away(start: Start) -> None:
    _, device, engine = start(SILO_PARALLEL="1", SILO_QUEUE="1")
    reply = listen(device, "chunks 1000 gap 20 long").until_words(1)
    body = device.chat_body("waiting")
    waiting = send_only(device, device.request("POST", "/chat"), body)
    until(lambda: state_of(device, body["turn"]) == "running", 5)
    assert device.chat("no room").code == "engine_busy"
    waiting.close()
    until(lambda: state_of(device, body["turn"]) == "lost", 5)
    reply.leave()
    until(lambda: engine.running() == 0, 1)
    assert engine.last()["messages"][-1]["content"].startswith("chunks 1000")
    assert device.chat("room again").status == 200


def test_a_conversation_beyond_the_context_is_refused_before_any_word(start: Start) -> None:
    _, device, engine = start(SILO_CONTEXT="128")
    for prompt in ("word " * 200, "w" * 500_000):
        body = device.chat_body(prompt)
        answered = device.ask("POST", "/chat", body)
        assert (answered.status, answered.code) == (400, "context_overflow")
        assert answered.json["error"]["limit"] == 128
        assert state_of(device, body["turn"]) == "lost"
    assert device.history() == []
    assert engine.running() == 0
    assert device.chat("short").status == 200
