"""Tests of files that may not be read or written mean nothing to root, who may; here root may not either."""

import ctypes
import os
import sys


def without_powers() -> None:
    """Take from a program that root starts the right to write where nobody may."""
    if os.geteuid() == 0 and sys.platform == "linux":
        override, search = 1, 2  # linux/capability.h
        libc = ctypes.CDLL(None)
        for power in (override, search):
            assert libc.prctl(24, power, 0, 0, 0) == 0  # PR_CAPBSET_DROP
