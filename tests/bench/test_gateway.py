"""The bench runs, and measures what it says; its figures are judged by people."""

import json
import subprocess
from collections.abc import Callable

from tests.harness import ROOT, clean_environment


def test_a_quick_run_gives_every_figure(require: Callable[[str], str]) -> None:
    require("nginx")
    words = [str(ROOT / "dev"), "bench", "gateway", "--quick", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, env=clean_environment(), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    for name in ("cpu_ratio_nginx", "cpu_ratio_nginx_fast", "memory_rest_mib", "record_write_ms_p50"):
        assert 0 < figures[name] < 10_000, name
    assert figures["us_per_chunk_nginx"]["median"] > 0
