"""How fast the released models' shapes run on a GPU, beside the roofline: no weights are needed, speed does not depend
on them.

    python -m bench.gpu OUTPUT [--minutes 8] [--only "small fp8"] [--tensor-parallel 1] [--vllm JSON] [--dry-run]

Windows of 30 s of noise; texts are forced to 3 tokens per second of audio, about what speech takes. The steps come in
the order of their value, each in a process of its own, until the minutes are up. OUTPUT gets results.jsonl, a line for
each result as it comes, table.txt and log.txt; the same command again goes on with what is not done. `--only`: steps
whose names have one of these words, separated by commas. `--vllm`: engine arguments for all of them, such as
{"enforce_eager": true}. `--dry-run`: small shapes on the CPU.
Needs PyTorch, vLLM and this repository with the packages that it imports here; bench.gpu_bundle brings them to a host
that has no package registry.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.budget import Step, kept, run
from bench.gpu_plan import CEILINGS, PLAN, SHAPES_OF, TOKENS_PER_S, Engines, roofline
from bench.trials import Speed, Trial, checkpoint, measure_here, noise, small_shapes
from pipeline.models.checkpoint import inspect
from pipeline.settings import Engine

LARGEST = 1024  # windows that a step takes at most
DRY_WINDOWS = 48
ENDING_S = 5.0  # to write the table


def main() -> None:
    """Run the plan, or one step of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--vllm", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)  # what the plan starts for each
    wanted = parser.parse_args()
    if wanted.step == CEILINGS:
        print(json.dumps(ceilings()), flush=True)
    elif wanted.step:
        measure_step(next(engines for engines in PLAN if engines.name == wanted.step), wanted)
    else:
        run_plan(wanted)


def run_plan(wanted: argparse.Namespace) -> None:
    """Run the steps, and print and write the table."""
    deadline = time.monotonic() + 60 * wanted.minutes - ENDING_S
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending the step that runs
    wanted.output.mkdir(parents=True, exist_ok=True)
    results, console = wanted.output / "results.jsonl", Console(width=120)
    words = [word.strip() for word in wanted.only.split(",")]
    for line in run(_steps(wanted, words), results, wanted.output / "log.txt", deadline):
        console.print_json(json.dumps(line), indent=None)
    shown = table(kept(results))
    console.print(shown)
    with (wanted.output / "table.txt").open("w") as file:
        Console(width=120, file=file).print(shown)


def _steps(wanted: argparse.Namespace, words: Sequence[str]) -> list[Step]:
    own = [sys.executable, "-m", "bench.gpu", *sys.argv[1:], "--step"]
    steps = [] if wanted.dry_run else [Step(CEILINGS, [*own, CEILINGS], 20.0, 90.0)]
    for each in PLAN:
        if not wanted.dry_run:
            steps.append(Step(each.name, [*own, each.name], each.expected_s, each.limit_s))
        elif each.numbers != "fp8":  # which CPUs have not; they take as long as they take
            steps.append(Step(each.name, [*own, each.name], 0.0, 60 * wanted.minutes))
    return [step for step in steps if any(word in step.name for word in words)]


def measure_step(engines: Engines, wanted: argparse.Namespace) -> None:
    """Start the engine, and print the speed of each of its trials as it comes."""
    place = Path(tempfile.gettempdir(), "bench-gpu")
    place.mkdir(exist_ok=True)
    name = "tiny" if wanted.dry_run else engines.model
    if not (model := place / name).is_dir():
        checkpoint(model, small_shapes() if wanted.dry_run else dict(SHAPES_OF[engines.model]))
    chunk_s = inspect(Engine(model=str(model))).chunk_s
    windows = place / f"{name if wanted.dry_run else 'windows'}.npz"
    if not windows.is_file():
        noise(windows, DRY_WINDOWS if wanted.dry_run else LARGEST, chunk_s)
    engine = {
        "model": str(model),
        "device": "cpu" if wanted.dry_run else "gpu",
        "tensor_parallel_size": wanted.tensor_parallel,
        "max_num_seqs": 8 if wanted.dry_run else engines.seqs,
    }
    overrides: dict[str, Any] = {"load_format": "dummy", **engines.overrides, **wanted.vllm}
    if engines.numbers == "fp8":
        overrides["quantization"] = "fp8"
    trials = [replace(trial, engine=engine, overrides=overrides) for trial in engines.trials]

    def told(trial: Trial, speed: Speed) -> None:
        figures = {
            "trial": trial.name,
            "audio_s_per_s": round(speed.audio_s, 1),
            "tokens_per_s": round(speed.tokens, 1),
            "start_s": round(speed.start_s, 1),
            "counts": vars(speed.counts),
            "tensor_parallel": wanted.tensor_parallel,
            "vllm": wanted.vllm,
        }
        print(json.dumps(figures), flush=True)

    measure_here(trials, str(windows), engines.windows, told)


def ceilings() -> dict[str, Any]:
    """What this GPU does at best: bf16 products of 8192 x 8192 matrices, and copies of 4 GB, read and written."""
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    source = torch.randint(0, 127, (4 << 30,), device="cuda", dtype=torch.int8)
    target = torch.empty_like(source)
    product_s, copy_s = _seconds(lambda: a @ b), _seconds(lambda: target.copy_(source))
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "bf16_tflop_per_s": round(2 * 8192**3 / product_s / 1e12, 1),
        "copy_tb_per_s": round(2 * source.nbytes / copy_s / 1e12, 2),
        "torch": torch.__version__,
    }


def _seconds(work: Any, repeats: int = 10) -> float:
    """The median, by the device's clock."""
    import torch

    times = list[float]()
    for _ in range(3 + repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times[3:])[repeats // 2]


def table(lines: Sequence[dict[str, Any]]) -> Table:
    """All results, the last of each step and trial."""
    gpu = next((line for line in lines if "gpu" in line), {})
    title = " ".join(f"{name} {gpu[name]}" for name in ("gpu", "bf16_tflop_per_s", "copy_tb_per_s") if name in gpu)
    columns = "engine", "measured", "audio s per s", "tokens per s", "of the roofline", "encoder runs", "start, s"
    shown = Table(*columns, title=f"{title or 'no GPU'}; texts of {TOKENS_PER_S:g} tokens per second")
    speeds = {(line["step"], line["trial"]): line for line in lines if "trial" in line}
    for (step, trial), line in speeds.items():
        best = roofline(step, trial, gpu.get("gpu", ""), line["tensor_parallel"])
        share = f"{line['audio_s_per_s'] / best:.0%}" if best else "-"
        numbers = f"{line['audio_s_per_s']:,.1f}", f"{line['tokens_per_s']:,.0f}", share
        shown.add_row(step, trial, *numbers, str(line["counts"]["encoder_runs"]), f"{line['start_s']:.0f}")
    outcomes = {line["step"]: line for line in lines if "outcome" in line}
    for step, line in outcomes.items():
        if line["outcome"] != "done":
            shown.add_row(step, f"{line['outcome']} after {line['seconds']:.0f} s")
    return shown


if __name__ == "__main__":
    main()
