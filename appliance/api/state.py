"""What the handlers share: one object a running silo."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from appliance.accounts.box import Box
from appliance.accounts.devices import Devices
from appliance.accounts.trust import Trust
from appliance.api.sources import Buckets, Sources, Throttle
from appliance.api.transport import TransportKeys
from appliance.beat import Beat
from appliance.config import Config
from appliance.engine import Engine
from silo.crypto.encoding import new_id


class Running(Protocol):
    """A turn under way."""

    def cut(self) -> None:
        """End the model's part; what was made is kept."""
        ...

    async def finished(self) -> None:
        """Return once the record is stored or could not be."""
        ...


class Silo:
    """A running silo. Its repr shows nothing."""

    def __init__(self, config: Config, engine: Engine, box: Box, now: Callable[[], int]) -> None:
        """`now` gives milliseconds since 1970."""
        self.config = config
        self.engine = engine
        self.box = box
        self.now = now
        self.trust = Trust(box)
        self.devices = Devices(box, self.trust)
        self.keys = TransportKeys(box, now, config.key_letters)
        self.host = new_id()
        """This process, in the table of requests that run once."""
        self.cut_off = False
        """Whether the database was away when it was last looked for."""
        self.sources = Sources(config.trusted_proxies)
        self.buckets = Buckets(config.door_rate, max(400, 2 * config.door_rate), time.monotonic)
        self.setup_throttle = Throttle(time.monotonic)
        self.setting_up = asyncio.Lock()
        self.beat = Beat(0.05, places=10)
        """When frames of the shape `steady` leave (SPEC 4.6)."""
        self.salt_key = secrets.token_bytes(32)
        """Separates the prefix caches of users; gone with the process."""
        self.turns: dict[tuple[str, str], Running] = {}
        """(user, turn) -> the turn that is under way."""
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def writing(self, user: str) -> asyncio.Lock:
        """Held while a record is added to this user's log: spares writers of this process a conflict."""
        lock = self._writing.get(user)
        if lock is None:
            lock = self._writing[user] = asyncio.Lock()
        return lock
