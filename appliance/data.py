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
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SiloError("data_unwritable", f"{folder / 'lock'} ({error.strerror})") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SiloError("data_locked", str(folder)) from None
        except OSError as error:
            raise SiloError("data_unwritable", f"{folder} cannot be locked ({error.strerror})") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def listening(folder: Path, address: str) -> Iterator[None]:
    """Note where the silo of this folder is reached, for the verbs of the box: `up` may have been told on its line."""
    path = folder / "address"
    path.write_text(f"{address}\n", "utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def listens_at(folder: Path) -> str | None:
    """Where the silo of this folder is reached; None where none runs."""
    try:
        return (folder / "address").read_text("utf-8").strip() or None
    except (OSError, ValueError):
        return None
