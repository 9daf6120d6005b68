"""How throughput grows with engines: simulated ones with a fixed service time, everything else real.

`python -m bench.fleet [SECONDS]` runs the job with 1, 2, 4, 8 and 16 scripted engines, then with 16 that are faster and
faster until preparation cannot keep up; each with about so many seconds of work (default 120). It prints what went
through in the steady state: from half of the windows, when the last engine has long started, to nine tenths of them,
before the first runs dry. The engines say when each window was done.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import ray
from rich.console import Console
from rich.table import Table

from bench.harness import NO_RETRIES
from bench.peaks import Peaks
from bench.speech import DEMO, clips, write
from pipeline.flow.cluster import cluster
from pipeline.flow.stream import answers
from pipeline.models.checkpoint import fit, inspect
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Settings
from pipeline.sources import listing
from pipeline.tasks.transcribe.task import Transcription

# Engines, and the seconds that a window takes each: at 2 s an engine with its slots does one window per second.
FLEETS = ((1, 2.0), (2, 2.0), (4, 2.0), (8, 2.0), (16, 2.0), (16, 1.0), (16, 0.5))
SLOTS = 2  # windows that an engine has at once
# Of audio, and the silence behind it: short, so that two cores can decode for sixteen engines.
WINDOW_S, WINDOWS, FILES = 3.0, 8, 8


def recordings_of(folder: Path) -> None:
    """Write FILES recordings of WINDOWS windows each."""
    folder.mkdir()
    speech = np.concatenate([clip.samples for clip in clips(DEMO / "held_out")])
    length = int(WINDOW_S * SAMPLE_RATE_HZ)
    pause = np.zeros(length, dtype=np.int16)
    for at in range(FILES):
        parts = [speech[(at * WINDOWS + n) * length :][:length] for n in range(WINDOWS)]
        write(folder / f"{at}.wav", np.concatenate([half for part in parts for half in (part, pause)]))


def measure(engines: int, service_s: float, seconds: float, folder: Path) -> tuple[float, float, int]:
    """Windows per second and percent of the CPUs taken in the steady state, and bytes of the object store at the
    peak; an engine takes `service_s` for a window."""
    script = folder / "script"
    script.write_text(f"delay={service_s},slots={SLOTS},clock")
    settings = Settings(
        input=str(folder / "in"),
        output="unused",
        engine=Engine(family="scripted", model=str(script), device="cpu", count=engines, max_num_seqs=SLOTS),
    )
    checkpoint = inspect(settings.engine)
    # Without second attempts: the texts are not those of the speech.
    settings = fit(settings.model_copy(update={"guards": settings.guards.model_copy(update=NO_RETRIES)}), checkpoint)
    found = listing.read(settings.input, settings.output).recordings
    count = round(engines * SLOTS / service_s * seconds / WINDOWS)
    recordings = pa.concat_tables([found] * -(-count // len(found))).slice(0, count)
    ids = pa.array([f"{at:06d}" for at in range(count)])
    recordings = recordings.set_column(0, recordings.schema.field(0), ids)
    times: list[float] = []
    cpus: list[float] = []
    peaks = Peaks()
    with cluster(settings, checkpoint) as decided:
        for table in answers(Transcription(settings), recordings, decided, checkpoint):
            times += [float(text.split()[0]) for text in table["text"].to_pylist() if text]
            if len(cpus) < 2 and len(times) > count * WINDOWS * (0.5, 0.9)[len(cpus)]:
                cpus.append(psutil.cpu_percent())  # since the last time
    peaks.stop()
    times.sort()
    low, high = len(times) // 2, len(times) * 9 // 10
    rate = float(np.polyfit(times[low:high], range(low, high), 1)[0])
    return rate, cpus[1], peaks.store_bytes


def main() -> None:
    """Run and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
    console = Console(width=110)
    columns = (
        "engines",
        "s per window",
        "could do, windows/s",
        "did, windows/s",
        "slots busy",
        "CPUs",
        "object store, MB",
    )
    table = Table(*columns, title="simulated fleet")
    with tempfile.TemporaryDirectory() as name:
        recordings_of(Path(name) / "in")
        for engines, service_s in FLEETS:
            ideal = engines * SLOTS / service_s
            # Logical CPUs: scripted engines compute nothing; decode workers share the real ones.
            ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
            try:
                rate, cpus, stored = measure(engines, service_s, seconds, Path(name))
            finally:
                ray.shutdown()
            cells = (
                f"{engines}",
                f"{service_s:g}",
                f"{ideal:g}",
                f"{rate:.2f}",
                f"{rate / ideal:.1%}",
                f"{cpus:.0f}%",
                f"{stored / 1e6:.0f}",
            )
            table.add_row(*cells)
            print(*cells, file=sys.stderr, flush=True)
    console.print(table)
    console.print(f"{os.cpu_count()} cores; each engine {SLOTS} windows at once", highlight=False)


if __name__ == "__main__":
    main()
