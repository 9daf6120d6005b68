"""Peak memory while a long recording passes: of every kind of process, and of Ray's object store.

`python -m bench.memory [HOURS]` (default 10) runs the whole job with a scripted engine.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil
import ray
from rich.console import Console
from rich.table import Table

from bench.speech import long_recording
from pipeline import planning, run
from pipeline.log import Log
from pipeline.settings import Engine, Settings


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
