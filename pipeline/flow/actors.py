"""The actors that hold the engines."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import ray
from filelock import FileLock

from pipeline import models
from pipeline.errors import JobError
from pipeline.flow import exits
from pipeline.flow.metrics import EngineMetrics
from pipeline.flow.tracker import ENGINE_KILLS
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.protocol import DeadModelError
from pipeline.schema import ANSWERED
from pipeline.settings import Settings
from pipeline.tasks.protocol import Task

NAMED_BY = ["recording_id", "segment_index"]
WAIT_S = 0.05
LOOK_EVERY_S = 5.0
ANSWER_S = 5.0  # how long an ending process waits for the tracker's answer
WAIT_FOR_END_S = 3_600.0
# Engines of one machine start one after another: they would pick the same ports, and read the weights at once.
START_LOCK = Path(tempfile.gettempdir()) / f"voxtral-engine-start-{os.getuid()}.lock"


class EngineActor:
    """One engine in one Ray actor, which owns its GPUs. Where the engine dies or hangs the actor ends, and Ray starts
    another one, which is given its windows again."""

    def __init__(self, task: Task, settings: Settings, checkpoint: Checkpoint, tracker: Any, gathering: Any) -> None:
        exits.bounded()
        self._task, self._tracker, self._name = task, tracker, secrets.token_hex(8)
        self._entry, self._inside = asyncio.Lock(), 0
        self._trouble: str | None = None
        self._metrics = EngineMetrics()
        try:
            ray.get(tracker.starting.remote(self._name, ray.get_runtime_context().get_actor_id()))
            self._engine = None
            if task.requires:
                with FileLock(START_LOCK), self._start_limit(settings.engine.start_timeout_s):
                    self._engine = models.start(settings, checkpoint, task.demand(settings, checkpoint), in_ray=True)
            self._worker = task.worker(self._engine, settings, gathering.add.remote)
        except JobError as error:
            self._trouble = str(getattr(error, "cause", error))  # Ray's own text holds a traceback
        except Exception as error:  # raised here, Ray would try again and again, and print it all each time
            reason = f"{settings.engine.model} did not start: {type(error).__name__}: {error}"
            self._trouble = self._give_up(f"{reason} (on {ray.util.get_node_ip_address()})")
        else:
            tracker.ready.remote(self._name)
        # A model on servers dies by itself after that time, and blames no window.
        stall_s = settings.engine.stall_timeout_s * (2 if settings.engine.server else 1)
        threading.Thread(target=self._watch, args=(stall_s,), daemon=True).start()

    @contextmanager
    def _start_limit(self, timeout_s: float) -> Iterator[None]:
        """End this process where an engine takes longer than this to start."""

        def end() -> None:
            reason = f"it did not start within --engine.start-timeout-s {timeout_s:g} seconds"
            with suppress(Exception):
                ray.get(self._tracker.start_failed.remote(self._name, reason, again=True), timeout=ANSWER_S)
            self._end(reason)

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self, reason: str) -> str:
        """Tell that the engine did not start. Returns why the job must end, as it must where no engine is left; else
        this actor is never ready, so that Ray gives its work to others."""
        again = ray.get_runtime_context().was_current_actor_reconstructed
        final: Any = ray.get(self._tracker.start_failed.remote(self._name, reason, again))
        if again:
            self._end(reason)
        while not final:
            time.sleep(WAIT_FOR_END_S)
        return final

    async def __call__(self, windows: pa.Table) -> pa.Table:
        if self._trouble:
            raise JobError(self._trouble)
        silent = pc.is_null(windows["samples"])  # these never reach the engine
        done = [await self._worker(windows.filter(silent))]
        windows = windows.filter(pc.invert(silent))
        if not len(windows):
            return done[0]
        names = [f"{row['recording_id']}:{row['segment_index']}" for row in windows.select(NAMED_BY).to_pylist()]
        suspects = await self._tracker.suspects.remote(self._name, names)
        others = [at for at, name in enumerate(names) if name not in suspects]
        if others:
            done.append(await self._together(windows.take(others), [names[at] for at in others]))
        for name in sorted(suspects, key=lambda name: suspects[name]):  # the least suspicious prove the engine
            done.append(await self._alone(windows.slice(names.index(name), 1), name, suspects[name]))
        return pa.concat_tables(done)

    async def _together(self, windows: pa.Table, names: Sequence[str]) -> pa.Table:
        async with self._entry:
            self._inside += 1
        try:
            return await self._compute(windows, names)
        finally:
            self._inside -= 1

    async def _alone(self, window: pa.Table, name: str, kills: int) -> pa.Table:
        if kills >= ENGINE_KILLS:
            return self._task.engine_died(window, kills)
        async with self._entry:  # nobody else comes in
            while self._inside:
                await asyncio.sleep(WAIT_S)
            self._inside = 1
            try:
                return await self._compute(window, [name])
            finally:
                self._inside = 0

    async def _compute(self, windows: pa.Table, names: Sequence[str]) -> pa.Table:
        await self._tracker.enter.remote(self._name, names)
        try:
            with self._metrics.inside(len(windows)):
                done = await self._worker(windows)
        except DeadModelError as error:
            await self._tracker.died.remote(self._name, str(error))
            self._end(str(error))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            await self._tracker.explain.remote(reason)
            self._end(reason)
        await self._tracker.leave.remote(self._name, names)
        # Without an engine, what rows say of its work is of an earlier run.
        self._metrics.count(done if self._engine else done.select(ANSWERED.names))
        return done

    def _watch(self, timeout_s: float) -> None:
        seen, since = 0, time.monotonic()
        while not self._trouble:
            time.sleep(min(LOOK_EVERY_S, timeout_s / 4))
            self._metrics.show()
            if not self._inside or self._worker.finished != seen:
                seen, since = self._worker.finished, time.monotonic()
            elif time.monotonic() - since > timeout_s:
                reason = f"it finished nothing for {timeout_s:g} seconds (--engine.stall-timeout-s)"
                with suppress(Exception):
                    ray.get(self._tracker.explain.remote(reason), timeout=ANSWER_S)
                self._end(reason)

    def _end(self, reason: str) -> NoReturn:
        """End this process and those of the engine at once: Ray replaces an actor that dies, not one that raises."""
        print(f"engine {self._name} ends: {reason}", file=sys.stderr, flush=True)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
        os._exit(1)

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            engine.shutdown()
