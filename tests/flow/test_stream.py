from __future__ import annotations

from unittest.mock import patch

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.flow import stream
from pipeline.schema import RECORDING


def rows_of(sizes: list[int | None]) -> pa.Table:
    names = [str(at) for at in range(len(sizes))]
    table = {"recording_id": names, "place": names, "uri": names, "size_bytes": sizes}
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return pa.Table.from_pylist(rows, RECORDING)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.integers(0, 400_000_000), min_size=1, max_size=300), st.integers(1, 8))
def test_blocks_are_bounded_in_rows_and_bytes(sizes: list[int | None], per_block: int) -> None:
    with patch.object(stream, "BLOCKS", max(1, len(sizes) // per_block)):
        found = stream.blocks(rows_of(sizes))
    assert pa.concat_tables(found).equals(rows_of(sizes)), "in the order of the listing"
    for block in found:
        total = sum(size or 0 for size in block["size_bytes"].to_pylist())
        assert len(block) == 1 or total <= stream.MAX_BLOCK_BYTES
        assert 1 <= len(block) <= stream.MAX_BLOCK_ROWS


def test_small_recordings_come_many_in_a_block_unless_there_are_few() -> None:
    short, long = 20_000, 5_000_000
    for count, size, rows in ((40_000, short, 64), (5_120, short, 10), (100, short, 1), (40_000, long, 10)):
        found = stream.blocks(rows_of([size] * count))
        assert {len(block) for block in found[:-1]} == {rows}, (count, size)


@settings(deadline=None)
@given(st.lists(st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=4), max_size=30), st.integers(0, 30))
def test_windows_that_are_given_again_are_joined_as_before(recordings: list[list[int | None]], again: int) -> None:
    """Each recording in a table of its own; at some point its worker crashes, and what follows is another failure."""
    samples = [[None if size is None else bytes(size) for size in windows] for windows in recordings]
    tables = [pa.table({"samples": pa.array(each, pa.binary())}) for each in samples]
    with patch.object(stream, "SAMPLES_BYTES", 12):
        first = list(stream.together(tables))
        second = list(stream.together([*tables[:again], pa.table({"samples": pa.array([b"?" * 12])})]))
    assert [x for table in first for x in table["samples"].to_pylist()] == [x for each in samples for x in each]
    passed, rows = 0, sum(len(table) for table in tables[:again])
    for before, after in zip(first[:-1], second, strict=False):
        passed += len(before)
        if passed <= rows:  # what Ray may have passed on
            assert before.equals(after)
    assert all(table["samples"].nbytes >= 12 and table["samples"].num_chunks == 1 for table in first[:-1])
