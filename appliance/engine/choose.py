"""Turns the setting SILO_ENGINE into an engine."""

import re
from pathlib import Path

from appliance.engine.attach import Attached
from appliance.engine.protocol import Engine
from appliance.engine.spawn import Spawned
from silo.errors import SiloError

_FLAGS = re.compile(r"(chunks|gap-ms)=(\d{1,6}(?:\.\d{1,3})?)")


def make_engine(
    spec: str, model: Path | None, folder: Path, context: int = 4096, parallel: int = 4, queue: int = 16
) -> Engine:
    """The engine that `spec` names, not yet started.

    `llama`                     llama.cpp with `model` (see catalog.find), in a process that we start
    `fake`, `fake:chunks=200,gap-ms=20`   the deterministic one for tests, likewise
    `unix:/path/engine.sock`    one that somebody else keeps alive

    `folder` is for the socket of a process that we start. `context` is in tokens, of one conversation.
    Raises SiloError("bad_settings") for any other `spec`.
    """
    kind, _, rest = spec.partition(":")
    if kind == "llama" and not rest:
        return Spawned("llama", model, folder, context=context, parallel=parallel, queue=queue)
    if kind == "fake":
        flags: list[str] = []
        for part in filter(None, rest.split(",")):
            if not (match := _FLAGS.fullmatch(part)):
                raise SiloError("bad_settings", "SILO_ENGINE: fake takes chunks=N and gap-ms=N")
            flags += [f"--{match[1]}", match[2]]
        return Spawned("fake", None, folder, context=context, parallel=parallel, queue=queue, flags=tuple(flags))
    if kind == "unix" and rest.startswith("/"):
        return Attached(Path(rest), context=context, parallel=parallel, queue=queue)
    raise SiloError("bad_settings", "SILO_ENGINE is llama, fake or unix:/path/engine.sock")
