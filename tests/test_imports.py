"""The rooms of the house, proved: the contracts of pyproject.toml break when broken, and hold at run time."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Who may read the environment.
READERS = {"appliance/config.py", "silo/client/home.py"}

# Imports every module of a package, with some names made impossible to import, and prints what is loaded.
WALK = """
import importlib, json, pkgutil, sys
package, *absent = sys.argv[1:]
sys.modules.update(dict.fromkeys(absent))
walked = [package]
for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
    importlib.import_module(module.name)
    walked.append(module.name)
json.dump({"walked": walked, "loaded": [name for name, module in sys.modules.items() if module]}, sys.stdout)
"""

SERVER_ONLY = ["appliance", "sanic", "tortoise", "structlog", "orjson", "dotenv", "aiosqlite", "asyncpg", "xllamacpp"]


def walk(package: str, *absent: str) -> tuple[set[str], set[str]]:
    """Returns the modules of `package` and every module that importing them loads, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", WALK, package, *absent], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return set(answer["walked"]), set(answer["loaded"])


def test_silo_runs_where_no_server_package_is_installed():
    walked, loaded = walk("silo", *SERVER_ONLY)
    assert {"silo.errors", "silo.crypto.keys"} <= walked
    assert not {name.split(".")[0] for name in loaded} & set(SERVER_ONLY)


def test_the_appliance_never_loads_what_opens_records():
    walked, loaded = walk("appliance")
    assert len(walked) > 1
    assert "silo.crypto.opening" not in loaded


def reads_environment(tree: ast.AST) -> bool:
    """Says whether code reads the environment in any spelling that the os module offers."""
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            if node.attr in names:
                return True
        elif isinstance(node, ast.ImportFrom) and node.module == "os" and names & {name.name for name in node.names}:
            return True
    return False


def test_the_environment_has_two_readers():
    files = [file for room in ("silo", "appliance") for file in (ROOT / room).rglob("*.py")]
    assert files
    found = {str(file.relative_to(ROOT)) for file in files if reads_environment(ast.parse(file.read_bytes()))}
    assert found <= READERS


@pytest.mark.parametrize("code", ["import os\nos.environ['A']", "from os import getenv", "import os\nos.getenv('A')"])
def test_the_search_for_readers_finds_them(code: str):
    assert reads_environment(ast.parse(code))


def test_each_contract_breaks_when_it_is_broken(tmp_path: Path):
    for room in ("silo", "appliance"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    lies = {
        "silo/lie.py": "import appliance.config, cryptography",
        "appliance/store/lie.py": "import silo.crypto.keys, xllamacpp",
        "appliance/engine/lie.py": "import appliance.api, appliance.store, sanic, tortoise",
        "appliance/accounts/lie.py": "import silo.crypto.opening",
    }
    for path, lie in lies.items():
        (tmp_path / path).write_text(lie + "\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(tmp_path)},
    )
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    names = {contract["name"] for contract in settings["contracts"]}
    broken = {line.removesuffix(" BROKEN") for line in done.stdout.splitlines() if line.endswith(" BROKEN")}
    assert broken == names, done.stdout + done.stderr
    assert done.returncode == 1
