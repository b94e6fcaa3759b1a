"""What every test may use."""

import os
import shutil
from collections.abc import Callable

import pytest

Require = Callable[[str], str]


@pytest.fixture(scope="session")
def require() -> Require:
    """Gives the path of a program that `./dev test` installs.

    Where it is missing the test is skipped, but not in CI: a skip there would hide that nobody ran it.
    """

    def find(program: str) -> str:
        # Debian keeps servers out of a user's PATH.
        path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
        if path:
            return path
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing, and CI must not skip")
        pytest.skip(f"{program} is not installed")

    return find
