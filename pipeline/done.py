"""What counts as done: how each recording stands with what earlier runs have written. Tables in, columns out.

Done is a recording whose content, time range, declared language and fingerprint (settings.fingerprint) a row has,
unless that row is a failure that may pass by itself (schema.PASSING).
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import PASSING


class Standing(StrEnum):
    """How a recording stands before a run; all but the first are to do."""

    DONE = "done"
    NEW = "new"
    CONTENT_CHANGED = "content changed"
    SETTINGS_CHANGED = "model or settings changed"
    FAILED_BEFORE = "failed before, may pass"


PLACE = ["uri", "range_start_s", "range_end_s"]
CONTENT = ["recording_id", "content_version", "range_start_s", "range_end_s", "declared_language"]
COLUMNS = [*dict.fromkeys([*PLACE, *CONTENT]), "fingerprint", "failure_code", "channel"]  # of transcripts


def standing(recordings: pa.Table, rows: pa.Table, fingerprint: str) -> pa.Array:
    """The Standing of each RECORDING row beside transcript rows that have COLUMNS."""
    contents, places = _keys(recordings, CONTENT), _keys(recordings, PLACE)
    rows = _whole(rows)
    known, own = _keys(rows, CONTENT), pc.equal(rows["fingerprint"], fingerprint)
    passing = pc.is_in(rows["failure_code"], value_set=pa.array([code.value for code in PASSING]))
    tests = {
        Standing.DONE: pc.is_in(contents, known.filter(pc.and_not(own, passing))),
        Standing.FAILED_BEFORE: pc.is_in(contents, known.filter(pc.and_(own, passing))),
        Standing.SETTINGS_CHANGED: pc.is_in(contents, known),
        Standing.CONTENT_CHANGED: pc.is_in(places, _keys(rows, PLACE)),
    }
    which = pc.make_struct(*tests.values(), field_names=[name.value for name in tests])
    return pc.case_when(which, *(name.value for name in tests), Standing.NEW.value)


def written(recordings: pa.Table, rows: pa.Table) -> pa.Array:
    """Whether any of the rows, of whatever outcome, is about each recording as it is now."""
    return pc.is_in(_keys(recordings, CONTENT), _keys(_whole(rows), CONTENT))


def last_failure(recordings: pa.Table, rows: pa.Table) -> pa.Array:
    """The failure code of the last of the rows about each recording as it is now; null where that has none."""
    rows = _whole(rows)
    facts = pa.table({"key": _keys(rows, CONTENT), "code": rows["failure_code"]})
    options = pc.ScalarAggregateOptions(skip_nulls=False)
    last = facts.group_by("key", use_threads=False).aggregate([("code", "last", options)])
    return last["code_last"].take(pc.index_in(_keys(recordings, CONTENT), last["key"])).combine_chunks()


def _whole(rows: pa.Table) -> pa.Table:
    """Without the rows of single channels."""
    return rows.filter(pc.is_null(rows["channel"]))


def _keys(table: pa.Table, names: list[str]) -> pa.Array:
    if "declared_language" not in table.column_names:  # in RECORDING rows it is the only one
        table = table.rename_columns({"language": "declared_language"})
    texts = [pc.fill_null(pc.cast(table[name], pa.string()), "\x00") for name in names]
    key = pc.binary_join_element_wise(*texts, "\x1f")
    return key.combine_chunks() if isinstance(key, pa.ChunkedArray) else key
