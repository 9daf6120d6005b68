"""Digests of texts, and small values by digest: numpy arrays instead of a Python object for every recording.

A digest is BLAKE2b with 128 bits. A recording whose digest equalled another's would be taken for that one, and lost
without a word: among ten million, two of them share a digest with a probability of 10^-25.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike

SIZE = 16  # bytes


def digests(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The digest of each of N texts, none of them null: uint64 (N, 2)."""
    values: list[Any] = pc.cast(texts, pa.large_binary()).to_pylist()
    joined = b"".join([blake2b(value, digest_size=SIZE).digest() for value in values])
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


class DigestTable:
    """Small values by digest. Of the rows with one digest the last one added counts.

    The rows are kept in runs, each sorted and more than twice as long as the next, so that adding N rows in pieces
    costs N log N. A row takes 16 bytes beside its values; while two runs are merged, one column is there twice.
    """

    def __init__(self, *dtypes: DTypeLike) -> None:
        """`dtypes` are those of the values."""
        self._dtypes = dtypes
        self._runs: list[list[np.ndarray]] = []  # columns: both halves of the digest, the values

    def __len__(self) -> int:
        """How many rows there are; a digest that was added twice may still have two."""
        return sum(len(run[0]) for run in self._runs)

    def add(self, keys: np.ndarray, *values: np.ndarray) -> None:
        """Add N rows: digests (N, 2), and the values (N,) of each column."""
        if not len(keys):
            return
        own = [np.asarray(column, dtype) for column, dtype in zip(values, self._dtypes, strict=True)]
        self._runs.append(_merged([[keys[:, 0].copy(), keys[:, 1].copy(), *own]]))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._merge_last(2)

    def merge(self) -> None:
        """Make one run of all, which is quicker to search; for a table that is complete."""
        self._merge_last(len(self._runs))

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, ...]:
        """For each of N digests whether there is one like it, and the values that count, zeros where there is none:
        bool (N,), and (N,) of each column."""
        order = np.argsort(keys[:, 0])  # searching sorted keys is four times as fast
        keys = keys[order]
        known = np.zeros(len(keys), bool)
        values = [np.zeros(len(keys), dtype) for dtype in self._dtypes]
        for run in self._runs:  # the oldest first
            at = _positions(run[0], run[1], keys)
            hit = at >= 0
            known |= hit
            for found, column in zip(values, run[2:], strict=True):
                found[hit] = column[at[hit]]
        back = np.argsort(order)
        return known[back], *(column[back] for column in values)

    def _merge_last(self, count: int) -> None:
        if count > 1:
            runs, self._runs = self._runs[-count:], self._runs[:-count]
            self._runs.append(_merged(runs))


def _merged(runs: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
    """One sorted run of several, the oldest of them first; these are emptied on the way."""
    high, low = (np.concatenate([run.pop(0) for run in runs]) for _ in range(2))
    order = np.argsort(high, kind="stable")
    sorted_high, sorted_low = high[order], low[order]
    same_high = sorted_high[1:] == sorted_high[:-1]
    if (same_high & (sorted_low[1:] != sorted_low[:-1])).any():  # two digests whose first halves are alike
        order = np.lexsort((low, high))
        sorted_high, sorted_low = high[order], low[order]
        same_high = sorted_high[1:] == sorted_high[:-1]
    del high, low
    kept = np.ones(len(order), bool)
    kept[:-1] = ~(same_high & (sorted_low[1:] == sorted_low[:-1]))  # the last of its digest
    order, merged = order[kept], [sorted_high[kept], sorted_low[kept]]
    del sorted_high, sorted_low
    while runs[0]:
        merged.append(np.concatenate([run.pop(0) for run in runs])[order])
    return merged


def _positions(high: np.ndarray, low: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Where each key is in a sorted run, -1 where it is not: int64 (N,)."""
    last = len(high) - 1
    at = np.searchsorted(high, keys[:, 0])
    while True:
        near = np.minimum(at, last)
        same_high = (at <= last) & (high[near] == keys[:, 0])
        passed = same_high & (low[near] != keys[:, 1])
        if not passed.any():
            return np.where(same_high, near, -1)
        at = at + passed
