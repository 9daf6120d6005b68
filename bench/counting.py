"""What vLLM's scheduler computes and what it takes from its caches, counted by bench/scheduler.py.

The scheduler runs in a process of vLLM's own, so that the counts go through a file: COUNTS in the environment names it.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path

COUNTS = "BENCH_SCHEDULER_COUNTS"
SCHEDULER = "bench.scheduler.CountingScheduler"  # vLLM's argument scheduler_cls


@dataclass
class Counts:
    """Of one engine, since it started: requests, runs of the audio encoder (one window each), and tokens of prompts
    that the prefix cache held."""

    requests: int = 0
    encoder_runs: int = 0
    cached_tokens: int = 0

    def __sub__(self, before: Counts) -> Counts:
        return Counts(*(after - earlier for after, earlier in zip(astuple(self), astuple(before), strict=True)))


def read(path: Path) -> Counts:
    """What an engine that has shut down counted."""
    return Counts(**json.loads(path.read_text("utf-8")))
