"""The rows of a listing: made into tables piece by piece, kept or only counted, taken in any order."""

# pyright: reportArgumentType=false
# (pyarrow's stubs know no numpy arrays.)

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from pipeline import rows
from pipeline.rows import Recording
from pipeline.schema import RECORDING
from pipeline.sources import columns

ROWS_AT_ONCE = 50_000  # that are Python objects before they are a table

Keep = Callable[[pa.Table], np.ndarray]  # RECORDING rows -> which to keep: bool (N,)


class Kept:
    """The rows of a listing that are kept; `count` says how many there were."""

    def __init__(self, keep: Keep | None) -> None:
        self._keep, self.count = keep, 0
        self._tables: list[tuple[pa.Table, pa.Table]] = []

    def add(self, found: Sequence[Recording], extra: Callable[[Sequence[int]], pa.Table] | None = None) -> pa.Table:
        """Take in recordings, and return them as RECORDING rows; `extra` makes the manifest's columns of some."""
        recordings = rows.table(found, RECORDING)
        self.count += len(recordings)
        positions = np.arange(len(recordings)) if self._keep is None else np.flatnonzero(self._keep(recordings))
        own = recordings if len(positions) == len(recordings) else recordings.take(pa.array(positions))
        if own["place"].equals(own["uri"]):  # as of all recordings that are listed as a whole: once in memory
            own = own.set_column(own.schema.get_field_index("place"), RECORDING.field("place"), own["uri"])
        self._tables.append((own, extra(positions.tolist()) if extra else columns.no_columns(len(own))))
        return recordings

    @property
    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Recordings and the manifest's own columns; after the first rows."""
        recordings, extra = pa.concat_tables([own for own, _ in self._tables]), [extra for _, extra in self._tables]
        return recordings, pa.concat_tables(extra) if extra[0].num_columns else columns.no_columns(len(recordings))


def take(table: pa.Table, positions: np.ndarray) -> pa.Table:
    """Rows of a table. Arrow's own `take` joins all chunks of a column first, which fails where its texts are more than
    2 GB."""
    if not table.num_columns:
        return columns.no_columns(len(positions))
    batches = table.to_batches()
    starts = np.cumsum([0, *(len(batch) for batch in batches)])
    pieces = [table.schema.empty_table()]
    for at in range(0, len(positions), ROWS_AT_ONCE):
        some = positions[at : at + ROWS_AT_ONCE]
        order = np.argsort(some)
        bounds = np.searchsorted(some[order], starts)
        found = [
            batch.take(pa.array(some[order[bounds[n] : bounds[n + 1]]] - starts[n]))
            for n, batch in enumerate(batches)
            if bounds[n] < bounds[n + 1]
        ]
        pieces.append(pa.Table.from_batches(found, table.schema).take(pa.array(np.argsort(order))))
    return pa.concat_tables(pieces)
