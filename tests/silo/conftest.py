"""A silo that may lie, and a device that was set up while it did not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from silo.client.home import Home
from silo.client.session import Session
from silo.client.setup import Plan, parse_link, set_up
from tests.harness import now
from tests.silo.liar import Liar


@pytest.fixture
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keyring of whoever runs the tests is not theirs to write to."""
    import keyring
    from keyring.backends.fail import Keyring

    monkeypatch.setattr(keyring, "get_keyring", Keyring)


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
    return Plan("alice", "correct horse battery staple", tmp_path / "admin.key")


@pytest.fixture
async def home(no_keyring: None, liar: Liar, plan: Plan, tmp_path: Path, warnings: list[str]) -> Home:
    """A device of the silo."""
    home = Home(tmp_path / "home")
    await set_up(home, parse_link(liar.link), plan, now, warnings.append)
    liar.seen.clear()
    liar.fetched = 0
    warnings.clear()
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
