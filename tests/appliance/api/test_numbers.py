"""Numbers that a client may name and no column holds, at the door (SPEC 5.5)."""

from typing import Any

import pytest

from silo.crypto.channel import Seen
from tests.harness import Device

LARGE = [2**31 - 1, 2**31, 2**31 + 5, 2**53 - 1]


@pytest.mark.parametrize("after", LARGE)
def test_after_everything_there_is_nothing(device: Device, after: int) -> None:
    asked: dict[str, dict[str, Any]] = {
        "keyrings": {"after": after},
        "log": {"after": after, "limit": 5000},
        "history": {"after": after, "limit": 500},
    }
    found = {path: device.ask("GET", f"/{path}", body) for path, body in asked.items()}
    assert {path: answer.status for path, answer in found.items()} == dict.fromkeys(asked, 200)
    assert found["keyrings"].json == {"keyrings": []}
    assert found["log"].json["entries"] == []
    assert found["history"].json == {"records": [], "tombstones": [], "next": None}
    # And in a request's header, where it is what the client has seen.
    seen = Seen(at=after, hash="a" * 52)
    assert device.chat("hello").status == 200
    body = device.chat_body("hello")
    assert device.ask("POST", "/chat", body, keyring=seen).code == "keyring_changed"
    assert device.ask("POST", "/chat", body, head=seen).code == "stale_head"
