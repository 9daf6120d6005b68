"""Corrections of people as references, from published tables and files as a reading page saves them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs import evaluate
from tests.exports.reading.rows import segment, transcript, write_transcripts

Row = dict[str, Any]
SAID = ["red green blue black", "oak elm", None, "cat dog cow pig", "eins zwei drei vier"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A recording with four segments in English, one of which failed, and one in German."""
    segments = [segment(at, at, at + 1.0, text) for at, text in enumerate(SAID)]
    segments[2]["failure_code"] = "engine_error"
    segments[4]["language"] = "de"
    write_transcripts(tmp_path / "out", [transcript("/in/a.wav", segments)], "/in")
    return tmp_path / "out"


def line(index: int, corrected: str | None = None, **others: Any) -> Row:
    """A correction of the segment; of none the text is right."""
    own = {"recording_id": "/in/a.wav", "uri": "/in/a.wav", "channel": None, "segment_index": index}
    own |= {"text": SAID[index], "corrected_text": SAID[index] if corrected is None else corrected}
    own |= {"corrected_at": "2026-05-06T07:08:09.123Z", "content_version": "v1", "run_id": "run", "fingerprint": "f"}
    return own | others


def sampled(drawn: int, stratum: str, of_stratum: int, sample_id: str = "s", segments: int = 100) -> Row:
    own = {"sample_id": sample_id, "drawn": drawn, "segments": segments, "weight": 1.0}
    return {"sample": own | {"stratum": stratum, "stratum_drawn": drawn, "stratum_segments": of_stratum}}


def score(output: Path, lines: list[Row], *arguments: str) -> tuple[Row, dict[str, Row]]:
    """The report, and its scores with the first normaliser by language."""
    file = output.parent / "corrections.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    place = output.parent / "evaluation"
    before = set(place.glob("evaluations/*"))
    asked = ["--corrections", str(file), "--input", str(output), "--output", str(place), *arguments]
    assert evaluate.main(asked) == 0
    (folder,) = set(place.glob("evaluations/*")) - before
    report = json.loads((folder / "report.json").read_text())
    assert "<h2>Error rates" in (folder / "report.html").read_text()
    assert pq.read_metadata(folder / "utterances.parquet").num_rows == 2 * report["scores"][-1]["utterances"]
    return report, {each["language"]: each for each in report["scores"] if each["normalizer"] == "whisper"}


def test_words_that_the_detector_missed_are_errors(tmp_path: Path) -> None:
    """The segment of a recording without speech has no text, and no flags."""
    silent = segment(0, 0.0, 9.0, "") | {"flags": None}
    write_transcripts(
        tmp_path / "out", [transcript("/in/a.wav", [silent | {"flags": []}]) | {"segments": [silent]}], "/in"
    )
    _, scores = score(tmp_path / "out", [line(0, "Somebody spoke.", text="")])
    assert scores["macro"]["error_rate"] == 1.0


def test_rates_are_of_the_newest_corrections(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = line(0, "nothing of it", corrected_at="2026-05-06T09:08:10+02:00")  # 07:08:10 UTC
    lines = [
        first | {"corrected_at": "2026-05-06T07:08:11Z", "corrected_text": "Red, green, blue, grey."},
        first,
        line(1, ""),  # nothing is said
        line(2, "gone words"),
        line(4),
    ]
    report, scores = score(output, lines)
    english = scores["en"]
    assert [english[name] for name in ("substitutions", "deletions", "insertions", "failed")] == [1, 2, 2, 1]
    assert english["error_rate"] == 5 / 6
    assert scores["de"]["error_rate"] == 0.0 and scores["macro"]["error_rate"] == 5 / 12
    assert (report["model"], report["fingerprint"], report["sample"]) == ("m", "f", None)
    assert report["failures"][0]["failure_code"] == "engine_error"
    assert report["not_scored"] == []
    said = " ".join(capsys.readouterr().err.split())
    assert "the rates are of the 4 segments that were corrected" in said


def test_what_no_longer_fits_is_said(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        line(0),
        line(1, run_id="gone"),
        line(1, recording_id="b"),
        line(1, segment_index=9),
        line(1, channel=0),
        line(1, fingerprint="g"),
        line(1, content_version="v2"),
        line(1, text="oak ash"),
    ]
    report, _ = score(output, [*lines[:5], *lines[7:]])
    assert [row["why"] for row in report["not_scored"]] == [
        "--input has no published run gone",
        "run run has no such recording",
        "the recording has no such segment",
        "the recording has no such segment",
        "the segment has another text",
    ]
    assert "2 of 6 corrections are not scored (the recording has no such segment)" in " ".join(report["problems"])
    for other in lines[5:7]:
        report, _ = score(output, [lines[0], other])
        assert [row["why"] for row in report["not_scored"]] == ["it is of other settings or of other audio"]


def test_channels_are_told_apart(tmp_path: Path) -> None:
    segments = [segment(0, 0.0, 1.0, text, channel=channel) for channel, text in enumerate(["red green", "oak elm"])]
    write_transcripts(tmp_path / "out", [transcript("/in/a.wav", segments)], "/in")
    lines = [line(0, "red green", text="red green", channel=0), line(0, "oak ash", text="oak elm", channel=1)]
    report, scores = score(tmp_path / "out", lines)
    assert (scores["en"]["error_rate"], report["not_scored"]) == (0.25, [])


def test_of_a_full_sample_the_weighted_rates_are_the_unweighted_ones(output: Path) -> None:
    lines = [line(0, "red green"), line(1), line(2, "gone"), line(3, "cat fog cow pig"), line(4, "eins")]
    strata = ["en, not flagged", "en, not flagged", "en, flagged", "en, not flagged", "de, not flagged"]
    sizes = {"en, not flagged": 3, "en, flagged": 1, "de, not flagged": 1}
    full = [one | sampled(5, name, sizes[name], segments=5) for one, name in zip(lines, strata, strict=True)]
    weighted, plain = score(output, full), score(output, lines)
    for language in ("en", "de", "macro"):
        assert weighted[1][language]["error_rate"] == pytest.approx(plain[1][language]["error_rate"])
    assert weighted[0]["problems"] == []


def test_strata_weigh_as_much_as_they_hold(output: Path) -> None:
    """Two of 90 and one of 10 segments; a fourth of the sample is not corrected, and a fifth segment is not in it."""
    lines = [
        line(0, "red green blue grey") | sampled(4, "en, not flagged", 90),
        line(1) | sampled(4, "en, not flagged", 90),
        line(2, "gone gone") | sampled(4, "en, flagged", 10),
        line(4, "vier"),
    ]
    report, scores = score(output, lines)
    assert scores["en"]["error_rate"] == pytest.approx((45 * 1 + 10 * 2) / (45 * 6 + 10 * 2))
    assert [row["why"] for row in report["not_scored"]] == ["not in the sample s"]
    assert "3 of the 4 segments in the sample are corrected" in report["problems"][0]
    newer = sampled(2, "en, not flagged", 80, "t") | {"corrected_at": "2026-06-01T00:00:00Z"}
    report, _ = score(output, [*lines, line(3) | newer])
    assert report["sample"] == "t"
    assert [row["why"] for row in report["not_scored"]] == 4 * ["not in the sample t"]
    assert "the rates are of 80 of 100 segments" in report["problems"][1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps(line(0, run_id="x")), "nothing to score .*has no published run x"),
        (json.dumps(line(0, recording_id="x")), "nothing to score .*run run has no such recording.*: /in/a.wav"),
        (json.dumps(line(0)) + "\n{", "line 2: not a JSON object"),
        ("[1]", "line 1: not a JSON object"),
        (json.dumps({name: value for name, value in line(0).items() if name != "run_id"}), "line 1: no run_id"),
        (json.dumps(line(0) | {"corrected_text": 3}), "line 1: corrected_text 3: .*string"),
        (json.dumps(line(0) | {"sample": {"sample_id": "s"}}), "line 1: no sample.drawn"),
        ("\n", "no corrections in it"),
        (b"\xff\xfe", "not JSONL in UTF-8"),
        (None, "it does not exist"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    content: str | bytes | None, words: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = output.parent / "corrections.jsonl"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    status = evaluate.main(["--corrections", str(file), "--input", str(output), "--output", str(output)])
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (2, 1)
    assert re.search(f"^error: --corrections {file}.*{words}", error), error
    assert not (output / "evaluations").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "a,b"], "--models is for recordings with references: leave it out with --corrections"),
        (["--baseline", "x"], "--baseline is for"),
        (["--dry-run"], "--dry-run is for"),
    ],
)
def test_other_settings_do_not_go_with_corrections(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--corrections", "x", "--input", "a", "--output", "b", *arguments]) == 2
    assert words in capsys.readouterr().err
