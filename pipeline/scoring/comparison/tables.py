"""UTTERANCE rows of several models -> a row per model and language, and the utterances about which they disagree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.scoring import tables
from pipeline.scoring.error_rate import normalizer
from pipeline.scoring.tables import COUNTS, MACRO, SCORE, UNKNOWN

MOST = 20  # utterances about which the models disagree
GAP = ("difference", "difference_low", "difference_high", "p_value")

Row = dict[str, Any]

# One row per model, language and normaliser, and one for the mean of the languages, whose language is MACRO. What is
# about the difference to the first model is null for that one itself.
COMPARED = pa.schema(
    [
        pa.field("comparison_id", pa.string(), nullable=False),
        *(field for field in SCORE if field.name != "language_right"),
        pa.field("flagged", pa.int32(), nullable=False),  # utterances
        pa.field("audio_h", pa.float64(), nullable=False),
        pa.field("beside", pa.string()),  # the first model
        pa.field("shared", pa.int32()),  # utterances that both have: the difference is on them
        *(pa.field(name, pa.float64()) for name in GAP),
        pa.field("engine_speed", pa.float64()),  # audio seconds per second of an engine that is ready
        pa.field("price_per_audio_hour", pa.float64()),  # null where the price of an engine hour is not known
    ]
)


@dataclass(frozen=True)
class Evaluated:
    """A model, and its UTTERANCE rows."""

    model: str
    rows: Sequence[Row]


def with_agreed_languages(found: Sequence[Evaluated], cer_languages: Sequence[str]) -> list[Evaluated]:
    """The rows with one language for each utterance, so that rates by language are on the same utterances.

    Where the language is not known, that is the one that most models detected (of several the first by its code), and
    the utterance is scored again where a model detected another.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for one in found:
        for row in one.rows:
            votes[row["recording_id"]][row["language"]] += row["language"] != UNKNOWN
    languages = {name: min(counts, key=lambda code: (-counts[code], code)) for name, counts in votes.items()}
    return [
        Evaluated(one.model, [_in_language(row, languages[row["recording_id"]], cer_languages) for row in one.rows])
        for one in found
    ]


def _in_language(row: Row, language: str, cer_languages: Sequence[str]) -> Row:
    if row["language"] == language:
        return row
    row = row | {"language": language, "metric": "cer" if language in cer_languages else "wer"}
    found = tables.again(row, normalizer(row["normalizer"]))
    rate = found.errors / found.tokens if found.tokens else None
    return row | {name: getattr(found, name) for name in COUNTS} | {"error_rate": rate}


def lines(found: Sequence[Evaluated]) -> tuple[list[Row], list[str]]:
    """What COMPARED says of models, normalisers and languages but for speed and price, from rows with agreed languages,
    and what is worth saying of the differences."""
    compared, notes = [], []
    first = found[0]
    for one in found:
        for name in dict.fromkeys(row["normalizer"] for row in one.rows):
            own, theirs = ([row for row in each.rows if row["normalizer"] == name] for each in (one, first))
            gaps: dict[str, Row] = {}
            if one is not first:
                differences, left_out = tables.compare(own, theirs, 0.0, "recording_id")
                gaps = {gap["language"]: gap for gap in differences}
                notes += [f"{one.model}: {note.replace('the baseline', first.model)}" for note in left_out]
            for line in tables.scores(own):
                group = [row for row in own if line["language"] in (MACRO, row["language"])]
                gap = gaps.get(line["language"])
                compared.append(
                    {"model": one.model, "beside": None if one is first else first.model}
                    | {key: value for key, value in line.items() if key != "language_right"}
                    | {"flagged": sum(bool(row["flags"]) for row in group)}
                    | {"audio_h": sum(row["duration_s"] or 0.0 for row in group) / 3600}
                    | (_gap(gap) if gap else dict.fromkeys(("shared", *GAP)))
                )
    return compared, list(dict.fromkeys(notes))


def _gap(line: Row) -> Row:
    return {
        "shared": line["utterances"],
        "difference": line["difference"],
        "difference_low": line["low"],
        "difference_high": line["high"],
        "p_value": line["p_value"],
    }


def flags(one: Evaluated) -> dict[str, int]:
    """How many utterances have each flag, the most frequent first."""
    first = one.rows[0]["normalizer"]
    counts = Counter(flag for row in one.rows if row["normalizer"] == first for flag in row["flags"] or ())
    return dict(counts.most_common())


def disagreements(found: Sequence[Evaluated]) -> list[Row]:
    """Up to MOST utterances that some models get right and others wrong, by the first normaliser: those where the
    numbers of errors lie farthest apart, first. Each with its UTTERANCE `rows` and their `errors`, by
    model."""
    by_recording: dict[str, dict[str, Row]] = defaultdict(dict)
    for one in found:
        for row in one.rows:
            if row["normalizer"] == one.rows[0]["normalizer"]:
                by_recording[row["recording_id"]][one.model] = row | {"errors": tables.errors(row)}
    apart = []
    for rows in by_recording.values():
        name, spread = next(iter(rows.values()))["utterance_id"], _spread([row["errors"] for row in rows.values()])
        if spread:
            apart.append({"utterance_id": name, "spread": spread, "rows": rows})
    return sorted(apart, key=lambda each: (-each["spread"], each["utterance_id"]))[:MOST]


def _spread(counts: Sequence[int]) -> int:
    return max(counts) - min(counts)
