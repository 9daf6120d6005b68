"""One recording_id for each recording of a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline import identity
from pipeline.digests import DigestTable, digests
from pipeline.rows import Recording
from pipeline.schema import FailureCode
from pipeline.sources.manifest import Entry


class _First(NamedTuple):
    """The first row of a manifest under some id."""

    number: int
    values: int  # halves of digests: compared within one id, so that they need not be longer
    uri: int


class Ids:
    """Sees to it that no two recordings of a manifest have one id. 40 bytes for each."""

    def __init__(self, given: DigestTable) -> None:
        """`given` are the digests of all ids that the manifest gives."""
        self._given = given
        self._seen = DigestTable(np.int64, np.uint64, np.uint64)  # columns of _First

    def unique(self, entries: Sequence[Entry], rows: Sequence[Recording]) -> Iterator[tuple[Entry, Recording]]:
        """The rows to keep and their entries, the rows' ids made unique.

        Of rows that are the same in every column the first is kept. Another row under an id that is taken is a failure:
        its transcript could not be told from the first one's.
        """
        known, *before = self._seen.find(digests(pa.array([row.recording_id for row in rows], pa.string())))
        numbers = [entry.number for entry in entries]
        values = digests(pa.array([json.dumps(entry.values, default=str) for entry in entries], pa.large_string()))
        uris = digests(pa.array([row.uri for row in rows], pa.string()))
        own = list(map(_First, numbers, values[:, 0].tolist(), uris[:, 0].tolist()))
        earlier = list(map(_First, *(column.tolist() for column in before)))
        new: dict[str, _First] = {}
        for at, (entry, row) in enumerate(zip(entries, rows, strict=True)):
            first = earlier[at] if known[at] else new.setdefault(row.recording_id, own[at])
            if first is not own[at]:
                if first.values == own[at].values:
                    continue
                made = f"{row.recording_id}#row{entry.number}"
                while made in new or self._is_taken(made):
                    made += "+"
                new[made] = own[at]
                yield entry, _refused(row, made, own[at], first)
            else:
                yield entry, row
        columns = zip(*new.values(), strict=True) if new else ((), (), ())
        self._seen.add(digests(pa.array(new, pa.string())), *(np.array(column, np.uint64) for column in columns))

    def _is_taken(self, name: str) -> bool:
        key = digests(pa.array([name]))
        return bool(self._given.find(key)[0][0] or self._seen.find(key)[0][0])


def _refused(row: Recording, made: str, own: _First, first: _First) -> Recording:
    """A recording under an id that was made for it, since the one that it has is taken. A failure that it has counts
    more."""
    if first.uri == own.uri:
        detail = f"row {own.number} means the same recording as row {first.number}"
        detail += "; a recording_id of its own would tell them apart"
    else:
        detail = f"row {own.number} has the recording_id of row {first.number}, {row.recording_id!r:.80},"
        detail += " which names another file"
    place, code = identity.place(row.uri, None, None, made), FailureCode.DUPLICATE_ID.value
    if row.failure_code:
        code, detail = row.failure_code, row.failure_detail
    return replace(row, recording_id=made, place=place, failure_code=code, failure_detail=detail)
