"""A whole job over very many recordings that take no work: `python -m bench.scale [COUNT [CASE ...]]` (default 100,000
recordings, and both cases).

Simulated is the listing: COUNT files of a folder that is not there, in place of what storage would list. So no
recording can be read, and each becomes a window that failed with `not_found`, without the start of any process: that is
the case `failed`. In the case `heard` decode workers put a tenth of a second of samples into each such window, as if it
had been decoded, and a scripted model transcribes it. All else is real: the plan, Ray Data, decode tasks, trackers,
engine actor, rows, parts on disk, the report.

Each case is a job from its start to its report; the same command again, which finds all done; and one that is killed
when half is committed, and started again. A job is a process of its own: seconds and CPU time are from its start to its
end, those of Ray among them.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import empty
from bench.peaks import Peaks
from pipeline import writer
from pipeline.ledger import parts

LOOK_EVERY_S = 0.5
# Processes by what they are for; others are "Ray".
KINDS = {"driver": "driver", "_prepare": "decode tasks", "EngineActor": "engine actor"}
KINDS |= dict.fromkeys(("EngineTracker", "DecodeTracker", "Gathering"), "trackers")
COLUMNS = [*dict.fromkeys(KINDS.values()), "Ray"]


@dataclass(frozen=True)
class Measured:
    """What a job took; `facts` are empty where it was killed."""

    seconds: float
    peaks: Peaks
    facts: dict[str, Any]

    @property
    def cpu_s(self) -> dict[str, float]:
        """By kind of process."""
        found: dict[str, float] = defaultdict(float)
        for name, seconds in self.peaks.cpu_s.items():
            found[next((kind for part, kind in KINDS.items() if part in name), "Ray")] += seconds
        return found

    @property
    def driver_slope(self) -> float:
        """MB by which the driver grew in the second half of the job."""
        half = self.peaks.over_time[len(self.peaks.over_time) // 2 :]
        sizes = [size for _, size, _ in half if size]
        return float(np.polyfit(range(len(sizes)), sizes, 1)[0] * len(sizes) / 1e6) if len(sizes) > 2 else 0.0


def measure(count: int, heard: bool, output: str, kill_at: int | None = None) -> Measured:
    """Run the job; `kill_at`: until so many parts are committed."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    started = time.monotonic()
    process = context.Process(target=empty.job, args=(count, heard, output, its))
    process.start()
    its.close()
    peaks = Peaks(process.pid, LOOK_EVERY_S)
    while not mine.poll(LOOK_EVERY_S) and process.is_alive():
        if kill_at is not None and kill_at <= len(list(Path(output).glob("transcripts/*/*.parquet"))):
            process.kill()
    try:
        facts = mine.recv()
    except EOFError:
        facts = {}
    process.join()
    peaks.stop()
    return Measured(time.monotonic() - started, peaks, facts)


def check(count: int, output: str) -> None:
    """There is one report, and each recording has one row in the tables that it lists."""
    (report,) = parts.reports(output)
    for table in parts.tables_of(report):
        ids: Counter[str] = Counter()
        for name in report[table]:
            ids.update(map(str, parts.read_part(output, name, ["recording_id"])["recording_id"].to_pylist()))
        assert (len(ids), ids.total()) == (count, count), f"{table}: {len(ids)} recordings in {ids.total()} rows"


def main() -> None:
    """Run all and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    cases = sys.argv[2:] or ["failed", "heard"]
    whole = Table("", "to do", "seconds", "CPU s", *COLUMNS, "driver MB", "growth MB", "store MB")
    whole.title = f"{count:,} recordings"
    phases = Table("driver's main thread, CPU ms per recording", *empty.PHASES)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            heard, first, second = case == "heard", f"{folder}/{case}", f"{folder}/{case}-killed"
            steps = {"all": (first, None), "again": (first, None)}
            steps |= {"killed": (second, max(1, count // writer.RECORDINGS_PER_PART // 2)), "resumed": (second, None)}
            for step, (output, kill_at) in steps.items():
                found = measure(count, heard, output, kill_at)
                todo, cpu_s = found.facts.get("todo", 0), found.cpu_s
                cells = [f"{sum(cpu_s.values()):,.0f}"]
                per = 1e3 / todo if todo else 0.0  # ms of each recording
                cells += [f"{cpu_s.get(kind, 0.0) * per:.2f} ms" for kind in COLUMNS]
                cells += [f"{found.peaks.private_bytes['driver'] / 1e6:,.0f}", f"{found.driver_slope:,.0f}"]
                cells.append(f"{found.peaks.store_bytes / 1e6:,.0f}")
                whole.add_row(f"{case}, {step}", f"{todo:,}", f"{found.seconds:,.0f}", *cells)
                if todo:
                    own = found.facts["phases"]
                    phases.add_row(f"{case}, {step}", *(f"{own.get(name, 0.0) * per:.3f}" for name in empty.PHASES))
                print(case, step, *cells, file=sys.stderr, flush=True)
                if step in ("all", "resumed"):
                    check(count, output)
    console = Console(width=160)
    console.print(whole)
    console.print(phases)


if __name__ == "__main__":
    main()
