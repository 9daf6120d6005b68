"""Several models side by side, and what is shown of them: on a terminal and on the page."""

from __future__ import annotations

import json
import re
from itertools import permutations
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.log import Log
from pipeline.scoring.comparison import page, tables, text
from pipeline.scoring.comparison.tables import Evaluated
from pipeline.scoring.tables import MACRO, scores
from tests.scoring.test_tables import MARKS, NONE, WHISPER, noisy, transcript, utterances

Row = dict[str, Any]
WORDS = st.lists(st.sampled_from("alpha beta gamma".split()), max_size=4).map(" ".join)
NASTY = "<img src=x onerror=alert(2)> اهلا [bold]"


def both(share: float) -> list[Row]:
    """Transcripts in two languages; of the English ones a share of the words is wrong."""
    german = [
        row | {name: f"de/{row[name]}" for name in ("recording_id", "utterance_id")} for row in noisy(40, 0.1, 2, "de")
    ]
    return [*noisy(80, share, 1), *german]


def line(lines: list[Row], model: str, language: str = MACRO) -> Row:
    (found,) = [line for line in lines if (line["model"], line["language"]) == (model, language)]
    return found


def test_recordings_that_share_an_id_of_the_manifest_are_apart() -> None:
    rows = [row | {"utterance_id": "same"} for row in noisy(20, 0.3, 1)]
    scored = utterances(rows)
    lines, _ = tables.lines([Evaluated("one", scored), Evaluated("other", scored)])
    assert line(lines, "other")["difference"] == 0.0 and line(lines, "other")["shared"] == 20


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(WORDS, st.one_of(st.none(), WORDS), st.sampled_from(["en", "de", None])), min_size=1, max_size=6)
)
def test_a_model_does_not_differ_from_itself(said: list[tuple[str, str | None, str | None]]) -> None:
    rows = utterances([transcript(at, *each) for at, each in enumerate(said)])
    models = tables.with_agreed_languages([Evaluated("a", rows), Evaluated("b", rows)], ())
    lines, notes = tables.lines(models)
    assert all("too few utterances" in note for note in notes) and not tables.disagreements(models)
    for each in lines:
        if each["model"] == "b":
            assert each["p_value"] == 1.0 and each["difference"] in (0.0, None)
            assert each["shared"] == each["utterances"] or (each["language"] == tables.MACRO and notes)
        else:
            assert each["p_value"] is each["difference"] is each["beside"] is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(WORDS, *3 * [WORDS], *3 * [st.sampled_from(["en", "ja", None])]), min_size=1, max_size=5))
def test_the_order_of_models_changes_no_rate(said: list[tuple[str | None, ...]]) -> None:
    """Also where the languages are not known, and each model detects its own."""
    models = [
        Evaluated(
            name,
            utterances(
                [
                    transcript(at, str(each[0]), each[1 + model], each[4 + model], reference_language=None)
                    for at, each in enumerate(said)
                ],
                cer=("ja",),
            ),
        )
        for model, name in enumerate("abc")
    ]
    found = set()
    for order in permutations(models):
        agreed = tables.with_agreed_languages(order, ("ja",))
        lines, _ = tables.lines(agreed)
        languages = {tuple(row["language"] for row in one.rows) for one in agreed}
        assert len(languages) == 1, "an utterance has one language"
        kept = ("model", "language", "metric", "error_rate", "low", "high", "tokens", "failed")
        rates = sorted(json.dumps({name: each[name] for name in kept}) for each in lines)
        found.add((*rates, *(each["utterance_id"] for each in tables.disagreements(agreed))))
    assert len(found) == 1


def test_languages_that_are_not_known_are_those_that_most_models_detect() -> None:
    def model(name: str, *detected: str | None) -> Evaluated:
        plain = {"reference_language": None}
        said = [transcript(at, "今日は", "今日", language, **plain) for at, language in enumerate(detected)]
        said[-1] = transcript(len(said) - 1, "今日は", None, None, **plain)
        return Evaluated(name, utterances(said, cer=("ja",)))

    models = [model("a", "ja", "zh", None), model("b", "ja", "en", None), model("c", "en", "ja", None)]
    agreed = tables.with_agreed_languages(models, ("ja", "zh"))
    assert [row["language"] for row in agreed[0].rows] == ["ja", "en", "unknown"]
    assert [row["metric"] for row in agreed[2].rows] == ["cer", "wer", "wer"]
    assert agreed[2].rows[0]["error_rate"] == pytest.approx(1 / 3) and models[2].rows[0]["error_rate"] == 1.0
    known = [Evaluated("a", utterances(noisy(3, 0.5, 1)))]
    assert tables.with_agreed_languages(known, ()) == known


def test_lines_have_the_rates_of_the_evaluations_and_the_differences_to_the_first() -> None:
    good, bad = both(0.05), both(0.25)
    bad[0]["flags"] = bad[1]["flags"] = ["repetition"]
    bad[1]["flags"] = ["repetition", "loop"]
    models = [Evaluated("good", utterances(good, NONE, MARKS)), Evaluated("bad", utterances(bad, NONE, MARKS)[2:])]
    lines, notes = tables.lines(models)
    for one in models:
        own = [each for each in lines if each["model"] == one.model]
        assert [each["error_rate"] for each in own] == [each["error_rate"] for each in scores(one.rows)]
    lines = [each for each in lines if each["normalizer"] == "none"]
    worse = line(lines, "bad", "en")
    assert worse["difference"] == pytest.approx(0.2, abs=0.04) and worse["p_value"] < 0.01 and worse["shared"] == 79
    assert worse["difference_low"] < worse["difference"] < worse["difference_high"]
    assert line(lines, "bad", "de")["difference"] == 0.0
    assert (worse["flagged"], worse["audio_h"], worse["beside"]) == (1, pytest.approx(79 * 3 / 3600), "good")
    assert notes == ["bad: 0 utterances are not in good and 1 of good are not here: left out"]
    assert tables.flags(models[1]) == {"repetition": 1, "loop": 1}


def test_disagreements_are_those_with_the_widest_spread_of_errors() -> None:
    right = [transcript(at, "a b c d", "a b c d") for at in range(30)]
    wrong = [transcript(at, "a b c d", {0: "a", 1: None, 2: "a b"}.get(at, "a b c d")) for at in range(30)]
    found = tables.disagreements(
        [Evaluated("x", utterances(wrong, NONE, WHISPER)), Evaluated("y", utterances(right[1:]))]
    )
    assert [(each["utterance_id"], each["spread"]) for each in found] == [("corpus/1.wav", 4), ("corpus/2.wav", 2)]
    assert {model: row["errors"] for model, row in found[0]["rows"].items()} == {"x": 4, "y": 0}
    many = [transcript(at, "a", "b") for at in range(30)]
    assert (
        len(tables.disagreements([Evaluated("x", utterances(many)), Evaluated("y", utterances(right))])) == tables.MOST
    )


def report(*models: tuple[str, list[Row]], **facts: Any) -> Row:
    found = [Evaluated(name, rows) for name, rows in models]
    lines, notes = tables.lines(found)
    return {
        "comparison_id": "c",
        "compared_at": "now",
        "pipeline_version": "0",
        "corpus": {"dataset": "fleurs", "input": "hf://x", "split": "test"},
        "price_per_engine_hour": 4.0,
        "models": [
            {
                "model": one.model,
                "model_revision": "r",
                "fingerprint": "f",
                "evaluation_id": "e",
                "evaluated_at": "now",
                "engine_speed": speed,
                "price_per_audio_hour": speed and 4.0 / speed,
                "flags": tables.flags(one),
                "runs": {"run": {"recordings": 2, "audio_s": 6.0, "wall_s": 3.0, "speed": 2.0}},
            }
            for one, speed in zip(found, (80.0, None), strict=True)
        ],
        "lines": lines,
        "notes": notes,
        "problems": [NASTY],
        "not_evaluated": [{"model": NASTY, "why": NASTY}],
        "disagreements": tables.disagreements(found),
    } | facts


@pytest.fixture
def hostile() -> Row:
    """Two models with awkward names and texts; the second has worse ones."""
    awkward = [
        transcript(200, f"{NASTY} eins", f"{NASTY} <b>", "ar", utterance_id=NASTY),
        transcript(201, "x y z w", None),
        transcript(202, "only here", "only here"),
    ]
    better, worse = both(0.1), both(0.4)
    worse.append(transcript(201, "x y z w", "x y z w"))
    worse.append(transcript(200, f"{NASTY} eins", "<script>", "ar", utterance_id=NASTY, flags=["repetition"]))
    return report(
        ("a/model <b>", utterances([*better, *awkward], WHISPER, MARKS)), (NASTY, utterances(worse, WHISPER, MARKS))
    )


def test_the_page_shows_it_all_escapes_it_and_needs_no_network(hostile: Row) -> None:
    html = page.render(hostile)
    for words in (
        "2 models side by side",
        "WER",
        "80.0",
        "0.05",
        "not_found",
        "is not compared",
        "repetition",
        "worse",
    ):
        assert words in html, words
    assert html.count("<details") == tables.MOST
    assert "<img" not in html and "<b>" not in html and "&lt;img src=x" in html
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert "<script>" not in html
    json.dumps(hostile)


def test_the_terminal_shows_it_all(hostile: Row, capsys: pytest.CaptureFixture[str]) -> None:
    text.show(hostile, log := Log())
    said = " ".join(capsys.readouterr().err.split())
    rate = line([each for each in hostile["lines"] if each["normalizer"] == "whisper"], "a/model <b>")["error_rate"]
    for words in (f"{100 * rate:.2f}", "0.05", "80.0", "[bold]", "disagree most", "is not compared", "left out"):
        assert words in said, words
    log.as_json = True
    text.show(hostile, log)
    assert json.loads(capsys.readouterr().err)["lines"] == hostile["lines"]


def test_the_schema_holds_the_lines() -> None:
    rows = utterances(noisy(3, 0.5, 1))
    found = report(("a", rows), ("b", rows))
    names = {each.name for each in tables.COMPARED}
    known = {"comparison_id", "dataset", "pipeline_version", *found["models"][0]}
    assert names - known == set(found["lines"][0]) - {"model"}
    facts = {"comparison_id": "c", "dataset": "d", "pipeline_version": "0"} | found["models"][0]
    pa.Table.from_pylist([facts | each for each in found["lines"]], tables.COMPARED).validate(full=True)
