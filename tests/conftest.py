"""What every test may use."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.harness import Device, Served

Require = Callable[[str], str]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What uses a silo, or the store, runs once for each database, all of SQLite's tests first."""
    if "database" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("database")
        names = [name for name in postgres.NAMES if chosen in (name, "both")]
        if postgres.only_sqlite(metafunc.definition.nodeid):
            names = ["sqlite"]
        if postgres.only_postgresql(metafunc.definition.nodeid):
            names = ["postgresql"]
        metafunc.parametrize("database", names, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Whoever starts a silo in this test, or for it, starts it on this database."""
    chosen = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    name = str(chosen.get("database", "sqlite"))
    if name != postgres.current and (executor := sys.modules.get("tortoise.backends.base.executor")):
        # Statements in the other one's words: nobody but a test run opens both in one process.
        executor.EXECUTOR_CACHE.clear()
    postgres.current = name


def pytest_unconfigure() -> None:
    """The cluster ends with the test run."""
    postgres.close()


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> str:
    """Which database a silo of this test uses. Whatever starts one takes this, so that it runs on both."""
    if request.param == "postgresql":
        request.getfixturevalue("cluster")
    return request.param


@pytest.fixture(scope="session")
def cluster(require: Require) -> postgres.Cluster:
    """The test run's PostgreSQL."""
    require("initdb")
    return postgres.cluster()


def pytest_configure() -> None:
    """A developer's own settings are none of the tests'."""
    for name in [name for name in os.environ if name.startswith("SILO_")]:
        del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which databases, and how long the differential run is (tests/silo/crypto/test_differential.py)."""
    parser.addoption("--database", choices=[*postgres.NAMES, "both"], default="sqlite", help="of the silos")
    parser.addoption("--differential", type=int, metavar="N", help="changed vectors given to both languages")
    parser.addoption("--differential-seed", type=int, metavar="SEED", help="draw the same ones again")


@pytest.fixture(scope="session")
def require() -> Require:
    """Gives the path of a program that `./dev test` installs.

    Where it is missing the test is skipped, but not in CI: a skip there would hide that nobody ran it.
    """

    def find(program: str) -> str:
        # Debian keeps servers out of a user's PATH.
        places = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *postgres.homes()]
        path = shutil.which(program, path=os.pathsep.join(places))
        if path:
            return path
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing, and CI must not skip")
        pytest.skip(f"{program} is not installed")

    return find


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path, database: str) -> Iterator[Serve]:
    """Starts real silos, each in its own data folder (`data=` to choose it); stops them at the end."""
    running: list[Served] = []

    def start(engine: str = "fake", data: Path | None = None, **settings: str) -> Served:
        served = Served(data or tmp_path / f"silo{len(running)}", engine, **settings)
        running.append(served)
        return served.start()

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def silo_server(serve: Serve) -> Served:
    """A silo with the deterministic engine, not set up yet; `.link` is its setup link."""
    return serve(SILO_SHAPE="fast")


@pytest.fixture
def new_device() -> Iterator[Callable[[str], Device]]:
    """Makes a device from a setup link, not set up yet; closes its connections at the end."""
    made: list[Device] = []

    def make(link: str) -> Device:
        made.append(Device(link))
        return made[-1]

    yield make
    for one in made:
        one.http.close()


@pytest.fixture
def device(silo_server: Served, new_device: Callable[[str], Device]) -> Device:
    """An administrator's device on `silo_server`, set up."""
    return new_device(silo_server.link).set_up()
