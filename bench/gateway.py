"""`./dev bench gateway`: what sealing costs, beside nginx passing the same stream through in the same run.

A mock engine on a Unix socket streams in vLLM's shape, each stream paced on its own. nginx, a silo that answers in the
shape `steady` and one that answers in `fast` take turns at carrying it, round after round, so that a busy machine is
busy for all of them. While all streams of a round run, the gateway's CPU time is read from /proc and divided by the
pieces of text that the engine sent. What came is opened and compared afterwards: a round that lost a word fails.
"""

import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench._load import Measured, Passed, Sealed, measure, percentile
from bench._processes import Failed, appliance, memory, mock_engine, nginx
from bench._profile import LEAD, profiled
from bench._writes import flushes, writes
from silo.errors import MACHINE

RESULTS = Path(__file__).with_name("RESULTS.md")
CROWD = 200
"""Streams at once when memory is read."""
GOALS = {
    "cpu_ratio_nginx": 1.5,
    "cpu_ratio_nginx_fast": 2.0,
    "memory_rest_mib": 120.0,
    "memory_200_streams_mib": 200.0,
    "door_admit_ms_p50": 0.5,
    "record_write_ms_p50": 2.0,
}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    streams: int
    gap_ms: float
    rounds: int
    seconds: float
    records: int
    crowd: int


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """All figures. Raises Failed."""
    engine = folder / "engine.sock"
    figures: dict[str, Any] = {"streams": plan.streams, "gap_ms": plan.gap_ms, "rounds": plan.rounds}
    rounds: dict[str, list[Measured]] = {"nginx": [], "steady": [], "fast": []}
    with ExitStack() as stack:
        stack.enter_context(mock_engine(engine, plan.gap_ms))
        places = max(plan.streams, plan.crowd)
        gateways: dict[str, Passed | Sealed] = {"nginx": Passed(*stack.enter_context(nginx(folder / "nginx", engine)))}
        for shape in ("steady", "fast"):
            served, device = stack.enter_context(appliance(folder / shape, engine, shape, places))
            gateways[shape] = Sealed(served.pid, device)
        figures["memory_rest_mib"] = round(memory(gateways["steady"].pid), 1)
        for number in range(plan.rounds):
            left = (plan.rounds - number) * 3 * (plan.seconds + 2)
            click.echo(f"round {number + 1} of {plan.rounds}, about {left:.0f} s left", err=True)
            for name, gateway in gateways.items():
                rounds[name].append(asyncio.run(measure(gateway, engine, plan.streams, plan.seconds)))
        click.echo("where the time goes", err=True)
        with profiled(gateways["steady"].pid, plan.seconds, folder / "profile") as samples:
            asyncio.run(measure(gateways["steady"], engine, plan.streams, plan.seconds + LEAD))
        click.echo(f"{plan.crowd} streams at once", err=True)
        asyncio.run(measure(gateways["steady"], engine, plan.crowd, plan.seconds))
        figures[f"memory_{plan.crowd}_streams_mib"] = round(memory(gateways["steady"].pid, peak=True), 1)
    for name, measured in rounds.items():
        figures[f"us_per_chunk_{name}"] = spread([one.chunk for one in measured])
        words = [word for one in measured for word in one.first_word]
        figures[f"first_word_ms_{name}"] = {"p50": milli(percentile(words, 0.5)), "p99": milli(percentile(words, 0.99))}
    if samples:
        cost = figures["us_per_chunk_steady"]["median"] / samples.total()
        figures["us_per_chunk_steady_by_room"] = {one: round(count * cost, 2) for one, count in samples.most_common()}
    for key, name in (("cpu_ratio_nginx", "steady"), ("cpu_ratio_nginx_fast", "fast")):
        pairs = [ours.chunk / theirs.chunk for ours, theirs in zip(rounds[name], rounds["nginx"], strict=True)]
        figures[key] = round(statistics.median(pairs), 2)
        figures[f"{key}_spread"] = spread(pairs)
    click.echo(f"{plan.records} records", err=True)
    times, disk = writes(folder, plan.records, lambda: None), flushes(folder)
    # `open` is decapsulation and header, `admit` signature and policy; `write` is sealing and the transaction, until
    # the disk has it; `keep` adds the questions asked of the database before.
    named = {"open": "door_open_ms", "admit": "door_admit_ms", "write": "record_write_ms", "keep": "record_keep_ms"}
    for key, took in ((name, times[one]) for one, name in named.items()):
        figures[f"{key}_p50"] = round(percentile(took, 0.5), 2)
        figures[f"{key}_p99"] = round(percentile(took, 0.99), 2)
    figures["disk_flush_ms_p50"] = round(percentile(disk, 0.5), 2)
    packages = " ".join(f"{name} {version(name)}" for name in ("sanic", "uvloop", "cryptography"))
    figures["machine"] = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {packages}"
    return figures


def milli(seconds: float) -> float:
    """Seconds as milliseconds."""
    return round(seconds * 1e3, 1)


def spread(values: list[float]) -> dict[str, float]:
    """Least, median and most."""
    return {
        "min": round(min(values), 2),
        "median": round(statistics.median(values), 2),
        "max": round(max(values), 2),
    }


def table(figures: dict[str, Any]) -> Table:
    """The figures that have a goal, and what a piece of text costs."""
    made = Table("figure", "measured", "goal")
    for name in ("nginx", "steady", "fast"):
        cost = figures[f"us_per_chunk_{name}"]
        made.add_row(f"CPU a chunk, {name}", f"{cost['median']} µs ({cost['min']} to {cost['max']})", "")
    for room, cost in figures.get("us_per_chunk_steady_by_room", {}).items():
        made.add_row(f"  of that, {room}", f"{cost} µs", "")
    for name, goal in GOALS.items():
        if name in figures:
            made.add_row(name, str(figures[name]), f"{goal:g}")
    return made


def record(figures: dict[str, Any]) -> None:
    """Append the run to RESULTS.md."""
    now = datetime.now(UTC).strftime("%Y-%m-%d")
    lines = [f"\n## gateway, {now}\n", f"{figures['machine']}. `./dev bench gateway --record`\n"]
    lines += ["| figure | measured | goal |", "|---|---|---|"]
    for name, value in figures.items():
        if name != "machine":
            shown = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
            lines.append(f"| {name} | {shown} | {GOALS.get(name, '')} |")
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--streams", type=click.IntRange(1, 1000), default=64, show_default=True)
@click.option("--gap-ms", type=float, default=20.0, show_default=True, help="From one chunk of a stream to the next.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--quick", is_flag=True, help="A short run, to see that it works; its figures mean little.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--record", "keep", is_flag=True, help="Append the figures to bench/RESULTS.md.")
def main(streams: int, gap_ms: float, rounds: int, quick: bool, as_json: bool, keep: bool) -> None:
    """What sealing costs, beside nginx passing the same stream through.

    Example: ./dev bench gateway --json
    """
    plan = Plan(4, gap_ms, 1, 1.0, 10, 8) if quick else Plan(streams, gap_ms, rounds, 5.0, 300, CROWD)
    try:
        with tempfile.TemporaryDirectory(prefix="silo-bench-") as folder:
            figures = run(plan, Path(folder))
    except Failed as failed:
        click.echo(f"error: {failed}", err=True)
        sys.exit(MACHINE)
    if keep:
        record(figures)
    if as_json:
        click.echo(json.dumps(figures))
    else:
        Console().print(table(figures))


if __name__ == "__main__":
    main()
