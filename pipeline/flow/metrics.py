"""What Ray exports to Prometheus for us: each name below comes out as ray_<name>, counters with _total."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter, Gauge

# Name -> what it counts, and its labels. infra/grafana-dashboard.json asks for these.
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "voxtral_recordings": ("Recordings that are finished", ("outcome", "failure_code")),
    "voxtral_audio_seconds": ("Audio of the recordings that are finished, in seconds", ()),
    "voxtral_prepared_seconds": ("Audio that decode workers have cut into windows, in seconds", ()),
    "voxtral_window_seconds": ("Windows that engines have answered, in seconds", ()),
    "voxtral_padded_seconds": ("Audio that engines computed for them, padding and second attempts included", ()),
    "voxtral_windows": ("Windows that engines have answered", ("failure_code",)),
    "voxtral_retried_windows": ("Windows that took a second attempt", ()),
    "voxtral_tokens": ("Tokens of text", ()),
    "voxtral_busy_seconds": ("Time in which an engine had a window", ()),
    "voxtral_engine_deaths": ("Engines that died and were replaced", ()),
}
WAITING = ("voxtral_engine_windows", "Windows that are inside an engine")


@cache
def _counter(name: str) -> Counter:
    description, labels = COUNTERS[name]
    return Counter(name, description=description, tag_keys=labels)


def _add(name: str, value: float, **labels: str) -> None:
    if value > 0:  # a counter takes no zero
        _counter(name).inc(value, tags=labels)


def count_recording(outcome: str, failure_code: str | None, audio_s: float) -> None:
    """A recording is finished; for the driver."""
    _add("voxtral_recordings", 1, outcome=outcome, failure_code=failure_code or "none")
    _add("voxtral_audio_seconds", audio_s)


def count_windows(windows: pa.Table) -> None:
    """WINDOW rows leave a decode worker."""
    _add("voxtral_prepared_seconds", _sum(pc.subtract(windows["end_s"], windows["start_s"])))


def count_deaths() -> None:
    """An engine died."""
    _add("voxtral_engine_deaths", 1)


class EngineMetrics:
    """Of one engine, in its actor."""

    def __init__(self) -> None:
        self._inside, self._since = 0, 0.0
        self._waiting = Gauge(*WAITING)

    @contextmanager
    def inside(self, windows: int) -> Iterator[None]:
        """These windows are with the engine."""
        self._settle(windows)
        try:
            yield
        finally:
            self._settle(-windows)

    def _settle(self, change: int) -> None:
        now = time.monotonic()
        if self._inside:
            _add("voxtral_busy_seconds", now - self._since)
        self._since, self._inside = now, self._inside + change
        self._waiting.set(self._inside)

    def count(self, hypotheses: pa.Table) -> None:
        """HYPOTHESIS rows leave the engine."""
        lengths = pc.add(pc.subtract(hypotheses["end_s"], hypotheses["start_s"]), hypotheses["overlap_s"])
        _add("voxtral_window_seconds", _sum(lengths))
        _add("voxtral_padded_seconds", _sum(hypotheses["padded_s"]))
        _add("voxtral_tokens", _sum(hypotheses["token_count"]))
        _add("voxtral_retried_windows", sum(len(names or []) > 1 for names in hypotheses["attempts"].to_pylist()))
        for code in hypotheses["failure_code"].to_pylist():
            _add("voxtral_windows", 1, failure_code=code or "none")


def _sum(values: pa.ChunkedArray | pa.Array) -> float:
    return float(pc.sum(values).as_py() or 0.0)
