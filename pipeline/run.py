"""One run, end to end: list, subtract what is done, transcribe, collate, write, report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import __version__, estimate, flow, models, store
from pipeline.audio import confined
from pipeline.errors import ConfigurationError, JobError
from pipeline.ledger import done
from pipeline.ledger.done import Standing
from pipeline.ledger.parts import AlreadyPublished, Output, check, published, reports, stopped, transcripts_schema
from pipeline.ledger.report import Tally, Watch
from pipeline.log import Log
from pipeline.models.checkpoint import Checkpoint, fit, inspect
from pipeline.schema import PROVENANCE, FailureCode
from pipeline.settings import Settings
from pipeline.sources import listing
from pipeline.tasks.transcribe import assemble
from pipeline.tasks.transcribe.fingerprint import fingerprint
from pipeline.tasks.transcribe.worker import REQUIRED

SAME = ("input", "limit", "fingerprint", "retry")  # facts that the drivers of one run share
TICK_S = 1.0  # how often time limits are looked at while nothing comes
ROWS_PER_PART = 10_000  # recordings; a part is written earlier when flush_interval_s has passed

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run would do: the rows of `listing` that `todo` marks.

    `why` counts the recordings by Standing. `taken_up` tells whether an earlier driver of the same run was stopped;
    `tally` has counted the recordings that it has done.
    """

    settings: Settings
    checkpoint: Checkpoint
    about: Row
    output: Output
    listing: listing.Listing
    todo: pa.Array
    why: Counter[str]
    tally: Tally
    taken_up: bool
    speed: estimate.Speed | None  # of one engine, as far as it is known

    @property
    def count(self) -> int:
        return pc.sum(self.todo).as_py() or 0

    def estimate(self) -> tuple[float, estimate.Estimate | None]:
        """Seconds of audio to do, about, and what they take where the speed is known."""
        seconds = float(estimate.seconds_each(self.listing.recordings.filter(self.todo), self.settings.audio).sum())
        return seconds, self.estimate_of(seconds)

    def estimate_of(self, seconds: float) -> estimate.Estimate | None:
        """What so much audio takes, where the speed is known."""
        if not self.speed:
            return None
        return estimate.Estimate(
            seconds, self.speed, self.settings.engine.count or 1, self.settings.price_per_engine_hour
        )

    @property
    def is_settled(self) -> bool:
        """Nothing to do, and no report that a stopped run still owes."""
        return not self.count and not self.tally.recordings


def plan(settings: Settings) -> Plan:
    """Look at everything that can be wrong before an engine is started, and at what there is to do.

    Raises:
        ConfigurationError: model, input, output or tools are not as they should be.
    """
    confined.check_tools()
    checkpoint = inspect(settings.engine)
    models.require(checkpoint, REQUIRED)
    settings = fit(settings, checkpoint)
    engine = settings.engine.model_copy(update={"device": flow.device(settings.engine)})
    settings = settings.model_copy(update={"engine": engine})
    runtime, runtime_version = models.runtime(checkpoint)
    began = datetime.now(UTC)
    about: Row = {
        "input": store.join(*store.split(settings.input)),
        "limit": settings.limit,
        "fingerprint": fingerprint(settings, checkpoint),
        "retry": [str(code) for code in settings.retry],
        "model": settings.engine.model,
        "model_revision": checkpoint.revision,
        "runtime": runtime,
        "runtime_version": runtime_version,
        "pipeline_version": __version__,
        "started_at": began.isoformat(),
    }
    check(settings.output)
    found = listing.read(settings.input, settings.output, settings.limit, settings.allow)
    try:
        earlier, same = reports(settings.output), {name: about[name] for name in SAME}
        run_id = settings.run_id or stopped(settings.output, earlier, same) or began.strftime("%Y%m%dT%H%M%S.%fZ")
        output, tally, own = Output(settings.output, run_id), Tally(), []
        output.refuse_published()
        if taken_up := output.began_with(same):
            for segments, transcripts in output.catch_up():
                own.append(transcripts.select(done.COLUMNS))
                tally.add_part(segments, transcripts)
        rows = published(settings.output, earlier)
    except store.READ_ERRORS as error:
        raise ConfigurationError(
            f"--output {settings.output}: its earlier runs cannot be read ({store.explain(error)})"
        ) from error
    standing = done.standing(found.recordings, rows, about["fingerprint"])
    todo = pc.invert(pc.is_in(standing, value_set=pa.array([Standing.DONE.value])))
    if settings.retry:
        codes = [str(code) for code in (FailureCode if "failed" in settings.retry else settings.retry)]
        todo = pc.is_in(done.last_failure(found.recordings, rows), value_set=pa.array(codes))
    if own:
        todo = pc.and_not(todo, done.written(found.recordings, pa.concat_tables(own)))
    return Plan(
        settings,
        checkpoint,
        about | {"run_id": run_id, "output": output.uri, "settings": settings.model_dump(mode="json")},
        output,
        found,
        todo,
        Counter(map(str, standing.to_pylist())),
        tally,
        taken_up,
        estimate.Speed(settings.engine_speed)
        if settings.engine_speed
        else estimate.measured(earlier, about["model"], about["model_revision"]),
    )


def execute(plan: Plan, log: Log) -> Row:
    """Carry a plan out, write its tables and publish its report, which is returned.

    What is finished is written even when it is interrupted or breaks down.

    Raises:
        ConfigurationError: the engines do not fit the cluster, or the output may not be written.
        JobError: an engine, the cluster or the output broke down under way.
    """
    output, tally, clock, first_rows_s = plan.output, plan.tally, time.monotonic(), None
    taken_up, engines = tally.recordings, plan.settings.engine.count or 1
    served: Row = {}  # what the flow says of the engines
    output.start(plan.about, SAME)
    output.keep_trying(log)
    writer = _Writer(plan)
    if plan.count:
        watch = Watch(plan.count + tally.recordings, log)
        recordings = plan.listing.recordings.filter(plan.todo)
        deadline = clock + 3600 * (plan.settings.max_hours or float("inf"))
        with (
            _storage_trouble(output),
            watch.display(),
            flow.cluster(plan.settings, plan.checkpoint, log.say) as decided,
        ):
            engines = decided.engine.count
            try:
                with closing(
                    flow.ticking(flow.transcribe(recordings, decided, plan.checkpoint, served), TICK_S)
                ) as tables:
                    for table in tables:
                        if table is not None:
                            first_rows_s = first_rows_s or time.monotonic() - clock
                            writer.add(table)
                        writer.flush_if_due()
                        watch.show(tally)
                        if time.monotonic() > deadline:
                            writer.flush()
                            break
                    else:
                        writer.finish()
            except BaseException:
                with suppress(JobError, *store.STORAGE_ERRORS):  # the first trouble is the one to tell
                    writer.flush()
                raise
            watch.show(tally)
    with _storage_trouble(output):
        for part in output.catch_up():  # what another driver has committed in the last moment
            tally.add_part(*part)
    facts = plan.about | {
        "finished_at": datetime.now(UTC).isoformat(),
        "already_done": plan.why[Standing.DONE],
        "taken_up": taken_up,
        "not_reached": plan.count + taken_up - tally.recordings,
        "engines": engines,
        **served,
        "recordings_by_standing": plan.why,
        "skipped_files": dict(plan.listing.skipped),
        "unlisted_files": plan.listing.unlisted,
        "repeated_rows": plan.listing.repeated,
        "first_rows_s": round(first_rows_s or 0.0, 3),
        "numbers": tally.facts(time.monotonic() - clock),
        "segments": output.segments,
        "transcripts": output.transcripts,
    }
    with _storage_trouble(output):
        return output.publish(facts)


@contextmanager
def _storage_trouble(output: Output) -> Iterator[None]:
    try:
        yield
    except store.STORAGE_ERRORS as error:
        raise JobError(f"--output {output.uri}: {store.explain(error)}") from error


class _Writer:
    """Turns hypotheses into rows of both tables, and commits them part by part."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._tally = plan, plan.tally
        self._assembly = assemble.Assembly()
        listing = plan.listing
        self._row_of = {row_id: at for at, row_id in enumerate(listing.recordings["recording_id"].to_pylist())}
        self._waiting = {str(row_id) for row_id in listing.recordings.filter(plan.todo)["recording_id"].to_pylist()}
        self._schema = transcripts_schema(listing.extra.schema)
        self._provenance = {field.name: plan.about[field.name] for field in PROVENANCE if field.name in plan.about}
        self._finished: dict[str, tuple[list[Row], list[Row]]] = {}  # segments and transcripts, to be committed
        self._flushed = time.monotonic()

    def add(self, hypotheses: pa.Table) -> None:
        for recording_id, segments in self._assembly.add(hypotheses):
            self._finish(recording_id, segments)

    def flush_if_due(self) -> None:
        overdue = time.monotonic() - self._flushed > self._plan.settings.flush_interval_s
        if len(self._finished) >= ROWS_PER_PART or (overdue and self._finished):
            self.flush()

    def finish(self) -> None:
        """Write what is left. A recording that never came back is a failure with a row like any other."""
        for recording_id, segments in list(self._assembly.unfinished()):
            self._finish(recording_id, segments, complete=False)
        for recording_id in list(self._waiting):
            self._finish(recording_id, [], complete=False)
        self.flush()

    def flush(self) -> None:
        """Commit what is finished, but for what another driver of the run has committed meanwhile."""
        while self._finished:
            segments, transcripts = (
                [row for rows in kind for row in rows] for kind in zip(*self._finished.values(), strict=True)
            )
            try:
                self._plan.output.write(segments, pa.Table.from_pylist(transcripts, self._schema))
                self._finished = {}
            except FileExistsError:
                self._give_way()
            except AlreadyPublished:
                self._give_way()
                if self._finished or self._waiting:
                    raise
        self._flushed = time.monotonic()

    def _give_way(self) -> None:
        """Leave out what another driver has committed."""
        for segments, transcripts in self._plan.output.catch_up():
            theirs = set(transcripts["recording_id"].to_pylist())
            ours = theirs & self._finished.keys()  # counted already
            counted = pc.is_in(transcripts["recording_id"], value_set=pa.array(ours, pa.string()))
            self._tally.add_part(segments.slice(0, 0) if ours else segments, transcripts.filter(pc.invert(counted)))
            self._finished = {key: rows for key, rows in self._finished.items() if key not in ours}
            self._waiting -= theirs

    def _finish(self, recording_id: str, segments: list[Row], complete: bool = True) -> None:
        if recording_id not in self._waiting:  # a stage that Ray ran twice
            return
        self._waiting.remove(recording_id)
        at = self._row_of[recording_id]
        recording = self._plan.listing.recordings.slice(at, 1).to_pylist()[0]
        extra = self._plan.listing.extra.slice(at, 1).to_pylist()[0] if self._plan.listing.extra.num_columns else {}
        read = next((row["content_version"] for row in segments if row["segment_count"] is not None), None)
        known = {"uri": recording["uri"], "content_version": read or recording["content_version"]}
        asked = {key: recording[key] for key in ("place", "range_start_s", "range_end_s")}
        asked["declared_language"] = recording["language"]
        segments = assemble.settle(segments)
        transcripts = []
        for row in assemble.transcripts(recording_id, segments, self._plan.settings.guards, complete):
            transcripts.append(known | asked | self._provenance | extra | row)
            if row["channel"] is None:
                self._tally.add(row, segments)
                flow.count_recording(row["outcome"], row["failure_code"], row["duration_s"] or 0.0)
        own = [
            segment | known | self._provenance | {"recording_id": assemble.channel_id(recording_id, segment["channel"])}
            for segment in segments
        ]
        self._finished[recording_id] = own, transcripts
