"""Measure what the corridor costs: `make bench`. Figures are ratios taken side by side, and peaks of memory.

preparation  CPU seconds of decoding, finding speech and cutting, beside bare ffmpeg decoding of the same file
memory       peak of every kind of process, and of Ray's object store, while a 3-hour recording passes
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil
import ray
from rich.console import Console
from rich.table import Table

from pipeline import audio, run, segment
from pipeline.log import Log
from pipeline.settings import Audio, Engine, Segmentation, Settings

DEMO = Path(__file__).parents[1] / "demo"
LECTURE = DEMO / "recordings/lectures/cours magistral.mp3"
CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "m4a": "aac", "ogg": "libopus"}


def long_recording(folder: Path, seconds: float, extension: str) -> Path:
    """The demo's lecture, over and over, in a container of choice."""
    path = folder / f"long.{extension}"
    command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "-1", "-i", LECTURE, "-t", str(seconds)]
    subprocess.run([*command, "-c:a", CODECS[extension], path], check=True)
    return path


def cpu_s() -> float:
    """CPU seconds of this process and of the children that it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def preparation(folder: Path, seconds: float, console: Console) -> None:
    """CPU seconds by container, each file bare, then through our stages."""
    title = f"preparation of {seconds / 60:.0f} min, CPU seconds"
    table = Table("container", "bare ffmpeg", "decode", "decode + VAD + cut", "ratio to bare", title=title)
    for extension in CODECS:
        path, marks = long_recording(folder, seconds, extension), [cpu_s()]
        raw = ["ffmpeg", "-v", "error", "-threads", "1", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "16000", "-"]
        subprocess.run(raw, check=True, stdout=subprocess.DEVNULL)
        marks.append(cpu_s())
        for _ in audio.decode(path, Audio()):
            pass
        marks.append(cpu_s())
        settings = Segmentation(max_window_s=30.0, max_pause_s=2.0)
        for _ in segment.Segmenter(segment.Detector(), settings).windows(audio.decode(path, Audio())):
            pass
        marks.append(cpu_s())
        bare, decoded, whole = (after - before for before, after in itertools.pairwise(marks))
        table.add_row(extension, f"{bare:.2f}", f"{decoded:.2f}", f"{whole:.2f}", f"{whole / bare:.1f}")
        path.unlink()
    console.print(table)


class Peaks:
    """Watches this process's descendants and the object store, until stopped."""

    def __init__(self) -> None:
        self.private_bytes: dict[str, int] = defaultdict(int)
        self.store_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.2):
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory, words = process.memory_info(), process.cmdline() or [process.name()]
                except psutil.Error:
                    continue
                name = "driver" if process == me else words[0].split("/")[-1].split(" ")[0]
                if name == "ffmpeg" or "ray::" in name or process == me:
                    # What Ray's workers share with one another is the object store: counted apart.
                    private = memory.rss - memory.shared
                    self.private_bytes[name] = max(self.private_bytes[name], private)
            if ray.is_initialized():
                used = ray.cluster_resources().get("object_store_memory", 0)
                left = ray.available_resources().get("object_store_memory", used)
                self.store_bytes = max(self.store_bytes, int(used - left), _shared_memory_bytes())


def _shared_memory_bytes() -> int:
    """Bytes of Ray's object store that are mapped: its files in shared memory are deleted, but open."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name() == "raylet":
                total = max(total, process.memory_info().shared)
        except psutil.Error:
            continue
    return total


def memory(folder: Path, seconds: float, console: Console) -> None:
    """One long recording through the whole job with a scripted engine."""
    path = long_recording(folder, seconds, "mp3")
    settings = Settings(
        input=str(path), output=str(folder / "out"), engine=Engine(family="scripted", model="none", device="cpu")
    )
    started, peaks = time.monotonic(), Peaks()
    report = run.execute(run.plan(settings), Log())
    peaks.stop()
    took = time.monotonic() - started
    title = f"memory while {seconds / 3600:.0f} h of audio pass ({report['numbers']['segments']} windows, {took:.0f} s)"
    table = Table("process", "peak MB", title=title)
    for name, peak in sorted(peaks.private_bytes.items()):
        table.add_row(name, f"{peak / 1e6:.0f}")
    table.add_row("object store", f"{peaks.store_bytes / 1e6:.0f}")
    table.add_row("[dim]the whole waveform, for comparison[/]", f"{seconds * 32_000 / 1e6:.0f}")
    console.print(table)


def main() -> None:
    """Run both."""
    console = Console(width=110)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        preparation(folder, 600.0, console)
        memory(folder, 3 * 3600.0, console)
    finally:
        shutil.rmtree(folder)
    console.print(f"{os.cpu_count()} cores", highlight=False)


if __name__ == "__main__":
    main()
