"""llama.cpp in a process of its own: python -m appliance.engine.llama --socket PATH.sock --model FILE.gguf

It serves OpenAI's endpoints on the Unix socket and listens nowhere else. The settings keep it from
remembering, showing or printing what it is asked.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from appliance.engine.child import MODEL_BROKEN, NOT_INSTALLED, end_with_parent, own_socket

# Tokens read in one go. Between two goes it looks whether the client is still there, so this bounds how
# long a cancelled job keeps its slot: 0.3 s with the small model on one core, where 2048 takes 10 s.
# Larger ones read a prompt a tenth or two faster without a GPU.
_BATCH = 32


def settings(params: Any, socket: Path, model: Path, name: str, context: int, parallel: int) -> None:
    """Set llama.cpp's parameters, an xllamacpp.CommonParams.

    Raises AttributeError where it does not have one of them: a setting that is gone may no longer protect.
    """
    values: dict[str, object] = {
        "hostnames": [str(socket)],
        "model_alias": {name},
        "n_parallel": parallel,
        "n_ctx": context * parallel,  # it is split evenly over the slots …
        "kv_unified": False,  # … and no slot sees another's part
        "n_batch": _BATCH,
        "n_ubatch": _BATCH,
        "cache_prompt": False,  # a slot keeps nothing for the next job
        "cache_ram_mib": 0,  # by default up to 8 GiB of prompts
        "cache_idle_slots": False,
        "endpoint_slots": False,  # shows prompts
        "endpoint_metrics": False,
        "endpoint_props": False,
        "ui": False,
        "slot_save_path": "",
        "verbosity": -1,  # no output at all; the higher ones print prompts
        "warmup": True,
        "prefill_assistant": False,  # a conversation that ends with the assistant is answered, not continued
        "force_pure_content_parser": True,  # what the model writes is text: no tool calls are looked for
    }
    for key, value in values.items():
        if not hasattr(params, key):
            raise AttributeError(key)
        setattr(params, key, value)
    params.model.path = str(model)
    # One core is left to the rest of the appliance. The threads wait for each other by spinning, so with
    # as many as there are cores two busy engines, or an engine and its gateway, all but stand still; and the
    # small model does not write faster with two.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, _cores() - 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def main() -> int:
    """Serve until the process is ended. Returns an exit code when the model cannot be loaded."""
    parser = argparse.ArgumentParser(prog="appliance.engine.llama", description="llama.cpp on a Unix socket")
    parser.add_argument("--socket", type=Path, required=True, help="ends in .sock; its folder is made with mode 0700")
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--id", default="model", help="what the model is called")
    parser.add_argument("--context", type=int, default=4096, help="tokens of one conversation")
    parser.add_argument("--parallel", type=int, default=4, help="conversations at once")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    args = parser.parse_args()
    if args.with_parent:
        end_with_parent()
    os.unsetenv("LLAMA_SERVER_SLOTS_DEBUG")  # prints prompts and replies
    own_socket(args.socket)
    try:
        import xllamacpp as native  # here, so that its absence is a sentence
    except ImportError:
        print("xllamacpp is not installed", file=sys.stderr)
        return NOT_INSTALLED
    params = native.CommonParams()  # pyright: ignore[reportAttributeAccessIssue]
    settings(params, args.socket, args.model, args.id, args.context, args.parallel)
    try:
        server = native.Server(params)  # pyright: ignore[reportAttributeAccessIssue]
    except RuntimeError:
        print("the model file cannot be loaded", file=sys.stderr)
        return MODEL_BROKEN
    signal.pause()
    del server  # it serves for as long as it exists
    return 0


if __name__ == "__main__":
    sys.exit(main())
