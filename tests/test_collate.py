from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import collate
from pipeline.schema import HYPOTHESIS


def segment(index: int, text: str | None, **more: Any) -> dict[str, Any]:
    facts = {"recording_id": "a", "segment_index": index, "start_s": 5.0 * index, "end_s": 5.0 * index + 4}
    empty = dict.fromkeys(HYPOTHESIS.names) | {"speech_s": 3.0, "text": text, "language": "en" if text else None}
    tag = {"language_probability": 0.9, "language_source": "model"} if text else {}
    failure = {"failure_code": "engine_error", "failure_detail": "why"} if text is None else {}
    return empty | facts | tag | failure | more


def last(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"segment_count": row["segment_index"] + 1, "duration_s": row["end_s"]}


@pytest.mark.parametrize(
    ("texts", "outcome", "text", "code"),
    [
        (["one", "two"], "ok", "one two", None),
        (["one", "", "two"], "ok", "one two", None),
        ([""], "ok", "", None),
        (["one", None], "partial", "one", "engine_error"),
        (["", None], "partial", "", "engine_error"),
        ([None, None], "failed", None, "engine_error"),
    ],
)
def test_outcomes(texts: list[str | None], outcome: str, text: str | None, code: str | None) -> None:
    rows = [segment(index, words) for index, words in enumerate(texts)]
    row = collate.transcript([*rows[:-1], last(rows[-1])])
    assert (row["outcome"], row["text"], row["failure_code"]) == (outcome, text, code)
    assert row["duration_s"] == rows[-1]["end_s"]
    assert [s["text"] for s in row["segments"]] == texts


def test_a_recording_that_misses_segments_says_so() -> None:
    row = collate.transcript([segment(0, "one")], complete=False)
    assert (row["outcome"], row["failure_code"], row["text"]) == ("partial", "incomplete", "one")
    row = collate.transcript([], complete=False)
    assert (row["outcome"], row["failure_code"], row["text"], row["duration_s"]) == ("failed", "incomplete", None, None)


def test_language_is_weighed_by_speech_and_probability() -> None:
    rows = [
        segment(0, "x", language="en", speech_s=10.0, language_probability=0.6),
        segment(1, "y", language="fr", speech_s=8.0, language_probability=1.0),
        segment(2, "", speech_s=50.0),
    ]
    row = collate.transcript(rows)
    assert (row["language"], row["language_source"]) == ("fr", "model")
    assert row["language_probability"] == pytest.approx(8 / 18)
    declared = {"language": "de", "language_probability": None, "language_source": "declared"}
    row = collate.transcript([segment(0, "x", **declared)])
    assert (row["language"], row["language_probability"], row["language_source"]) == ("de", None, "declared")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.randoms(use_true_random=False), st.integers(1, 5))
def test_every_recording_comes_out_once_in_order_whatever_the_order_of_its_segments(
    counts: list[int], shuffle: random.Random, batch: int
) -> None:
    rows = []
    for number, count in enumerate(counts):
        own = [segment(index, f"{number}.{index}") | {"recording_id": str(number)} for index in range(count)]
        rows += [*own[:-1], last(own[-1])]
    shuffle.shuffle(rows)
    assembly = collate.Assembly()
    found: dict[str, list[str]] = {}
    for at in range(0, len(rows), batch):
        for recording_id, segments in assembly.add(pa.Table.from_pylist(rows[at : at + batch], HYPOTHESIS)):
            assert recording_id not in found
            found[recording_id] = [s["text"] for s in segments]
    assert found == {str(n): [f"{n}.{index}" for index in range(count)] for n, count in enumerate(counts)}
    assert not list(assembly.unfinished())


def test_a_repeated_segment_is_kept_once_and_a_lost_one_is_noticed() -> None:
    assembly = collate.Assembly()
    rows = [segment(0, "one"), segment(0, "one"), last(segment(2, "three"))]
    assert not list(assembly.add(pa.Table.from_pylist(rows, HYPOTHESIS)))
    ((recording_id, segments),) = assembly.unfinished()
    assert recording_id == "a"
    assert [s["text"] for s in segments] == ["one", "three"]
