"""The corridor as one Ray Data stream."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from pipeline import stages
from pipeline.engines.checkpoint import Checkpoint
from pipeline.errors import JobError
from pipeline.flow import metrics
from pipeline.flow.actors import Deaths, EngineActor
from pipeline.flow.cluster import ENGINE_CPUS
from pipeline.schema import HYPOTHESIS, SAMPLE_RATE_HZ
from pipeline.settings import Settings

BLOCKS = 4_096  # input blocks: enough to balance a cluster, few enough to schedule; more above 64 rows in each
MAX_BLOCK_ROWS = 64
MIN_BLOCK_BYTES = 1 << 20
# Batches that are inside one engine actor at once, together twice what its engine computes at once.
BATCHES_IN_FLIGHT = 8


def transcribe(recordings: pa.Table, settings: Settings, checkpoint: Checkpoint) -> Generator[pa.Table]:
    """RECORDING rows -> HYPOTHESIS tables, in any order, as they come. The settings are those of `cluster`.

    Raises:
        JobError: an engine did not start or died, or the cluster broke down.
    """
    engine = settings.engine
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A block of windows is one task of an engine: larger ones come and go in waves, with nothing between them.
    batch = max(1, 2 * engine.max_num_seqs // BATCHES_IN_FLIGHT)
    window_bytes = (settings.segmentation.max_window_s or checkpoint.chunk_s) * SAMPLE_RATE_HZ * 2
    context.target_max_block_size = max(MIN_BLOCK_BYTES, int(batch * window_bytes))
    per_block = max(1, min(MAX_BLOCK_ROWS, math.ceil(len(recordings) / BLOCKS)))
    blocks = [recordings.slice(at, per_block) for at in range(0, len(recordings), per_block)]
    try:
        deaths = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Deaths).remote(engine.max_deaths)
        windows = ray.data.from_arrow(blocks).map_batches(  # pyright: ignore[reportArgumentType]
            _prepare,  # pyright: ignore[reportArgumentType]
            fn_kwargs={"settings": settings},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            concurrency=settings.audio.workers,
        )
        hypotheses = windows.map_batches(
            EngineActor,
            fn_constructor_args=(settings, checkpoint, deaths),
            batch_size=batch,
            batch_format="pyarrow",
            num_cpus=ENGINE_CPUS[engine.device],
            num_gpus=engine.tensor_parallel_size if engine.device == "gpu" else None,
            compute=ActorPoolStrategy(
                size=engine.count,  # the first serves while others start; those that do not fit wait for machines
                max_tasks_in_flight_per_actor=BATCHES_IN_FLIGHT,
                max_concurrent_calls_per_actor=BATCHES_IN_FLIGHT,
            ),
        )
        for table in hypotheses.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield table.cast(HYPOTHESIS)  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:  # Ray's own come from several families
        raise JobError(f"an engine or a worker broke down: {_cause(error)} (--verbose shows the logs)") from error


def _prepare(recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
    """stages.prepare, counted."""
    for windows in stages.prepare(recordings, settings):
        metrics.count_windows(windows)
        yield windows


def _cause(error: BaseException) -> str:
    """One line for what lies below the exceptions that Ray wraps around it: it keeps that as text alone."""
    said = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception): .+)$", str(error), re.MULTILINE)
    return said[0] if said else f"{type(error).__name__}: {error}".splitlines()[0]
