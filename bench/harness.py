"""What the benches share: settings, a process for each measurement, and its steady state."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

from pipeline.models.checkpoint import fit, inspect
from pipeline.settings import Engine, Language, Settings

P = ParamSpec("P")
T = TypeVar("T")
# Guards that nothing trips: no second attempts.
NO_RETRIES = {
    "min_chars_per_s": 0.0,
    "max_chars_per_s": 1e9,
    "max_compression_ratio": 1e9,
    "min_mean_logprob": -1e9,
    "min_speech_s": 1e9,
}


def demo_language(*methods: str) -> Language:
    """The languages of the demo's model, found by these methods. It was not trained to answer questions in words."""
    return Language.model_validate({"expected": ["en", "es", "fr", "de"], "methods": methods})


def fitted(engine: Engine, language: Language, source: str = "none", output: str = "none") -> Settings:
    """The job's defaults for this engine and its checkpoint."""
    return fit(Settings(input=source, output=output, engine=engine, language=language), inspect(engine))


def in_own_process(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function in a new process, so that measurements share no state."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **named).result()


def steady(times: Sequence[object]) -> tuple[int, int]:
    """The indices between which an engine is busy: after the first tenth of its windows, before the last one."""
    return len(times) // 10, len(times) * 9 // 10
