"""The door's transport keys: in this process's memory only, new at each start and every 24 hours (SPEC 5.1)."""

from collections.abc import Callable

from appliance.accounts.box import Box
from silo.crypto.channel import KEY_LIFE, TransportKey, state_keys

RENEWED = 24 * 3_600_000
"""When a fresh key follows; the one before lives on for the rest of its 25 hours."""


class TransportKeys:
    """The live transport keys of this host, the freshest first."""

    def __init__(self, box: Box, now: Callable[[], int], letters: str = "") -> None:
        """`letters`: what key ids begin with, any of them, so that a balancer can tell this host's from another's."""
        self._box = box
        self._now = now
        self._letters = letters
        self._keys: list[TransportKey] = []

    def live(self) -> list[TransportKey]:
        """At least one key. What has ended is dropped from memory here."""
        now = self._now()
        self._keys = [key for key in self._keys if key.destination.since <= now < key.destination.until]
        if not self._keys or now - self._keys[0].destination.since >= RENEWED:
            self._keys.insert(0, self._new(now))
        return self._keys

    def _new(self, now: int) -> TransportKey:
        while True:
            key = TransportKey(self._box.silo, self._box.fingerprint, now, now + KEY_LIFE)
            if not self._letters or key.id[0] in self._letters:
                return key

    def find(self, key_id: str) -> TransportKey | None:
        """The live key of that id."""
        return next((key for key in self.live() if key.id == key_id), None)

    def statement(self, nonce: str | None) -> bytes:
        """The signed answer of `GET /silo/keys`."""
        destinations = [key.destination for key in self.live()]
        return state_keys(self._box.identity, self._box.silo, destinations, self._now(), nonce)
