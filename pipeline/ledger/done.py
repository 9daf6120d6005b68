"""What counts as done: what earlier runs have written of each recording. Tables in, columns out.

A recording keeps its `place` when its content changes. Of the rows with one place the newest counts, for readers and
for the next run alike: a recording is done when the newest row of its place has its content, time range, declared
language and fingerprint (Task.fingerprint), unless that row is a failure that may pass by itself (schema.TRANSIENT).
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import identity
from pipeline.schema import KEYS, TRANSIENT


class Status(StrEnum):
    """What an earlier run has done of a recording; all but the first are to do."""

    DONE = "done"
    NEW = "new"
    CONTENT_CHANGED = "content changed"
    SETTINGS_CHANGED = "model or settings changed"
    FAILED_BEFORE = "failed before, may pass"


CONTENT = ["uri", "content_version", "range_start_s", "range_end_s", "declared_language"]


def with_keys(rows: pa.Table) -> pa.Table:
    """Rows of a task's table of recordings with all columns of KEYS: those of 0.1 had no `place`, and a task that knows
    no channels has no `channel`."""
    if "channel" not in rows.column_names:
        rows = rows.append_column(KEYS.field("channel"), pa.nulls(len(rows), pa.int32()))
    if "place" in rows.column_names:
        return rows
    names = ["recording_id", "channel", "uri", "content_version", "range_start_s", "range_end_s"]
    places = []
    for row in rows.select(names).to_pylist():
        own = row["recording_id"].removesuffix("" if row["channel"] is None else f"#{row['channel']}")
        uri, version, start_s, end_s = (row[name] for name in names[2:])
        generated = own == identity.generated_id(uri, version, start_s, end_s)
        places.append(identity.place(uri, start_s, end_s, None if generated else own))
    return rows.append_column(KEYS.field("place"), pa.array(places, pa.string()))


def newest(rows: pa.Table) -> pa.Table:
    """Of rows in the order of their publication, those of whole recordings that count."""
    rows = rows.filter(pc.is_null(rows["channel"]))
    if not len(rows):
        return rows
    numbered = pa.table({"place": rows["place"], "at": pa.array(range(len(rows)), pa.int64())})
    last = numbered.group_by("place", use_threads=False).aggregate([("at", "last")])
    return rows.take(last["at_last"])


def status(recordings: pa.Table, rows: pa.Table, fingerprint: str) -> pa.Array:
    """The Status of each RECORDING row beside rows that have KEYS, in the order of publication."""
    found, same = _found(recordings, rows)
    own = pc.and_(same, pc.fill_null(pc.equal(found["fingerprint"], fingerprint), False))
    passing = pc.is_in(found["failure_code"], value_set=pa.array([code.value for code in TRANSIENT]))
    tests = {
        Status.DONE: pc.and_not(own, passing),
        Status.FAILED_BEFORE: own,
        Status.SETTINGS_CHANGED: same,
        Status.CONTENT_CHANGED: pc.is_valid(found["place"]),
    }
    columns = [test.combine_chunks() if isinstance(test, pa.ChunkedArray) else test for test in tests.values()]
    which = pc.make_struct(*columns, field_names=[name.value for name in tests])
    return pc.case_when(which, *(name.value for name in tests), Status.NEW.value)


def written(recordings: pa.Table, rows: pa.Table) -> pa.Array:
    """Whether any of the rows, of whatever outcome, is about each recording as it is now."""
    return _found(recordings, rows)[1]


def last_failure(recordings: pa.Table, rows: pa.Table) -> pa.Array:
    """The failure code of the row that counts for each recording as it is now; null where that has none."""
    found, same = _found(recordings, rows)
    return pc.if_else(same, found["failure_code"].combine_chunks(), None)


def _found(recordings: pa.Table, rows: pa.Table) -> tuple[pa.Table, pa.Array]:
    """For each recording the row that counts (null where there is none), and whether that has its content."""
    rows = newest(rows)
    places = pc.cast(rows["place"], pa.large_string()).combine_chunks()
    found = rows.take(pc.index_in(pc.cast(recordings["place"], pa.large_string()), value_set=places))
    same = pc.and_(pc.is_valid(found["place"]), pc.equal(_contents(recordings), _contents(found)))
    return found, same.combine_chunks() if isinstance(same, pa.ChunkedArray) else same


def _contents(table: pa.Table) -> pa.ChunkedArray:
    if "declared_language" not in table.column_names:  # in RECORDING rows it is the only one
        table = table.rename_columns({"language": "declared_language"})
    texts = [pc.fill_null(pc.cast(table[name], pa.large_string()), "\x00") for name in CONTENT]
    return pc.binary_join_element_wise(*texts, pa.scalar("\x1f", pa.large_string()))
