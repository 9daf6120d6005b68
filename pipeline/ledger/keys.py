"""What the rows of a task's tables are about: which recording, all of it or a channel, and with which content."""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import identity
from pipeline.schema import KEYS

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
        own = identity.whole_id(row["recording_id"], row["channel"])
        uri, version, start_s, end_s = (row[name] for name in names[2:])
        generated = own == identity.generated_id(uri, version, start_s, end_s)
        places.append(identity.place(uri, start_s, end_s, None if generated else own))
    return rows.append_column(KEYS.field("place"), pa.array(places, pa.string()))


def whole_ids(rows: pa.Table) -> pa.ChunkedArray:
    """The recording_id of each row, of a channel's row that of its recording."""
    if "channel" not in rows.column_names:
        return rows["recording_id"]
    stripped = pc.replace_substring_regex(rows["recording_id"], "#[0-9]+$", "")
    return pc.if_else(pc.is_null(rows["channel"]), rows["recording_id"], stripped)


def whole(rows: pa.Table) -> pa.Table:
    """The rows that are about all of a recording, and not one of its channels."""
    return rows.filter(pc.is_null(rows["channel"])) if "channel" in rows.column_names else rows


def contents(table: pa.Table) -> pa.Array | pa.ChunkedArray:
    """What each RECORDING row, or row with KEYS, is about: CONTENT as one text."""
    if "declared_language" not in table.column_names:  # in RECORDING rows it is the only one
        table = table.rename_columns({"language": "declared_language"})
    texts = [pc.fill_null(pc.cast(table[name], pa.large_string()), "\x00") for name in CONTENT]
    return pc.binary_join_element_wise(*texts, pa.scalar("\x1f", pa.large_string()))
