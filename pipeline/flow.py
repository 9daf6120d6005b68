"""The only file that knows Ray: recordings through decode workers and engine actors, streamed."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress

import psutil
import pyarrow as pa
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
# What an engine asks Ray for. On the CPU it computes on all of them, beside the decode workers.
ENGINE_CPUS = {"gpu": 1.0, "cpu": 0.0}


@contextmanager
def cluster(settings: Settings) -> Iterator[Settings]:
    """Join the cluster that RAY_ADDRESS names, or start a local one; leave it at the end. Yields the settings with
    what `decide` says of the engines.

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
            with nullcontext() if settings.verbose else _silent_stderr():
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
        fn_constructor_args=(settings, checkpoint),
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
    try:
        for table in hypotheses.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield table.cast(HYPOTHESIS)  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:  # Ray's own come from several families
        raise JobError(f"an engine or a worker broke down: {_cause(error)} (--verbose shows the logs)") from error


class EngineActor:
    """One engine in one Ray actor, which owns its GPUs."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        self._trouble: str | None = None
        try:
            self._engine = engines.start(settings, checkpoint)
            self._transcribe = stages.Transcribe(self._engine, settings)
        except Exception as error:  # raised here, Ray would try again and again, and print it all each time
            self._trouble = f"{settings.engine.model} did not start: {type(error).__name__}: {error}"

    async def __call__(self, windows: pa.Table) -> pa.Table:
        if self._trouble:
            raise JobError(self._trouble)
        return await self._transcribe(windows)

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            engine.shutdown()
