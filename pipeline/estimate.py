"""How much audio there is to do, before anything is decoded: for a dry run."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from pipeline import audio, store
from pipeline.errors import RecordingError
from pipeline.settings import Audio

SAMPLE, SAMPLE_BYTES = 64, 256_000_000  # recordings that are looked into, and their bytes together, at most
LOOKS_AT_ONCE = 4

Row = dict[str, Any]


def audio_s(recordings: pa.Table, limits: Audio) -> float:
    """Seconds of audio in RECORDING rows, about.

    The containers' own word is taken for a fixed random sample, which for small inputs is all of them; the others
    follow from their size and the sample's seconds per byte, by file extension.
    """
    rows = [row for row in recordings.to_pylist() if row["size_bytes"] and not row["failure_code"]]
    random.Random(0).shuffle(rows)
    sample: list[Row] = []
    for row in rows:
        if len(sample) < SAMPLE and sum(r["size_bytes"] for r in [*sample, row]) <= SAMPLE_BYTES:
            sample.append(row)
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        lengths: list[float] = list(pool.map(lambda row: _whole_s(row["uri"], limits), sample))
    seconds: dict[str, float] = defaultdict(float)
    size: Counter[str] = Counter()
    known: dict[str, float] = {}
    for row, length in zip(sample, lengths, strict=True):
        known[row["uri"]] = length
        for key in ("", _extension(row)):  # "": all together, for extensions that the sample misses
            seconds[key] += length
            size[key] += row["size_bytes"]
    rate = {key: seconds[key] / size[key] for key in size}
    total = 0.0
    for row in rows:
        rate_here = rate.get(_extension(row), rate.get("", 0.0))
        whole = known[row["uri"]] if row["uri"] in known else row["size_bytes"] * rate_here
        end_s: float = min(whole, row["range_end_s"] or whole)
        total += max(0.0, end_s - (row["range_start_s"] or 0.0))
    return total


def _extension(row: Row) -> str:
    return os.path.splitext(row["uri"])[1].lower() or "none"


def _whole_s(uri: str, limits: Audio) -> float:
    try:
        with store.local_copy(uri) as path:
            return audio.probe(path, limits).duration_s or 0.0
    except RecordingError:
        return 0.0
