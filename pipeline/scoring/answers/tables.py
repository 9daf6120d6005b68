"""Rows of answers with references -> a row per answer, a row per score, and how they compare with a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.schema import PROVENANCE, Outcome
from pipeline.scoring import proportion
from pipeline.scoring.answers.right import RIGHT, Kind, Scoring, wanted
from pipeline.scoring.tables import SIGNIFICANT, language_code

ALL = "all"  # languages together
UNKNOWN = "unknown"  # the language of some recordings, where others have one

Row = dict[str, Any]

# One row per recording: the answer to the last turn. `answer` is null where it failed, and so is `tool_calls`, which is
# JSON, and null without tools.
ANSWER = pa.schema(
    [
        pa.field("evaluation_id", pa.string(), nullable=False),
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),  # the same in every evaluation
        pa.field("uri", pa.string(), nullable=False),
        pa.field("language", pa.string()),  # ISO 639-1, where the manifest names one
        pa.field("question_name", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),  # as it was asked
        pa.field("reference", pa.string(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("tool_calls", pa.string()),
        pa.field(RIGHT, pa.bool_(), nullable=False),
        pa.field("scores", pa.list_(pa.struct([pa.field("score", pa.string()), pa.field(RIGHT, pa.bool_())]))),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("failure_code", pa.string()),
        pa.field("failure_detail", pa.string()),
        *PROVENANCE,
    ]
)

# One row per score (Scoring.names) for ALL, and where the manifest has languages one for each of them.
SCORE = pa.schema(
    [
        pa.field("evaluation_id", pa.string(), nullable=False),
        pa.field("evaluated_at", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("question_name", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_revision", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("pipeline_version", pa.string(), nullable=False),
        pa.field("score", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("recordings", pa.int32(), nullable=False),
        pa.field("failed", pa.int32(), nullable=False),  # of the recordings; they are wrong
        pa.field("right", pa.int32(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),  # of the interval of bootstrap.CONFIDENCE
        pa.field("high", pa.float64(), nullable=False),
    ]
)


def answers(given: Sequence[Row], reference: str, scoring: Scoring) -> list[Row]:
    """ANSWER rows, but for evaluation_id, of rows of answers whose column `reference` has one of the right kind.

    The language is that of the column reference_language, else the declared one.
    """
    rows = []
    for row in given:
        found = {name: row.get(name) for name in ANSWER.names if name in row}
        found |= {"reference": row[reference], "language": _language(row)}
        rows.append(found | _scores(found, scoring))
    return rows


def _language(row: Row) -> str | None:
    return language_code(row.get("reference_language")) or row["declared_language"]


def _scores(row: Row, scoring: Scoring) -> Row:
    failed = row["outcome"] == Outcome.FAILED
    given = row["tool_calls"] if scoring.kind == Kind.TOOLS else row["answer"]
    found = scoring.scores(row["reference"], None if failed else given)
    return {RIGHT: found[RIGHT], "scores": [{"score": name, RIGHT: right} for name, right in found.items()]}


def scores(rows: Sequence[Row]) -> list[Row]:
    """What SCORE says of scores and languages, from one or more ANSWER rows: for each score ALL first."""
    names = [one["score"] for one in rows[0]["scores"]]
    languages = sorted({row["language"] or UNKNOWN for row in rows} if any(row["language"] for row in rows) else ())
    return [
        {"score": name, "language": language} | _figures(at, own)
        for at, name in enumerate(names)
        for language in (ALL, *languages)
        if (own := [row for row in rows if language in (ALL, row["language"] or UNKNOWN)])
    ]


def _figures(at: int, rows: Sequence[Row]) -> Row:
    right = sum(row["scores"][at][RIGHT] for row in rows)
    share = proportion.share(right, len(rows))
    failed = sum(row["outcome"] == Outcome.FAILED for row in rows)
    figures = {"share": share.value, "low": share.low, "high": share.high}
    return {"recordings": len(rows), "failed": failed, "right": right} | figures


def compare(
    rows: Sequence[Row], baseline: Sequence[Row], scoring: Scoring, limit: float
) -> tuple[list[Row], list[str]]:
    """How the share of right answers differs from a baseline's on the same recordings, and what is worth saying. The
    baseline's answers are scored again.

    There is one line, none without recordings that both have. `is_regression`: the share is lower by more than `limit`,
    and that is SIGNIFICANT.
    """
    before = {row["place"]: row for row in baseline}
    shared = [row for row in rows if row["place"] in before]
    notes = []
    if len(shared) < len(rows) or len(shared) < len(before):
        alone, gone = len(rows) - len(shared), len(before) - len(shared)
        notes.append(f"{alone} recordings are not in the baseline and {gone} of the baseline are not here: left out")
    alike = [row for row in shared if _same(row, before[row["place"]], scoring.kind)]
    if len(alike) < len(shared):
        notes.append(f"{len(shared) - len(alike)} recordings have another reference in the baseline: left out")
    if not alike:
        return [], notes
    now = [row[RIGHT] for row in alike]
    then = [_scores(before[row["place"]] | {"reference": row["reference"]}, scoring)[RIGHT] for row in alike]
    worse = sum(was and not is_ for was, is_ in zip(then, now, strict=True))
    better = sum(is_ and not was for was, is_ in zip(then, now, strict=True))
    difference, p_value = (better - worse) / len(alike), proportion.p_value(worse, better)
    line: Row = {"language": ALL, "recordings": len(alike), "share": sum(now) / len(alike)}
    line |= {"difference": difference, "worse": worse, "better": better, "p_value": p_value}
    return [line | {"is_regression": difference < -limit and p_value < SIGNIFICANT}], notes


def _same(row: Row, before: Row, kind: Kind) -> bool:
    """Whether two rows have the same reference."""
    try:
        return wanted(kind, row["reference"]) == wanted(kind, before["reference"])
    except ValueError:
        return False
