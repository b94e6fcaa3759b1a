"""Files for their owner alone, written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def private_file(path: Path, new: bool = False, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which takes its name, flushed to disk, when the block ends without error.

    With `new` a file that stands there is never touched. Raises FileExistsError, OSError.
    """
    if new and os.path.lexists(path):
        raise FileExistsError(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _publish(part, path, new)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_private(path: Path, data: bytes, new: bool = False, mode: int = 0o600) -> None:
    """Write a whole file, as `private_file` does. Raises FileExistsError, OSError."""
    with private_file(path, new, mode) as file:
        file.write(data)


def _publish(part: Path, path: Path, new: bool) -> None:
    if new:
        try:
            # A link, unlike a rename, fails where something stands already.
            os.link(part, path)
            return
        except FileExistsError:
            raise
        except OSError:
            # Sticks and shares often have no links.
            if os.path.lexists(path):
                raise FileExistsError(path) from None
    part.replace(path)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to disk: a new name is not there before."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
