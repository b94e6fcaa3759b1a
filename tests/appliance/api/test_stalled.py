"""A client that begins a request and sends no more of it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from silo.crypto.channel import PREFIX_SIZE
from tests.appliance.api.forge import Forged
from tests.appliance.company import until
from tests.harness import Device, Served

CLIENTS = 5
# The same program, with less patience.
HASTY = """
from appliance.api import door
door._STALLED = 0.3
from appliance.__main__ import main
main()
"""


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Served]:
    """A silo that gives up after 0.3 s without a byte."""
    served = Served(tmp_path / "silo")
    served.program = ("-c", HASTY)
    yield served.start()
    served.stop()


def test_who_stops_in_the_middle_is_given_up(hasty: Served, new_device: Callable[[str], Device]) -> None:
    device = new_device(hasty.link).set_up()
    data, _ = Forged(device, {"path": "/history"}).data()
    destination = device.destination
    assert destination
    head = f"POST /silo/1/{destination.key_id} HTTP/1.1\r\nhost: silo\r\ncontent-length: {len(data)}\r\n\r\n".encode()
    url = urlsplit(device.url)
    device.http.close()
    silo = psutil.Process(hasty.pid)

    def connections() -> int:
        return sum(one.status != psutil.CONN_LISTEN for one in silo.net_connections("tcp"))

    until(lambda: connections() == 0, 10)
    for sent in (0, 1, PREFIX_SIZE - 1, PREFIX_SIZE, PREFIX_SIZE + 100, len(data) - 1):
        with ExitStack() as stack:
            clients = [
                stack.enter_context(socket.create_connection((url.hostname or "", url.port or 0), timeout=10))
                for _ in range(CLIENTS)
            ]
            for client in clients:
                client.sendall(head + data[:sent])
            for client in clients:
                said = b""
                # Told, and closed: a read to the end returns.
                while more := client.recv(65536):
                    said += more
                assert said.startswith(b"HTTP/1.1 408 "), (sent, said)
                assert b"\r\nconnection: close\r\n" in said.lower()
                assert said.endswith(b'{"error":{"code":"bad_request"}}')
        # Nothing waits for them any more.
        until(lambda: connections() == 0, 10)
    again = new_device(hasty.link)
    assert again.fetch_keys()
