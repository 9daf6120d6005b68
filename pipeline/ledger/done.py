"""What counts as done: what earlier runs have written of each recording.

A recording keeps its `place` when its content changes. Of the rows with one place the newest counts, for readers and
for the next run alike: a recording is done when the newest row of its place has its content, time range, declared
language and fingerprint (Task.fingerprint), unless that row is a failure that may pass by itself (schema.TRANSIENT).
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.digests import DigestTable, digests
from pipeline.ledger import keys
from pipeline.schema import TRANSIENT, FailureCode


class Status(StrEnum):
    """What an earlier run has done of a recording; all but the first two are to do."""

    DONE = "done"
    UNREACHABLE = "done, and not reachable now"
    NEW = "new"
    CONTENT_CHANGED = "content changed"
    SETTINGS_CHANGED = "model or settings changed"
    FAILED_BEFORE = "failed before, may pass"


STATUSES, CODES = list(Status), list(FailureCode)
UNREAD = (FailureCode.NOT_FOUND, FailureCode.FORBIDDEN, FailureCode.STORAGE_ERROR)  # of a recording's look-up, too
NO_FAILURE, OTHER_FAILURE = -1, -2  # beside positions in CODES; the other is a code of another version of ours


@dataclass(frozen=True)
class Statuses:
    """What the rows that count say of N recordings, row by row."""

    status: np.ndarray  # int8 (N,): positions in STATUSES
    same: np.ndarray  # bool (N,): there is a row, of whatever outcome, about the recording as it is now
    # int8 (N,): of that row, or of one before which nothing was read; a position in CODES, or NO_FAILURE, OTHER_FAILURE
    failure: np.ndarray

    def is_(self, *statuses: Status) -> np.ndarray:
        """Which recordings have one of these: bool (N,)."""
        return np.isin(self.status, [STATUSES.index(status) for status in statuses])

    def failed_with(self, codes: Collection[str]) -> np.ndarray:
        """Which recordings failed, as they are now or before they were read, with one of these codes: bool (N,)."""
        return np.isin(self.failure, [CODES.index(FailureCode(code)) for code in codes])

    @property
    def counts(self) -> Counter[str]:
        """How many recordings have each Status that occurs."""
        numbers = np.bincount(self.status, minlength=len(STATUSES)).tolist()
        return Counter({status.value: number for status, number in zip(STATUSES, numbers, strict=True) if number})


class Index:
    """The rows of whole recordings that count, 34 bytes for each: digests of its place and of its content, whether its
    fingerprint is the one that is asked for, its failure."""

    def __init__(self, fingerprint: str, own_only: bool = False) -> None:
        """`own_only`: rows with other fingerprints do not count: the rows of several models lie side by side."""
        self._fingerprint, self._own_only = fingerprint, own_only
        self._rows = DigestTable(np.uint64, np.uint64, np.bool_, np.int8)

    def add(self, rows: pa.Table) -> None:
        """Take in rows that have KEYS, in the order of their publication."""
        rows = keys.whole(rows)
        if self._own_only:
            rows = rows.filter(pc.equal(rows["fingerprint"], self._fingerprint))
        content = digests(keys.contents(rows))
        own = pc.fill_null(pc.equal(rows["fingerprint"], self._fingerprint), False)
        codes = pc.index_in(rows["failure_code"], value_set=pa.array([code.value for code in CODES]))
        missing = pc.if_else(pc.is_null(rows["failure_code"]), NO_FAILURE, OTHER_FAILURE)
        failures = pc.coalesce(codes, pc.cast(missing, pa.int32()))
        self._rows.add(digests(rows["place"]), content[:, 0], content[:, 1], own.to_numpy(), failures.to_numpy())

    def complete(self) -> None:
        """Say that all rows are there: `find` is quicker."""
        self._rows.merge()

    def find(self, recordings: pa.Table) -> Statuses:
        """What there is of N RECORDING rows."""
        known, high, low, own, failure = self._rows.find(digests(recordings["place"]))
        content = digests(keys.contents(recordings))
        same = known & (high == content[:, 0]) & (low == content[:, 1])
        own &= same
        passing = np.isin(failure, [CODES.index(code) for code in TRANSIENT])
        # What failed before anything was read has no content to compare.
        unread = known & np.isin(failure, [CODES.index(code) for code in UNREAD])
        is_unread = pc.and_(pc.is_valid(recordings["failure_code"]), pc.is_null(recordings["content_version"]))
        # The first that holds.
        status = {
            Status.DONE: own & ~passing,
            Status.FAILED_BEFORE: own,
            Status.SETTINGS_CHANGED: same,
            Status.UNREACHABLE: known & ~unread & is_unread.to_numpy(),
            Status.CONTENT_CHANGED: known,
        }
        numbers = np.array([STATUSES.index(one) for one in status], np.int8)
        codes = np.select(list(status.values()), list(numbers), np.int8(STATUSES.index(Status.NEW)))
        return Statuses(codes.astype(np.int8), same, np.where(same | unread, failure, np.int8(NO_FAILURE)))
