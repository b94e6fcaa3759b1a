"""What tests of a whole silo may use."""

from collections.abc import Callable, Iterator

import pytest

from tests.appliance.company import OwnEngine


@pytest.fixture
def own_engine() -> Iterator[Callable[..., OwnEngine]]:
    """Starts deterministic engines that do not belong to a silo; ends them at the end."""
    running: list[OwnEngine] = []

    def start(*flags: str) -> OwnEngine:
        running.append(OwnEngine(*flags))
        return running[-1]

    yield start
    for engine in running:
        engine.end()
