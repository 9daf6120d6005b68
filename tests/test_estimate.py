from __future__ import annotations

from typing import Any

import pytest

from pipeline import estimate
from pipeline.estimate import Estimate, Speed


def report(run_id: str, speed: float, wall_s: float = 100.0, engines: int = 1, **numbers: Any) -> dict[str, Any]:
    facts = {"speed": speed, "wall_s": wall_s, "slot_fill": 0.8, "retried": 5, "segments": 100} | numbers
    return {
        "run_id": run_id,
        "model": "m",
        "model_revision": "1",
        "engines": engines,
        "first_rows_s": 30.0,
        "numbers": facts,
    }


def test_the_last_long_run_of_the_model_counts() -> None:
    runs = [report("a", 50.0), report("b", 200.0, engines=4), report("short", 1.0, wall_s=20.0)]
    found = estimate.measured(runs, "m", "1")
    assert found and found.report and (found.value, found.report["run_id"]) == (50.0, "b")
    assert estimate.measured(runs, "m", "2") is None


def test_hours_and_price() -> None:
    found = Estimate(audio_s=3_600_000.0, speed=Speed(100.0), engines=4, price_per_engine_hour=8.0)
    assert (found.engine_hours, found.wall_hours, found.price) == (10.0, 2.5, 80.0)


def test_what_the_time_was_spent_on_is_told_by_size() -> None:
    start, padding = Speed(50.0, report("a", 50.0)).spent
    assert start.startswith("30% of its time passed before the first rows")
    assert padding.startswith("20% of the audio computed was padding and second attempts (5% of the windows")
    assert "--segmentation.max-pause-s" in padding
    assert Speed(50.0).spent == []


@pytest.mark.parametrize("numbers", [{"slot_fill": None, "retried": 0, "segments": 0}, {"wall_s": 0.0}])
def test_a_run_without_windows_tells_nothing_of_them(numbers: dict[str, Any]) -> None:
    assert len(Speed(50.0, report("a", 50.0, **numbers)).spent) <= 2
