"""What preparing audio costs: CPU seconds of decoding, finding speech and cutting, beside bare ffmpeg.

`python -m bench.preparation [SECONDS]`: recordings of so many seconds (default 600), one per container, and 2 s clips,
where starting processes is nearly all there is. Each contender decodes the same file, in turn, three times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from bench.speech import CODECS, cut, long_recording, write
from pipeline.audio import media, short
from pipeline.audio import prepare as preparing
from pipeline.schema import RECORDING
from pipeline.settings import Audio, Segmentation, Settings

REPEATS = 3
CLIP_S, CLIPS = 2.0, 20
SETTINGS = Settings(input="in", output="out", segmentation=Segmentation(max_window_s=30.0, max_pause_s=2.0))


def cpu_s() -> float:
    """CPU seconds of this process, of the children that it has waited for, and of those that go on with theirs."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in (me, *me.children()))


def bare(path: Path) -> None:
    """What everything is measured against."""
    raw = ["ffmpeg", "-v", "error", "-threads", "1", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "16000", "-"]
    subprocess.run(raw, check=True, stdout=subprocess.DEVNULL)


def started(path: Path) -> None:
    """An ffmpeg that does nothing."""
    subprocess.run(["ffmpeg", "-version"], check=True, stdout=subprocess.DEVNULL)


def look(path: Path) -> None:
    """ffprobe, as a worker looks at each recording."""
    media.probe(path, Audio())


def whole(path: Path) -> None:
    """Short recordings, without ffmpeg."""
    assert short.decode(path, Audio())


def decode(path: Path) -> None:
    """Samples alone."""
    for _ in media.decode(path, Audio()):
        pass


def prepare(path: Path) -> None:
    """All that a worker does with a recording."""
    recording = pa.Table.from_pylist([{"recording_id": "one", "uri": str(path)}], RECORDING)
    for _ in preparing.prepare(recording, SETTINGS):
        pass


def compare(paths: list[Path], contenders: list[Callable[[Path], None]]) -> list[float]:
    """CPU seconds of each contender over all paths, the least of REPEATS interleaved tries."""
    tries = np.zeros((REPEATS, len(contenders)))
    for repeat in range(REPEATS):
        for at, contender in enumerate(contenders):
            before = cpu_s()
            for path in paths:
                contender(path)
            tries[repeat, at] = cpu_s() - before
    return tries.min(axis=0).tolist()


def main() -> None:
    """Both tables."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        silence = folder / "start.wav"
        write(silence, np.zeros(16_000, dtype=np.int16))
        prepare(silence)  # loads the detector
        columns = "container", "bare ffmpeg", "decode", "look + decode + VAD + cut", "to bare"
        table = Table(*columns, title=f"preparing {seconds / 60:.0f} min, CPU seconds")
        for extension in CODECS:
            path = long_recording(folder, seconds, extension)
            alone, decoded, all_of_it = compare([path], [bare, decode, prepare])
            table.add_row(extension, f"{alone:.2f}", f"{decoded:.2f}", f"{all_of_it:.2f}", f"{all_of_it / alone:.1f}")
            path.unlink()
        console.print(table)
        paths = cut(folder, CLIPS, CLIP_S)
        start, alone, probed, decoded, quick, all_of_it = compare(paths, [started, bare, look, decode, whole, prepare])
        table = Table("", "ms", "to bare", title=f"a clip of {CLIP_S:g} s (wav), CPU milliseconds")
        rows = {
            "start of ffmpeg": start,
            "bare ffmpeg": alone,
            "look (ffprobe)": probed,
            "decode": decoded,
            "look and decode without ffmpeg": quick,
            "look + decode + VAD + cut": all_of_it,
        }
        for title, value in rows.items():
            table.add_row(title, f"{value / CLIPS * 1e3:.0f}", f"{value / alone:.2f}")
        console.print(table)
    console.print(f"{os.cpu_count()} cores", highlight=False)


if __name__ == "__main__":
    main()
