from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import planning, progress
from pipeline.flow.tracker import EngineStates
from pipeline.log import Log
from pipeline.progress import LEAST_RECORDINGS, LEAST_S, PACE_WINDOW_S, Now, Pace, Progress
from pipeline.settings import Settings
from tests.conftest import DEMO


@settings(deadline=None)
@given(per_s=st.floats(0.01, 1000), seconds=st.floats(LEAST_S, 5000), audio=st.floats(0.1, 100))
def test_a_steady_pace_tells_when_it_ends(per_s: float, seconds: float, audio: float) -> None:
    every_s = seconds / 40
    done = [round(n * every_s * per_s, 6) for n in range(41)]
    pace = Pace(2 * done[-1])
    for n, work in enumerate(done):
        pace.note(n * every_s, n, audio * work, work)
    assert pace.left_s == pytest.approx(seconds, rel=1e-3)
    assert pace.speed == pytest.approx(audio * per_s, rel=1e-3)


def test_nothing_is_said_before_there_is_something_to_go_by() -> None:
    pace = Pace(1000.0)
    assert pace.left_s is pace.speed is None
    pace.note(0.0, 0, 0.0, 0.0)
    pace.note(LEAST_S - 1, LEAST_RECORDINGS, 50.0, 50.0)
    assert pace.left_s is None, "too early"
    pace.note(LEAST_S, LEAST_RECORDINGS - 1, 40.0, 40.0)
    assert pace.left_s is None, "too few, and less than LEAST_SHARE"
    pace.note(LEAST_S + 1, 1, 500.0, 500.0)
    assert pace.left_s == LEAST_S + 1, "one, but half of all"


def test_recordings_without_audio_leave_the_time_unknown() -> None:
    pace = Pace(1000.0)
    pace.note(0.0, 0, 0.0, 0.0)
    pace.note(60.0, 100, 0.0, 0.0)
    assert pace.left_s is None


def test_the_pace_is_that_of_late() -> None:
    pace, work = Pace(10_000.0), 0.0
    for at in range(0, 3_000, 5):  # one engine, then two
        work = at * 1.0 if at < 1_500 else 1_500 + (at - 1_500) * 2.0
        pace.note(float(at), at, work, work)
    assert pace.speed == pytest.approx(2.0, rel=0.01)
    assert pace.left_s == pytest.approx((10_000 - work) / 2.0, rel=0.01)


def test_a_pace_survives_a_long_pause() -> None:
    """A recording of an hour may finish after long: the pace is then taken from further back."""
    pace = Pace(100.0)
    pace.note(0.0, 0, 0.0, 0.0)
    pace.note(100.0, 10, 10.0, 10.0)
    for at in range(105, int(100 + 2 * PACE_WINDOW_S), 5):
        pace.note(float(at), 10, 10.0, 10.0)
    assert pace.left_s is not None and pace.left_s > 9 * PACE_WINDOW_S


@pytest.fixture
def run(tmp_path: Path) -> tuple[Progress, np.ndarray]:
    """Progress of a run of ten recordings, and which of them are left."""
    engine = {"family": "scripted", "model": "none"}
    facts = {"input": str(DEMO / "held_out"), "output": str(tmp_path / "out"), "limit": 10, "engine": engine}
    plan = planning.plan(Settings.model_validate(facts))
    left = np.ones(10, bool)
    return Progress(plan, lambda: left), left


def test_a_run_says_its_phases(run: tuple[Progress, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    at, left = run
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    at._weigh()
    assert at.now() == Now("starting Ray")
    at.engines, at.phase = 2, progress.STARTING_ENGINES
    assert at.now().line == "starting engines: 0 of 2 engines ready, waiting for Ray to start them"
    at.hear(EngineStates(0, 1))
    at.note()
    assert at.now().line == "starting engines: 0 of 2 engines ready, loading none"
    at.hear(EngineStates(1, 1))
    at.note(7)
    begun = at.now()
    assert begun.line == (
        "processing: 0/10 recordings, 0 failed, time left unknown; 7 windows answered; 0.0 s of audio; 1 of 2 engines"
    )
    assert begun.facts["left_s"] is begun.facts["speed"] is None
    clock[0], left[:5] = 50.0, False
    at._tally.outcomes["ok"], at._tally.outcomes["failed"], at._tally.audio_s = 4, 1, 100.0
    at.note()
    now = at.now()
    assert now.share == 0.5 and (now.facts["recordings"], now.facts["failed"]) == (5, 1)
    assert now.facts["speed"] == 2.0 and "; 2.0 x real time; " in now.line
    assert 40 <= now.facts["left_s"] < 60 and "1 failed, less than a minute left" in now.line
    at.phase = progress.WRITING
    assert at.now().line == "writing: 5/10 recordings, 1 failed; 1 min 40 s of audio; 1 of 2 engines"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[bool, float], list[str]]:
    """What is logged of a phase that lasts, and of one behind it that is over at once."""
    monkeypatch.setattr(progress, "TICK_S", 0.02)
    monkeypatch.setattr(progress, "INTERVAL_S", 0.1)

    def watch(as_json: bool, quiet_s: float) -> list[str]:
        log, phase = Log(), ["loading"]
        log.as_json = as_json
        with progress.shown(log, lambda: Now(phase[0], "1 of 2", facts={"up": 1}), quiet_s):
            time.sleep(0.35)
            phase[0] = "over"
        return capsys.readouterr().err.splitlines()

    return watch


def test_a_log_gets_a_line_for_a_phase_and_then_now_and_again(watched: Callable[[bool, float], list[str]]) -> None:
    lines = watched(False, 0.0)
    assert lines[0] == "loading: 1 of 2" and 2 <= len(lines) <= 4
    assert all(re.fullmatch(r"loading: 1 of 2 \(0\.\d s so far\)", line) for line in lines[1:])
    line = json.loads(watched(True, 0.0)[0])
    assert (line["message"], line["phase"], line["up"]) == ("loading: 1 of 2", "loading", 1)


def test_what_is_quickly_over_is_not_logged(watched: Callable[[bool, float], list[str]]) -> None:
    assert watched(False, 5.0) == []
