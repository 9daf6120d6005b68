"""What planning costs for a bucket of very many objects: `python -m bench.planning [OBJECTS]` (default a million).

The listing is synthetic, as S3 would give it; nothing is transcribed. It measures the peak of its own process.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from rich.console import Console

from pipeline import estimate, nightly, run, store
from pipeline.nightly import Nightly

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class _Bucket:
    """As much of a file system as a listing asks for."""

    def isfile(self, _: str) -> bool:
        return False


def main() -> None:
    """Plan a night over a synthetic bucket, and print time and memory."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    local = store.filesystem("file")

    def walk(_: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for at in range(count):
            info = {"type": "file", "size": 1_000_000 + at % 1_000, "ETag": f'"{at:032x}"'}
            yield (
                f"bucket/calls/{at // 1_000:05d}/recording-{at:08d}.mp3",
                info | {"LastModified": SINCE + timedelta(seconds=at)},
            )

    with (
        tempfile.TemporaryDirectory() as output,
        patch.object(store, "walk", walk),
        patch.object(store, "look", lambda _: None),
        patch.object(store, "filesystem", lambda scheme: _Bucket() if scheme == "s3" else local),
        patch.object(estimate, "_whole_s", lambda *_: 60.0),
    ):
        engine = {"family": "scripted", "model": "none"}
        facts = {"input": "s3://bucket/calls/", "output": output, "engine": engine, "engine_speed": 100.0}
        before, started = _peak_mb(), time.monotonic()
        night = nightly.choose(run.plan(Nightly.model_validate(facts)), max_engine_hours=50.0)
        took = time.monotonic() - started
    console = Console()
    console.print(
        f"{count:,} objects: {took:.0f} s, peak {_peak_mb():,.0f} MB (before: {before:,.0f} MB)", highlight=False
    )
    console.print(f"chosen {night.plan.count:,}, waiting {night.waiting:,}", highlight=False)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
