"""What the papers say is so: every command in the README runs, every link leads somewhere, every table fits."""

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from silo.errors import TABLE
from tests.harness import ROOT, Served, clean_environment

README = (ROOT / "README.md").read_text("utf-8")
# Run by other means: `up` is what this file's silo is, and `test` is what runs this.
ELSEWHERE = ["./dev up", "./dev test", "./dev up --port 7000 --data silo-data", "./dev silo chat"]


def commands() -> list[str]:
    """Every line of every shell block in the README, comments cut off."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [re.sub(r"\s+# .*$", "", line).strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def silo(tmp_path: Path) -> Iterator[tuple[Served, dict[str, str]]]:
    """A folder with a running silo in `silo-data`, as after `./dev up --data silo-data`."""
    served = Served(tmp_path / "silo-data", "llama").start()
    (tmp_path / "pw").write_text("plum anvil quartz meadow lantern tundra\n")
    yield served, clean_environment(SILO_HOME=str(tmp_path / "home"))
    served.stop()


def test_every_command_of_the_readme_runs(silo: tuple[Served, dict[str, str]]) -> None:
    served, environment = silo
    where = served.data.parent
    todo = [command for command in commands() if command not in ELSEWHERE]
    assert len(todo) >= 9
    for command in todo:
        words = [str(ROOT / "dev") if word == "./dev" else word for word in shlex.split(command)]
        if "init" in words:
            words = [
                *words[:-1],
                served.link,
                "--name",
                "alice",
                "--password-file",
                "pw",
                "--admin-key",
                "admin.key",
                "--yes",
            ]
        if "pelican" in words[-1] or "heron" in words[-1]:
            words += ["-o", "max_tokens", "16"]
        if "migrate" in words:
            served.stop()
        done = subprocess.run(
            words, cwd=where, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )
        # By then there is an administrator, and no link is to be had.
        expected = TABLE["setup_used"].exit if "setup-link" in words else 0
        assert done.returncode == expected, f"{command}: {done.returncode} {done.stderr}"
        assert "Traceback" not in done.stderr
    assert list((where / "readable").glob("*/*.md"))


def test_every_link_leads_somewhere() -> None:
    for paper in ("README.md", "CONTRIBUTING.md", "THREATS.md", "SPEC.md", "CHANGELOG.md"):
        text = (ROOT / paper).read_text("utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{paper}: {target}"


def test_every_exit_code_is_in_the_readme() -> None:
    stated = {int(code) for code in re.findall(r"\| (\d+) \|", README)}
    assert {row.exit for row in TABLE.values()} <= stated


def test_every_dependency_has_its_sentence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    listed = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in project["project"]["optional-dependencies"].values():
        listed += extra
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for name in {re.split(r"[<>=\[ ;]", item)[0] for item in listed}:
        assert re.search(rf"\b{re.escape(name)}\b", text), name


def test_pictures_are_as_new_as_their_sources() -> None:
    argv, sys.argv = sys.argv, ["draw.py", "--check"]
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "docs/pictures/draw.py"), run_name="__main__")
    finally:
        sys.argv = argv
    assert ended.value.code == 0
