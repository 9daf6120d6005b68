"""Processes that carry files through the preparation."""

from __future__ import annotations

import multiprocessing
import queue
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from bench.hostile import bare, mutations
from bench.hostile.promises import Carried, Carrier

# How mutants are wanted: from where, and which channels. Most of them whole; seven in all, so that every healthy file,
# of which there are 68, is wanted in every way.
WAYS = [(None, "mix")] * 5 + [(0.3, "mix"), (None, "split")]
PATIENCE_S = 1_800.0  # for one file: audio.max_duration_s of silence takes minutes
WARM_UP = ("pcm.wav", "aac.m4a", "not there")
SPAWN = multiprocessing.get_context("spawn")
Task = int | Path  # the number of a mutant, or a file


class Workers:
    """Processes that carry files through the preparation. One that hangs or dies is a result, and is replaced."""

    def __init__(self, folder: Path, seed: int, compare: bool, count: int) -> None:
        self.arguments, self.count = (folder, seed, compare), count

    def carry(self, tasks: Iterator[Task]) -> Iterator[Carried]:
        """The results of all tasks, in the order in which they end."""
        lock, done = threading.Lock(), queue.SimpleQueue[Carried | None]()

        def work() -> None:
            process, pipe = self._started()
            while True:
                with lock:
                    task = next(tasks, None)
                if task is None:
                    break
                pipe.send(task)
                try:
                    result = pipe.recv() if pipe.poll(PATIENCE_S) else Carried(str(task), broken=["hangs"])
                except EOFError:
                    result = Carried(str(task), broken=["the worker died of it"])
                done.put(result)
                if not process.is_alive() or result.broken[:1] == ["hangs"]:
                    _end(process)
                    process, pipe = self._started()
            _end(process)
            done.put(None)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self.count)]
        for thread in threads:
            thread.start()
        left = self.count
        while left:
            if (result := done.get()) is None:
                left -= 1
            else:
                yield result

    def _started(self) -> tuple[BaseProcess, Connection]:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_serve, args=(theirs, *self.arguments))
        process.start()
        theirs.close()
        return process, ours


def _end(process: BaseProcess) -> None:
    """With all that it has started."""
    for one in [*psutil.Process(process.pid).children(recursive=True)] if process.is_alive() else []:
        one.kill()
    process.kill()
    process.join()


def _serve(pipe: Connection, folder: Path, seed: int, compare: bool) -> None:
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as own:
        tempfile.tempdir = own
        carrier = Carrier(Path(own))
        for name in WARM_UP:
            carrier.carry(folder / name)
        carrier.settle()
        while True:
            task = pipe.recv()
            if isinstance(task, Path):
                path, start_s, channels = task, None, "mix"
            else:
                name, data = mutations.mutant(files, seed, task)
                path, (start_s, channels) = Path(own, name), WAYS[task % len(WAYS)]
                path.write_bytes(data)
            result = carrier.carry(path, start_s, channels)
            if compare and (start_s, channels) == WAYS[0]:
                result.difference = bare.difference(path, result)
            if not isinstance(task, Path):
                path.unlink()
            pipe.send(result)
