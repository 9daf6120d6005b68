"""The whole job beside bare vLLM and beside what else one would use, on the same windows with the same settings.

    python -m bench.corridor [--minutes 60] [--repeats 2] [--only bare,job]

bare     `vllm.LLM.generate` over the windows, decoded beforehand
engine   our engine on the same windows, without Ray
job      jobs.transcribe without language scores: files in; decoding, finding speech, Ray, Parquet out
asking   jobs.transcribe as it is by default: it also asks for the language where the text leaves doubt
ray.llm  ray.data.llm's vLLM processor over the windows
server   vLLM's server, and a plain asynchronous client with twice as many requests open as the engine takes
serving  jobs.transcribe with --engine.server on such a server, with as many requests open

Each runs in a process of its own, in turn, so often; speed is audio seconds of windows per second between the first
and the last tenth of them, and start-up is apart. All with the demo's checkpoint on a CPU of its own, as an engine has
a GPU of its own elsewhere: what a contender does beside it happens on the others.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from bench import speech
from bench.contenders import BARE, CONTENDERS, settings_for, windows_of
from bench.harness import in_own_process, steady
from pipeline.audio.prepare import prepare as prepared
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.sources import listing

MINUTES_EACH = 10.0


def measure(name: str, folder: Path) -> tuple[float, float, int]:
    """Windows per second in the steady state, seconds from the start of the process to the first, and how many."""
    started = time.monotonic()
    times = sorted(CONTENDERS[name](folder))
    low, high = steady(times)
    return (high - low) / (times[high] - times[low]), times[0] - started, len(times)


def prepare(folder: Path, minutes: float) -> float:
    """Write the recordings and their windows; mean seconds of a window."""
    (folder / "recordings").mkdir()
    clips = speech.clips(speech.DEMO / "held_out")
    for at in range(math.ceil(minutes / MINUTES_EACH)):
        speech.joined(clips, MINUTES_EACH * 60, folder / f"recordings/{at:03d}.wav", seed=at)
    settings = settings_for(folder, "text")
    found = listing.read(settings.input, settings.output).recordings
    windows = pa.concat_tables(list(prepared(found, settings)))
    pq.write_table(windows, folder / "windows.parquet")
    return sum(map(len, windows_of(folder))) / len(windows) / SAMPLE_RATE_HZ


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of recordings")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, bare among them")
    wanted = parser.parse_args()
    names = wanted.only.split(",")
    console = Console(width=110)
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = str(min(os.sched_getaffinity(0)))
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # all alike
    speeds: dict[str, list[float]] = {name: [] for name in names}
    starts: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        window_s, counts = prepare(folder, wanted.minutes), set[int]()
        for _ in range(wanted.repeats):
            for name in names:
                try:
                    speed, starts[name], count = in_own_process(measure, name, folder)
                except Exception as error:  # the others go on
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
                    continue
                speeds[name].append(speed * window_s)
                counts.add(count)
                print(f"{name}: {speed * window_s:.1f} x real time", file=sys.stderr, flush=True)
        assert len(counts) == 1, f"not the same windows: {counts}"
    columns = "", "audio s per s", "to bare", "first window, s", "each try"
    table = Table(*columns, title=f"{counts.pop()} windows of {window_s:.1f} s on average, demo checkpoint")
    reference = float(np.median(speeds[BARE]))
    for name, values in speeds.items():
        if not values:
            table.add_row(name, "failed")
            continue
        middle = float(np.median(values))
        tries = ", ".join(f"{value:.1f}" for value in values)
        table.add_row(name, f"{middle:.1f}", f"{middle / reference:.2f}", f"{starts[name]:.0f}", tries)
    console.print(table)
    console.print(f"{os.cpu_count()} cores", highlight=False)


if __name__ == "__main__":
    main()
