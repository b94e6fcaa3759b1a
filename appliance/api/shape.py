"""The shape of generated answers: when frames leave, and how large they are (SPEC 4.6)."""

import asyncio

from appliance.api.turns import Turn
from appliance.api.wire import Wire
from appliance.beat import Beat
from silo.crypto.channel import BODY, END, HEAD, ReplySealer, part
from silo.crypto.encoding import write_json
from silo.crypto.frames import PAYLOAD, STEP

FRAME = 2048
"""Plaintext bytes of a `steady` frame."""
FLUSH = 0.03
"""Seconds until `fast` tries again with a client that reads slowly."""
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
        turn = self._turn
        out = self._from_pending(room) if self._pending else b""
        if turn.waiting and len(out) + _PART < room:
            out += part(BODY, turn.take(room - len(out) - _PART))
        if turn.end is not None and not self._ended and not turn.waiting and not self._pending:
            self._ended = True
            self._pending += part(END, write_json(turn.end))
            out += self._from_pending(room - len(out))
        return out

    def _from_pending(self, room: int) -> bytes:
        out = bytes(self._pending[:room])
        del self._pending[:room]
        return out


class _Sender:
    """Carries one answer out, frame by frame, in calls that a timer or the turn makes."""

    def __init__(self, turn: Turn, sealer: ReplySealer, wire: Wire) -> None:
        self._outbox = _Outbox(turn)
        self._sealer = sealer
        self._wire = wire
        self._lead = sealer.salt
        self._frames = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set when the last frame is on its way, or to what went wrong."""

    def send(self) -> None:
        """One frame. None while the client has not taken the one before: what waits is in the turn, as text."""
        if self._wire.full or self.done.done():
            return
        try:
            payload, size, last = self._next()
            self._frames += 1
            self._wire.write(self._lead + self._sealer.frame(payload, size, last))
            self._lead = b""
            if last:
                self.done.set_result(None)
        except Exception as error:
            self.done.set_exception(error)

    def _next(self) -> tuple[bytes, int, bool]:
        """The next frame's payload, its size in bytes, and whether it is the last."""
        raise NotImplementedError


class _Steady(_Sender):
    def _next(self) -> tuple[bytes, int, bool]:
        payload = self._outbox.take(FRAME - 4)
        return payload, FRAME, self._outbox.empty and is_stop(self._frames + 1)


class _Fast(_Sender):
    _asked = False

    def _next(self) -> tuple[bytes, int, bool]:
        payload = self._outbox.take(PAYLOAD)
        return payload, -(-(4 + len(payload)) // STEP) * STEP, self._outbox.empty

    def soon(self) -> None:
        """Send when everything that comes in this moment is there."""
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._send_all)

    def _send_all(self) -> None:
        self._asked = False
        self.send()
        if self._outbox.has_some and not self.done.done():
            # The client is slow, or there is more than a frame can hold.
            self._asked = True
            asyncio.get_running_loop().call_later(FLUSH, self._send_all)


async def steady(turn: Turn, sealer: ReplySealer, wire: Wire, beat: Beat) -> None:
    """The first frame with the first word, then one at each beat, cover until the count is one of the stops."""
    sender = _Steady(turn, sealer, wire)
    sender.send()
    leave = beat.join(sender.send)
    try:
        await sender.done
    finally:
        leave()


async def fast(turn: Turn, sealer: ReplySealer, wire: Wire, beat: Beat) -> None:
    """What has come, at once, padded to 256 bytes. The engine hands over what comes close together in one go,
    within 28 ms: there is nothing to wait for here."""
    sender = _Fast(turn, sealer, wire)
    turn.news = sender.soon
    sender.soon()
    await sender.done


SHAPES = {"steady": steady, "fast": fast}
