"""Peak memory of a job's processes and of Ray's object store."""

from __future__ import annotations

import threading
from collections import defaultdict

import psutil
import ray


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
