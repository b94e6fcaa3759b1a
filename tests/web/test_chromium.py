"""The page's code in a real browser: the same vector files, the same verdicts."""

from collections.abc import Callable

from tests.harness import ROOT
from tests.node import find_node
from tests.web.chromium import find_chromium, run


def test_every_vector_of_the_client_in_chromium(require: Callable[[str], str]) -> None:
    require("chromium")
    find_node()
    chromium = find_chromium()
    assert chromium
    told = run(chromium, "vectors.js")
    assert told["failed"] == []
    silo_alone = sum(
        "\nwhat: request\n" in "\n" + path.read_text("utf-8") for path in (ROOT / "tests/vectors").glob("*.txt")
    )
    assert told["ran"] == len(list((ROOT / "tests/vectors").glob("*.txt"))) - silo_alone
