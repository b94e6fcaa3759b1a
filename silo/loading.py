"""The first moment of a program, in which it loads."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Ctrl-C in here ends the program with 130 and no word: most of a second of imports, and nothing to take back."""
    before = signal.getsignal(signal.SIGINT)
    # Where Ctrl-C is ignored, as by nohup, it stays so.
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    yield
    signal.signal(signal.SIGINT, before)
