"""Whether anything grows while a job runs for long: `python -m bench.soak [MINUTES]` (default 60).

The whole job with the demo's checkpoint over 20,000 short recordings and one of ten hours, ended by --max-hours.
Every few seconds: of each kind of process the private memory, open files and threads, of all of its processes together;
the object store; what lies in the folder for temporary files. A line is fitted to each from a quarter of the time on,
when all processes have come: what it rises in an hour, and the standard error of that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from bench.speech import DEMO, LECTURE
from demo.run import ENGINE

RECORDINGS, LONG_S = 20_000, 36_000.0
EVERY_S = 5.0
SETTLED = 0.25  # of the time
MEASURES = ("processes", "private MB", "open files", "threads")
Sample = dict[tuple[str, str], float]  # of a kind of process, a measure: the sum over its processes


def corpus(folder: Path) -> None:
    """The held-out clips as RECORDINGS files, and one long recording among them."""
    clips = sorted((DEMO / "held_out").glob("*.ogg"))
    for at in range(RECORDINGS):
        (folder / f"{at:05d}.ogg").hardlink_to(_beside(folder, clips[at % len(clips)]))
    looped = ["-stream_loop", "-1", "-i", LECTURE, "-t", str(LONG_S), "-c", "copy"]
    long = folder / f"{RECORDINGS // 100:05d} long.mp3"
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *looped, long], check=True)


def _beside(folder: Path, clip: Path) -> Path:
    copy = folder.parent / clip.name
    if not copy.exists():
        copy.write_bytes(clip.read_bytes())
    return copy


def look(job: psutil.Process, temporary: Path) -> Sample:
    """The present state of a job's processes and of what they share."""
    found: Sample = defaultdict(float)
    for process in [job, *job.children(recursive=True)]:
        with suppress(psutil.Error):
            memory, kind = process.memory_info(), "driver" if process == job else _kind(process)
            values = (1.0, (memory.rss - memory.shared) / 1e6, process.num_fds(), process.num_threads())
            if kind == "raylet":  # Ray's object store is memory that it shares
                found["object store", "MB"] += memory.shared / 1e6
            for measure, value in zip(MEASURES, values, strict=True):
                found[kind, measure] += value
    files = [path for path in temporary.rglob("*") if path.is_file() and not path.is_symlink()]
    found["temporary files", "files"] = len(files)
    with suppress(FileNotFoundError):
        found["temporary files", "MB"] = sum(path.stat().st_size for path in files) / 1e6
    return dict(found)


def _kind(process: psutil.Process) -> str:
    words = process.cmdline() or [process.name()]
    title = " ".join(words)
    for name in ("EngineActor", "_prepare", "Tracker", "GatheringActor", "short_decoder"):
        if name in title:
            return "decode worker" if name == "_prepare" else name
    if title.startswith(("ray::", "VLLM")):
        return title.split()[0].split("(")[0]
    return process.name()


def slopes(samples: list[tuple[float, Sample]]) -> Table:
    """What each measure was at first and at last, and its rise in an hour."""
    settled = samples[int(len(samples) * SETTLED) :]
    table = Table("", "", "first", "last", "rise in an hour", "standard error")
    hours = np.array([at / 3600 for at, _ in settled])
    for kind, measure in sorted({key for _, sample in settled for key in sample}):
        values = np.array([sample.get((kind, measure), 0.0) for _, sample in settled])
        if not values.all():  # ffmpeg and other guests
            continue
        (rise, _), errors = np.polyfit(hours, values, 1, cov=True)
        ends = (f"{values[:12].mean():,.1f}", f"{values[-12:].mean():,.1f}")
        table.add_row(kind, measure, *ends, f"{rise:+,.2f}", f"{errors[0, 0] ** 0.5:,.2f}")
    return table


def main() -> None:
    """Run and print."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as name:
        folder, temporary, output = Path(name, "in"), Path(name, "tmp"), Path(name, "out")
        folder.mkdir()
        temporary.mkdir()
        corpus(folder)
        command = [sys.executable, "-m", "jobs.transcribe", "--input", str(folder), "--output", str(output), *ENGINE]
        job = psutil.Popen(
            [*command, "--max-hours", str(minutes / 60)],
            env=os.environ | {"TMPDIR": str(temporary)},
            stdout=subprocess.DEVNULL,
        )
        samples: list[tuple[float, Sample]] = []
        began = time.monotonic()
        while job.poll() is None:
            if time.monotonic() - began < minutes * 60:  # then it ends
                samples.append((time.monotonic() - began, look(job, temporary)))
            time.sleep(EVERY_S)
        (report,) = (json.loads(path.read_text()) for path in (output / "runs").glob("*.json"))
    table = slopes(samples)
    numbers = report["numbers"]
    table.title = f"{minutes:g} minutes: {numbers['recordings']:,} recordings, {len(samples)} samples"
    Console(width=110).print(table)
    sys.exit(job.returncode)


if __name__ == "__main__":
    main()
