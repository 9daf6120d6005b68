"""What a run's tables say beside its report, read part by part; texts are read of the recordings shown alone."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger import keys, parts
from pipeline.schema import Outcome
from pipeline.tasks.ask.schema import said as answer_of

EXAMPLES, FIRST = 3, 10  # failures of each code; recordings to look at first
MISSED_S = 1.0  # of speech without text, from where on a recording is worth a look
DURATIONS_S = (0.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, math.inf)
COLUMNS = (
    "recording_id channel uri duration_s speech_s transcribed_s language flags outcome failure_code failure_detail"
).split()
TEXT, ANSWERS = (
    "text",
    ["question_name", "answer", "tool_calls"],
)  # what was said of a recording: a column of its own table; rows of another

Row = dict[str, Any]


@dataclass
class Language:
    """Sums over the recordings of one language."""

    recordings: int = 0
    audio_s: float = 0.0
    flagged: int = 0


@dataclass
class Contents:
    """Sums over the recordings of a run, and some of them."""

    outcomes: Counter[str] = field(default_factory=Counter)
    languages: dict[str, Language] = field(default_factory=lambda: defaultdict(Language))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(len(DURATIONS_S) - 1, int))  # by DURATIONS_S
    audio_s: np.ndarray = field(default_factory=lambda: np.zeros(len(DURATIONS_S) - 1))  # of these
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))  # of failures, by code
    part_audio_s: list[float] = field(default_factory=list)
    first: list[Row] = field(default_factory=list)  # rows of COLUMNS, `mean_logprob`, `why` and `said`


# Why a recording is to be looked at: the word for it, and a key for each row; the lowest come first, NaN never.
_REASONS: dict[str, Callable[[pa.Table], np.ndarray]] = {
    "partial": lambda rows: np.where(_equal(rows, "outcome", Outcome.PARTIAL), _missed_s(rows) * -1, np.nan),
    "flags": lambda rows: np.where(_flag_counts(rows) > 0, -_flag_counts(rows), np.nan),
    "least certain": lambda rows: _floats(rows, "mean_logprob"),
    "speech without text": lambda rows: np.where(_missed_s(rows) >= MISSED_S, -_missed_s(rows), np.nan),
}


def read(output: str, report: Row) -> Contents:
    """Of a published run.

    Raises:
        storage_errors.READ_ERRORS: a part cannot be read.
    """
    *others, last = parts.tables_of(report)
    found, best = Contents(), {why: list[Row]() for why in _REASONS}
    for at, name in enumerate(report[last]):
        rows = keys.whole(parts.read_part(output, name, COLUMNS))
        _count(found, rows)
        rows = rows.append_column("mean_logprob", _mean_logprobs(output, report, others, at, rows["recording_id"]))
        for why, key in _REASONS.items():
            best[why] = _lowest(best[why], rows, key(rows), at)
    found.first = _in_turns(list(best.items()))
    for row in found.first:
        row["said"] = said(output, report, row["part"], [row["recording_id"]])[row["recording_id"]]
    return found


def _count(found: Contents, rows: pa.Table) -> None:
    seconds = _floats(rows, "duration_s")
    known, seconds = ~np.isnan(seconds), np.nan_to_num(seconds)
    bins = np.searchsorted(DURATIONS_S, seconds[known], "right") - 1
    found.counts += np.bincount(bins, minlength=len(found.counts))
    found.audio_s += np.bincount(bins, seconds[known], len(found.counts))
    found.part_audio_s.append(float(seconds.sum()))
    found.outcomes.update(_value_counts(rows["outcome"]))
    found.failures.update(_value_counts(rows["failure_code"]))
    for code, rest in found.failures.items():
        if rest and len(found.examples[code]) < EXAMPLES:
            own = rows.filter(pc.fill_null(pc.equal(rows["failure_code"], code), False))
            found.examples[code] += own.slice(0, EXAMPLES - len(found.examples[code])).to_pylist()
    if "language" in rows.column_names:
        columns = {"language": rows["language"], "audio_s": pa.array(seconds), "flagged": _flag_counts(rows) > 0}
        sums = (
            pa.table(columns)
            .group_by("language")
            .aggregate([([], "count_all"), ("audio_s", "sum"), ("flagged", "sum")])
        )
        for row in sums.to_pylist():
            if row["language"] is not None:
                one = found.languages[row["language"]]
                one.recordings += row["count_all"]
                one.audio_s += row["audio_s_sum"]
                one.flagged += row["flagged_sum"]


def _mean_logprobs(output: str, report: Row, others: Sequence[str], at: int, ids: pa.ChunkedArray) -> pa.Array:
    """For each recording the mean log-probability of its tokens; null where no table of windows tells it."""
    for table in others:
        rows = parts.read_part(output, report[table][at], ["recording_id", "channel", "mean_logprob", "token_count"])
        if {"mean_logprob", "token_count"} <= set(rows.column_names):
            rows = rows.filter(pc.and_(pc.is_valid(rows["mean_logprob"]), pc.is_valid(rows["token_count"])))
            sums = pa.table(
                {
                    "id": keys.whole_ids(rows),
                    "tokens": rows["token_count"],
                    "sum": pc.multiply(pc.cast(rows["mean_logprob"], pa.float64()), rows["token_count"]),
                }
            )
            sums = sums.group_by("id").aggregate([("tokens", "sum"), ("sum", "sum")])
            sums = sums.filter(pc.greater(sums["tokens_sum"], 0))
            means = pc.divide(sums["sum_sum"], sums["tokens_sum"])
            return means.take(pc.index_in(ids, value_set=sums["id"].combine_chunks())).combine_chunks()
    return pa.nulls(len(ids), pa.float64())


def _lowest(best: list[Row], rows: pa.Table, keys: np.ndarray, part: int) -> list[Row]:
    """The FIRST rows with the lowest keys, of those that there are and new ones."""
    order = np.argsort(keys, kind="stable")[:FIRST]  # NaN comes last
    order = order[~np.isnan(keys[order])]
    new = [
        row | {"key": float(key), "part": part}
        for row, key in zip(rows.take(order).to_pylist(), keys[order], strict=True)
    ]
    return sorted([*best, *new], key=lambda row: row["key"])[:FIRST]


def _in_turns(best: Sequence[tuple[str, list[Row]]]) -> list[Row]:
    """FIRST different recordings: the first for each reason, the second for each, and so on, with all their reasons."""
    found: dict[str, Row] = {}
    for place in range(FIRST):
        for why, rows in best:
            for row in rows[place : place + 1]:
                if len(found) < FIRST or row["recording_id"] in found:
                    found.setdefault(row["recording_id"], row | {"why": []})["why"].append(why)
    return list(found.values())


def said(output: str, report: Row, at: int, ids: Sequence[str]) -> dict[str, str]:
    """What the tables of a run's part say of some of its recordings: the text, or the answers with their questions'
    names, a line each."""
    *others, last = parts.tables_of(report)
    wanted, found = pa.array(ids, pa.string()), dict.fromkeys(ids, "")
    for table, columns in ((last, [TEXT]), *((table, ANSWERS) for table in others)):
        rows = parts.read_part(output, report[table][at], ["recording_id", *columns])
        if set(columns) <= set(rows.column_names):
            for row in rows.filter(pc.is_in(rows["recording_id"], value_set=wanted)).to_pylist():
                words = row[TEXT] if TEXT in row else f"{row['question_name']}: {answer_of(row)}"
                earlier = found[row["recording_id"]]
                found[row["recording_id"]] = f"{earlier}\n{words or ''}" if earlier else words or ""
            break
    return found


def _value_counts(column: pa.ChunkedArray) -> dict[str, int]:
    counts = pa.table({"value": column.drop_null()}).group_by("value").aggregate([([], "count_all")])
    return dict(zip(counts["value"].to_pylist(), counts["count_all"].to_pylist(), strict=True))


def _floats(rows: pa.Table, name: str) -> np.ndarray:
    """A column as float64 (N,), NaN where it is null or missing."""
    if name not in rows.column_names:
        return np.full(len(rows), np.nan)
    return pc.fill_null(pc.cast(rows[name], pa.float64()), math.nan).to_numpy()


def _missed_s(rows: pa.Table) -> np.ndarray:
    return np.nan_to_num(_floats(rows, "speech_s") - _floats(rows, "transcribed_s"))


def _flag_counts(rows: pa.Table) -> np.ndarray:
    if "flags" not in rows.column_names:
        return np.zeros(len(rows), int)
    return pc.fill_null(pc.list_value_length(rows["flags"]), 0).to_numpy()


def _equal(rows: pa.Table, name: str, value: str) -> np.ndarray:
    return pc.equal(rows[name], value).to_numpy()
