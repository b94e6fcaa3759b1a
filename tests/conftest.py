"""What every test may use."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Device, Served

Require = Callable[[str], str]


def pytest_configure() -> None:
    """A developer's own settings are none of the tests'."""
    for name in [name for name in os.environ if name.startswith("SILO_")]:
        del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the differential run is (tests/silo/crypto/test_differential.py)."""
    parser.addoption("--differential", type=int, metavar="N", help="changed vectors given to both languages")
    parser.addoption("--differential-seed", type=int, metavar="SEED", help="draw the same ones again")


@pytest.fixture(scope="session")
def require() -> Require:
    """Gives the path of a program that `./dev test` installs.

    Where it is missing the test is skipped, but not in CI: a skip there would hide that nobody ran it.
    """

    def find(program: str) -> str:
        # Debian keeps servers out of a user's PATH.
        path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
        if path:
            return path
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing, and CI must not skip")
        pytest.skip(f"{program} is not installed")

    return find


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
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
