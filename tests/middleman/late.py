"""The appliance with a clock as far ahead as a file says, and that forgets often: python -m tests.middleman.late"""

import os
from pathlib import Path

from appliance import start
from appliance.terminal import now

_ahead = Path(os.environ.pop("SILO_TEST_AHEAD"))
start.now = lambda: now() + int(_ahead.read_text())
start.SWEEP = 0.1  # pyright: ignore[reportAttributeAccessIssue]

if __name__ == "__main__":
    start.main()
