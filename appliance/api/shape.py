"""The shape of generated answers: when frames leave, and how large they are (SPEC 4.6)."""

import asyncio
from collections.abc import Awaitable, Callable

from appliance.api.turns import Turn
from silo.crypto.channel import BODY, END, HEAD, ReplySealer, part
from silo.crypto.encoding import write_json
from silo.crypto.frames import PAYLOAD, STEP

Send = Callable[[bytes], Awaitable[None]]

BEAT = 0.05
"""Seconds from one frame to the next in `steady`."""
FRAME = 2048
"""Plaintext bytes of a `steady` frame."""
FLUSH = 0.03
"""Seconds within which `fast` sends what has come."""
_PART = 4
_HEAD = part(HEAD, write_json({"status": 200, "headers": {"content-type": "text/plain; charset=utf-8"}}))


def is_stop(count: int) -> bool:
    """Whether a `steady` answer may end after so many frames: 8, 12, 16, 24, 32, 48 …"""
    if count < 8:
        return False
    while count % 2 == 0:
        count //= 2
    return count in (1, 3)


class _Outbox:
    """What still has to go out: HEAD, then the turn's text as it comes, then END, cut into payloads."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._pending = bytearray(_HEAD)
        self._ended = False

    @property
    def empty(self) -> bool:
        """Whether END has been handed out too."""
        return self._ended and not self._pending

    @property
    def has_some(self) -> bool:
        """Whether there is something to hand out now."""
        return bool(self._pending or self._turn.waiting or (self._turn.end is not None and not self._ended))

    def take(self, room: int) -> bytes:
        """Up to `room` bytes of payload."""
        out = self._from_pending(room)
        if len(out) + _PART < room and (text := self._turn.take(room - len(out) - _PART)):
            out += part(BODY, text)
        if self._turn.end is not None and not self._ended and not self._turn.waiting and not self._pending:
            self._ended = True
            self._pending += part(END, write_json(self._turn.end))
            out += self._from_pending(room - len(out))
        return out

    def _from_pending(self, room: int) -> bytes:
        out = bytes(self._pending[:room])
        del self._pending[:room]
        return out


async def steady(turn: Turn, sealer: ReplySealer, send: Send) -> None:
    """The first frame with the first word, then one every 50 ms, cover until the count is one of the stops."""
    clock = asyncio.get_running_loop().time
    outbox = _Outbox(turn)
    due, frames, lead = clock(), 0, sealer.salt
    while True:
        payload = outbox.take(FRAME - 4)
        frames += 1
        last = outbox.empty and is_stop(frames)
        await send(lead + sealer.frame(payload, FRAME, last))
        if last:
            return
        lead = b""
        due += BEAT
        # A sender that was held up does not hurry: two frames at once would tell that it was.
        due = max(due, clock())
        await asyncio.sleep(due - clock())


async def fast(turn: Turn, sealer: ReplySealer, send: Send) -> None:
    """What has come, within 30 ms, padded to 256 bytes."""
    outbox = _Outbox(turn)
    lead = sealer.salt
    while True:
        payload = outbox.take(PAYLOAD)
        size = -(-(4 + len(payload)) // STEP) * STEP
        last = outbox.empty
        await send(lead + sealer.frame(payload, size, last))
        if last:
            return
        lead = b""
        await asyncio.sleep(FLUSH)
        while not outbox.has_some:
            turn.wake.clear()
            await turn.wake.wait()


SHAPES = {"steady": steady, "fast": fast}
