"""Key bags: the record keys of one thread in one sealed list, so that reading it takes one HPKE open (SPEC 7.8).

A bag is a cache. Whatever is wrong with it, it is ignored and the wraps are used; a key from it counts only as far
as the core's commitment and receipt fit. Opening is silo.crypto.opening's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from silo.crypto import _hpke, labels
from silo.crypto.encoding import padme, u64
from silo.crypto.keys import Recipient

KEY_SIZE = 32
OVERHEAD = _hpke.OVERHEAD
MOST = 16_000
"""The most keys that a bag holds; of a longer thread the newest."""
_ENTRY = 8 + KEY_SIZE
SEALED_MOST = padme(8 + MOST * _ENTRY) + OVERHEAD
"""The largest bag, in bytes as sealed."""


@dataclass(frozen=True)
class BagPlace:
    """What a bag is bound to; all raw bytes but the numbers."""

    silo: bytes
    user: bytes
    thread: bytes
    version: int
    """1 for a thread's first bag; each replacement is one higher."""
    at: int
    """Index in the user's log of the last record that the bag's writer knew of this thread."""
    entry: bytes
    """That record's entry hash."""

    def fields(self) -> tuple[bytes, ...]:
        """What stands behind the label in `info`."""
        return self.silo, self.user, self.thread, u64(self.version), u64(self.at), self.entry


def seal_bag(place: BagPlace, keys: Mapping[int, bytes], account: Recipient) -> bytes:
    """The newest keys (index -> record key), sealed to the account key alone.

    Raises ValueError for an index outside 1 to `place.at`, or a key of another size than 32 bytes.
    """
    newest = sorted(keys)[-MOST:]
    if any(not 0 < index <= place.at or len(keys[index]) != KEY_SIZE for index in newest):
        raise ValueError("a bag holds keys of records up to its last")
    content = b"".join(u64(index) + keys[index] for index in newest)
    padded = u64(len(content)) + content
    padded += bytes(padme(len(padded)) - len(padded))
    return account.seal(padded, labels.KEY_BAG, *place.fields())


def read_bag(padded: bytes, at: int) -> dict[int, bytes]:
    """index -> record key, from an opened bag whose last record is `at`. Raises ValueError where it is not well
    formed: size, padding, indexes that do not rise or lie beyond `at`."""
    size = int.from_bytes(padded[:8], "big")
    if padme(8 + size) != len(padded) or size % _ENTRY or size > MOST * _ENTRY or any(padded[8 + size :]):
        raise ValueError("not the size or the padding of a bag")
    keys: dict[int, bytes] = {}
    last = 0
    for start in range(8, 8 + size, _ENTRY):
        index = int.from_bytes(padded[start : start + 8], "big")
        if not last < index <= at:
            raise ValueError("the indexes do not rise")
        keys[index] = padded[start + 8 : start + _ENTRY]
        last = index
    return keys
