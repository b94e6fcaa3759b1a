"""Reading JSON that a client sent: one strict way, and cheap to refuse."""

from typing import TypeVar

import msgspec

from silo.crypto.encoding import read_json
from silo.errors import SiloError

T = TypeVar("T")

_LARGE = 64 * 1024


def read_body(data: bytes, kind: type[T], place: str) -> T:
    """`read_json`, for what may be large. `place` names the text in `detail`. Raises SiloError `bad_request`."""
    try:
        if len(data) > _LARGE:
            # Against the type first, and nothing is built of what does not fit it: as Python's objects 16 MiB of
            # brackets are 400 MiB.
            msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise SiloError("bad_request", f"{place}: a field is missing or not what it must be") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # said in more words below
    try:
        return read_json(data, kind)
    except ValueError as error:
        raise SiloError("bad_request", f"{place}: {error}") from None
