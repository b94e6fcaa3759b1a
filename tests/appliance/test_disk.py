"""A disk that is nearly full, and one that fills in the middle of a turn."""

import json
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from silo.crypto.opening import Log
from tests.appliance.company import Listening, OwnEngine, turn_body, walk_log
from tests.conftest import Serve
from tests.harness import Device, Served

NewDevice = Callable[[str], Device]


def test_a_nearly_full_disk_refuses_before_the_model_runs(
    serve: Serve, new_device: NewDevice, own_engine: Callable[..., OwnEngine], tmp_path: Path
) -> None:
    engine = own_engine()
    data = tmp_path / "silo"
    margin = {"SILO_DISK_MARGIN_MB": str(16 * 1024 * 1024), "SILO_SHAPE": "fast"}
    served = serve(engine.spec, data=data, **margin)
    device = new_device(served.link).set_up()
    request, body = device.request("POST", "/chat"), device.chat_body("no room for this")
    refused = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert (refused.status, refused.code) == (507, "storage_full")
    assert engine.last() == {}
    # What is there can be read, and no record was written.
    assert device.history() == []
    assert device.ask("GET", f"/turns/{body['turn']}").json == {"state": "lost", "kept": None}
    served.stop()
    # With room there are turns again; what was refused never runs, its person was told so.
    roomy = serve(engine.spec, data=data, SILO_SHAPE="fast")
    device.moved(roomy.url)
    assert device.ask("POST", "/chat", body, id=request.id, time=request.time).code == "lost"
    request = device.request("POST", "/chat")
    answered = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert answered.end["kept"]["index"] == 1
    roomy.stop()
    # Whoever asks again for what ran is told so, room or not.
    full = serve(engine.spec, data=data, **margin)
    device.moved(full.url)
    again = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert again.code == "already_done"
    assert again.json["error"]["kept"] == answered.end["kept"]
    assert len(device.history()) == 1


def large(device: Device) -> dict[str, Any]:
    """A turn of 40 words in about a second, whose record does not fit what the database has in hand."""
    words = [{"role": "system", "content": "x" * 300_000}, {"role": "user", "content": "gap 20 " * 20}]
    return turn_body(device, words)


class Disk:
    """A disk that can be filled. `folder` is on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, served: Served) -> None:
        """From now on nothing more fits."""
        raise NotImplementedError

    def free(self, served: Served) -> None:
        """There is room again."""
        raise NotImplementedError


class SmallDisk(Disk):
    """A file system of a few MiB of its own: ENOSPC."""

    def fill(self, served: Served) -> None:
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        # The last page of the log too.
        with suppress(OSError), served.log.open("ab", buffering=0) as file:
            while True:
                file.write(b"\n")

    def free(self, served: Served) -> None:
        (self.folder / "filler").unlink()


class Limit(Disk):
    """The kernel's limit on a file's size, set on the running silo: EFBIG."""

    def fill(self, served: Served) -> None:
        resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def free(self, served: Served) -> None:
        resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "securesilo-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        missing("a small file system can be mounted by root alone")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def limited_disk(tmp_path: Path) -> Disk:
    """A disk on which files are kept small."""
    if not hasattr(resource, "prlimit"):
        missing("prlimit is Linux's")
    return Limit(tmp_path)


@pytest.fixture(params=["small_disk", "limited_disk"])
def disk(request: pytest.FixtureRequest) -> Disk:
    """A disk that can be filled, of both kinds."""
    return request.getfixturevalue(request.param)


def missing(what: str) -> None:
    """Skip for want of something; in CI fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must not skip")
    pytest.skip(what)


def test_a_disk_that_fills_in_the_middle(
    disk: Disk, serve: Serve, new_device: NewDevice, own_engine: Callable[..., OwnEngine]
) -> None:
    engine = own_engine()
    # Its log lies on the same disk: a line that cannot be written must not cost anybody a reply.
    served = serve(engine.spec, data=disk.folder / "silo", SILO_DISK_MARGIN_MB="0", SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    assert device.chat("before").end["kept"]["index"] == 1
    # Large, so that it does not fit what the database has in hand.
    body = large(device)
    request = device.request("POST", "/chat")
    reply = Listening(device, request, body).until_words(2)
    disk.fill(served)
    answered = reply.rest()
    assert len(answered.text.split()) == 40
    assert answered.end["finish"] == "stop"
    assert answered.end["kept"] is None
    assert answered.end["error"]["code"] == "not_kept"
    # What was there is there, and what is new is refused before the model runs.
    [before] = device.history()
    assert device.ask("GET", f"/turns/{body['turn']}").json == {"state": "lost", "kept": None}
    refused = device.chat("still full")
    assert (refused.status, refused.code) == (507, "storage_full")
    assert engine.last()["messages"][-1]["content"].startswith("gap 20")
    # Reading goes on, however often.
    for _ in range(20):
        assert device.ask("GET", "/me").status == 200
    disk.free(served)
    check_whole(served, device, "after", 2)
    assert device.history()[0].core_hash == before.core_hash
    lost = device.ask("POST", "/chat", body, id=request.id, time=request.time)
    assert lost.code == "lost"
    assert served.stop() == 0
    served.start()
    device.moved(served.url)
    check_whole(served, device, "after a restart", 3)
    check_whole(served, device, body["turn"], 4, turn=body["turn"])
    # Nothing of the turn that was not kept came in with one that was.
    assert [json.loads(one.content)["reply"]["content"] for one in device.history()] == [
        *("before", "after", "after a restart", body["turn"])
    ]


def check_whole(served: Served, device: Device, prompt: str, index: int, **bent: str) -> None:
    """The next turn is kept at `index`, the log leads there, and the database is sound."""
    end = device.chat(prompt, **bent).end
    assert end["error"] is None
    assert end["kept"]["index"] == index
    log = Log(device.silo, device.user)
    walk_log(device, log)
    assert log.at == index == len(device.history())
    with closing(sqlite3.connect(served.data / "silo.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM wrap").fetchone() == (2 * index,)


def test_a_disk_that_is_full_at_the_start_is_one_line(small_disk: Disk, tmp_path: Path) -> None:
    silo = Served(small_disk.folder / "silo")
    small_disk.fill(silo)
    silo.log = tmp_path / "elsewhere.log"
    with pytest.raises(RuntimeError) as caught:
        silo.start()
    assert str(caught.value).startswith("exit 4: error: ")
    assert str(caught.value).count("\n") == 1
    silo.stop()


def test_many_writers_while_the_disk_comes_and_goes(
    disk: Disk, serve: Serve, new_device: NewDevice, own_engine: Callable[..., OwnEngine]
) -> None:
    engine = own_engine()
    served = serve(engine.spec, data=disk.folder / "silo", SILO_DISK_MARGIN_MB="0", SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    kept: list[int] = []
    for round_ in range(3):
        replies = [Listening(device, device.request("POST", "/chat"), large(device)) for _ in range(4)]
        if round_ == 1:
            disk.fill(served)
        ends = [reply.rest().end for reply in replies]
        if round_ == 1:
            assert {end["error"]["code"] for end in ends} == {"not_kept"}
            disk.free(served)
        else:
            kept += [end["kept"]["index"] for end in ends]
    assert sorted(kept) == list(range(1, 9))
    check_whole(served, device, "the last", 9)
