"""The corridor as one Ray Data stream."""

from __future__ import annotations

import itertools
import math
import re
import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from pipeline.errors import JobError
from pipeline.flow import exits, metrics
from pipeline.flow.actors import ANSWER_S, EngineActor
from pipeline.flow.cluster import engine_cpus
from pipeline.flow.tracker import DECODE_KILLS, DecodeTracker, EngineStates, EngineTracker, GatheringActor
from pipeline.models.checkpoint import Checkpoint
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Settings
from pipeline.tasks.protocol import Task

# Input blocks, each a decode task: enough to balance a cluster, few enough to schedule. There are more above the limits
# of each, and fewer, but no less than FEWEST_BLOCKS, where recordings are small: a task and its windows cost some
# 45 ms of CPU time (by python -m bench.scale), and 2 MB, some minutes of speech, take ten times as much to decode.
BLOCKS, FEWEST_BLOCKS = 4_096, 512
MAX_BLOCK_ROWS, MAX_BLOCK_BYTES = 64, 256_000_000  # recordings of a decode task, and their media
SMALL_BLOCK_BYTES = 2_000_000
MIN_BLOCK_BYTES = 1 << 20
SAMPLES_BYTES = 1 << 20  # half a minute of a table of windows
# Batches that are inside one engine actor at once, together twice what its engine computes at once. Where windows may
# be so long that a batch has more than so many bytes, batches are smaller, and more of them are inside.
BATCHES_IN_FLIGHT, MAX_BATCHES_IN_FLIGHT, MAX_BATCH_BYTES = 8, 32, 128 << 20
STATES_EVERY_S = 2.0


def answers(
    task: Task,
    recordings: pa.Table,
    settings: Settings,
    checkpoint: Checkpoint,
    *,
    facts: dict[str, Any] | None = None,
    tell: Callable[[EngineStates], None] | None = None,
) -> Generator[pa.Table]:
    """RECORDING rows -> tables of task.answers, in any order, as they come. The settings are those of `cluster`. At the
    end `facts` has what a report says of the engines; until then `tell` is told every few seconds, by a thread, how
    many there are.

    Raises:
        JobError: an engine did not start or died, or the cluster broke down.
    """
    engine = settings.engine
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.memory_usage_poll_interval_s = None  # else each task starts a thread, for statistics that nobody reads
    # A block of windows is one task of an engine: larger ones come and go in waves, with nothing between them.
    window_bytes = (settings.segmentation.max_window_s or checkpoint.chunk_s) * SAMPLE_RATE_HZ * 2
    at_once = 2 * engine.windows_at_once
    batch = max(1, min(at_once // BATCHES_IN_FLIGHT, int(MAX_BATCH_BYTES / window_bytes)))
    in_flight = max(BATCHES_IN_FLIGHT, min(MAX_BATCHES_IN_FLIGHT, at_once // batch))
    context.target_max_block_size = max(MIN_BLOCK_BYTES, int(batch * window_bytes))
    trackers: list[Any] = []
    telling = ExitStack()
    try:
        actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        tracker = actor(EngineTracker).remote(engine.count, engine.elastic, engine.max_deaths)
        decoding = actor(DecodeTracker).remote()
        gathering = actor(GatheringActor).remote()
        trackers += tracker, decoding, gathering
        if tell:
            telling.enter_context(_told(tracker, tell))
        # All of them lie in the object store until the end.
        windows = ray.data.from_blocks(blocks(recordings)).map_batches(  # pyright: ignore[reportArgumentType]
            _prepare,  # pyright: ignore[reportArgumentType]
            fn_kwargs={"task": task, "settings": settings, "tracker": decoding},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            concurrency=settings.audio.workers,
        )
        answered = windows.map_batches(
            EngineActor,
            fn_constructor_args=(task, settings, checkpoint, tracker, gathering),
            batch_size=batch,
            batch_format="pyarrow",
            num_cpus=engine_cpus(engine),
            num_gpus=engine.tensor_parallel_size if engine.device == "gpu" else None,
            compute=ActorPoolStrategy(
                size=engine.count,  # the first serves while others start; those that do not fit wait for machines
                max_tasks_in_flight_per_actor=in_flight,
                max_concurrent_calls_per_actor=in_flight,
            ),
        )
        for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield table.cast(task.answers)  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:  # Ray's own come from several families
        raise JobError(f"an engine or a worker broke down: {_cause(error)} (--verbose shows the logs)") from error
    finally:
        telling.close()
        with suppress(Exception):  # the cluster may be gone
            if facts is not None and trackers:
                facts |= ray.get(trackers[0].facts.remote(), timeout=ANSWER_S)
        with suppress(Exception):
            for tracker in trackers:  # stages keep handles on them, so that they would live as long as this process
                ray.kill(tracker)


@contextmanager
def _told(tracker: Any, tell: Callable[[EngineStates], None]) -> Iterator[None]:
    over = threading.Event()

    def ask() -> None:
        while not over.wait(STATES_EVERY_S):
            with suppress(Exception):  # the cluster may be gone
                tell(ray.get(tracker.states.remote(), timeout=ANSWER_S))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def blocks(recordings: pa.Table) -> list[pa.Table]:
    """RECORDING rows in order, as the input of decode tasks: as many rows in each as BLOCKS of them need, or, up to
    SMALL_BLOCK_BYTES of media, FEWEST_BLOCKS; no more than MAX_BLOCK_ROWS, and no more media than MAX_BLOCK_BYTES but
    for single recordings."""
    rows, most = (min(MAX_BLOCK_ROWS, math.ceil(len(recordings) / count)) for count in (BLOCKS, FEWEST_BLOCKS))
    sizes = recordings["size_bytes"].to_numpy()
    ends = np.cumsum(np.nan_to_num(sizes))
    ends_if_large = np.cumsum(np.nan_to_num(sizes, nan=SMALL_BLOCK_BYTES))  # what is not known may be long
    found, at = [], 0
    while at < len(recordings):
        small = _within(ends_if_large, at, SMALL_BLOCK_BYTES)
        count = max(1, min(most, small), min(rows, _within(ends, at, MAX_BLOCK_BYTES)))
        found.append(recordings.slice(at, count))
        at += count
    return found


def _within(ends: np.ndarray, at: int, size: float) -> int:
    """How many recordings from one on have no more bytes than that together."""
    return int(np.searchsorted(ends, (ends[at - 1] if at else 0) + size, side="right")) - at


def _prepare(recordings: pa.Table, task: Task, settings: Settings, tracker: Any) -> Iterator[pa.Table]:
    """Task.prepare, together, counted, and known to the tracker."""
    exits.bounded()
    for windows in together(_tracked(recordings, task, settings, tracker)):
        metrics.count_windows(windows)
        yield windows


def together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """WINDOW tables, joined until they have SAMPLES_BYTES of samples: in a block of many small ones Ray handles each
    column of each by itself. How they are joined follows from them alone: given again, they are joined as before."""
    some, size = list[pa.Table](), 0
    for windows in tables:
        some.append(windows)
        size += windows["samples"].nbytes
        if size >= SAMPLES_BYTES:
            yield _joined(some)
            some, size = [], 0
    if some:
        yield _joined(some)


def _joined(tables: list[pa.Table]) -> pa.Table:
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()


def _tracked(recordings: pa.Table, task: Task, settings: Settings, tracker: Any) -> Iterator[pa.Table]:
    """Task.prepare; a task whose worker crashed is tried again, and then its recordings go one by one, until one has
    ended DECODE_KILLS workers."""
    attempt, ids = secrets.token_hex(8), recordings["recording_id"].to_pylist()
    suspects: Any = ray.get(tracker.begin.remote(attempt, ids))
    if not suspects:
        yield from task.prepare(recordings, settings)
        tracker.leave.remote(attempt, ids)
        return
    for at, name in enumerate(ids):
        ray.get(tracker.enter.remote(attempt, [name]))
        own = recordings.slice(at, 1)
        yield from _alone(own, task, settings, tracker, suspects.get(name, (0, 0)))
        ray.get(tracker.leave.remote(attempt, [name]))


def _alone(
    recording: pa.Table, task: Task, settings: Settings, tracker: Any, suspicion: tuple[int, int]
) -> Iterator[pa.Table]:
    """The windows of a recording that may have ended workers. Ray may have passed on what an earlier try gave, in its
    order: so a recording that is not tried again begins with as many tables, unless that, too, ended a worker."""
    (name,), (kills, tables) = recording["recording_id"].to_pylist(), suspicion
    windows = task.prepare(recording, settings)
    if kills >= DECODE_KILLS:
        given = itertools.islice(windows, tables)
        yield from task.decode_died(given, recording, kills)
    else:
        for count, table in enumerate(windows, 1):
            yield table
            ray.get(tracker.yields.remote(name, count))


def _cause(error: BaseException) -> str:
    """One line for what lies below the exceptions that Ray wraps around it: it keeps that as text alone."""
    said = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception): .+)$", str(error), re.MULTILINE)
    return said[0] if said else f"{type(error).__name__}: {error}".splitlines()[0]
