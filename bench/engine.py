"""What our engine does with a model and with vLLM's settings, on the CPU.

`python -m bench.engine` makes both sweeps, `... settings` or `... question` one of them. Every line is a process of its
own. bench.gpu does the same with the shapes of the released models on a GPU.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import counting
from pipeline.models.checkpoint import Checkpoint, fit, inspect
from pipeline.models.protocol import Utterance
from pipeline.models.runtimes.vllm import VllmEngine
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Language, Settings

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

WARM_UP = 16  # windows
NOISE_WINDOWS, CHUNK_S = 200, 30.0
WORDS = 200, 400  # ids that stand for text in the demo's vocabulary, and no special ones in any


@dataclass(frozen=True)
class Trial:
    """One engine: our settings of it, vLLM's own in their place, and what it is asked of each window.

    `tokens_per_s` forces a text of so many tokens per second of audio, whatever the model says. `ask`: the language,
    too. `plain`: text alone, without the probabilities and the watch for loops that guards want. `deaf`: a prompt of as
    many tokens of text instead of audio, for what the encoder costs.
    """

    name: str
    engine: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tokens_per_s: float | None = None
    ask: bool = False
    plain: bool = False
    deaf: bool = False


@dataclass(frozen=True)
class Speed:
    """What came of a trial; per second of the steady state. `counts` are of all its windows."""

    audio_s: float
    tokens: float
    start_s: float
    counts: counting.Counts


class _Bent(VllmEngine):
    """Does what a trial asks for."""

    def __init__(self, trial: Trial, settings: Settings, checkpoint: Checkpoint) -> None:
        overrides: dict[str, Any] = {"scheduler_cls": counting.SCHEDULER} | dict(trial.overrides)
        super().__init__(settings, checkpoint, **overrides)
        self._trial, self._rng = trial, np.random.default_rng(0)
        if trial.deaf:
            self._family.prompt = self._text

    def _text(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        return {"prompt_token_ids": self._rng.integers(*WORDS, len(ids)).tolist()}

    async def _generate(
        self, audio: np.ndarray, utterance: Utterance, ids: Sequence[int], params: SamplingParams
    ) -> RequestOutput:
        if self._trial.tokens_per_s is not None and params.detokenize:  # not a question
            params.max_tokens = params.min_tokens = max(1, round(self._trial.tokens_per_s * utterance.duration_s))
            params.ignore_eos, params.repetition_detection = True, None
        if self._trial.plain and params.detokenize:
            params.logprobs = params.repetition_detection = None
        return await super()._generate(audio, utterance, ids, params)


async def _run(trial: Trial, windows: Sequence[np.ndarray], counts: Path) -> Speed:
    started = time.monotonic()
    os.environ[counting.COUNTS] = str(counts)
    # The demo's model was not taught to answer in words.
    language = Language.model_validate({"expected": ["en", "es", "fr", "de"], "witnesses": ["score"]})
    settings = Settings(input="none", output="none", engine=Engine(**trial.engine), language=language)
    checkpoint = inspect(settings.engine)
    settings = fit(settings, checkpoint)
    engine = _Bent(trial, settings, checkpoint)
    start_s = time.monotonic() - started
    done: list[tuple[float, int]] = []
    room = asyncio.Semaphore(2 * settings.engine.max_num_seqs)

    async def one(samples: np.ndarray) -> None:
        async with room:
            utterance = Utterance(samples)
            if trial.ask:
                hypothesis, _ = await asyncio.gather(engine.transcribe(utterance), engine.listen(utterance))
            else:
                hypothesis = await engine.transcribe(utterance)
        done.append((time.monotonic(), hypothesis.token_count))

    try:
        await asyncio.gather(*map(one, windows[:WARM_UP]))
        done.clear()
        await asyncio.gather(*map(one, windows[WARM_UP:]))
    finally:
        engine.shutdown()
    low, high = len(done) // 10, len(done) * 9 // 10
    seconds = done[high][0] - done[low][0]
    window_s = sum(map(len, windows)) / len(windows) / SAMPLE_RATE_HZ
    tokens = sum(tokens for _, tokens in done[low:high])
    return Speed((high - low) * window_s / seconds, tokens / seconds, start_s, counting.read(counts))


def _measure(trial: Trial, windows: str) -> Speed:
    with np.load(windows) as kept, tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(trial, [kept[name] for name in kept.files], Path(folder) / "counts.json"))


def measure(trial: Trial, windows: str) -> Speed:
    """Run a trial in a process of its own, over the int16 arrays of an npz file."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, trial, windows).result()


def settings_sweep(folder: Path) -> None:
    """vLLM's settings, and what the parts of a window cost."""
    from bench.speech import DEMO, clips

    engine = {"model": str(DEMO / "model"), "device": "cpu"}
    trials = [
        Trial("as the job has it", engine),
        Trial("one token of text: encoder and prefill alone", engine, tokens_per_s=0.0),
        Trial("the same without audio: prefill of text alone", engine, tokens_per_s=0.0, deaf=True),
        Trial("without probabilities and watch for loops", engine, plain=True),
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
    from bench import gpu

    engine = {"model": str(gpu.checkpoint(folder / "model", gpu.small_shapes(CHUNK_S))), "device": "cpu"}
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
    windows = gpu.noise(folder / "noise.npz", NOISE_WINDOWS, CHUNK_S)
    sweep("windows of 30 s, the demo's shapes with random weights", trials, windows)


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


SWEEPS = {"settings": settings_sweep, "question": question_sweep}


def main() -> None:
    """Sweep on the CPU, and print."""
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or SWEEPS:
            SWEEPS[name](Path(folder))


if __name__ == "__main__":
    main()
