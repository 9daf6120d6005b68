"""Recordings that belong together: rows of a manifest with one `group_id` become one row."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (pyarrow's stubs know no numpy arrays, and not all functions.)

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import RECORDING, FailureCode
from pipeline.sources.columns import plain
from pipeline.sources.kept import take
from pipeline.sources.listing import Listing
from pipeline.text import writable

GROUP_ID = "group_id"  # the manifest's column
NO_GROUP = (None, "")
WHAT, RANGE = ("recording_id", "content_version"), ("range_start_s", "range_end_s")
MEMBERS = pa.field("members", pa.list_(pa.struct(list(RECORDING))))

Row = dict[str, Any]


def collapse(found: Listing, most: int) -> Listing:
    """A listing with one row for each group, where its first recording stood, and a column MEMBERS: the recordings of a
    group in the order of the manifest, null where a row has no group_id and stands for itself. The manifest's columns
    are those of the first. A group of more than `most` recordings is a failure, and so is one with a row that cannot be
    used.
    """
    if GROUP_ID not in found.extra.column_names:
        return found
    first: list[int] = []  # positions of the rows that stay
    groups: dict[str, list[int]] = {}
    for at, value in enumerate(plain(found.extra, GROUP_ID)):
        name = writable(str(value))
        is_alone = value in NO_GROUP
        if is_alone or name not in groups:
            first.append(at)
        if not is_alone:
            groups.setdefault(name, []).append(at)
    rows, at_first = found.take(np.array(first, np.int64)), {own[0]: group for group, own in groups.items()}
    members: list[list[Row] | None] = [None] * len(first)
    recordings = rows.recordings.to_pylist()
    together = iter(take(found.recordings, np.array(list(chain(*groups.values())), np.int64)).to_pylist())
    for n, at in enumerate(first):  # in the order of the groups
        if group := at_first.get(at):
            members[n] = own = list(islice(together, len(groups[group])))
            recordings[n] |= _group(group, own, most)
    table = pa.Table.from_pylist(recordings, rows.recordings.schema)
    return replace(rows, recordings=table.append_column(MEMBERS, pa.array(members, MEMBERS.type)))


def largest(found: Listing) -> int:
    """How many recordings the largest group has of those that are no failures; 1 where there are no groups."""
    if MEMBERS.name not in found.recordings.column_names:
        return 1
    usable = found.recordings.filter(pc.is_null(found.recordings["failure_code"]))
    return pc.max(pc.list_value_length(usable[MEMBERS.name])).as_py() or 1


def _group(group: str, members: Sequence[Row], most: int) -> Row:
    """What a group's row says in place of its first recording's."""
    # An id of the manifest's own does not tell the range.
    contents = [[row[n] for n in (*WHAT, *(RANGE if row[RANGE[0]] or row[RANGE[1]] else ()))] for row in members]
    digest = hashlib.sha256(json.dumps([group, contents]).encode()).hexdigest()[:24]
    failure: Row = {"failure_code": None, "failure_detail": None}
    if len(members) > most:
        detail = f"group {group} has {len(members)} recordings; the model takes at most {most} in one prompt"
        failure = {"failure_code": FailureCode.INVALID_ROW.value, "failure_detail": detail}
    elif broken := next((row for row in members if row["failure_code"]), None):
        detail = f"{broken['uri']}, of group {group}: {broken['failure_detail']}"
        failure = {"failure_code": broken["failure_code"], "failure_detail": detail}
    return {
        "recording_id": digest,
        "place": f"group:{group}",
        "content_version": digest,
        "size_bytes": sum(row["size_bytes"] or 0 for row in members),
        "modified_at": max((row["modified_at"] for row in members if row["modified_at"]), default=None),
        "range_start_s": None,
        "range_end_s": None,
        **failure,
    }
