"""Transcript rows with references -> a row per utterance, a row per language, and how they compare with a baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.schema import Outcome
from pipeline.scoring import bootstrap
from pipeline.scoring.bootstrap import Rate
from pipeline.scoring.error_rate import Normalizer, Score, score
from pipeline.settings.languages import primary_language

MACRO = "macro"  # the mean over languages, each counting alike
UNKNOWN = "unknown"  # the language of an utterance where nothing tells it
SIGNIFICANT = 0.05  # p-value below which a difference is taken for one
COUNTS = ("tokens", "substitutions", "deletions", "insertions")

Row = dict[str, Any]

# One row per utterance and normaliser. `hypothesis` is null where transcription failed: all its tokens are deletions.
UTTERANCE = pa.schema(
    [
        pa.field("evaluation_id", pa.string(), nullable=False),
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # of the reference
        pa.field("normalizer", pa.string(), nullable=False),
        pa.field("normalizer_version", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),  # wer or cer
        pa.field("reference", pa.string(), nullable=False),
        pa.field("hypothesis", pa.string()),
        *(pa.field(name, pa.int32(), nullable=False) for name in COUNTS),
        pa.field("error_rate", pa.float64()),  # null where the reference has no tokens
        pa.field("detected_language", pa.string()),  # null where nobody asked: declared, or failed
        pa.field("duration_s", pa.float64()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("failure_code", pa.string()),
        pa.field("flags", pa.list_(pa.string())),
        # Of a segment in a sample, how many of the population it stands for, and its stratum; null for all others.
        pa.field("weight", pa.float64()),
        pa.field("stratum", pa.string()),
    ]
)

# One row per language and normaliser, and one for their mean, whose language is MACRO.
SCORE = pa.schema(
    [
        pa.field("evaluation_id", pa.string(), nullable=False),
        pa.field("evaluated_at", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_revision", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("pipeline_version", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("normalizer", pa.string(), nullable=False),
        pa.field("normalizer_version", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("utterances", pa.int32(), nullable=False),
        pa.field("failed", pa.int32(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
        pa.field("error_rate", pa.float64()),
        pa.field("low", pa.float64()),  # of the interval of bootstrap.CONFIDENCE
        pa.field("high", pa.float64()),
        pa.field("language_right", pa.float64()),  # share, of the utterances whose language was detected
    ]
)


def utterances(
    transcripts: Sequence[Row],
    reference: str,
    normalizers: Sequence[Normalizer],
    cer_languages: Sequence[str],
    named_by: str = "place",
) -> list[Row]:
    """UTTERANCE rows, but for evaluation_id, of transcripts whose column `reference` has a text. `named_by` is the
    column with the utterance's name, which no other has.

    The language is that of the column reference_language, else the declared one, else the one that was detected.
    """
    rows = []
    for row in transcripts:
        known = language_code(row.get("reference_language")) or row["declared_language"]
        language = known or row["language"] or UNKNOWN
        asked = known and not row["declared_language"] and row["outcome"] != Outcome.FAILED
        detected = (row["language"] or "none") if asked else None
        for by in normalizers:
            metric = "cer" if language in cer_languages else "wer"
            found = score(row[reference], row["text"], language, by, metric == "cer")
            rows.append(
                {name: row[name] for name in ("recording_id", "duration_s", "outcome", "failure_code", "flags")}
                | {name: getattr(found, name) for name in COUNTS}
                | {
                    "utterance_id": row[named_by],
                    "run_id": str(row["run_id"]),
                    "language": language,
                    "normalizer": by.name,
                    "normalizer_version": by.version,
                    "metric": metric,
                    "reference": row[reference],
                    "hypothesis": row["text"],
                    "error_rate": found.errors / found.tokens if found.tokens else None,
                    "detected_language": detected,
                }
            )
    return rows


def language_code(value: Any) -> str | None:
    """ISO 639-1 of a language tag; what is none stands for itself."""
    try:
        return str(primary_language(value)) if value else None
    except ValueError:
        return str(value)


def errors(row: Row) -> int:
    """Errors of an UTTERANCE row, in tokens."""
    return row["substitutions"] + row["deletions"] + row["insertions"]


def again(row: Row, by: Normalizer) -> Score:
    """The Score of an UTTERANCE row, with its alignment."""
    return score(row["reference"], row["hypothesis"], row["language"], by, row["metric"] == "cer")


def scored_alike(baseline: Sequence[Row], rows: Sequence[Row], by: Normalizer, key: str = "utterance_id") -> list[Row]:
    """The UTTERANCE rows of a baseline with the counts that this normaliser gives, each as its utterance is scored
    among these rows: in that language, by words or characters."""
    now = {row[key]: {name: row[name] for name in ("language", "metric")} for row in rows}
    rows = [row | now.get(row[key], {}) for row in baseline]
    counts = [again(row, by) for row in rows]
    return [row | {name: getattr(count, name) for name in COUNTS} for row, count in zip(rows, counts, strict=True)]


def scores(rows: Sequence[Row]) -> list[Row]:
    """What SCORE says of languages, from UTTERANCE rows: for each normaliser by language, the mean last."""
    found = []
    for normalizer in dict.fromkeys(row["normalizer"] for row in rows):
        own = [row for row in rows if row["normalizer"] == normalizer]
        languages = [_language(group) for group in _by_language(own).values()]
        rates = [rate for _, rate in languages]
        lines = [line | _figures(rate) for line, rate in languages]
        metrics = {line["metric"] for line in lines}
        known = [(line["language_right"], line["utterances"]) for line in lines if line["language_right"] is not None]
        mean = {name: sum(line[name] for line in lines) for name in ("utterances", "failed", *COUNTS)} | {
            "language": MACRO,
            "metric": metrics.pop() if len(metrics) == 1 else "mixed",
            "language_right": float(np.mean([share for share, _ in known])) if known else None,
        }
        said = {key: own[0][key] for key in ("normalizer", "normalizer_version")}
        found += [line | said for line in [*lines, mean | _figures(bootstrap.mean(rates))]]
    return found


def _language(rows: Sequence[Row]) -> tuple[Row, Rate]:
    outcomes = Counter(row["outcome"] for row in rows)
    tagged = [row for row in rows if row["detected_language"]]
    right = [row for row in tagged if row["detected_language"] == row["language"]]
    line: Row = {name: sum(row[name] for row in rows) for name in COUNTS}
    line |= {"language": rows[0]["language"], "metric": rows[0]["metric"], "utterances": len(rows)}
    line |= {"failed": outcomes[Outcome.FAILED], "language_right": len(right) / len(tagged) if tagged else None}
    return line, _rate(rows)


def _rate(rows: Sequence[Row]) -> Rate:
    """Of UTTERANCE rows: those of a sample all have weights, others none."""
    wrong, tokens = _counts(rows)
    if rows[0].get("weight") is None:
        return bootstrap.rate(wrong, tokens)
    weights, strata = (np.array([row[name] for row in rows]) for name in ("weight", "stratum"))
    return bootstrap.stratified_rate(wrong, tokens, weights, strata)


def compare(
    rows: Sequence[Row], baseline: Sequence[Row], limit: float, key: str = "utterance_id"
) -> tuple[list[Row], list[str]]:
    """How the error rates by language differ from a baseline's on the same utterances, and what is worth saying.

    The rows are of one normaliser, and `key` is the column that says which utterance a row is about. `is_regression`
    marks differences above `limit` (a rate) that are SIGNIFICANT.
    """
    before = {row[key]: row for row in baseline}
    shared = [row for row in rows if row[key] in before]
    notes = []
    if len(shared) < len(rows) or len(shared) < len(before):
        alone, gone = len(rows) - len(shared), len(before) - len(shared)
        notes.append(f"{alone} utterances are not in the baseline and {gone} of the baseline are not here: left out")
    same = [row for row in shared if row["reference"] == before[row[key]]["reference"]]
    if changed := len(shared) - len(same):
        notes.append(f"{changed} utterances have another reference in the baseline: left out")
        shared = same
    lines: list[Row] = []
    gaps: dict[str, Rate] = {}
    for language, group in _by_language(shared).items():
        wrong, tokens = _counts(group)
        then, _ = _counts([before[row[key]] for row in group])
        gap, p_value = bootstrap.difference(wrong, then, tokens)
        gaps[language] = gap
        lines.append(_gap(language, len(group), wrong.sum() / max(1, tokens.sum()), gap, p_value))
    # Of a single utterance nothing tells whether its difference is an accident, nor of a mean that it is in.
    own = [line for line in lines if len(gaps[line["language"]].resampled)] or lines
    if few := [line["language"] for line in lines if line not in own]:
        notes.append(f"the mean is without {', '.join(few)}: too few utterances to compare")
    if own:
        gap = bootstrap.mean([gaps[line["language"]] for line in own])
        count, now = sum(line["utterances"] for line in own), float(np.mean([line["error_rate"] for line in own]))
        lines.append(_gap(MACRO, count, now, gap, bootstrap.p_value(gap)))
    return [line | {"is_regression": _is_regression(line, limit)} for line in lines], notes


def _gap(language: str, count: int, now: float, gap: Rate, p_value: float) -> Row:
    figures = _figures(gap)
    figures["difference"] = figures.pop("error_rate")
    return {"language": language, "utterances": count, "error_rate": float(now), "p_value": p_value} | figures


def _is_regression(line: Row, limit: float) -> bool:
    return (line["difference"] or 0.0) > limit and line["p_value"] < SIGNIFICANT


def confusion(rows: Sequence[Row]) -> dict[str, Counter[str]]:
    """How often each language was tagged as which, from the UTTERANCE rows of one normaliser."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["detected_language"]:
            found[row["language"]][row["detected_language"]] += 1
    return dict(found)


def _by_language(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["language"]].append(row)
    return dict(sorted(groups.items()))


def _counts(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([errors(row) for row in rows]), np.array([row["tokens"] for row in rows])


def _figures(rate: Rate) -> Row:
    named = {"error_rate": rate.value, "low": rate.low, "high": rate.high}
    return {name: None if np.isnan(value) else float(value) for name, value in named.items()}
