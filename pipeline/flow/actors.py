"""The actors of a job: the engines, and the memory of which windows they died of."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import ray
from filelock import FileLock

from pipeline import engines, stages
from pipeline.engines.checkpoint import Checkpoint
from pipeline.errors import JobError
from pipeline.flow.metrics import EngineMetrics, count_deaths
from pipeline.settings import Settings

NAMED_BY = ["recording_id", "segment_index"]
WAIT_S = 0.05
KILLS = 2  # engines that a window may end before it is given up
# Engines of one machine start one after another: they would pick the same ports, and read the weights at once.
START_LOCK = Path(tempfile.gettempdir()) / f"voxtral-engine-start-{os.getuid()}.lock"


class Deaths:
    """Keeps, in one small actor beside the engines, which windows are inside which engine, and so which ended it.

    Windows that were inside an engine when it died are suspects, which go alone from then on. One that was alone inside
    KILLS engines when they died is not tried again, if any other window ever left an engine: else it is not the window.
    """

    def __init__(self, max_deaths: int) -> None:
        self._inside: dict[str, set[str]] = {}  # by engine
        self._kills: dict[str, int] = {}  # by suspect
        self._deaths, self._max_deaths, self._reason = 0, max_deaths, "it was killed"
        self._proven = False

    def suspects(self, engine: str, windows: Sequence[str]) -> dict[str, int]:
        """Those of the windows, which come to an engine, that are suspects, with the engines that each has ended.

        A window that is inside another engine and comes to this one shows that the other died. (Ray may also give one
        engine a window twice at once, when it lost sight of it for a moment.)

        Raises:
            JobError: too many have died.
        """
        others = [x for x, inside in self._inside.items() if x != engine and not inside.isdisjoint(windows)]
        for other in others:
            inside = self._inside.pop(other)
            self._deaths += 1
            count_deaths()
            for window in inside:
                self._kills[window] = self._kills.get(window, 0) + (len(inside) == 1)
        if self._deaths > self._max_deaths:
            limit = f"--engine.max-deaths {self._max_deaths}"
            raise JobError(f"{self._deaths} engines have died, more than {limit}; the last because {self._reason}")
        limit = KILLS if self._proven else KILLS - 1
        return {window: min(self._kills[window], limit) for window in windows if window in self._kills}

    def enter(self, engine: str, windows: Sequence[str]) -> None:
        self._inside.setdefault(engine, set()).update(windows)

    def leave(self, engine: str, windows: Sequence[str]) -> None:
        if inside := self._inside.get(engine):
            inside.difference_update(windows)
        self._proven = True

    def explain(self, reason: str) -> None:
        """Keep an engine's last words."""
        self._reason = reason


class EngineActor:
    """One engine in one Ray actor, which owns its GPUs. Where the engine dies or hangs the actor ends, and Ray starts
    another one, which is given its windows again."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint, deaths: Any) -> None:
        self._deaths, self._name = deaths, secrets.token_hex(8)
        self._door, self._guests = asyncio.Lock(), 0
        self._trouble: str | None = None
        self._metrics = EngineMetrics()
        try:
            with FileLock(START_LOCK):
                self._engine = engines.start(settings, checkpoint, in_ray=True)
            self._transcribe = stages.Transcribe(self._engine, settings)
        except Exception as error:  # raised here, Ray would try again and again, and print it all each time
            self._trouble = f"{settings.engine.model} did not start: {type(error).__name__}: {error}"
        threading.Thread(target=self._watch, args=(settings.engine.stall_timeout_s,), daemon=True).start()

    async def __call__(self, windows: pa.Table) -> pa.Table:
        if self._trouble:
            raise JobError(self._trouble)
        silent = pc.is_null(windows["samples"])  # these never reach the engine
        done = [await self._transcribe(windows.filter(silent))]
        windows = windows.filter(pc.invert(silent))
        names = [f"{row['recording_id']}:{row['segment_index']}" for row in windows.select(NAMED_BY).to_pylist()]
        suspects = await self._deaths.suspects.remote(self._name, names)
        others = [at for at, name in enumerate(names) if name not in suspects]
        if others:
            done.append(await self._together(windows.take(others), [names[at] for at in others]))
        for name in sorted(suspects, key=lambda name: suspects[name]):  # the least suspicious prove the engine
            done.append(await self._alone(windows.slice(names.index(name), 1), name, suspects[name]))
        return pa.concat_tables(done)

    async def _together(self, windows: pa.Table, names: Sequence[str]) -> pa.Table:
        async with self._door:
            self._guests += 1
        try:
            return await self._compute(windows, names)
        finally:
            self._guests -= 1

    async def _alone(self, window: pa.Table, name: str, kills: int) -> pa.Table:
        if kills >= KILLS:
            return stages.given_up(window, kills)
        async with self._door:  # nobody else comes in
            while self._guests:
                await asyncio.sleep(WAIT_S)
            self._guests = 1
            try:
                return await self._compute(window, [name])
            finally:
                self._guests = 0

    async def _compute(self, windows: pa.Table, names: Sequence[str]) -> pa.Table:
        await self._deaths.enter.remote(self._name, names)
        try:
            with self._metrics.inside(len(windows)):
                done = await self._transcribe(windows)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            await self._deaths.explain.remote(reason)
            self._end(reason)
        await self._deaths.leave.remote(self._name, names)
        self._metrics.count(done)
        return done

    def _watch(self, timeout_s: float) -> None:
        seen, since = 0, time.monotonic()
        while not self._trouble:
            time.sleep(min(5.0, timeout_s / 4))
            if not self._guests or self._transcribe.finished != seen:
                seen, since = self._transcribe.finished, time.monotonic()
            elif time.monotonic() - since > timeout_s:
                reason = f"it finished nothing for --engine.stall-timeout-s {timeout_s:g} seconds"
                with suppress(Exception):
                    ray.get(self._deaths.explain.remote(reason), timeout=5.0)
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
