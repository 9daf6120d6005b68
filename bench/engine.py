"""What our engine does with a model and with vLLM's settings, on the CPU.

`python -m bench.engine` makes all sweeps, `... settings`, `... question` or `... asking` one of them. Every line is a
process of its own. bench.gpu does the same with the shapes of the released models on a GPU.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.speech import DEMO, clips
from bench.trials import Trial, checkpoint, measure, noise, small_shapes

NOISE_WINDOWS, CHUNK_S = 200, 30.0


def settings_sweep(folder: Path) -> None:
    """vLLM's settings, and what the parts of a window cost."""
    engine = {"model": str(DEMO / "model"), "device": "cpu"}
    trials = [
        Trial("as the job has it", engine),
        Trial("one token of text: encoder and prefill alone", engine, tokens_per_s=0.0),
        Trial("the same without audio: prefill of text alone", engine, tokens_per_s=0.0, without_audio=True),
        Trial("without probabilities and loop detection", engine, plain=True),
        Trial("language asked", engine, ask=True),
        Trial("no chunked prefill", engine, {"enable_chunked_prefill": False}),
        Trial("max_num_seqs 16", engine | {"max_num_seqs": 16}),
        Trial("max_num_seqs 256", engine | {"max_num_seqs": 256}),
        Trial("max_num_batched_tokens 1024", engine, {"max_num_batched_tokens": 1024}),
        Trial("max_num_batched_tokens 32768", engine, {"max_num_batched_tokens": 32768}),
        Trial("as the job has it, again", engine),
    ]
    path = str(folder / "windows.npz")
    samples = [clip.samples for clip in clips(DEMO / "held_out")]
    rng = np.random.default_rng(0)
    # Each clip at sixteen levels: no window comes twice.
    levels = (rng.uniform(0.3, 1.0) for _ in range(16))
    np.savez(path, *((clip * level).astype(np.int16) for level in levels for clip in samples))
    sweep("one engine, demo checkpoint", trials, path)


def question_sweep(folder: Path) -> None:
    """What the question for the language costs where windows are as long as the released models': 30 s."""
    engine = {"model": str(checkpoint(folder / "model", small_shapes(CHUNK_S))), "device": "cpu"}
    settings: dict[str, dict[str, Any]] = {
        "": {},
        ", first come, first served": {"scheduling_policy": "fcfs"},
        ", no chunked prefill": {"enable_chunked_prefill": False},
        ", audio in one chunk": {"disable_chunked_mm_input": True},
        ", audio cached (1 GB)": {"mm_processor_cache_gb": 1},
        ", no prefix caching": {"enable_prefix_caching": False},
    }

    def trial(name: str, own: dict[str, Any], ask: bool) -> Trial:
        return Trial(name, engine, {"load_format": "dummy"} | own, tokens_per_s=0.0, ask=ask)

    asked = [trial(f"language asked{name}", own, True) for name, own in settings.items()]
    trials = [trial("one token of text", {}, False), *asked, trial("one token of text, again", {}, False)]
    windows = noise(folder / "noise.npz", NOISE_WINDOWS, CHUNK_S)
    sweep("windows of 30 s, the demo's shapes with random weights", trials, windows)


def asking_sweep(folder: Path) -> None:
    """What more questions about the same audio cost, in windows of 30 s."""
    engine = {"model": str(checkpoint(folder / "model", small_shapes(CHUNK_S))), "device": "cpu"}
    counts = 1, 2, 3, 1
    trials = [Trial(f"{n} questions", engine, {"load_format": "dummy"}, questions=n) for n in counts]
    windows = noise(folder / "noise.npz", NOISE_WINDOWS, CHUNK_S)
    sweep("questions about windows of 30 s, the demo's shapes with random weights", trials, windows)


def sweep(title: str, trials: Sequence[Trial], windows: str) -> None:
    """Measure and print."""
    console = Console(width=110)
    counts = "requests", "encoder runs", "cached tokens"
    table = Table("", "audio s per s", "to the first", "tokens per s", "start, s", *counts, title=title)
    first = None
    for trial in trials:
        speed = measure(trial, windows)
        first = first or speed.audio_s
        cells = f"{speed.audio_s:.1f}", f"{speed.audio_s / first:.2f}", f"{speed.tokens:.0f}", f"{speed.start_s:.0f}"
        cells += tuple(map(str, astuple(speed.counts)))
        table.add_row(trial.name, *cells)
        print(trial.name, *cells, file=sys.stderr, flush=True)
    console.print(table)
    console.print(f"{os.cpu_count()} cores", highlight=False)


SWEEPS = {"settings": settings_sweep, "question": question_sweep, "asking": asking_sweep}


def main() -> None:
    """Sweep on the CPU, and print."""
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or SWEEPS:
            SWEEPS[name](Path(folder))


if __name__ == "__main__":
    main()
