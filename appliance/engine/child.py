"""What the processes do that this room starts: end with their parent, and listen where nobody else can."""

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

MODEL_BROKEN, NOT_INSTALLED = 3, 4  # exit codes that have a meaning

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """End this process when the one that started it ends, however that ends.

    The parent holds the other end of our standard input. Linux's own signal stands beside it for the
    time when native code keeps Python's threads from running, as while a model is read.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def own_socket(path: Path) -> None:
    """Make the folder of the socket `path` with mode 0700 unless it is there, remove a stale socket,
    and let what this process makes from now on be its user's alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.umask(0o177)
