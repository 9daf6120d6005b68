"""Which rows of an output count for its readers: of those with one place the newest; see ledger.done."""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.digests import DigestTable, digests
from pipeline.ledger import keys, parts
from pipeline.schema import FailureCode

Row = dict[str, Any]

KEYS = ["place", "channel", "uri", "failure_code"]


class Newest:
    """Of each place and channel the newest row; a recording's channels count only if its newest run split them.

    `parts` are the parts of recordings that have such rows, in the order of their publication: bool (rows,) by name,
    which of them count. `keys` are KEYS of those that count, by name, too: they stay in memory.
    """

    def __init__(self, source: str, reports: Sequence[Row]) -> None:
        """Of the runs of an output that have these reports.

        Raises:
            storage_errors.READ_ERRORS: a part cannot be read.
        """
        last = DigestTable(np.int64)  # by place and channel, the number of the newest row
        runs = DigestTable(np.int64)  # by place, that of the newest run with a row about the whole recording
        tables: list[tuple[str, int, int, pa.Table]] = []
        count = 0
        for run, report in enumerate(reports):
            for name, table in parts.published(source, [report]):
                rows = table.select(KEYS)
                tables.append((name, run, count, rows))
                last.add(_ids(rows), np.arange(count, count + len(rows)))
                whole = keys.whole(rows)
                runs.add(digests(whole["place"]), np.full(len(whole), run))
                count += len(rows)
        last.merge()
        runs.merge()
        self.parts: dict[str, np.ndarray] = {}
        self.keys: dict[str, pa.Table] = {}
        for name, run, begin, rows in tables:
            _, number = last.find(_ids(rows))
            known, newest_run = runs.find(digests(rows["place"]))
            counts = (number == np.arange(begin, begin + len(rows))) & known & (newest_run == run)
            if counts.any():
                self.parts[name] = counts
                self.keys[name] = rows.filter(pa.array(counts))

    def rows(self) -> Iterator[Row]:
        """KEYS of each row that counts."""
        for rows in self.keys.values():
            yield from rows.to_pylist()

    def first_and_last_uri(self) -> tuple[str, str]:
        """Of the recordings' URIs those that sort first and last, less those of rows that a manifest has wrong: they
        are none. "" where there is none."""
        ends: list[str] = []
        for rows in self.keys.values():
            wrong = pc.equal(rows["failure_code"], FailureCode.INVALID_ROW.value)
            uris = rows.filter(pc.invert(pc.fill_null(wrong, False)))["uri"]
            if len(uris):
                ends += [pc.min(uris).as_py(), pc.max(uris).as_py()]
        return min(ends, default=""), max(ends, default="")


def _ids(rows: pa.Table) -> np.ndarray:
    """A digest of place and channel: uint64 (N, 2)."""
    channels = pc.fill_null(pc.cast(rows["channel"], pa.string()), "")
    return digests(pc.binary_join_element_wise(channels, rows["place"], "\x1f"))
