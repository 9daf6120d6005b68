"""Segments into transcripts: gather what belongs to a recording, and join it into one row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.schema import FailureCode, LanguageSource, Outcome

Row = dict[str, Any]


class Assembly:
    """Gathers HYPOTHESIS rows, which come in any order, until a recording has all of its segments.

    It holds the text of unfinished recordings only, of which there are as many as the pipeline has in flight.
    """

    def __init__(self) -> None:
        self._segments: dict[str, dict[int, Row]] = defaultdict(dict)
        self._counts: dict[str, int] = {}

    def add(self, hypotheses: pa.Table) -> Iterator[tuple[str, list[Row]]]:
        """Take rows in; yield (recording_id, its segments in order) for each recording that is now complete."""
        for row in hypotheses.to_pylist():
            recording_id = row["recording_id"]
            # A stage that Ray ran twice gives a segment twice; one is kept.
            self._segments[recording_id][row["segment_index"]] = row
            if row["segment_count"] is not None:
                self._counts[recording_id] = row["segment_count"]
            if len(self._segments[recording_id]) == self._counts.get(recording_id):
                del self._counts[recording_id]
                segments = self._segments.pop(recording_id)
                yield recording_id, [segments[index] for index in sorted(segments)]

    def unfinished(self) -> Iterator[tuple[str, list[Row]]]:
        """What is left when nothing more comes: recordings that miss segments."""
        for recording_id, segments in self._segments.items():
            yield recording_id, [segments[index] for index in sorted(segments)]


def transcript(segments: Sequence[Row], complete: bool = True) -> Row:
    """Join the segments of one recording, in order, into the TRANSCRIPT columns that follow from them.

    A recording is ok when every segment has text, failed when none has, else partial; `text` is null only when it
    failed. Its language is the one that holds most speech; the probability is that language's share of all speech,
    each second weighted by its own segment's probability.
    """
    texts = [segment["text"] for segment in segments if segment["text"] is not None]
    failure = next((s for s in segments if s["failure_code"]), None)
    code = failure["failure_code"] if failure else None
    detail = failure["failure_detail"] if failure else None
    if not complete:
        code, detail = FailureCode.INCOMPLETE.value, f"only {len(segments)} of its segments came back"
    outcome = Outcome.OK if code is None else Outcome.PARTIAL if texts else Outcome.FAILED
    language, probability, source = _language(segments)
    return {
        "duration_s": segments[-1]["duration_s"] if segments else None,
        "speech_s": round(sum(segment["speech_s"] for segment in segments), 3),
        "text": None if outcome is Outcome.FAILED else " ".join(text for text in texts if text),
        "language": language,
        "language_probability": probability,
        "language_source": source,
        "outcome": outcome.value,
        "failure_code": code,
        "failure_detail": detail,
        "segments": [
            {key: s[key] for key in ("segment_index", "start_s", "end_s", "text", "language", "failure_code")}
            for s in segments
        ],
    }


def _language(segments: Sequence[Row]) -> tuple[str | None, float | None, str | None]:
    weights: dict[str, float] = defaultdict(float)
    total = 0.0
    for segment in segments:
        if not segment["text"] or not segment["language"]:
            continue
        if segment["language_source"] == LanguageSource.DECLARED:
            return segment["language"], None, LanguageSource.DECLARED.value
        weights[segment["language"]] += segment["speech_s"] * segment["language_probability"]
        total += segment["speech_s"]
    if not weights:
        return None, None, None
    language = max(weights, key=lambda key: weights[key])
    return language, weights[language] / total if total else None, LanguageSource.MODEL.value
