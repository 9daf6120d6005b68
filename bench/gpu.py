"""How fast the released models' shapes run on a GPU, beside the roofline: no weights are needed, speed does not depend
on them.

    python -m bench.gpu [--models small,mini] [--tensor-parallel 1] [--numbers bf16,fp8]
                        [--seqs 64,128,256] [--batched-tokens 8192,16384] [--windows 1024] [--gpu "H200 SXM"]

Windows of 30 s of noise; texts are forced to 3 tokens per second of audio, about what speech takes. `--dry-run` runs
the same on the CPU with small shapes. Needs PyTorch, vLLM and this repository with the packages that it imports here:
numpy, pyarrow, pydantic-settings, pydantic-extra-types with pycountry, pyyaml, mistral_common, huggingface_hub, rich.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.roofline import GPUS, SHAPES, Gpu, Work, cost
from bench.trials import Trial, checkpoint, measure, noise, small_shapes
from pipeline.models.checkpoint import inspect
from pipeline.settings import Engine

TOKENS_PER_S = 3.0
Setting = tuple[str, int, int, int]  # numbers, tensor parallel, max_num_seqs, max_num_batched_tokens
MODELS = {"small": "Voxtral-Small-24B-2507", "mini": "Voxtral-Mini-3B-2507"}


def main() -> None:
    """Run every combination, and print each as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="small,mini")
    parser.add_argument("--tensor-parallel", default="1")
    parser.add_argument("--numbers", default="bf16,fp8", help="bf16, or fp8 weights and activations by vLLM")
    parser.add_argument("--seqs", default="64,128,256", help="max_num_seqs")
    parser.add_argument("--batched-tokens", default="8192,16384", help="max_num_batched_tokens")
    parser.add_argument("--windows", type=int, default=1024)
    parser.add_argument("--ask", action="store_true", help="ask for the language of each window, too")
    parser.add_argument("--gpu", default="H200 SXM", choices=GPUS)
    parser.add_argument("--dry-run", action="store_true")
    wanted = parser.parse_args()
    if wanted.dry_run:
        vars(wanted).update(models="tiny", numbers="bf16", seqs="8", batched_tokens="512", windows=64)
    gpu = GPUS[wanted.gpu]
    console = Console(width=120)
    columns = (
        "model",
        "numbers",
        "TP",
        "max_num_seqs",
        "batched tokens",
        "RTFx",
        "tokens per s",
        "of the roofline",
        "start, s",
    )
    table = Table(*columns, title=f"{'dry run on the CPU' if wanted.dry_run else wanted.gpu}, {wanted.windows} windows")
    with tempfile.TemporaryDirectory() as place:
        for name in wanted.models.split(","):
            shapes = small_shapes() if wanted.dry_run else dict(SHAPES[MODELS[name]])
            model = checkpoint(Path(place, name), shapes)
            chunk_s = inspect(Engine(model=str(model))).chunk_s
            windows = noise(Path(place, f"{name}.npz"), wanted.windows, chunk_s)
            for setting in itertools.product(
                wanted.numbers.split(","),
                _integers(wanted.tensor_parallel),
                _integers(wanted.seqs),
                _integers(wanted.batched_tokens),
            ):
                cells = [name, *map(str, setting)]
                try:
                    speed = measure(_trial(wanted, model, setting), windows)
                except Exception as error:  # too large for this GPU: the others go on
                    cells += [f"{type(error).__name__}: {error}".splitlines()[0][:60]]
                else:
                    share = "-" if wanted.dry_run else f"{speed.audio_s / _roofline(shapes, chunk_s, gpu, setting):.0%}"
                    cells += [f"{speed.audio_s:,.0f}", f"{speed.tokens:,.0f}", share, f"{speed.start_s:.0f}"]
                table.add_row(*cells)
                console.print(*cells, highlight=False)
    console.print(table)


def _integers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


def _trial(wanted: argparse.Namespace, model: Path, setting: Setting) -> Trial:
    numbers, ranks, seqs, batched = setting
    engine = {
        "model": str(model),
        "device": "cpu" if wanted.dry_run else "gpu",
        "tensor_parallel_size": ranks,
        "max_num_seqs": seqs,
    }
    overrides: dict[str, Any] = {"load_format": "dummy", "max_num_batched_tokens": batched}
    if numbers == "fp8":
        overrides["quantization"] = "fp8"
    return Trial(numbers, engine, overrides, TOKENS_PER_S, wanted.ask)


def _roofline(shapes: dict[str, Any], chunk_s: float, gpu: Gpu, setting: Setting) -> float:
    numbers, ranks, seqs, _ = setting
    work = Work(window_s=chunk_s, tokens_per_s=TOKENS_PER_S, batch=seqs)
    if numbers == "fp8":
        return cost(shapes, work, 1.0).speed(Gpu(2 * gpu.flops, gpu.bytes_s), ranks)
    return cost(shapes, work).speed(gpu, ranks)


if __name__ == "__main__":
    main()
