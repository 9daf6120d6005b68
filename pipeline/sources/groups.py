"""Recordings that belong together: rows of a manifest with one `group_id` become one row."""

# pyright: reportArgumentType=false
# (pyarrow's stubs know no numpy arrays.)

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.schema import RECORDING, FailureCode
from pipeline.sources.listing import Listing

GROUP_ID = "group_id"  # the manifest's column
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
    for at, group in enumerate(found.extra[GROUP_ID].to_pylist()):
        if group in (None, ""):
            first.append(at)
        elif (own := groups.setdefault(str(group), [])) is not None:
            if not own:
                first.append(at)
            own.append(at)
    rows = found.take(np.array(first, np.int64))
    own = {positions[0]: (group, positions) for group, positions in groups.items()}
    members: list[list[Row] | None] = []
    recordings = rows.recordings.to_pylist()
    for n, at in enumerate(first):
        if at not in own:
            members.append(None)
            continue
        group, positions = own[at]
        members.append(found.recordings.take(pa.array(positions)).to_pylist())
        recordings[n] |= _group(group, members[-1] or [], most)
    table = pa.Table.from_pylist(recordings, rows.recordings.schema)
    return replace(rows, recordings=table.append_column(MEMBERS, pa.array(members, MEMBERS.type)))


def largest(found: Listing) -> int:
    """How many recordings its largest group has; 1 where there are no groups."""
    members = found.recordings["members"].to_pylist() if "members" in found.recordings.column_names else []
    return max((len(own) for own in members if own), default=1)


def _group(group: str, members: Sequence[Row], most: int) -> Row:
    """What a group's row says in place of its first recording's."""
    contents = [[row["recording_id"], row["content_version"]] for row in members]
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
