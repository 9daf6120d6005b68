"""Peak memory of a job's processes and of Ray's object store, and the CPU time that each kind of process takes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import suppress

import psutil


class Peaks:
    """Watches a process, which is the driver of a job, and its descendants, until stopped. Names are those of the
    programs; Ray's workers have that of what they did last ("ray::_prepare")."""

    def __init__(self, driver: int | None = None, every_s: float = 0.2) -> None:
        """`driver` is the id of a process, by default this one; it is looked at every so many seconds."""
        self.private_bytes: dict[str, int] = defaultdict(int)
        self.store_bytes = 0
        self.over_time: list[tuple[float, int, int]] = []  # seconds, bytes of the driver and of the object store
        self._cpus: dict[tuple[int, float], tuple[str, float]] = {}  # by process
        self._stop, self._every_s, self._driver = threading.Event(), every_s, psutil.Process(driver)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by name. What a process takes after it was last looked at is not in them."""
        found: dict[str, float] = defaultdict(float)
        for name, seconds in self._cpus.values():
            found[name] += seconds
        return found

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._stop.wait(self._every_s):
            sizes = {"driver": 0, "raylet": 0}
            with suppress(psutil.Error):
                for process in [self._driver, *self._driver.children(recursive=True)]:
                    with suppress(psutil.Error):
                        name, size = self._look_at(process)
                        sizes[name] = size
            self.over_time.append((time.monotonic() - started, sizes["driver"], sizes["raylet"]))

    def _look_at(self, process: psutil.Process) -> tuple[str, int]:
        """Its name, and bytes of its memory: of the raylet those of the object store, which it maps."""
        with process.oneshot():
            memory, times, words = process.memory_info(), process.cpu_times(), process.cmdline() or [process.name()]
            name = "driver" if process == self._driver else words[0].split("/")[-1].split(" ")[0]
        own = process.pid, process.create_time()
        before, _ = self._cpus.get(own, (name, 0.0))
        self._cpus[own] = before if name == "ray::IDLE" else name, times.user + times.system
        if name == "raylet":
            self.store_bytes = max(self.store_bytes, memory.shared)
            return name, memory.shared
        # What Ray's workers share with one another is the object store: counted apart.
        if name in ("driver", "ffmpeg") or "ray::" in name:
            self.private_bytes[name] = max(self.private_bytes[name], memory.rss - memory.shared)
        return name, memory.rss - memory.shared
