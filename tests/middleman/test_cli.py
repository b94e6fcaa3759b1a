"""The command as a process behind the middleman: a sentence and an exit code, never a traceback."""

import asyncio
import sys
from pathlib import Path

import pytest

from silo.crypto.encoding import new_id
from silo.errors import AWAY, TRUST
from tests.harness import ROOT, clean_environment
from tests.middleman.company import Told, World
from tests.middleman.faults import make
from tests.middleman.test_faults import at


@pytest.mark.parametrize(
    ("name", "always", "code"),
    [
        ("lost after", False, 0),
        ("cut: a frame", False, 0),
        ("cannot_open after", False, 0),
        ("stale_key after, keys of another host", False, 0),
        ("said: 502", False, 0),
        ("again", True, 0),
        ("said: hotel", True, AWAY),
        ("cannot_open after", True, TRUST),
        ("flipped: frame", False, TRUST),
    ],
)
async def test_a_command_behind_the_middleman(
    world: World, other: World, tmp_path: Path, name: str, always: bool, code: int
):
    told = Told(mark := f"canary-{new_id()}", f"{mark} one two")
    async with world.scene() as scene:
        scene.man.script = at([], make(world, other)[name], always)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "silo.cli", "prompt", told.prompt),
            cwd=tmp_path,
            env=clean_environment(SILO_HOME=str(world.home.folder), PYTHONPATH=str(ROOT), PYTHONWARNINGS="error"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(50):
            out, err = await process.communicate()
        said = err.decode()
        assert process.returncode == code, said
        assert "Traceback" not in said
        assert world.engine.jobs(mark) == 1
        if code == 0:
            assert told.prompt in out.decode()
        else:
            assert said.startswith("error: ")
            assert name == "flipped: frame" or "silo logs" in said
        async with scene.session() as session:
            await scene.judge(session)
