"""A silo that may lie, and a device that was set up while it did not."""

import asyncio
import copy
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import keyring
import keyring.backends.fail
import msgspec
import pytest

from silo.client.home import Home
from silo.client.session import Session
from silo.client.setup import Plan, parse_link, set_up
from tests.harness import now
from tests.silo.liar import Liar

PASSWORD = "correct horse battery staple"


@pytest.fixture
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keyring of whoever runs the tests is not theirs to write to."""
    monkeypatch.setattr(keyring, "get_keyring", keyring.backends.fail.Keyring)


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    """A silo in this process, not set up yet."""
    async with Liar() as silo:
        yield silo


@pytest.fixture
def warnings() -> list[str]:
    """What the person was told."""
    return []


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """What the first administrator decided."""
    return Plan("alice", PASSWORD, tmp_path / "admin.key")


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What a silo and a device's folder hold after the first run: stretching a password takes its time."""
    folder = tmp_path_factory.mktemp("first")

    async def run() -> dict[str, Any]:
        async with Liar() as silo:
            plan = Plan("alice", PASSWORD, folder / "admin.key")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(keyring, "get_keyring", keyring.backends.fail.Keyring)
                await set_up(Home(folder / "home"), parse_link(silo.link), plan, now, lambda _: None)
            return {name: getattr(silo, name) for name in Liar.LASTING}

    return asyncio.run(run()), folder


@pytest.fixture
async def home(
    no_keyring: None, first_run: tuple[dict[str, Any], Path], liar: Liar, plan: Plan, tmp_path: Path
) -> Home:
    """A device of the silo."""
    lasting, folder = first_run
    for name, value in lasting.items():
        setattr(liar, name, copy.copy(value))
    liar.keys = [liar.new_key()]
    shutil.copy(folder / "admin.key", plan.key_path)
    shutil.copytree(folder / "home", tmp_path / "home")
    home = Home(tmp_path / "home")
    home.update(lambda profile: msgspec.structs.replace(profile, url=liar.url))
    home.keys_path.write_bytes(liar.keys_answer(None))
    return home


@pytest.fixture
async def enter(home: Home, warnings: list[str]) -> AsyncIterator[Callable[[], Awaitable[Session]]]:
    """Opens sessions of the device, as one command after the other does."""
    async with AsyncExitStack() as stack:

        async def one() -> Session:
            return await stack.enter_async_context(Session.open(home, str, now, warnings.append))

        yield one


@pytest.fixture
async def session(enter: Callable[[], Awaitable[Session]]) -> Session:
    """The device's session."""
    return await enter()
