"""What planning costs where there is very much to plan: `python -m bench.planning [COUNT]` (default a million).

A night over a bucket of so many objects, whose listing is synthetic, as S3 would give it; and a run over a manifest of
so many rows. Nothing is transcribed. Each is measured in a process of its own.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from bench.harness import in_own_process
from bench.speech import write
from pipeline import estimate, nightly, planning, store
from pipeline.nightly import Nightly
from pipeline.settings import Settings

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
ENGINE = {"family": "scripted", "model": "none"}


class _Bucket:
    """As much of a file system as a listing asks for."""

    def isfile(self, _: str) -> bool:
        return False


def night(count: int, folder: str) -> None:
    """Plan a night over a synthetic bucket."""
    local = store.filesystem("file")

    def walk(_: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for at in range(count):
            info = {"type": "file", "size": 1_000_000 + at % 1_000, "ETag": f'"{at:032x}"'}
            yield (
                f"bucket/calls/{at // 1_000:05d}/recording-{at:08d}.mp3",
                info | {"LastModified": SINCE + timedelta(seconds=at)},
            )

    with (
        patch.object(store, "walk", walk),
        patch.object(store, "look", lambda _: None),
        patch.object(store, "filesystem", lambda scheme: _Bucket() if scheme == "s3" else local),
        patch.object(estimate, "_whole_s", lambda *_: 60.0),
    ):
        facts = {"input": "s3://bucket/calls/", "output": folder, "engine": ENGINE, "engine_speed": 100.0}
        chosen = nightly.choose(planning.plan(Nightly.model_validate(facts)), max_engine_hours=50.0)
    assert chosen.plan.count + chosen.waiting == count


def manifest(count: int, folder: str) -> None:
    """Plan a run over a manifest whose rows are parts of one recording."""
    recording, path = Path(folder, "one.wav"), Path(folder, "manifest.parquet")
    write(recording, np.zeros(160, dtype=np.int16))
    starts = np.arange(count, dtype=np.float64)
    uris = pa.array([str(recording)] * count)
    pq.write_table(pa.table({"uri": uris, "start_s": pa.array(starts), "end_s": pa.array(starts + 1.0)}), path)
    settings = Settings.model_validate({"input": str(path), "output": f"{folder}/out", "engine": ENGINE})
    assert planning.plan(settings).count == count


def measure(what: Callable[[int, str], None], count: int) -> tuple[float, float, float]:
    """Seconds, and the peak of this process in MB, after and before."""
    before, started = _peak_mb(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        what(count, folder)
    return time.monotonic() - started, _peak_mb(), before


def main() -> None:
    """Run both and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    table = Table("", "seconds", "peak MB", "of it before", title="planning")
    for name, what in ((f"a night over {count:,} objects", night), (f"a manifest of {count:,} rows", manifest)):
        table.add_row(name, *(f"{value:,.0f}" for value in in_own_process(measure, what, count)))
    Console(width=110).print(table)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
