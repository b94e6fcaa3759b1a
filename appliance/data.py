"""The data folder: made, checked, and used by one silo at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from silo.errors import SiloError


def check_writable(folder: Path) -> None:
    """Make the folder, for its owner alone, and try to write in it. Raises SiloError `data_unwritable`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SiloError("data_unwritable", f"{folder} ({error.strerror})") from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder, while no other silo uses it. Raises SiloError `data_locked`, `data_unwritable`."""
    check_writable(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SiloError("data_locked", str(folder)) from None
    finally:
        os.close(descriptor)
