"""One run, end to end: list, subtract what is done, transcribe, collate, write, report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline import __version__, audio, collate, flow, listing, store
from pipeline.engines.checkpoint import Checkpoint, fit, inspect
from pipeline.errors import ConfigurationError, JobError
from pipeline.report import Tally, Watch
from pipeline.settings import Settings, fingerprint

SHARED = ("uri", "content_version")  # columns of a recording that both tables have
ROWS_PER_PART = 10_000  # transcripts; a part is written earlier when flush_interval_s has passed

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run would do. `todo` marks the rows of `listing` that no published run has done yet."""

    settings: Settings
    checkpoint: Checkpoint
    fingerprint: str
    output: store.Output
    listing: listing.Listing
    todo: pa.Array

    @property
    def count(self) -> int:
        return pc.sum(self.todo).as_py() or 0


def plan(settings: Settings) -> Plan:
    """Look at everything that can be wrong before an engine is started, and at what there is to do.

    Raises:
        ConfigurationError: model, input, output or tools are not as they should be.
    """
    audio.check_tools()
    checkpoint = inspect(settings.engine)
    settings = settings.model_copy(update={"segmentation": fit(settings.segmentation, checkpoint)})
    run_id = settings.run_id or datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    output = store.Output(settings.output, run_id)
    output.check()
    found = listing.read(settings.input, output.uri, settings.limit)
    mark = fingerprint(settings, checkpoint.revision)
    try:
        todo = pc.invert(output.done(found.recordings, mark))
    except store.READ_ERRORS as error:
        raise ConfigurationError(
            f"--output {output.uri}: its earlier runs cannot be read ({store.explain(error)})"
        ) from error
    return Plan(settings, checkpoint, mark, output, found, todo)


def execute(plan: Plan, console: Console) -> Row:
    """Carry a plan out, write its tables and publish its report, which is returned.

    Raises:
        ConfigurationError: the engines do not fit the cluster, or the output may not be written.
        JobError: an engine, the cluster or the output broke down under way.
    """
    settings, output = plan.settings, plan.output
    started, clock = datetime.now(UTC), time.monotonic()
    about: Row = {
        "run_id": output.run_id,
        "output": output.uri,
        "input": store.join(*store.split(settings.input)),
        "started_at": started.isoformat(),
        "pipeline_version": __version__,
        "model": settings.engine.model,
        "model_revision": plan.checkpoint.revision,
        "fingerprint": plan.fingerprint,
        "settings": settings.model_dump(mode="json"),
    }
    output.start(about)
    tally, first_rows_s = Tally(), None
    writer = _Writer(plan, tally)
    watch = Watch(plan.count, console)
    recordings = plan.listing.recordings.filter(plan.todo)
    with _storage_trouble(output), watch.display(), flow.cluster(settings) as decided:
        with closing(flow.transcribe(recordings, decided, plan.checkpoint)) as tables:
            for table in tables:
                first_rows_s = first_rows_s or time.monotonic() - clock
                writer.add(table)
                watch.show(tally)
        writer.finish()
        watch.show(tally)
        wall_s = time.monotonic() - clock
    facts = about | {
        "finished_at": datetime.now(UTC).isoformat(),
        "already_done": len(plan.todo) - plan.count,
        "skipped_files": dict(plan.listing.skipped),
        "repeated_rows": plan.listing.repeated,
        "first_rows_s": round(first_rows_s or 0.0, 3),
        "numbers": tally.facts(wall_s),
        "segments": output.segment_files,
        "transcripts": output.transcript_files,
    }
    with _storage_trouble(output):
        output.publish(facts)
    return facts


@contextmanager
def _storage_trouble(output: store.Output) -> Iterator[None]:
    try:
        yield
    except store.STORAGE_ERRORS as error:
        raise JobError(f"--output {output.uri}: {store.explain(error)}") from error


class _Writer:
    """Turns hypotheses into rows of both tables, and writes them part by part."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self._plan, self._tally = plan, tally
        self._assembly = collate.Assembly()
        listing = plan.listing
        self._row_of = {row_id: at for at, row_id in enumerate(listing.recordings["recording_id"].to_pylist())}
        self._waiting = {str(row_id) for row_id in listing.recordings.filter(plan.todo)["recording_id"].to_pylist()}
        self._schema = store.transcripts_schema(listing.extra.schema)
        self._provenance = {
            "model": plan.settings.engine.model,
            "model_revision": plan.checkpoint.revision,
            "fingerprint": plan.fingerprint,
            "pipeline_version": __version__,
            "run_id": plan.output.run_id,
        }
        self._segments: list[Row] = []
        self._transcripts: list[Row] = []
        self._flushed = time.monotonic()

    def add(self, hypotheses: pa.Table) -> None:
        for recording_id, segments in self._assembly.add(hypotheses):
            self._finished(recording_id, segments)
        overdue = time.monotonic() - self._flushed > self._plan.settings.flush_interval_s
        if len(self._transcripts) >= ROWS_PER_PART or (overdue and self._transcripts):
            self._flush()

    def finish(self) -> None:
        """Write what is left. A recording that never came back is a failure with a row like any other."""
        for recording_id, segments in list(self._assembly.unfinished()):
            self._finished(recording_id, segments, complete=False)
        for recording_id in list(self._waiting):
            self._finished(recording_id, [], complete=False)
        if self._transcripts:
            self._flush()

    def _finished(self, recording_id: str, segments: list[Row], complete: bool = True) -> None:
        if recording_id not in self._waiting:  # a stage that Ray ran twice
            return
        self._waiting.remove(recording_id)
        at = self._row_of[recording_id]
        recording = self._plan.listing.recordings.slice(at, 1).to_pylist()[0]
        extra = self._plan.listing.extra.slice(at, 1).to_pylist()[0] if self._plan.listing.extra.num_columns else {}
        known = {key: recording[key] for key in SHARED}
        part = {key: recording[key] for key in ("range_start_s", "range_end_s")}
        segments = collate.settle(segments)
        for row in collate.transcripts(recording_id, segments, self._plan.settings.guards, complete):
            self._transcripts.append(known | part | self._provenance | extra | row)
            if row["channel"] is None:
                self._tally.add(row, segments)
        for segment in segments:
            own = {"recording_id": collate.channel_id(recording_id, segment["channel"])}
            self._segments.append(segment | known | self._provenance | own)

    def _flush(self) -> None:
        self._plan.output.write(self._segments, pa.Table.from_pylist(self._transcripts, self._schema))
        self._segments, self._transcripts, self._flushed = [], [], time.monotonic()
