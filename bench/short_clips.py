"""How many short recordings pass in a second: `python -m bench.short_clips [COUNT]` (default 6,000).

The whole job over clips of 2 s, with a scripted model that answers at once: files in, Parquet out. The steady state is
from the first rows on, as the report says when they came.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from bench.speech import cut
from pipeline import planning, run
from pipeline.log import Log
from pipeline.settings import Settings

CLIP_S, DISTINCT = 2.0, 300


def main() -> None:
    """Run and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 6_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        paths = cut(folder, min(count, DISTINCT), CLIP_S)
        for at in range(DISTINCT, count):
            (folder / f"{at:06d}.wav").hardlink_to(paths[at % DISTINCT])
        engine = {"family": "scripted", "model": "none", "device": "cpu"}
        settings = Settings.model_validate({"input": str(folder), "output": f"{name}/out", "engine": engine})
        began = time.monotonic()
        report = run.execute(planning.plan(settings), Log())
        seconds = time.monotonic() - began
    steady = count / (seconds - report["first_rows_s"])
    print(
        f"{count:,} clips of {CLIP_S:g} s in {seconds:.0f} s, the first rows after {report['first_rows_s']:.0f} s:"
        f" {steady:.1f} clips/s from then on, with {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
