"""Runs the page's own tests (appliance/web/test), on the Node that the requirements bring."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.node import WEB, find_node

FILES = sorted(path.name for path in (WEB / "test").glob("*.test.ts"))


def test_there_are_some():
    assert "vectors.test.ts" in FILES


@pytest.mark.parametrize("name", FILES)
def test_page(name: str):
    node = find_node()
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(Path.home()), "CI": os.environ.get("CI", "")}
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", f"test/{name}"],
        cwd=WEB,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        stdin=subprocess.DEVNULL,
    )
    counted = {what: int(number) for what, number in re.findall(r"^# ([a-z]+) (\d+)$", done.stdout, re.MULTILINE)}
    broken = re.findall(r"^ *not ok .*(?:\n(?! *(?:not )?ok ).*){0,30}", done.stdout, re.MULTILINE)
    assert done.returncode == 0, "\n".join([*broken, done.stderr])
    assert counted["pass"] > 0
    assert counted["skipped"] == counted["todo"] == counted["cancelled"] == 0


def test_the_lock_names_hashes_and_no_host():
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert len(packages) > 10
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert not any("resolved" in one for one in packages.values())
    wanted = json.loads((WEB / "package.json").read_text("utf-8"))
    # A range would let another version in when the lock is made again.
    versions = [*wanted["dependencies"].values(), *wanted["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", one) for one in versions)
