from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline import report


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1.5, "1.5 s"),
        (59.94, "59.9 s"),
        (75, "1 min 15 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert report.duration(seconds) == words


def test_a_tally_adds_up() -> None:
    tally = report.Tally()
    good = {"outcome": "ok", "failure_code": None, "language": "en", "duration_s": 100.0, "flags": ["little_text"]}
    window = {"start_s": 3.0, "end_s": 52.0, "overlap_s": 1.0, "padded_s": 60.0, "token_count": 9}
    silent = {"padded_s": None}
    spoken = {"speech_s": 40.0, "windowed_s": 40.0, "transcribed_s": 30.0}
    tally.add(good | spoken, [window | {"attempts": ["whole", "split"]}, silent])
    bad = {"outcome": "failed", "failure_code": "not_media", "language": None, "duration_s": None, "flags": []}
    tally.add(bad | dict.fromkeys(spoken, 0.0), [silent])
    facts = tally.facts(wall_s=10.0)
    assert facts["recordings"] == facts["ok"] + facts["partial"] + facts["failed"] == 2
    assert facts["failures"] == {"not_media": 1}
    assert facts["languages"] == {"en": 1}
    assert facts["slot_fill"] == pytest.approx(50 / 60, abs=1e-4)
    assert facts["coverage"] == pytest.approx(30 / 40)
    assert (facts["flags"], facts["retried"], facts["segments"]) == ({"little_text": 1}, 1, 3)
    assert facts["speed"] == 10.0


def test_the_summary_shows_what_counts() -> None:
    tally = report.Tally()
    text = io.StringIO()
    about = {"numbers": tally.facts(1.0), "first_rows_s": 0.0, "output": "s3://b/out", "run_id": "r"}
    report.print_summary(about, Console(file=text, width=200))
    assert "s3://b/out/transcripts/run_id=r/" in text.getvalue()
    assert "0 ok, 0 partial, 0 failed" in text.getvalue()


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    watch = report.Watch(10, Console(file=text, width=200))
    tally = report.Tally()
    watch.show(tally)
    assert text.getvalue() == ""
    monkeypatch.setattr(report, "PLAIN_INTERVAL_S", -1.0)
    tally.outcomes["ok"] += 3
    watch.show(tally)
    assert text.getvalue().startswith("3/10 recordings")
