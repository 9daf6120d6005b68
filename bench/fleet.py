"""How throughput grows with engines: simulated ones with a fixed service time, everything else real.

`python -m bench.fleet [SECONDS]` runs the job with 1, 2, 4, 8 and 16 scripted engines, each with as much work, about so
many seconds of it (default 60), and prints windows per second between the first and the last tenth of the rows, beside
what the engines could do at most and beside one engine's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from rich.console import Console
from rich.table import Table

from bench.speech import DEMO, clips, write
from pipeline import flow, listing
from pipeline.engines.checkpoint import fit, inspect
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Settings

ENGINES = (1, 2, 4, 8, 16)
SERVICE_S, SLOTS = 8.0, 4  # a window takes so long, and an engine has so many at once: 0.5 windows per second
WINDOW_S = 3.0  # of audio: short, so that two cores can decode for sixteen engines


def measure(engines: int, seconds: float, folder: Path) -> tuple[float, float]:
    """Windows per second in the steady state, and the share of the ideal."""
    ideal = engines * SLOTS / SERVICE_S
    count = round(ideal * seconds)
    settings = Settings(
        input=str(folder),
        output="unused",
        engine=Engine(family="scripted", model="none", device="cpu", count=engines, max_num_seqs=SLOTS),
    )
    checkpoint = inspect(settings.engine)
    settings = settings.model_copy(update={"segmentation": fit(settings.segmentation, checkpoint)})
    found = listing.read(settings.input, settings.output).recordings
    recordings = pa.concat_tables([found] * -(-count // len(found))).slice(0, count)
    ids = pa.array([f"{at:06d}" for at in range(count)])
    recordings = recordings.set_column(0, recordings.schema.field(0), ids)
    times: list[float] = []
    with flow.cluster(settings) as decided:
        for table in flow.transcribe(recordings, decided, checkpoint):
            times += [time.monotonic()] * len(table)
    low, high = len(times) // 10, len(times) * 9 // 10
    rate = (high - low) / (times[high] - times[low])
    return rate, rate / ideal


def main() -> None:
    """Run and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    os.environ["VOXTRAL_SCRIPT"] = f"delay={SERVICE_S},slots={SLOTS}"
    console = Console(width=100)
    table = Table("engines", "windows/s", "of the ideal", "of one engine's, times engines", title="simulated fleet")
    with tempfile.TemporaryDirectory() as name:
        speech = np.concatenate([clip.samples for clip in clips(DEMO / "held_out")])
        for at in range(32):
            first = at * SAMPLE_RATE_HZ
            write(Path(name, f"{at}.wav"), speech[first : first + int(WINDOW_S * SAMPLE_RATE_HZ)])
        alone = 0.0
        for engines in ENGINES:
            # Logical CPUs: scripted engines compute nothing; two workers decode on the real ones.
            ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
            try:
                rate, share = measure(engines, seconds, Path(name))
            finally:
                ray.shutdown()
            alone = alone or rate
            table.add_row(str(engines), f"{rate:.2f}", f"{share:.1%}", f"{rate / alone / engines:.1%}")
    console.print(table)
    console.print(f"{os.cpu_count()} cores; each engine {SLOTS} windows at once, {SERVICE_S:g} s each", highlight=False)


if __name__ == "__main__":
    main()
