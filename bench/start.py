"""How long one waits for the first rows, beside vLLM's own start: `python -m bench.start [REPEATS] [NAMES]`.

The job transcribes three of the demo's calls; again with the scheduler's process started as vLLM does it, when this one
has imported vLLM ("spawned"), and with the processes that vLLM chooses by itself on a CPU ("apart": the model in one of
its own). Bare vLLM loads the same model with the same settings and those processes, and transcribes nothing. Each is a
new process, in turn; seconds are from its beginning, imports included. Without arguments all are started three times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.speech import DEMO
from demo.run import LANGUAGES, MODEL
from pipeline.models.runtimes import vllm_cpu

APART = {vllm_cpu.PROCESSES: "1"}  # what vLLM does by itself
SPAWNED = {vllm_cpu.METHOD: "spawn"}
BARE = """
from bench.contenders import settings_for
from pathlib import Path
from pipeline.models.checkpoint import inspect
from pipeline.models.demand import of_windows
from pipeline.models.runtimes import vllm as runtime
from pipeline.models.runtimes import vllm_cpu

if __name__ == "__main__":
    settings = settings_for(Path("none"), "text")
    checkpoint = inspect(settings.engine)
    given = runtime.arguments(settings, checkpoint, of_windows(settings, checkpoint))
    with vllm_cpu.environment(given):
        import vllm
        engine = vllm.LLM(**given)
    print("ready", flush=True)
    engine.llm_engine.engine_core.shutdown()
"""


def bare(folder: Path) -> dict[str, float]:
    """vllm.LLM, until it could generate."""
    script = folder / "bare.py"
    script.write_text(BARE)
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, script],
        env=os.environ | APART | {"PYTHONPATH": str(DEMO.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        assert any(line == "ready\n" for line in process.stdout), "vLLM did not start"
        ready_s = time.monotonic() - began
    return {"engine ready": ready_s}


def job(folder: Path, **environment: str) -> dict[str, float]:
    """The whole job."""
    output = folder / f"out-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "jobs.transcribe", "--input", str(DEMO / "recordings/calls"), "--limit", "3"]
    began = time.time()
    command += ["--output", str(output), *MODEL, *LANGUAGES]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
    took_s = time.time() - began
    (report,) = (json.loads(path.read_text()) for path in (output / "runs").glob("*.json"))
    planned_s = datetime.fromisoformat(report["started_at"]).timestamp() - began
    return {"planned": planned_s, "first rows": planned_s + report["first_rows_s"], "end": took_s}


CONTENDERS = {"bare": bare, "job": job, "job, spawned": partial(job, **SPAWNED), "job, apart": partial(job, **APART)}


def main() -> None:
    """Run and print."""
    repeats, *names = sys.argv[1:] or ["3"]
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(int(repeats)):
            for contender in names or CONTENDERS:
                start = CONTENDERS[contender]
                for phase, seconds in start(Path(name)).items():
                    found.setdefault((contender, phase), []).append(seconds)
    table = Table("", "", "seconds", "each try", title=f"seconds since its start, {os.cpu_count()} cores")
    for (contender, phase), values in found.items():
        tries = ", ".join(f"{value:.1f}" for value in values)
        table.add_row(contender, phase, f"{float(np.median(values)):.1f}", tries)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
