from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.digests import DigestTable, digests


def test_texts_differ_and_nothing_else_does() -> None:
    texts = ["a", "b", "", "a", "\u00e4"]
    keys = digests(pa.chunked_array([texts[:2], texts[2:]]))
    assert keys.shape == (5, 2)
    assert len(np.unique(keys, axis=0)) == 4
    assert (keys[0] == keys[3]).all()
    assert (keys == digests(pa.array(texts, pa.large_string()))).all()
    assert digests(pa.array([], pa.string())).shape == (0, 2)


# Halves of so few values that digests share one of them.
KEY = st.tuples(st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.tuples(KEY, st.integers(-9, 9)), max_size=9), max_size=9), st.booleans())
def test_the_last_row_of_a_digest_counts(pieces: list[list[tuple[tuple[int, int], int]]], merge: bool) -> None:
    table = DigestTable(np.int8)
    for piece in pieces:
        keys = np.array([key for key, _ in piece], np.uint64).reshape(-1, 2)
        table.add(keys, np.array([value for _, value in piece]))
    last = {key: value for piece in pieces for key, value in piece}
    if merge:
        table.merge()
        assert len(table) == len(last)
    wanted = [(high, low) for high in range(4) for low in range(4)]
    known, values = table.find(np.array(wanted, np.uint64))
    assert known.tolist() == [key in last for key in wanted]
    assert values.tolist() == [last.get(key, 0) for key in wanted]


def test_runs_stay_few() -> None:
    table = DigestTable()
    for number in range(1_000):
        table.add(digests(pa.array([str(number)])))
    assert len(table._runs) <= 10
    assert all(len(one[0]) > 2 * len(two[0]) for one, two in zip(table._runs, table._runs[1:], strict=False))
    (known,) = table.find(digests(pa.array([str(number) for number in range(-1, 1_001)])))
    assert known.tolist() == [False, *[True] * 1_000, False]
