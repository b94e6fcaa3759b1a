"""Finding model files and reading what they say about themselves."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine import Job, Message, catalog, gguf, make_engine
from appliance.engine.attach import Attached
from appliance.engine.spawn import Spawned
from silo.errors import SiloError


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def tiny_gguf() -> bytes:
    """A header with every type of value, and no weights."""
    tokens, kinds = ["<end>", "plain", "ünı"], [3, 1, 1]
    pairs = [
        string("general.architecture") + struct.pack("<I", 8) + string("tiny"),
        string("tiny.context_length") + struct.pack("<II", 4, 777),
        string("flag") + struct.pack("<I?", 7, True),
        string("number") + struct.pack("<Id", 12, 0.5),
        string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + b"".join(map(string, tokens)),
        string("tokenizer.ggml.token_type") + struct.pack("<IIQ3i", 9, 5, 3, *kinds),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs)


def read(folder: Path, data: bytes) -> gguf.Header:
    path = folder / "m.gguf"
    path.write_bytes(data)
    return gguf.read_header(path)


def test_reads_what_the_built_in_model_says():
    found = catalog.find(None)
    assert found.id == "smollm2-135m-instruct"
    assert found.path.is_file()
    assert found.context == 8192
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(found.control)
    assert 16 <= found.longest <= 512


def test_reads_a_header(tmp_path):
    assert read(tmp_path, tiny_gguf()) == gguf.Header(777, ("<end>",), 5)


def test_every_cut_is_seen(tmp_path):
    whole = tiny_gguf()
    for size in range(len(whole)):
        with pytest.raises(gguf.NotGguf):
            read(tmp_path, whole[:size])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_changed_it_is_read_or_refused(tmp_path_factory, data):
    whole = bytearray(tiny_gguf())
    for at in data.draw(st.lists(st.integers(4, len(whole) - 1), min_size=1, max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    try:
        header = read(tmp_path_factory.getbasetemp(), bytes(whole))
    except gguf.NotGguf:
        return
    assert header.longest <= len(whole)


def test_takes_a_file_or_the_only_one_in_a_folder(tmp_path):
    path = tmp_path / "Own Model.Q8_0.gguf"
    path.write_bytes(tiny_gguf())
    for named in (path, tmp_path):
        found = catalog.find(named)
        assert (found.path, found.id) == (path, "own-model")
    (tmp_path / "b.gguf").touch()
    with pytest.raises(SiloError) as caught:
        catalog.find(tmp_path)
    assert caught.value.detail == f"{tmp_path}: a folder with 2 GGUF files; name one file"


def test_says_that_the_built_in_model_is_missing(monkeypatch):
    monkeypatch.setattr(catalog, "_BUILT_IN", "no_such_package")
    with pytest.raises(SiloError) as caught:
        catalog.find(None)
    assert caught.value.code == "model_broken"


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("Qwen3-8B-Q4_K_M.gguf", "qwen3-8b"),
        ("gemma-3-4b-it-IQ2_XXS.gguf", "gemma-3-4b-it"),
        ("llama-bf16.gguf", "llama"),
        ("phi-4-F32.gguf", "phi-4"),
        ("Größe <b>.gguf", "gr-e-b"),
        ("...gguf", "model"),
        ("q8.gguf", "q8"),
        ("x" * 200 + ".gguf", "x" * 64),
    ],
)
def test_an_id_is_made_from_the_name(name, model_id):
    assert catalog.model_id(Path(name)) == model_id


def test_engines_are_chosen_by_name(tmp_path):
    assert isinstance(make_engine("llama", None, tmp_path), Spawned)
    assert isinstance(make_engine("fake", None, tmp_path), Spawned)
    assert isinstance(make_engine("unix:/run/e.sock", None, tmp_path), Attached)


async def test_the_fake_takes_its_settings(tmp_path):
    engine = make_engine("fake:chunks=5,gap-ms=0.5", None, tmp_path / "e")
    await engine.start()
    try:
        pieces: list[str] = []
        await engine.run(Job((Message("user", "a b"),), "fake"), pieces.append)
        assert pieces == [" a", " b", " a", " b", " a"]
    finally:
        await engine.stop()


@pytest.mark.parametrize(
    "spec", ["", "vllm", "llama:x", "fake:chunks", "fake:chunks=-1", "fake:socket=1", "unix:", "unix:relative", "Llama"]
)
def test_any_other_name_is_a_bad_setting(spec, tmp_path):
    with pytest.raises(SiloError) as caught:
        make_engine(spec, None, tmp_path)
    assert caught.value.code == "bad_settings"
    assert "SILO_ENGINE" in caught.value.detail
