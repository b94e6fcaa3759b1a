"""A client that sends any bytes and reads the answers one by one, and a silo that hides nothing of what went wrong."""

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.harness import Served

WATCHED = """
import atexit, logging, sys
from appliance import log
from silo.crypto import _hpke

start, opened, count = log.start, _hpke.PrivateKey.open, 0

def started(level):
    start(level)
    # The real one silences its libraries. Here a traceback of theirs must show.
    logging.disable(logging.NOTSET)

def counted(*arguments):
    global count
    count += 1
    return opened(*arguments)

log.start = started
_hpke.PrivateKey.open = counted
atexit.register(lambda: print("decapsulations", count, file=sys.stderr))
from appliance.__main__ import main
main()
"""


def watched(data: Path, program: str = WATCHED, **settings: str) -> Served:
    """A silo that says what its libraries say, and at its end how often it decapsulated."""
    served = Served(data, SILO_SHAPE="fast", **settings)
    served.program = ("-c", program)
    return served.start()


def decapsulations(served: Served) -> int:
    """How many there were. The silo must have ended."""
    return int(served.log.read_text().rpartition("decapsulations ")[2].split()[0])


@dataclass(frozen=True)
class Heard:
    """One answer as it came."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name:
                return value.strip().decode()
        return ""

    @property
    def closes(self) -> bool:
        """Whether it is the last one on its connection."""
        return self.header("connection").lower() == "close"


class Line:
    """A connection to an address like `http://127.0.0.1:6006`."""

    def __init__(self, url: str, within: float = 30, source: str = "") -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection(
            (parts.hostname or "", parts.port or 0), timeout=within, source_address=(source, 0) if source else None
        )
        self._buffer = b""
        self._ended = False

    def send(self, data: bytes) -> None:
        """As much as the other end takes: where it answers early and closes, that is its right."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._ended = True

    def end(self) -> None:
        """Say that no more will come."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._ended = True

    def _more(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not self._more():
                return None
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size and self._more():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        assert len(data) == size, "an answer was cut off"
        return data

    def answer(self) -> Heard | None:
        """The next answer, `100 Continue` left out; None where the connection ended before. Raises TimeoutError."""
        while (head := self._until(b"\r\n\r\n")) is not None:
            status = int(head.split(b" ", 2)[1])
            if status == 100:
                continue
            heard = Heard(status, head, b"")
            if heard.header("transfer-encoding") == "chunked":
                return Heard(status, head, self._chunks())
            size = heard.header("content-length")
            if heard.closes and not size:
                while self._more():
                    pass
                body, self._buffer = self._buffer, b""
                return Heard(status, head, body)
            return Heard(status, head, self._exactly(int(size or 0)))
        assert not self._buffer, "half an answer"
        return None

    def answers(self) -> list[Heard]:
        """All of them until the connection ends."""
        found: list[Heard] = []
        while heard := self.answer():
            found.append(heard)
        return found

    def _chunks(self) -> bytes:
        data = b""
        while size := int(self._until(b"\r\n") or b"", 16):
            data += self._exactly(size)
            assert self._exactly(2) == b"\r\n"
        assert self._exactly(2) == b"\r\n"
        return data

    def quiet(self) -> bool:
        """Whether nothing came that nobody asked for, up to now."""
        return not self._buffer

    def close(self) -> None:
        """Let go."""
        self._socket.close()
