from __future__ import annotations

import json

import pytest

from pipeline.ledger import report
from pipeline.log import Log, duration
from pipeline.tasks.transcribe import numbers


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
    assert duration(seconds) == words


def test_a_tally_adds_up() -> None:
    tally = report.Tally(numbers.Numbers(), "transcripts")
    good = {"outcome": "ok", "failure_code": None, "language": "en", "duration_s": 100.0, "flags": ["little_text"]}
    window = {"start_s": 3.0, "end_s": 52.0, "overlap_s": 1.0, "padded_s": 60.0, "token_count": 9}
    silent = {"padded_s": None}
    spoken = {"channel": None, "speech_s": 40.0, "windowed_s": 40.0, "transcribed_s": 30.0}
    silence = spoken | {"speech_s": 0.0, "windowed_s": 0.0, "transcribed_s": 0.0}
    segments = [window | {"attempts": ["whole", "split"]}, silent]
    tally.add({"transcripts": [good | spoken], "segments": segments})
    bad = {"outcome": "failed", "failure_code": "not_media", "language": None, "duration_s": None, "flags": []}
    tally.add({"transcripts": [bad | silence], "segments": [silent]})
    facts = tally.facts(wall_s=10.0)
    assert facts["recordings"] == facts["ok"] + facts["partial"] + facts["failed"] == 2
    assert facts["failures"] == {"not_media": 1}
    assert facts["languages"] == {"en": 1}
    assert facts["slot_fill"] == pytest.approx(50 / 60, abs=1e-4)
    assert facts["coverage"] == pytest.approx(30 / 40)
    assert (facts["flags"], facts["retried"], facts["segments"]) == ({"little_text": 1}, 1, 3)
    assert facts["speed"] == 10.0


def test_the_summary_shows_what_counts(capsys: pytest.CaptureFixture[str]) -> None:
    tally = report.Tally(numbers.Numbers(), "transcripts")
    about = {"numbers": tally.facts(1.0), "first_rows_s": 0.0, "output": "s3://b/out", "run_id": "r", "not_reached": 0}
    about["tables"] = ["segments", "transcripts"]
    lines = numbers.summary(about["numbers"])
    log = Log()
    report.print_summary(about, lines, log)
    said = capsys.readouterr().err
    assert "s3://b/out/transcripts/run_id=r/" in said
    assert "0 ok, 0 partial, 0 failed" in said
    log.as_json = True
    report.print_summary(about, lines, log)
    line = json.loads(capsys.readouterr().err)
    assert (line["message"], line["run_id"], line["recordings"]) == ("finished", "r", 0)
