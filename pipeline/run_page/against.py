"""Two runs side by side: their reports, and what became of the recordings that both have."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.digests import DigestTable, digests
from pipeline.ledger import keys, parts
from pipeline.run_page import tables
from pipeline.schema import Outcome
from pipeline.tasks.ask.schema import said as answer_of

EXAMPLES = 10
OUTCOMES = list(Outcome)
NOT_COMPARED = ("output", "run_id", "config", "verbose", "log_format", "dry_run")  # settings that say nothing of a run

Row = dict[str, Any]


@dataclass
class Changes:
    """What became of the recordings of a run that an earlier one has, too."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # before, now
    same: int = 0  # of those that have text in both: the same
    different: int = 0
    alone: int = 0  # recordings that the other run does not have
    examples: list[Row] = field(default_factory=list)  # other outcomes first: uri, before, now, said_before, said


def changes(output: str, before: Row, other_output: str, report: Row) -> Changes:
    """Of the run of `report`, below `output`, beside that of `before`, below `other_output`.

    35 bytes for each recording of the earlier one are in memory.

    Raises:
        storage_errors.READ_ERRORS: a part cannot be read.
    """
    known = DigestTable(np.int8, np.uint64, np.int32)
    for at, rows in _parts(other_output, before):
        known.add(digests(rows["place"]), _outcomes(rows), _texts(rows), np.full(len(rows), at, np.int32))
    known.merge()
    found, changed, differing = Changes(), list[Row](), list[Row]()
    for at, rows in _parts(output, report):
        is_known, outcomes, texts, other_part = known.find(digests(rows["place"]))
        own, own_texts = _outcomes(rows), _texts(rows)
        pairs = Counter(zip(outcomes[is_known].tolist(), own[is_known].tolist(), strict=True))
        found.outcomes.update({(OUTCOMES[one], OUTCOMES[other]): count for (one, other), count in pairs.items()})
        found.alone += int((~is_known).sum())
        failed = OUTCOMES.index(Outcome.FAILED)
        both = is_known & (own != failed) & (outcomes != failed)
        found.same += int((both & (texts == own_texts)).sum())
        found.different += int((both & (texts != own_texts)).sum())
        for kept, mask in ((changed, is_known & (own != outcomes)), (differing, both & (texts != own_texts))):
            for row in np.flatnonzero(mask)[: EXAMPLES - len(kept)].tolist():
                kept.append(
                    rows.slice(row, 1).select(["recording_id", "place", "uri"]).to_pylist()[0]
                    | {"before": OUTCOMES[outcomes[row]], "now": OUTCOMES[own[row]]}
                    | {"part": at, "other_part": int(other_part[row])}
                )
    examples = {row["place"]: row for row in [*changed, *differing]}
    found.examples = list(examples.values())[:EXAMPLES]
    for row in found.examples:
        row["said"] = tables.said(output, report, row["part"], [row["recording_id"]])[row["recording_id"]]
        row["said_before"] = _said_of(other_output, before, row["other_part"], row["place"])
    return found


def settings(before: Row, report: Row) -> list[tuple[str, Any, Any]]:
    """Settings of two runs that differ: the name, and both values."""
    one, other = _flat(before["settings"]), _flat(report["settings"])
    names = [name for name in dict.fromkeys([*one, *other]) if name not in NOT_COMPARED]
    return [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def _flat(values: Row, above: str = "") -> Row:
    found: Row = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def _parts(output: str, report: Row) -> Iterator[tuple[int, pa.Table]]:
    """The whole recordings of each part, with a column `said`: the text, or all answers."""
    *others, last = parts.tables_of(report)
    for at, name in enumerate(report[last]):
        rows = keys.whole(parts.read_recordings(output, name, ["outcome", tables.TEXT]))
        yield at, rows.append_column("said", _said(output, report, others, at, rows))


def _said(output: str, report: Row, others: list[str], at: int, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
    if tables.TEXT in rows.column_names:
        return rows[tables.TEXT]
    for table in others:
        answers = parts.read_part(output, report[table][at], ["recording_id", *tables.ANSWERS])
        if set(tables.ANSWERS) <= set(answers.column_names):
            texts = pa.array(map(answer_of, answers.to_pylist()), pa.string())
            filled = pa.table({"recording_id": answers["recording_id"], "answer": texts})
            lists = filled.group_by("recording_id", use_threads=False).aggregate([("answer", "list")])
            joined: Any = pc.binary_join(lists["answer_list"], "\n")
            return joined.take(pc.index_in(rows["recording_id"], value_set=lists["recording_id"].combine_chunks()))
    return pa.nulls(len(rows), pa.string())


def _said_of(output: str, report: Row, at: int, place: str) -> str:
    """Of a recording by its place: its recording_id is another where the content has changed."""
    *_, last = parts.tables_of(report)
    rows = parts.read_recordings(output, report[last][at], [])
    own = rows.filter(pc.and_(pc.is_null(rows["channel"]), pc.equal(rows["place"], place)))["recording_id"]
    recording_id = str(own[0])
    return tables.said(output, report, at, [recording_id])[recording_id]


def _outcomes(rows: pa.Table) -> np.ndarray:
    return pc.index_in(rows["outcome"], value_set=pa.array([str(each) for each in OUTCOMES])).to_numpy().astype(np.int8)


def _texts(rows: pa.Table) -> np.ndarray:
    """Half a digest of what was said: uint64 (N,). Two that differ have the same with a probability of 5 * 10^-20."""
    return digests(pc.fill_null(pc.cast(rows["said"], pa.string()), ""))[:, 0]
