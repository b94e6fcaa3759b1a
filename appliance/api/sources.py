"""Who a connection comes from, as far as a limit needs it: a keyed hash of the address, in memory only."""

import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence

from silo.errors import SiloError

_REMEMBERED = 10_000


def network(address: str) -> str:
    """What stands for an address in a limit: itself, or its /64 in IPv6, all of which one machine may have."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()


class Sources:
    """Names sources. What it gives cannot be turned back into an address once the process is gone."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted]
        self._key = secrets.token_bytes(32)

    def name(self, peer: str, forwarded: Sequence[str]) -> bytes:
        """8 bytes for the peer's network, or for the forwarded one where the peer is a trusted proxy.

        `forwarded`: every X-Forwarded-For header, in order; each proxy adds to the end, in a header of its own or not.
        """
        address = peer
        for hop in reversed(",".join(forwarded).split(",")):
            if not self._is_trusted(address) or not hop.strip():
                break
            address = hop.strip()
        # A header may hold any bytes; Python keeps those that are no UTF-8 as surrogates.
        named = network(address).encode(errors="surrogateescape")
        return hashlib.blake2b(named, digest_size=8, key=self._key).digest()

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


class Buckets:
    """A token bucket a source. Bounded in memory: the source that has been quiet longest is forgotten first."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """`rate` tokens a second, at most `burst` saved up; `clock` in seconds."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, source: bytes) -> bool:
        """Take one token; False where there is none."""
        now = self._clock()
        level, then = self._levels.pop(source, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        taken = level >= 1
        self._levels[source] = (level - 1 if taken else level, now)
        if len(self._levels) > _REMEMBERED:
            self._levels.popitem(last=False)
        return taken


class Throttle:
    """Slows guessing: after a few wrong tries each further one must wait twice as long, up to a minute."""

    FREE = 5
    LONGEST = 60

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def check(self, source: bytes) -> None:
        """Raises SiloError `limited` with `retry_after` in seconds."""
        tries, then = self._wrong.get(source, (0, 0.0))
        if tries < self.FREE:
            return
        left = then + min(self.LONGEST, 2 ** (tries - self.FREE)) - self._clock()
        if left > 0:
            raise SiloError("limited", retry_after=int(left) + 1)

    def wrong(self, source: bytes) -> None:
        """Count a wrong try."""
        tries, _ = self._wrong.pop(source, (0, 0.0))
        self._wrong[source] = (min(tries + 1, 64), self._clock())
        if len(self._wrong) > _REMEMBERED:
            self._wrong.popitem(last=False)
