"""What holds for every test of this room."""

import pytest


@pytest.fixture(autouse=True)
def alone(no_keyring: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's keyring is written to, and nothing gets better here by waiting."""
    monkeypatch.setattr("silo.client.door.PAUSES", (0.02, 0.05))
    monkeypatch.setattr("silo.client.session.RETURN", 0.5)
