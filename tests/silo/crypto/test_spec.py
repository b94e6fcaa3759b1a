"""The worked examples in SPEC.md are what stands in the vector files, which test_vectors.py holds to the code."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from silo.crypto import labels

ROOT = Path(__file__).parents[3]
SPEC = (ROOT / "SPEC.md").read_text("utf-8")
VECTORS = ROOT / "tests" / "vectors"


def _load(name: str) -> Any:
    sys.path.insert(0, str(VECTORS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(VECTORS))


form, examples = _load("form"), _load("examples")


def test_every_structure_has_its_example():
    assert "<!-- example" not in SPEC
    shown = [name for name, _, _ in examples.blocks(SPEC)]
    assert set(shown) == set(examples.EXAMPLES)
    assert len(shown) == SPEC.count("\nexample: ")
    assert len(shown) >= 16


def test_every_line_of_an_example_stands_in_its_file():
    lines = 0
    for name, file, said in examples.blocks(SPEC):
        vector = form.read(VECTORS / f"{file}.txt")
        assert vector.text("expect") == "success"
        for key, values in said.fields.items():
            held = vector.texts(key)
            assert len(held) == len(values), f"{name}: {key}"
            for short, whole in zip(values, held, strict=True):
                assert examples.fits(key, short, whole), f"{name}: {key}"
                lines += 1
    assert lines > 100


def test_a_wrong_example_would_be_found():
    vector = form.read(VECTORS / "core.txt")
    core, key = vector.text("core"), vector.text("record-key")
    (cut,) = examples.shown("core", core)
    (whole,) = examples.shown("record-key", key)
    assert examples.fits("core", cut, core)
    assert examples.fits("record-key", whole, key)
    for bent in (cut.replace("(473)", "(472)"), "00" + cut[2:], cut.replace("… ", "… 0"), cut.partition(" …")[0]):
        assert not examples.fits("core", bent, core)
    assert not examples.fits("record-key", whole[:-1] + ("0" if whole[-1] != "0" else "1"), key)


def test_examples_are_as_they_would_be_cut_today():
    assert examples.renewed(SPEC) == SPEC


def test_every_label_of_the_paper_is_the_codes():
    known = {value for name, value in vars(labels).items() if name.isupper() and isinstance(value, str)}
    # An export's first line and a core's magic line are no labels.
    others = {"securesilo/1 export", "securesilo/1 record"}
    said = set(re.findall(r"securesilo/1 [a-z]+(?: [a-z]+)*", SPEC)) - others
    assert said == known
