"""A job over recordings that take no work; see bench/scale.py. A module of its own: Ray's workers import it."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from pipeline import planning, run, store, tasks, writer
from pipeline.ledger.parts import Output
from pipeline.log import Log
from pipeline.schema import SAMPLE_RATE_HZ, WINDOW
from pipeline.settings import Settings
from pipeline.sources import listing
from pipeline.tasks.transcribe.task import Transcription

SAMPLES = np.arange(SAMPLE_RATE_HZ // 10, dtype="<i2").tobytes()
# Of the driver, what is measured apart: a phase and the method that is it. Time in a phase within another counts there.
PHASES = {
    "listing and planning": (planning, "plan"),
    "rows": (Transcription, "rows"),
    "writer": (writer.Writer, "add"),
    "commit": (writer.Writer, "flush"),
    "report": (Output, "publish"),
}

Facts = dict[str, Any]


class Heard(Transcription):
    """Transcription of windows that nobody has decoded."""

    def prepare(self, recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
        for failed in super().prepare(recordings, settings):
            windows, nothing, some = failed, pa.nulls(len(failed), pa.string()), pa.array([0.1] * len(failed))
            own = {"failure_code": nothing, "failure_detail": nothing, "end_s": some, "speech_s": some}
            own |= {"duration_s": some, "samples": pa.array([SAMPLES] * len(failed), pa.binary())}
            for name, values in own.items():
                windows = windows.set_column(WINDOW.get_field_index(name), WINDOW.field(name), values)
            yield windows


def _files(count: int) -> Iterator[tuple[str, Facts]]:
    for at in range(count):
        name = f"/nowhere/calls/{at // 1_000:05d}/recording-{at:08d}.mp3"
        yield name, {"type": "file", "size": 20_000 + at % 1_000, "mtime": 1.7e9 + at}


@contextmanager
def _simulated(count: int, heard: bool) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(patch.object(listing, "walk", lambda _: _files(count)))
        stack.enter_context(patch.object(store, "look", lambda _: None))
        if heard:
            stack.enter_context(patch.object(tasks, "load", Heard))
        yield


@contextmanager
def _clocked() -> Iterator[dict[str, float]]:
    """CPU seconds of this process's main thread by phase."""
    seconds: dict[str, float] = defaultdict(float)
    inner = [0.0]  # of the phases within the one that is at work, by depth

    def clocked(phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            inner.append(0.0)
            try:
                return method(*arguments, **named)
            finally:
                took = time.thread_time() - began
                seconds[phase] += took - inner.pop()
                inner[-1] += took

        return call

    with ExitStack() as stack:
        for phase, (owner, name) in PHASES.items():
            stack.enter_context(patch.object(owner, name, clocked(phase, getattr(owner, name))))
        yield seconds


def job(count: int, heard: bool, output: str, answer: Connection) -> None:
    """The job, in a process of its own and with a cluster of its own."""
    os.environ["RAY_ADDRESS"] = "local"
    engine = {"family": "scripted", "model": "none", "device": "cpu"}
    facts = {"input": "/nowhere", "output": output, "engine": engine, "language": {"methods": ["score"]}}
    with _simulated(count, heard), _clocked() as phases:
        plan = planning.plan(Settings.model_validate(facts))
        planned_s = sum(os.times()[:2])
        report = {} if plan.is_settled else run.execute(plan, Log())
    answer.send({"phases": dict(phases), "planned_s": planned_s, "todo": plan.count, "report": report})
