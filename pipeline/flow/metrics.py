"""What Ray exports to Prometheus for us: each name below comes out as ray_<name>, counters with _total."""

from __future__ import annotations

import threading
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
    "voxtral_engine_deaths": ("Engines that died and were replaced", ()),
}
# One of each per engine.
INSIDE = ("voxtral_engine_windows", "Windows that are inside an engine")
BUSY = ("voxtral_engine_busy_share", "Share of the last seconds in which an engine had a window, from 0 to 1")
GAUGES = (INSIDE[0], BUSY[0])


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


class BusyTime:
    """For which share of the time since one was last asked was there something inside?"""

    def __init__(self, now: float) -> None:
        self.inside = 0
        self._busy_s, self._since, self._asked = 0.0, now, now

    def change(self, by: int, now: float) -> None:
        self._busy_s += (now - self._since) * (self.inside > 0)
        self._since, self.inside = now, self.inside + by

    def share(self, now: float) -> float:
        self.change(0, now)
        share = self._busy_s / (now - self._asked) if now > self._asked else 0.0
        self._busy_s, self._asked = 0.0, now
        return min(1.0, share)


class EngineMetrics:
    """Of one engine, in its actor. `show` is called every few seconds, from another thread."""

    def __init__(self) -> None:
        self._lock, self._time = threading.Lock(), BusyTime(time.monotonic())
        self._inside, self._busy = Gauge(*INSIDE), Gauge(*BUSY)

    @contextmanager
    def inside(self, windows: int) -> Iterator[None]:
        """These windows are with the engine."""
        self._change(windows)
        try:
            yield
        finally:
            self._change(-windows)

    def _change(self, by: int) -> None:
        with self._lock:
            self._time.change(by, time.monotonic())
            self._inside.set(self._time.inside)

    def show(self) -> None:
        """Set the busy share of the time since the last call."""
        with self._lock:
            self._busy.set(self._time.share(time.monotonic()))

    def count(self, answers: pa.Table) -> None:
        """Rows of a task's answers leave the engine. What a task does not have is not counted."""
        lengths = pc.add(pc.subtract(answers["end_s"], answers["start_s"]), answers["overlap_s"])
        _add("voxtral_window_seconds", _sum(lengths))
        for code in answers["failure_code"].to_pylist():
            _add("voxtral_windows", 1, failure_code=code or "none")
        for name, column in (("voxtral_padded_seconds", "padded_s"), ("voxtral_tokens", "token_count")):
            if column in answers.column_names:
                _add(name, _sum(answers[column]))
        if "attempts" in answers.column_names:
            _add("voxtral_retried_windows", sum(len(names or []) > 1 for names in answers["attempts"].to_pylist()))


def _sum(values: pa.ChunkedArray | pa.Array) -> float:
    return float(pc.sum(values).as_py() or 0.0)
