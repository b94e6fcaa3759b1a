"""The two languages judge alike: changed vectors go to Python and to the page's code, and verdict, what is released and
what is shown must be the same (mutations.py says what is changed, and how often which structure is drawn).

100,000 in CI, fewer otherwise, or as many as `--differential` says. A difference is a fault of one of the two, or a
hole in SPEC.md: the changed vector is written down, to become one of tests/vectors.
"""

import hashlib
import os
import secrets
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from silo.errors import SiloError
from tests.node import Peer
from tests.silo.crypto import test_vectors
from tests.silo.crypto.mutations import MIX, SENT, Mutator, form
from tests.silo.crypto.test_vectors import RUNNERS, Refused, Released, Vector

BATCH = 100
PEERS = 2


class Recorder:
    """Stands in for `same`: notes what a reader found, where the vectors' own test compares."""

    def __init__(self) -> None:
        self.shown: dict[str, list[str]] = {}

    def __call__(self, _: Vector, key: str, *found: Any) -> None:
        self.shown[key] = [form.spell(one) for one in found]


def outcome(v: Vector, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Python makes of a vector, spelled as the peer spells it."""
    out, recorder, verdict = Released(), Recorder(), "success"
    monkeypatch.setattr(test_vectors, "same", recorder)
    try:
        RUNNERS[v.text("what")](v, out)
    except SiloError as error:
        verdict = error.code.replace("_", " ")
    except (Refused, ValueError):
        verdict = "refused"
    except Exception as error:
        verdict = f"crash: {error!r}"
    return {"verdict": verdict, "released": hashlib.sha256(out.data).hexdigest(), "shown": recorder.shown}


def differs(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """Where two outcomes differ."""
    if ours["verdict"] != theirs["verdict"] or ours["verdict"].startswith("crash"):
        return f"Python: {ours['verdict']}\nTypeScript: {theirs['verdict']}"
    if ours["released"] != theirs["released"]:
        return "they release other bytes"
    if ours["verdict"] == "success":
        for key in ours["shown"].keys() & theirs["shown"].keys():
            if ours["shown"][key] != theirs["shown"][key]:
                return f"{key}\nPython: {ours['shown'][key]}\nTypeScript: {theirs['shown'][key]}"
    return None


def text_of(v: Vector) -> str:
    return "".join(
        f"{line}\n" for key, values in v.fields.items() for one in values for line in form.fold(f"{key}: {one}")
    )


def test_both_judge_alike(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
):
    many = pytestconfig.getoption("differential") or (100_000 if os.environ.get("CI") else 3_000)
    seed = pytestconfig.getoption("differential_seed") or secrets.randbits(32)
    mutator = Mutator(seed)
    drawn = iter(mutator.draw, None)
    verdicts: dict[str, Counter[str]] = {}
    found: list[str] = []

    def settle(peer: Peer, batch: list[tuple[Vector, dict[str, Any]]]) -> None:
        for (v, ours), theirs in zip(batch, peer.receive(), strict=True):
            verdicts.setdefault(v.text("what"), Counter())[ours["verdict"]] += 1
            if where := differs(ours, theirs):
                path = tmp_path / f"{len(found)}.txt"
                path.write_text(text_of(v), "utf-8")
                found.append(f"{path}: {v.text('what')}\n{where}")

    peers = [Peer() for _ in range(PEERS)]
    waiting: list[tuple[Peer, list[tuple[Vector, dict[str, Any]]]]] = []
    try:
        for at in range(0, many, BATCH):
            batch = list(islice(drawn, min(BATCH, many - at)))
            peer = peers[at // BATCH % PEERS]
            peer.send([{"do": "run", "name": "changed", "text": text_of(v)} for v in batch])
            waiting.append((peer, [(v, outcome(v, monkeypatch)) for v in batch]))
            if len(waiting) > PEERS:
                settle(*waiting.pop(0))
            assert len(found) < 20, f"seed {seed}\n" + "\n\n".join(found)
        for one in waiting:
            settle(*one)
    finally:
        for peer in peers:
            peer.close()
    assert not found, f"seed {seed}\n" + "\n\n".join(found)
    for what, counted in sorted(verdicts.items()):
        record_property(what, dict(counted))
    if many >= 50_000:
        # A run that only ever hears "no" at the door would tell nothing of what is behind it.
        assert set(verdicts) == set(MIX)
        assert all(counted["success"] for counted in verdicts.values() if counted.total() > 1000), verdicts


def test_every_structure_that_is_sent_is_drawn():
    # What is left out are functions of one's own, and the silo's end, which the page has not.
    own = {"padme", "derive", "setup", "fingerprint", "admin", "account", "xwing-seed"}
    assert set(MIX) == set(SENT) == set(RUNNERS) - own - {"request"}
