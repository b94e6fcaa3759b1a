"""The bench of opening runs, and opens everything."""

import json

from click.testing import CliRunner

from bench.opening import History, main
from silo.crypto import _hpke


def test_a_small_run_gives_every_figure() -> None:
    done = CliRunner().invoke(main, ["--records", "20", "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.output)
    assert 0 < figures["by_bag_ms"] < 10_000
    assert 0 < figures["by_wraps_ms"] < 10_000
    assert figures["bag_bytes"] > 20 * 40


def test_a_thread_opens_by_one_hpke_open() -> None:
    history = History(5)
    opened: list[int] = []
    whole = _hpke.PrivateKey.open

    def counted(self: _hpke.PrivateKey, sealed: bytes, info: bytes) -> bytes:
        opened.append(1)
        return whole(self, sealed, info)

    _hpke.PrivateKey.open = counted
    try:
        history.by_bag()
        assert len(opened) == 1
        history.by_wraps()
        assert len(opened) == 1 + 5
    finally:
        _hpke.PrivateKey.open = whole
