from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rows import Recording
from pipeline.schema import RECORDING
from pipeline.sources import columns, kept
from pipeline.sources.kept import Kept


def recordings(*names: str) -> list[Recording]:
    return [Recording(recording_id=name, place=name, uri=name) for name in names]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data(), st.integers(1, 5))
def test_rows_come_in_any_order_whatever_the_chunks(lengths: list[int], data: st.DataObject, at_once: int) -> None:
    whole = pa.table({"x": pa.array([f"{at}" for at in range(sum(lengths))], pa.string())})
    ends = np.cumsum(lengths).tolist()
    table = pa.concat_tables([whole.slice(end - length, length) for end, length in zip(ends, lengths, strict=True)])
    positions = data.draw(st.permutations(range(len(whole))))[: data.draw(st.integers(0, len(whole)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "ROWS_AT_ONCE", at_once)
        taken = kept.take(table, np.array(positions, np.int64))
    assert taken.schema == table.schema
    assert taken["x"].to_pylist() == [f"{at}" for at in positions]


def test_a_table_without_columns_keeps_its_length() -> None:
    assert len(kept.take(columns.no_columns(3), np.array([2, 0]))) == 2


def test_only_what_is_kept_is_held_and_all_is_counted() -> None:
    seen: list[int] = []

    def keep(table: pa.Table) -> np.ndarray:
        seen.append(len(table))
        return np.array([name == "b" for name in table["uri"].to_pylist()])

    found = Kept(keep)
    for names in (("a", "b"), ("c",), ("b", "b")):
        extra = [f"of {name}" for name in names]
        found.add(
            recordings(*names), lambda at, own=extra: pa.table({"x": pa.array([own[n] for n in at], pa.string())})
        )
    table, extra = found.tables
    assert (seen, found.count) == ([2, 1, 2], 5)
    assert table.schema == RECORDING
    assert table["uri"].to_pylist() == ["b", "b", "b"]
    assert extra["x"].to_pylist() == ["of b", "of b", "of b"]
