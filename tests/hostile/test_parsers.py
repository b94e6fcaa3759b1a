"""Every parser of ours under atheris, a few seconds each; HOSTILE_SECONDS gives each of them more.

What fails is kept, and its bytes are in the message: `python -m tests.hostile.parsers TARGET FILE` runs it again.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, Device, Served, clean_environment
from tests.hostile.parsers import TARGETS, by_chance, guided

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "2"))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real export of a few records, and the admin key that opens it."""
    folder = tmp_path_factory.mktemp("export")
    served = Served(folder / "data", SILO_SHAPE="fast").start()
    try:
        device = Device(served.link).set_up()
        for _ in range(3):
            assert device.chat("hello").status == 200
        device.http.close()
        words = ["-m", "appliance.siloctl", "--data", str(served.data), "export", str(folder / "export")]
        subprocess.run([sys.executable, "-P", *words], check=True, env=clean_environment(), cwd=folder, timeout=60)
    finally:
        served.stop()
    (folder / "admin").write_bytes(device.admin.seed)
    return folder


def test_atheris_is_there() -> None:
    has_wheel = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 14)
    assert guided or not has_wheel


def run(name: str, seconds: float, export: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """libFuzzer's run of a target."""
    options = ["-seed=5", f"-max_total_time={seconds:.0f}", "-max_len=8192", "-len_control=0", "-rss_limit_mb=2048"]
    return subprocess.run(
        [sys.executable, "-m", "tests.hostile.parsers", name, str(folder), *options],
        cwd=ROOT,
        env=clean_environment(HOSTILE_EXPORT=str(export)),
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "planted"])
def test_parser(name: str, export: Path, tmp_path: Path) -> None:
    if not guided:
        assert by_chance(name, SECONDS, 5) > 0
        return
    ran = run(name, SECONDS, export, tmp_path)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]
    done = [line for line in ran.stderr.splitlines() if line.startswith("Done ")]
    assert done, ran.stderr[-2000:]
    print(name, done[0])


def test_a_planted_fault_is_found(export: Path, tmp_path: Path) -> None:
    if not guided:
        with pytest.raises(AssertionError, match="planted"):
            by_chance("planted", 30, 5)
        return
    ran = run("planted", 60, export, tmp_path)
    assert ran.returncode != 0
    assert "AssertionError: planted" in ran.stdout + ran.stderr
    kept = next(tmp_path.glob("planted-crash-*"))
    words = [sys.executable, "-m", "tests.hostile.parsers", "planted", str(kept)]
    again = subprocess.run(words, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert "AssertionError: planted" in again.stderr
