"""Tables of scored answers, and what is shown of them: on a terminal and on the page."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from pipeline.log import Log
from pipeline.scoring.answers import page, tables, text
from pipeline.scoring.answers.right import Kind, Scoring, scoring

Row = dict[str, Any]
TEXT = Scoring(Kind.TEXT)


def answer(at: int, reference: str, said: str | None, language: str | None = None, **facts: Any) -> Row:
    provenance = "content_version model model_revision runtime runtime_version fingerprint pipeline_version run_id"
    return {
        "recording_id": f"id{at}",
        "place": f"s3://b/{at}.wav",
        "uri": f"s3://b/{at}.wav",
        "declared_language": language,
        "question_name": "topic",
        "question": "What is it about?",
        "answer": said,
        "tool_calls": None,
        "outcome": "ok" if said is not None else "failed",
        "failure_code": None if said is not None else "no_speech",
        "failure_detail": None if said is not None else "no speech was found in it",
        "wanted": reference,
        **dict.fromkeys(provenance.split(), "x"),
    } | facts


def rows(given: list[Row], by: Scoring = TEXT) -> list[Row]:
    return tables.answers(given, "wanted", by)


def series(right: str) -> list[Row]:
    """Answers of which those marked with 1 are right."""
    return rows([answer(at, "yes", "yes" if mark == "1" else "no") for at, mark in enumerate(right)])


def test_shares_by_score_and_language() -> None:
    given = [
        answer(0, '{"a": 1, "b": "x"}', '{"b": "X", "a": 1}', "en"),
        answer(1, '{"a": 1}', '{"a": 2}', "en"),
        answer(2, '{"a": 1}', None, "de"),
        answer(3, '{"a": 1}', '{"a": 1}', reference_language="de"),
        answer(4, '{"a": 1}', '{"a": 1}'),
    ]
    found = rows(given, scoring(Kind.SCHEMA, [row["wanted"] for row in given]))
    assert [row["right"] for row in found] == [True, False, False, True, True]
    lines = tables.scores(found)
    assert [(line["score"], line["language"], line["right"], line["recordings"], line["failed"]) for line in lines] == [
        ("right", "all", 3, 5, 1),
        ("right", "de", 1, 2, 1),
        ("right", "en", 1, 2, 0),
        ("right", "unknown", 1, 1, 0),
        ("field a", "all", 3, 5, 1),
        ("field a", "de", 1, 2, 1),
        ("field a", "en", 1, 2, 0),
        ("field a", "unknown", 1, 1, 0),
        ("field b", "all", 4, 5, 1),
        ("field b", "de", 1, 2, 1),
        ("field b", "en", 2, 2, 0),
        ("field b", "unknown", 1, 1, 0),
    ]
    assert lines[0]["share"] == 0.6 and lines[0]["low"] < 0.6 < lines[0]["high"]
    marked = [row | {"evaluation_id": "e"} for row in found]
    assert pa.Table.from_pylist(marked, tables.ANSWER)["scores"][0].as_py()[0] == {"score": "right", "right": True}


def test_without_languages_there_are_none() -> None:
    assert [(line["language"], line["share"]) for line in tables.scores(series("1100"))] == [("all", 0.5)]


def test_calls_are_scored_not_what_was_said() -> None:
    calls = json.dumps([{"name": "pay", "arguments": {}}])
    (row,) = rows([answer(0, calls, "I pay.", tool_calls=calls)], Scoring(Kind.TOOLS))
    assert row["right"] and row["answer"] == "I pay."


@pytest.mark.parametrize(
    ("now", "before", "difference", "is_regression"),
    [
        ("1" * 20, "1" * 20, 0.0, False),
        ("0" * 6 + "1" * 14, "1" * 20, -0.3, True),
        ("0" * 5 + "1" * 15, "1" * 20, -0.25, False),  # p = 0.0625
        ("1" * 20, "0" * 6 + "1" * 14, 0.3, False),
        ("0" * 6 + "1" * 994, "1" * 1000, -0.006, False),  # within the limit
    ],
)
def test_a_regression_is_large_and_no_accident(now: str, before: str, difference: float, is_regression: bool) -> None:
    (line,), notes = tables.compare(series(now), series(before), TEXT, 0.01)
    assert line["difference"] == pytest.approx(difference)
    assert (line["is_regression"], notes) == (is_regression, [])


def test_what_cannot_be_compared_is_said() -> None:
    before = rows([answer(0, "yes", "yes"), answer(1, "yes", "yes"), answer(2, "yes", "yes")])
    now = rows([answer(1, "Yes!", "no"), answer(2, "no", "no"), answer(3, "no", "no")])
    (line,), notes = tables.compare(now, before, TEXT, 0.0)
    assert (line["recordings"], line["worse"], line["better"]) == (1, 1, 0)
    assert notes == [
        "1 recordings are not in the baseline and 1 of the baseline are not here: left out",
        "1 recordings have another reference in the baseline: left out",
    ]
    assert tables.compare(now, rows([answer(9, "yes", "yes")]), TEXT, 0.0)[0] == []


def test_a_baseline_of_another_kind_has_other_references() -> None:
    calls = '[{"name": "pay", "arguments": {}}]'
    now = rows([answer(0, calls, "", tool_calls=calls)], Scoring(Kind.TOOLS))
    lines, notes = tables.compare(now, rows([answer(0, "pay", "pay")]), Scoring(Kind.TOOLS), 0.0)
    assert not lines and "another reference" in notes[0]


def report(found: list[Row], **facts: Any) -> Row:
    return {
        "model": "a/model <b>",
        "model_revision": "r",
        "fingerprint": "f",
        "pipeline_version": "0",
        "evaluation_id": "e",
        "evaluated_at": "now",
        "corpus": {"dataset": "manifest", "input": "m.csv"},
        "asked": {"task": "triage", "kind": "text", "question_name": "topic", "question": "What <i>?"},
        "scores": tables.scores(found),
        "problems": ["<script>alert(1)</script>"],
        "failures": [],
        "runs": {"run": {"recordings": 2, "audio_s": 6.0, "wall_s": 3.0, "speed": None}},
        "comparison": None,
    } | facts


def compared(now: list[Row], before: list[Row]) -> Row:
    lines, notes = tables.compare(now, before, TEXT, 0.01)
    return {"baseline": "<old>", "limit": 1.0, "lines": lines, "notes": notes}


def test_the_page_shows_wrong_answers_first_and_escapes_everything() -> None:
    nasty = "<img src=x onerror=alert(2)>"
    found = rows(
        [
            answer(0, "fine", "fine"),
            answer(1, nasty, nasty * 1_000 + "end"),
            answer(2, "yes", None, failure_detail=nasty),
        ]
    )
    html = page.render(report(found), found)
    assert html.index("s3://b/1.wav") < html.index("s3://b/2.wav") < html.index("s3://b/0.wav")
    assert "<img" not in html and "<script" not in html and "<b>" not in html and "<i>" not in html
    assert "no_speech" in html and "33.3" in html and "[...]" in html
    assert "http:" not in html and "https:" not in html, "it needs no network"


def test_the_page_stays_small() -> None:
    html = page.render(report(many := series("0" * 2_000)), many)
    assert html.count("s3://") == page.MOST and "500 of 2000" in html


def test_the_page_and_the_terminal_tell_a_regression(capsys: pytest.CaptureFixture[str]) -> None:
    now, before = series("0" * 8 + "1" * 12), series("1" * 20)
    facts = report(now, comparison=compared(now, before))
    assert "-40.0 percentage points beside\n  &lt;old&gt;" in page.render(facts, now)
    text.show(facts, log := Log())
    said = " ".join(capsys.readouterr().err.split())
    assert "right all 12 20 0 60.0 38.7 - 78.1" in said
    assert "beside <old>: -40.0 percentage points on 20 recordings (0 better, 8 worse, p = 0.0078)" in said
    assert "regression: below the baseline by more than --max-regression 1" in said
    log.as_json = True
    text.show(facts, log)
    assert json.loads(capsys.readouterr().err)["scores"][0]["share"] == 0.6
