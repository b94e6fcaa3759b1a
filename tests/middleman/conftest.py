"""One silo for all scenarios: what one of them leaves behind must not harm the next."""

import ssl
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests.middleman.company import World

TLS = ssl.create_default_context()


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A silo whose answers leave as they come."""
    one = World(tmp_path_factory.mktemp("middleman"), SILO_SHAPE="fast")
    yield one
    one.end()


@pytest.fixture(scope="package")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Another silo, whose answers are paced and end in cover."""
    one = World(tmp_path_factory.mktemp("other"), SILO_SHAPE="steady")
    yield one
    one.end()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing gets better here by waiting, and what TLS would need is read once: nothing here uses it."""
    monkeypatch.setattr("silo.client.door.httpx.AsyncClient", partial(httpx.AsyncClient, verify=TLS))
    monkeypatch.setattr("silo.client.door.PAUSES", (0.01, 0.02))
    monkeypatch.setattr("silo.client.session.RETURN", 0.2)
    monkeypatch.setattr("silo.client.session.PATIENCE", 1.0)
