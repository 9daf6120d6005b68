"""Peak memory while a long recording passes: of every kind of process, and of Ray's object store.

`python -m bench.memory [HOURS]` (default 10) runs the whole job with a scripted engine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.peaks import Peaks
from bench.speech import long_recording
from pipeline import planning, run
from pipeline.log import Log
from pipeline.settings import Engine, Settings


def long(folder: Path, seconds: float) -> Table:
    """One long recording through the whole job with a scripted engine."""
    path = long_recording(folder, seconds, "mp3")
    settings = Settings(
        input=str(path), output=str(folder / "out"), engine=Engine(family="scripted", model="none", device="cpu")
    )
    started, peaks = time.monotonic(), Peaks()
    report = run.execute(planning.plan(settings), Log())
    peaks.stop()
    took = time.monotonic() - started
    title = f"memory while {seconds / 3600:g} h of audio pass ({report['numbers']['segments']} windows, {took:.0f} s)"
    table = Table("process", "peak MB", title=title)
    for name, peak in sorted(peaks.private_bytes.items()):
        table.add_row(name, f"{peak / 1e6:.0f}")
    table.add_row("object store", f"{peaks.store_bytes / 1e6:.0f}")
    table.add_row("[dim]the whole waveform, for comparison[/]", f"{seconds * 32_000 / 1e6:.0f}")
    return table


def main() -> None:
    """Run and print."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as folder:
        table = long(Path(folder), hours * 3600)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
