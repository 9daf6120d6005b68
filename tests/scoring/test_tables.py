"""Scoring tables, and what is shown of them: on a terminal and on the page."""

from __future__ import annotations

import random
import re
from typing import Any

import jiwer
import pyarrow as pa
import pytest

from pipeline.log import Log
from pipeline.scoring import page, published, tables, text
from pipeline.scoring.error_rate import normalizer

WHISPER, MARKS, NONE = normalizer("whisper"), normalizer("marks"), normalizer("none")
Row = dict[str, Any]


def transcript(at: int, reference: str, said: str | None, language: str | None = "en", **facts: Any) -> Row:
    return {
        "recording_id": f"id{at}",
        "utterance_id": f"corpus/{at}.wav",
        "uri": f"s3://b/{at}.wav",
        "place": f"s3://b/{at}.wav",
        "run_id": "run",
        "range_start_s": None,
        "range_end_s": None,
        "declared_language": None,
        "duration_s": 3.0,
        "text": said,
        "language": language,
        "flags": [],
        "outcome": "ok" if said is not None else "failed",
        "failure_code": None if said is not None else "not_found",
        "reference": reference,
        "reference_language": language,
    } | facts


def noisy(count: int, share: float, seed: int, language: str = "en") -> list[Row]:
    """Transcripts of ten words each, of which a share is wrong."""
    rng = random.Random(seed)
    rows = []
    for at in range(count):
        said = [rng.choice("alpha beta gamma delta".split()) for _ in range(10)]
        heard = [("wrong" if rng.random() < share else word) for word in said]
        rows.append(transcript(at, " ".join(said), " ".join(heard), language))
    return rows


def utterances(rows: list[Row], *by: Any, cer: tuple[str, ...] = ()) -> list[Row]:
    named_by = "utterance_id" if all(row.get("utterance_id") for row in rows) else "place"
    return tables.utterances(rows, "reference", by or (NONE,), cer, named_by)


def test_failures_count_as_deletions() -> None:
    rows = utterances([transcript(0, "a b", "a b"), transcript(1, "c d e", None)])
    line, macro = tables.scores(rows)
    assert (line["deletions"], line["tokens"], line["failed"], line["utterances"]) == (3, 5, 1, 2)
    assert line["error_rate"] == macro["error_rate"] == 0.6
    assert rows[1]["hypothesis"] is None


def test_rates_are_those_of_the_corpus_not_means_of_utterances() -> None:
    said = [("a b c d e f g h", "a b c d e f g h"), ("a", "b")]
    rows = utterances([transcript(at, reference, heard) for at, (reference, heard) in enumerate(said)])
    assert tables.scores(rows)[0]["error_rate"] == jiwer.wer([x for x, _ in said], [y for _, y in said])


def test_a_tag_tells_the_language_of_a_reference() -> None:
    rows = [transcript(0, "今日は", "今日は。", "zh", reference_language="zh-CN")]
    rows += [transcript(1, "a", "a", "en", reference_language="en-US"), transcript(2, "a", "a", reference_language="?")]
    found = utterances(rows, cer=("zh",))
    assert [(row["language"], row["metric"]) for row in found] == [("zh", "cer"), ("en", "wer"), ("?", "wer")]
    assert [line["language_right"] for line in tables.scores(found)[1:3]] == [1.0, 1.0]


def test_a_language_without_tokens_leaves_the_mean_as_it_is() -> None:
    empty = [transcript(at, "", "x", "ko") | {"utterance_id": f"ko{at}"} for at in range(2)]
    by = {line["language"]: line for line in tables.scores(utterances([*noisy(20, 0.2, 1), *empty]))}
    assert by["ko"]["error_rate"] is None
    assert by["macro"]["error_rate"] == by["en"]["error_rate"]


def test_languages_count_alike_in_the_mean() -> None:
    rows = utterances([*noisy(90, 0.0, 1, "en"), *noisy(10, 1.0, 2, "de")])
    by = {line["language"]: line for line in tables.scores(rows)}
    assert by["macro"]["error_rate"] == pytest.approx((by["en"]["error_rate"] + by["de"]["error_rate"]) / 2)
    assert by["macro"]["utterances"] == 100


def test_every_normaliser_has_its_rows_and_unspaced_languages_their_metric() -> None:
    rows = utterances(
        [transcript(0, "यह हिंदी है", "यह हिन्दी है", "hi"), transcript(1, "今日は", "今日", "ja")],
        WHISPER,
        MARKS,
        cer=("ja",),
    )
    assert [(row["normalizer"], row["metric"]) for row in rows] == [
        ("whisper", "wer"),
        ("marks", "wer"),
        ("whisper", "cer"),
        ("marks", "cer"),
    ]
    found = {(line["normalizer"], line["language"]): line for line in tables.scores(rows)}
    assert found["marks", "hi"]["tokens"] == 3 != found["whisper", "hi"]["tokens"]
    assert found["marks", "ja"]["error_rate"] == pytest.approx(1 / 3)
    assert found["marks", "macro"]["metric"] == "mixed"
    pa.Table.from_pylist([row | {"evaluation_id": "e"} for row in rows], tables.UTTERANCE).validate(full=True)


def test_which_language_counts() -> None:
    plain = {"reference_language": None, "utterance_id": None}
    rows = utterances(
        [
            transcript(0, "a", "a", "de", reference_language="en"),  # heard as German
            transcript(1, "a", "a", "en"),
            transcript(2, "a", "", None, reference_language="en"),  # nothing heard: no tag
            transcript(3, "a", "a", "en", declared_language="en", **plain),
            transcript(4, "a", "a", "fr", **plain),
            transcript(5, "a", None, None, reference_language="en"),
        ]
    )
    assert [row["language"] for row in rows] == ["en", "en", "en", "en", "fr", "en"]
    assert [row["detected_language"] for row in rows] == ["de", "en", "none", None, None, None]
    assert rows[3]["utterance_id"] == "s3://b/3.wav"
    english = tables.scores(rows)[0]
    assert english["language_right"] == pytest.approx(1 / 3)
    assert tables.confusion(rows) == {"en": {"de": 1, "en": 1, "none": 1}}


def test_a_regression_is_large_and_no_accident() -> None:
    base = utterances([*noisy(200, 0.10, 1, "en"), *noisy(200, 0.10, 1, "de")])
    rows = utterances([*noisy(200, 0.16, 1, "en"), *noisy(200, 0.10, 1, "de")])
    lines, notes = tables.compare(rows, base, 0.01)
    by = {line["language"]: line for line in lines}
    assert not notes
    assert by["en"]["difference"] == pytest.approx(0.06, abs=0.02) and by["en"]["is_regression"]
    assert by["de"]["difference"] == 0.0 and by["de"]["p_value"] == 1.0 and not by["de"]["is_regression"]
    assert by["macro"]["is_regression"] and by["macro"]["difference"] == pytest.approx(by["en"]["difference"] / 2)
    assert not any(line["is_regression"] for line in tables.compare(rows, base, 0.10)[0])
    few = tables.compare(rows[:3], base[:3], 0.0)[0]
    assert not any(line["is_regression"] for line in few), "three utterances prove nothing"
    assert not any(line["is_regression"] for line in tables.compare(base, rows, 0.01)[0]), "better is not worse"


def test_a_stray_language_hides_no_regression() -> None:
    stray = [transcript(0, "a", "a", "cy") | {"utterance_id": "cy"}]
    base, rows = (utterances([*noisy(200, share, 1), *stray]) for share in (0.10, 0.16))
    lines, notes = tables.compare(rows, base, 0.01)
    assert [(line["language"], line["is_regression"]) for line in lines] == [
        ("cy", False),
        ("en", True),
        ("macro", True),
    ]
    assert notes == ["the mean is without cy: too few utterances to compare"]


def test_a_baseline_is_scored_as_its_utterances_are_now() -> None:
    rows = [transcript(at, "우리는 학교에 간다", "우리는 학교로 간다", "ko") for at in range(3)]
    base = utterances(rows, WHISPER)
    now = utterances(rows, NONE, cer=("ko",))
    lines, _ = tables.compare(now, tables.scored_alike(base, now, NONE), 0.0)
    assert {line["difference"] for line in lines} == {0.0}


def test_references_that_all_changed_are_soon_left_out() -> None:
    base = utterances([transcript(at, "a", "a") for at in range(20_000)])
    rows = [row | {"reference": "b"} for row in base]
    assert tables.compare(rows, base, 0.0) == (
        [],
        ["20000 utterances have another reference in the baseline: left out"],
    )


def test_what_cannot_be_compared_is_said() -> None:
    base = utterances([transcript(0, "a", "a"), transcript(1, "b", "b"), transcript(2, "c", "c")])
    rows = utterances([transcript(1, "b", "x"), transcript(2, "another", "c"), transcript(3, "d", "d")])
    lines, notes = tables.compare(rows, base, 0.0)
    assert [line["utterances"] for line in lines] == [1, 1]
    assert notes == [
        "1 utterances are not in the baseline and 1 of the baseline are not here: left out",
        "1 utterances have another reference in the baseline: left out",
    ]
    assert tables.compare(rows, utterances([transcript(9, "z", "z")]), 0.0)[0] == []


def beside_the_best(rows: list[Row]) -> Row:
    """The comparison of rows with a baseline in which the English ones are right."""
    own = [row for row in rows if row["normalizer"] == "whisper"]
    lines, notes = tables.compare(own, utterances(noisy(60, 0, 1), WHISPER), 0.0)
    return {"baseline": "old", "limit": 0.0, "lines": lines, "notes": notes}


def report(rows: list[Row], **facts: Any) -> Row:
    return {
        "model": "a/model <b>",
        "model_revision": "r",
        "fingerprint": "f",
        "pipeline_version": "0",
        "evaluation_id": "e",
        "evaluated_at": "now",
        "corpus": {"dataset": "fleurs", "input": "hf://x", "split": "test", "published": "fleurs", "counts": {}},
        "scores": tables.scores(rows),
        "problems": ["en_us: <script>alert(1)</script>"],
        "failures": [
            {
                "utterance_id": "corpus/9.wav",
                "uri": "u",
                "place": "u",
                "failure_code": "not_found",
                "failure_detail": "it does not exist",
            }
        ],
        "runs": {"run": {"recordings": 2, "audio_s": 6.0, "wall_s": 3.0, "speed": 2.0}},
        "comparison": None,
    } | facts


def test_the_page_shows_it_all_and_needs_no_network() -> None:
    awkward = transcript(8, "<img src=x onerror=alert(2)> اهلا وسهلا", "<b> اهلا", "ar")
    rows = utterances(
        [*noisy(60, 0.2, 1), *noisy(20, 0.1, 2, "de"), awkward, transcript(9, "x y", None)], WHISPER, MARKS
    )
    html = page.render(report(rows, comparison=beside_the_best(rows)), rows)
    for words in ("mean WER", "Voxtral", "4.00", "corpus/9.wav", "not_found", "Beside old", "not stated in the paper"):
        assert words in html, words
    assert html.count("<details") == page.WORST
    assert "&lt;script&gt;alert(1)" in html and "<script" not in html and "<img" not in html
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    nothing = {"dataset": "manifest", "input": "x", "split": None, "published": None, "counts": {}}
    plain = page.render(report(rows, corpus=nothing), rows)
    assert "Voxtral" not in plain


def test_the_page_of_many_utterances_is_small() -> None:
    rng = random.Random(0)
    given = [
        row | {"duration_s": rng.uniform(0, 90), "utterance_id": f"{at:060}"}
        for at, row in enumerate(noisy(6_000, 0.2, 1))
    ]
    rows = utterances(given, NONE)
    html = page.render(report(rows), rows)
    assert len(html.encode()) < 200_000
    (dots,) = re.findall('class="dots" d="([^"]+)"', html)
    assert dots.count("M") + html.count("<circle") == page.MAX_POINTS
    assert html.count("<circle") == page.NAMED


def test_the_terminal_shows_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    rows = utterances([*noisy(60, 0.2, 1), transcript(9, "x y", None)], WHISPER, MARKS)
    text.show(report(rows, comparison=beside_the_best(rows)), Log())
    said = capsys.readouterr().err
    rate = tables.scores(rows)[0]["error_rate"]
    for words in (
        f"{100 * rate:.2f}",
        "4.00",
        "whisper-normalizer",
        "1 utterances failed",
        "alert(1)",
        "regression: en",
    ):
        assert words in said, words


def test_published_figures_have_sources() -> None:
    theirs = published.beside("fleurs")
    assert theirs and theirs.percent["voxtral-small-24b-2507", "en"] == 3.35
    assert theirs.source == "arXiv 2507.13264 Table 4"
    assert {figure.source.split(" scripts")[0] for figure in published.figures("fleurs")} == {
        "arXiv 2507.13264 Table 4",
        published.LEADERBOARD,
    }
    assert published.beside("mls") and published.beside("common_voice_15.1")
    assert published.beside(None) is None
