"""The only file that knows Ray: recordings through decode workers and engine actors, streamed."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NoReturn

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy, DataContext

from pipeline import engines, stages
from pipeline.engines.checkpoint import Checkpoint
from pipeline.errors import ConfigurationError, JobError
from pipeline.schema import HYPOTHESIS
from pipeline.settings import Engine, Settings

BLOCKS = 4_096  # input blocks: enough to balance a cluster, few enough to schedule; more above 64 rows in each
MAX_BLOCK_ROWS = 64
# Ray Data holds a stage's output back until a block of this size is full: 16 windows of 30 s.
TARGET_BLOCK_BYTES = 16 << 20
# Batches that are inside one engine actor at once, together twice what its engine computes at once.
BATCHES_IN_FLIGHT = 8
ENGINE_END_S = 30.0
NAMED_BY = ["recording_id", "segment_index"]
WAIT_S = 0.05
KILLS = 2  # engines that a window may end before it is given up
# What an engine asks Ray for. On the CPU it computes on all of them, beside the decode workers.
ENGINE_CPUS = {"gpu": 1.0, "cpu": 0.0}


@contextmanager
def cluster(settings: Settings) -> Iterator[Settings]:
    """Join the cluster that RAY_ADDRESS names or that runs on this machine, or start one; leave it at the end. Yields
    the settings with what `decide` says of the engines.

    Raises:
        ConfigurationError: the engines asked for do not fit the cluster.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not settings.verbose:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    level = logging.INFO if settings.verbose else logging.ERROR
    joined = ray.is_initialized()
    if not joined:
        try:
            with _kept_signals(), nullcontext() if settings.verbose else _silent_stderr():
                ray.init(log_to_driver=settings.verbose, logging_level=level, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigurationError(f"no Ray cluster: {error}".splitlines()[0]) from error
    try:
        for name in ("ray.data", "ray"):
            # What goes wrong is said by us, in one line.
            logging.getLogger(name).setLevel(level if settings.verbose else logging.CRITICAL)
        engine = decide(settings, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        yield settings.model_copy(update={"engine": engine})
    finally:
        if not joined:
            _wait_for_engines()
            ray.shutdown()


def _cause(error: BaseException) -> str:
    """One line for what lies below the exceptions that Ray wraps around it: it keeps that as text alone."""
    said = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception): .+)$", str(error), re.MULTILINE)
    return said[0] if said else f"{type(error).__name__}: {error}".splitlines()[0]


def _wait_for_engines() -> None:
    """A local cluster goes down with us: its engines end first, lest their processes outlive it."""
    ending = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if EngineActor.__name__ in "".join(process.cmdline()) or process.name().startswith("VLLM"):
                ending.append(process)
    psutil.wait_procs(ending, timeout=ENGINE_END_S)


@contextmanager
def _kept_signals() -> Iterator[None]:
    """Ray makes SIGTERM an immediate end; whoever runs the job knows better."""
    kept = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, kept)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ core announces its log level whatever that level is."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def decide(settings: Settings, nodes: Sequence[Mapping[str, float]]) -> Engine:
    """Decide device, count and tensor_parallel_size of the engines from the nodes' CPUs and GPUs. Each needs one node.

    Raises:
        ConfigurationError: the engines asked for do not fit.
    """
    engine = settings.engine
    gpus, cpus = [int(node.get("GPU", 0)) for node in nodes], sum(node.get("CPU", 0) for node in nodes)
    device = ("gpu" if any(gpus) else "cpu") if engine.device == "auto" else engine.device
    ranks = engine.tensor_parallel_size or (2 if device == "gpu" else 1)
    if device == "gpu":
        room = sum(number // ranks for number in gpus)
        count = engine.count or room
        if not count or count > room:
            raise ConfigurationError(
                f"{max(1, count)} engine(s) of {ranks} GPU(s) on one node do not fit the cluster's {sum(gpus)} GPU(s);"
                " set --engine.count, --engine.tensor-parallel-size or --engine.device"
            )
    else:
        count = engine.count or 1
    needed = count * ENGINE_CPUS[device] + 1
    if cpus < needed:
        raise ConfigurationError(
            f"{count} engine(s) and a decode worker need {needed:g} CPUs; the cluster has {cpus:g}"
        )
    return engine.model_copy(update={"device": device, "count": count, "tensor_parallel_size": ranks})


def transcribe(recordings: pa.Table, settings: Settings, checkpoint: Checkpoint) -> Generator[pa.Table]:
    """RECORDING rows -> HYPOTHESIS tables, in any order, as they come. The settings are those of `cluster`.

    Raises:
        JobError: an engine did not start or died, or the cluster broke down.
    """
    engine = settings.engine
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = TARGET_BLOCK_BYTES
    per_block = max(1, min(MAX_BLOCK_ROWS, math.ceil(len(recordings) / BLOCKS)))
    blocks = [recordings.slice(at, per_block) for at in range(0, len(recordings), per_block)]
    try:
        deaths = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Deaths).remote(engine.max_deaths)
        windows = ray.data.from_arrow(blocks).map_batches(  # pyright: ignore[reportArgumentType]
            stages.prepare,  # pyright: ignore[reportArgumentType]
            fn_kwargs={"settings": settings},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            concurrency=settings.audio.workers,
        )
        hypotheses = windows.map_batches(
            EngineActor,
            fn_constructor_args=(settings, checkpoint, deaths),
            batch_size=max(1, 2 * engine.max_num_seqs // BATCHES_IN_FLIGHT),
            batch_format="pyarrow",
            num_cpus=ENGINE_CPUS[engine.device],
            num_gpus=engine.tensor_parallel_size if engine.device == "gpu" else None,
            compute=ActorPoolStrategy(
                size=engine.count,
                max_tasks_in_flight_per_actor=BATCHES_IN_FLIGHT,
                max_concurrent_calls_per_actor=BATCHES_IN_FLIGHT,
            ),
        )
        for table in hypotheses.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield table.cast(HYPOTHESIS)  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:  # Ray's own come from several families
        raise JobError(f"an engine or a worker broke down: {_cause(error)} (--verbose shows the logs)") from error


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
        try:
            self._engine = engines.start(settings, checkpoint)
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
            done = await self._transcribe(windows)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            await self._deaths.explain.remote(reason)
            self._end(reason)
        await self._deaths.leave.remote(self._name, names)
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
