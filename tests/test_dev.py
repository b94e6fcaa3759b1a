"""./dev, run as a person runs it, in the checkout or in a small one of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-uv.lock"]
BASH = shutil.which("bash") or "/bin/bash"

# What ./dev silo runs in the small checkout: tells where it stands and what it was given.
TELL = "import os, sys, idna\nprint(os.getcwd(), *sys.argv[1:], idna.__version__)\n"

MACHINE, AWAY = 4, 5


def run(
    *words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs bash on a script, without input."""
    return subprocess.run(
        [BASH, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def pins(lock: str) -> dict[str, str]:
    """Returns name -> the whole entry of a lock file, hashes included."""
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text())
    bare = ["\n".join(line for line in entry.splitlines() if "#" not in line) for entry in entries if "==" in entry]
    return {entry.split("==")[0]: entry for entry in bare}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkout with ./dev, one small package to install, and uv already there."""
    root = tmp_path / "a check out"
    (root / "silo").mkdir(parents=True)
    (root / "silo" / "__main__.py").write_text(TELL)
    shutil.copy(ROOT / "dev", root)
    shutil.copy(ROOT / "requirements-uv.lock", root)
    (root / "requirements.lock").write_text(pins("requirements.lock")["idna"] + "\n")
    (root / "requirements-dev.lock").write_text(
        "\n".join(pins("requirements-dev.lock")[name] for name in ("idna", "iniconfig")) + "\n"
    )
    if (ROOT / ".dev" / "uv").is_dir():
        shutil.copytree(ROOT / ".dev" / "uv", root / ".dev" / "uv", symlinks=True)
    return root


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """The folder of a Python that has neither pip nor ensurepip, as on stock Debian."""
    home = tmp_path / "bare"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python3.*/site-packages")
    (site / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    return home / "bin"


# --- words ---


@pytest.mark.parametrize("words", [[], ["help"], ["--help"]])
def test_help_names_every_command(words: list[str]):
    done = run(ROOT / "dev", *words)
    assert done.returncode == 0
    assert done.stderr == ""
    shown = re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE)
    assert shown == ["up", "silo", "siloctl", "test", "check", "bench", "lock", "help"][: len(shown)]
    assert len(shown) >= 7


@pytest.mark.parametrize("words", [["shout"], ["bench", "no_such"], ["bench", "../dev"]])
def test_an_unknown_name_is_one_line_and_exit_2(words: list[str]):
    done = run(ROOT / "dev", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r'error: [^\n]*"[^\n]+"; see \./dev \w+\n', done.stderr)


def test_bench_lists_what_there_is():
    done = run(ROOT / "dev", "bench")
    assert done.returncode == 0
    assert set(done.stdout.split()) == {file.stem for file in (ROOT / "bench").glob("[!_]*.py")}


@pytest.mark.parametrize("words", [["up"], ["siloctl"], ["siloctl", "status"]])
def test_usage_is_what_a_person_types(words: list[str]):
    done = run(ROOT / "dev", *words, "--help")
    assert done.stdout.startswith(f"Usage: ./dev {' '.join(words)} [OPTIONS]"), done.stderr


# --- locks ---


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_hashes_and_no_host(lock: str):
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|@ ", text)
    assert pins(lock)
    assert all("--hash=sha256:" in entry for entry in pins(lock).values())


def test_the_dev_lock_holds_all_of_the_other():
    run_pins, dev_pins = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: dev_pins.get(name) for name in run_pins} == run_pins


def test_what_only_the_model_package_wants_stays_out():
    assert not {"llm", "llama-cpp-python", "openai"} & set(pins("requirements-dev.lock"))


# --- a machine that lacks something ---


def test_no_python_is_one_sentence(small: Path):
    done = run(small / "dev", "silo", env={"PATH": ""})
    assert done.returncode == MACHINE
    assert done.stdout == ""
    assert re.fullmatch(r"error: \./dev needs Python 3\.11 or newer: [^\n]+\n", done.stderr)


def test_an_old_python_is_named(small: Path, tmp_path: Path):
    old = tmp_path / "python3"
    old.write_text(f"#!{BASH}\necho old 3.9.2\n")
    old.chmod(0o755)
    done = run(small / "dev", "silo", env={"PATH": str(tmp_path)})
    assert done.returncode == MACHINE
    assert re.fullmatch(r"error: [^\n]+\(" + re.escape(f"{old} is 3.9.2") + r"\)[^\n]+\n", done.stderr)


def test_a_python_without_venv_and_pip_is_one_sentence(small: Path, bare_python: Path):
    done = run(small / "dev", "silo", env={"PATH": str(bare_python)})
    assert done.returncode == MACHINE
    assert re.fullmatch(r"error: [^\n]+ has neither venv nor pip[^\n]+apt install python3-venv\n", done.stderr)


def test_a_better_python_further_on_is_taken(small: Path, bare_python: Path):
    done = run(small / "dev", "silo", env=os.environ | {"PATH": f"{bare_python}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr


# --- setting up ---


@pytest.mark.parametrize("has", ["pip", "venv"])
def test_uv_comes_from_either(small: Path, tmp_path: Path, has: str):
    shutil.rmtree(small / ".dev", ignore_errors=True)
    home = tmp_path / "python"
    venv.create(home, with_pip=has == "pip", symlinks=True)
    done = run(small / "dev", "silo", env=os.environ | {"PATH": f"{home / 'bin'}:{os.environ['PATH']}"})
    if done.returncode == AWAY and not os.environ.get("CI"):
        pytest.skip("this machine is not online")
    assert done.returncode == 0, done.stderr
    assert (small / ".dev/uv/pyvenv.cfg").exists() == (has == "venv")


def at_a_terminal(root: Path, cache: Path) -> tuple[int | None, str]:
    """Runs ./dev silo, nothing cached; its exit code, and all that was drawn."""
    terminal = pexpect.spawn(
        BASH,
        [str(root / "dev"), "silo"],
        env=os.environ | {"UV_CACHE_DIR": str(cache), "TERM": "xterm"},
        encoding="utf-8",
        timeout=120,
    )
    drawn = terminal.read()
    terminal.close()
    return terminal.exitstatus, drawn


def test_a_terminal_sees_progress_and_no_list(small: Path, tmp_path: Path):
    code, drawn = at_a_terminal(small, tmp_path / "cache")
    if code == AWAY and not os.environ.get("CI"):
        pytest.skip("this machine is not online")
    assert code == 0, drawn
    assert "Preparing" in drawn
    # What is left standing: a line that is drawn again is seen in its last form.
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", lambda found: "\r" if found[0] == "\x1b[2K" else "", drawn)
    left = [line.rpartition("\r")[2].strip() for line in plain.replace("\r\n", "\n").split("\n")]
    talk = [line for line in left if line]
    assert [line for line in talk[:-1] if not line.startswith("dev: ")] == []
    assert "dev: installing the packages" in talk


def test_a_terminal_sees_everything_where_it_fails(small: Path, tmp_path: Path):
    lock = small / "requirements.lock"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, lock.read_text()))
    code, drawn = at_a_terminal(small, tmp_path / "cache")
    assert code == AWAY
    assert "error: the packages could not be installed" in drawn
    assert "idna" in drawn


def test_the_second_start_does_nothing(small: Path, tmp_path: Path):
    first = run(small / "dev", "silo", "one", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.split()[:2] == [str(tmp_path), "one"]  # the caller's folder, and nothing else on stdout
    made = (small / ".venv/stamp-run").stat().st_mtime_ns
    second = run(small / "dev", "silo", "one", cwd=tmp_path)
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert (small / ".venv/stamp-run").stat().st_mtime_ns == made


def test_the_callers_folder_stands_in_for_no_module(small: Path, tmp_path: Path):
    (tmp_path / "idna.py").write_text("__version__ = 'the wrong one'")
    (tmp_path / "silo").mkdir()
    (tmp_path / "silo" / "__init__.py").write_text("")
    done = run(small / "dev", "silo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wrong" not in done.stdout


def test_it_works_through_a_link(small: Path, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "silo-dev").symlink_to("../a check out/dev")
    done = run(tmp_path / "bin" / "silo-dev", "silo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_changed_lock_and_a_moved_checkout_are_noticed(small: Path):
    assert run(small / "dev", "silo").returncode == 0
    shutil.copy(small / "requirements-dev.lock", small / "requirements.lock")
    assert run(small / "dev", "silo").returncode == 0
    assert list(small.glob(".venv/lib/python3.*/site-packages/iniconfig"))
    moved = small.rename(small.with_name("moved"))
    done = run(moved / "dev", "silo")
    assert done.returncode == 0, done.stderr
    (path,) = moved.glob(".venv/lib/python3.*/site-packages/securesilo.pth")
    assert path.read_text() == f"{moved}\n"


def test_two_at_once_both_work(small: Path):
    both = [
        subprocess.Popen([BASH, small / "dev", "silo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [each.communicate(timeout=120) for each in both]
    assert [each.returncode for each in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0]


def test_what_was_killed_in_the_middle_is_made_anew(small: Path):
    marker = small / ".dev" / "unfinished"
    first = subprocess.Popen([BASH, small / "dev", "silo"], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not marker.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    assert marker.exists()
    half = small / ".venv" / "left-over"
    half.parent.mkdir(exist_ok=True)
    half.write_text("")
    done = run(small / "dev", "silo")
    assert done.returncode == 0, done.stderr
    assert not half.exists()
    assert not marker.exists()


def test_a_lock_that_does_not_fit_what_arrives_stops_it(small: Path):
    lock = small / "requirements.lock"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, lock.read_text()))
    done = run(small / "dev", "silo")
    assert done.returncode == AWAY
    assert done.stdout == ""
    assert "hash" in done.stderr.lower()
    lock.write_text(pins("requirements.lock")["idna"] + "\n")
    assert run(small / "dev", "silo").returncode == 0


def test_the_tests_run_on_the_locked_python():
    assert Path(sys.prefix) == ROOT / ".venv"
