"""Processes that we start: what they can see, how they end, and that they come back."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from appliance.engine import attach, make_engine
from appliance.engine.spawn import Spawned
from silo.errors import SiloError

CANARY = "canary-quagga-umbrella"


def processes(folder: Path) -> list[psutil.Process]:
    """The processes that serve a socket in `folder`; the test run has children of other kinds too."""
    return [each for each in psutil.Process().children() if str(folder / "engine.sock") in each.cmdline()]


def the_process(folder: Path) -> psutil.Process:
    (process,) = processes(folder)
    return process


@pytest.mark.parametrize("kind", ["llama", "fake"])
async def test_the_process_is_alone(kind, make_rig, monkeypatch):
    monkeypatch.setenv("SILO_CANARY", CANARY)
    monkeypatch.setenv("LLAMA_SERVER_SLOTS_DEBUG", "1")
    rig = await make_rig(kind)
    await rig.ask(rig.job(CANARY))
    process = the_process(rig.folder)
    assert process.net_connections("inet") == []
    assert CANARY not in str(process.environ())
    assert "LLAMA_SERVER_SLOTS_DEBUG" not in process.environ()
    assert CANARY not in str(process.cmdline())
    assert stat.S_IMODE(rig.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(rig.socket.stat().st_mode) & 0o077 == 0
    if sys.platform == "linux":
        outputs = {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (1, 2)}
        assert outputs == {"/dev/null"}
    assert [path.name for path in rig.folder.iterdir()] == ["engine.sock"]


@pytest.mark.parametrize("kind", ["llama", "fake"])
def test_the_process_ends_with_its_parent(kind, tmp_path):
    script = f"""
import asyncio
from pathlib import Path
from appliance.engine import make_engine

async def main():
    engine = make_engine({kind!r}, None, Path({str(tmp_path / "e")!r}), context=256, parallel=1)
    await engine.start()
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert not alive


async def test_comes_back_however_often_it_ends(make_rig):
    rig = await make_rig("fake")
    for _ in range(3):
        before = the_process(rig.folder).pid
        reply = rig.begin(rig.job("crash after 2 of these words"))
        with pytest.raises(SiloError) as caught:
            await reply.task
        assert caught.value.code == "engine_failed"
        assert reply.text == "crash after"
        await rig.until(lambda: not rig.engine.ready)
        await rig.until(lambda: rig.engine.ready)
        assert (await rig.ask(rig.job("still there")))[0] == "still there"
        assert the_process(rig.folder).pid != before


async def test_waits_longer_each_time_it_ends(make_rig, monkeypatch):
    pauses: list[float] = []
    rig = await make_rig("fake")
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0.01)

    monkeypatch.setattr("appliance.engine.spawn.asyncio.sleep", note)
    rig.engine._run_once = lambda command: sleep(0, 1)  # it ends at once
    rig.kill()
    await rig.until(lambda: pauses.count(10.0) > 1)
    steps = [pause for pause in pauses if pause not in (attach.ASK_DOWN, 0.02)]
    assert steps[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_a_hang_fails_the_stream_and_restarts_the_process(make_rig):
    rig = await make_rig("fake", hang=0.5)
    before = the_process(rig.folder).pid
    reply = rig.begin(rig.job("hang after 2 of these words"))
    with pytest.raises(SiloError) as caught:
        await reply.task
    assert caught.value.code == "engine_failed"
    assert reply.text == "hang after"
    await rig.until(lambda: not psutil.pid_exists(before))
    await rig.until(lambda: rig.engine.ready)
    assert (await rig.ask(rig.job("still there")))[0] == "still there"


async def test_jobs_that_keep_coming_do_not_hide_a_hang(make_rig):
    rig = await make_rig("fake", hang=0.5, parallel=20)
    before = the_process(rig.folder).pid
    replies = []
    while psutil.pid_exists(before):
        assert len(replies) < 20
        replies.append(rig.begin(rig.job("hang after 0")))
        await asyncio.sleep(0.1)
    for reply in replies:
        with pytest.raises(SiloError):
            await reply.task


async def test_a_hang_of_one_stream_leaves_a_live_one_alone(make_rig):
    rig = await make_rig("fake", hang=0.5)
    live = rig.begin(rig.job("words gap 20 chunks 60", max_tokens=None))
    hung = rig.begin(rig.job("hang after 2 of these words"))
    with pytest.raises(SiloError):
        await hung.task
    assert (await live.task).completion_tokens == 60


async def test_a_process_that_stops_answering_is_replaced(make_rig, monkeypatch):
    monkeypatch.setattr(attach, "ASK_UP", 0.1)
    monkeypatch.setattr(attach, "ANSWER", 0.2)
    rig = await make_rig("fake", hang=0.5, patience=3.0)
    process = the_process(rig.folder)
    process.send_signal(signal.SIGSTOP)
    await rig.until(lambda: not rig.engine.ready)
    await rig.until(lambda: not psutil.pid_exists(process.pid))
    await rig.until(lambda: rig.engine.ready)
    assert (await rig.ask(rig.job("still there")))[0] == "still there"


async def test_a_path_too_long_for_a_socket_is_no_trouble(make_rig, tmp_path):
    engine = Spawned("fake", None, tmp_path / ("long" * 30))
    folder = engine._folder
    await engine.start()
    try:
        assert engine.ready
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        await engine.stop()
    assert not folder.exists()


async def test_a_temporary_folder_too_long_for_a_socket_is_named(tmp_path, monkeypatch):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(SiloError, match=r"no socket's path can be as long as .* a shorter TMPDIR") as caught:
        await Spawned("fake", None, long).start()
    assert caught.value.code == "engine_down"


async def test_the_folder_is_closed_to_others_even_if_it_was_open(tmp_path):
    folder = tmp_path / "e"
    folder.mkdir(mode=0o755)
    (folder / "engine.sock").write_text("stale")
    engine = Spawned("fake", None, folder)
    await engine.start()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await engine.stop()


def _text(path: Path, model: Path) -> Path:
    path.write_text("this is no model\n")
    return path


def _cut_header(path: Path, model: Path) -> Path:
    path.write_bytes(model.read_bytes()[:100_000])
    return path


def _cut_weights(path: Path, model: Path) -> Path:
    path.write_bytes(model.read_bytes()[:50_000_000])
    return path


def _later_version(path: Path, model: Path) -> Path:
    path.write_bytes(b"GGUF\x63\0\0\0" + bytes(100))
    return path


def _nothing(path: Path, model: Path) -> Path:
    return path


def _empty(path: Path, model: Path) -> Path:
    path.touch()
    return path


def _folder(path: Path, model: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (_text, "it is not a GGUF file"),
        (_empty, "it is not a GGUF file"),
        (_cut_header, "it ends in the middle of its header"),
        (_cut_weights, "the engine cannot load it"),
        (_later_version, "it is a GGUF file of a version that is not known here"),
        (_nothing, "there is no such file"),
        (_folder, "a folder with 0 GGUF files; name one file"),
    ],
)
async def test_a_broken_model_file_is_named_with_its_fault(make, fault, tmp_path, model_file):
    path = make(tmp_path / "broken.gguf", model_file)
    engine = make_engine("llama", path, tmp_path / "e", 256, 1)
    with pytest.raises(SiloError) as caught:
        await engine.start()
    assert caught.value.code == "model_broken"
    assert caught.value.detail == f"{path}: {fault}"
    assert not engine.ready
    assert not processes(tmp_path / "e")
    assert not (tmp_path / "e").exists()


async def test_a_program_that_ends_by_itself_is_no_engine(tmp_path):
    engine = Spawned("fake", None, tmp_path / "e", flags=("--no-such-flag",))
    with pytest.raises(SiloError) as caught:
        await engine.start()
    assert caught.value.code == "engine_down"
    assert not (tmp_path / "e").exists()


async def test_start_gives_up_when_nothing_answers(tmp_path, monkeypatch):
    async def never(*args: object) -> None:
        return None

    monkeypatch.setattr(attach, "get", never)
    engine = Spawned("fake", None, tmp_path / "e", patience=0.5)
    with pytest.raises(SiloError) as caught:
        await engine.start()
    assert caught.value.code == "engine_down"
    assert not processes(tmp_path / "e")


async def test_start_may_be_cancelled(tmp_path):
    engine = Spawned("llama", None, tmp_path / "e", context=256)
    task = asyncio.create_task(engine.start())
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes(tmp_path / "e")


async def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    engine = Spawned("fake", None, tmp_path / "file" / "e")
    with pytest.raises(SiloError) as caught:
        await engine.start()
    assert (caught.value.code, caught.value.detail) == ("data_unwritable", str(tmp_path / "file" / "e"))
