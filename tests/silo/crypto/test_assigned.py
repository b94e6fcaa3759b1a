"""The list of what Unicode 14.0 assigns is what Python's own table says, and a newer table changes no verdict."""

import hashlib
import string
import sys
import unicodedata
from itertools import groupby

from silo.crypto.assigned import RUNS, is_assigned

DIGITS = string.digits + string.ascii_lowercase


def in_base_36(number: int) -> str:
    """As `int(text, 36)` reads it."""
    head, last = divmod(number, 36)
    return (in_base_36(head) if head else "") + DIGITS[last]


def measured() -> list[str]:
    """RUNS as this Python's Unicode has it."""
    kinds = (unicodedata.category(chr(point)) not in ("Cn", "Cs") for point in range(sys.maxunicode + 1))
    runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
    # It begins with what is not assigned, and leaves that out at the end.
    lengths = [0] * runs[0][0] + [length for _, length in runs]
    return [in_base_36(length) for length in (lengths if runs[-1][0] else lengths[:-1])]


def test_it_is_what_unicode_14_has():
    # Of the list as Python 3.11 measures it; whoever runs another Python compares with this.
    hashed = hashlib.sha256(" ".join(RUNS.split()).encode()).hexdigest()
    assert hashed == "625706eb1ca8cce7264668094822c978a6230816b99ce88a7cf51e1d45c0bfcc"
    known = {point for point in range(sys.maxunicode + 1) if is_assigned(chr(point))}
    assert len(known) == 282_230
    if unicodedata.unidata_version == "14.0.0":
        assert measured() == RUNS.split()
    # Every later Unicode has these too.
    assert not [point for point in known if unicodedata.category(chr(point)) in ("Cn", "Cs")]


def test_edges():
    for text in ("", "\0", "a", "é", "\U0001df00", "\ue000\uf8ff", "\U00010781", "\U0010fffd"):
        assert is_assigned(text)
    for text in ("\u0378", "\ud800", "a\udfff", "\ufffe", "\uffff", "\U0001e030", "\U000e0000", "\U0010ffff"):
        assert not is_assigned(text)
        assert not is_assigned(f"a{text}b")
