"""What a run would do: what there is, less what is done, and whether anything is wrong before an engine starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import __version__, estimate, identity, models, storage_errors, store, tasks
from pipeline.audio import confined
from pipeline.errors import ConfigurationError
from pipeline.flow.device import device
from pipeline.ledger import access, done, keys, parts, starts
from pipeline.ledger.done import Status
from pipeline.ledger.parts import Output
from pipeline.ledger.report import Tally
from pipeline.models import demand
from pipeline.models.checkpoint import Checkpoint, inspect
from pipeline.redaction import redacted
from pipeline.schema import PROVENANCE, FailureCode
from pipeline.settings import Settings
from pipeline.sources.listing import Listing
from pipeline.tasks.protocol import Task

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run would do: the rows of `listing`.

    `why` counts all recordings that are listed, by Status. `resumed` tells whether an earlier driver of the same run
    was stopped; `tally` has counted the recordings that it has done.
    """

    settings: Settings
    task: Task
    checkpoint: Checkpoint
    about: Row
    output: Output
    listing: Listing
    why: Counter[str]
    tally: Tally
    resumed: bool
    same_before: int | None  # published runs with these facts; None where the run has a name that somebody gave it
    speed: estimate.Speed | None  # of one engine, as far as it is known

    @property
    def count(self) -> int:
        return len(self.listing.recordings)

    def estimate(self) -> tuple[float, estimate.Estimate | None]:
        """Seconds of audio to do, about, and what they take where the speed is known."""
        seconds = float(estimate.seconds_each(self.listing.recordings, self.settings.audio).sum())
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


def plan(settings: Settings, own_only: bool = False, tell: Callable[[str], object] = lambda _: None) -> Plan:
    """Look at everything that can be wrong before an engine is started, and at what there is to do. `tell` is told what
    is looked at.

    With `own_only` rows of other models and settings change nothing: what is done with these stays done, though others
    have done it since.

    Raises:
        ConfigurationError: model, input, output or tools are not as they should be.
    """
    confined.check_tools()
    tell(f"looking at the model {settings.engine.model}")
    task, checkpoint, settings = _fitted(settings)
    runtime, runtime_version = checkpoint.runtime, None
    if task.requires:
        runtime, runtime_version = models.runtime(settings.engine, checkpoint)
    began = datetime.now(UTC)
    about: Row = {
        "task": task.name,
        "input": store.join(*store.split(settings.input)),
        "limit": settings.limit,
        "fingerprint": fingerprint(task, settings, checkpoint),
        "retry": [str(code) for code in settings.retry],
        "model": settings.engine.model,
        "model_revision": checkpoint.revision,
        "runtime": runtime,
        "runtime_version": runtime_version,
        "pipeline_version": __version__,
        "started_at": began.isoformat(),
        **task.facts,
    }
    *_, of_recordings = task.tables
    tell(f"looking at what is below {settings.output}")
    (access.probe if settings.dry_run else access.check)(settings.output)
    rows, own = done.Index(about["fingerprint"], own_only), done.Index(about["fingerprint"])  # earlier runs; this one
    earlier_runs = f"--output {settings.output}: its earlier runs cannot be read"
    with storage_errors.errors_as(ConfigurationError, earlier_runs, storage_errors.READ_ERRORS):
        reports, same = parts.reports(settings.output), parts.same(about)
        if reports and reports[-1]["finished_at"] >= about["started_at"]:  # our clock is behind that of its driver
            began = datetime.fromisoformat(reports[-1]["finished_at"]) + timedelta(microseconds=1)
            about["started_at"] = began.isoformat()
        earlier = parts.of_task(reports, task.name)
        _refuse_other_types(task, settings.output, earlier)
        run_id = (
            settings.run_id or starts.stopped(settings.output, reports, about) or began.strftime("%Y%m%dT%H%M%S.%fZ")
        )
        output, tally = Output(settings.output, run_id, list(task.tables)), Tally(task.numbers(), of_recordings)
        if settings.run_id:
            output.refuse_published()
        elif output.is_published():
            raise parts.AlreadyPublished(run_id)
        if resumed := output.began_with(about):
            for part in output.catch_up():
                own.add(keys.with_keys(part[of_recordings]))
                tally.add_part(part)
        for _, table in parts.published(settings.output, earlier):
            rows.add(table)
    rows.complete()
    own.complete()
    why: Counter[str] = Counter()
    tell(f"listing {settings.input}")
    retried = [str(code) for code in (FailureCode if "failed" in settings.retry else settings.retry)]

    def keep(recordings: pa.Table) -> np.ndarray:
        found = rows.find(recordings)
        why.update(found.counts)
        tell(f"listing {settings.input}: {why.total()} recordings so far")
        todo = found.failed_with(retried) if settings.retry else ~found.is_(Status.DONE, Status.UNREACHABLE)
        return todo & ~own.find(recordings).same if resumed else todo

    found = task.recordings(settings, keep)
    if task.requires:
        demand.check(task.demand(settings, checkpoint), settings.engine, checkpoint)
    # Runs that start no engine say nothing of how fast one is.
    alike = [report for report in earlier if report.get("settings", {}).get("keep_texts", False) == settings.keep_texts]
    about |= {"run_id": run_id, "output": output.uri, "settings": redacted(settings.model_dump(mode="json"))}
    return Plan(
        settings,
        task,
        checkpoint,
        about,
        output,
        found,
        why,
        tally,
        resumed,
        None if settings.run_id or resumed else sum(same.items() <= report.items() for report in reports),
        estimate.Speed(settings.engine_speed) if settings.engine_speed else estimate.measured(alike, about),
    )


def _fitted(settings: Settings) -> tuple[Task, Checkpoint, Settings]:
    """The task that settings mean, the model, and the settings with what they leave open chosen for both."""
    task, checkpoint = tasks.load(settings), inspect(settings.engine)
    models.require(task.name, task.requires, checkpoint)
    resolved = {"device": device(settings.engine)}
    if settings.engine.server:
        resolved["model"] = checkpoint.model  # a server's only one need not be named
    engine = settings.engine.model_copy(update=resolved)
    return task, checkpoint, task.fit(settings.model_copy(update={"engine": engine}), checkpoint)


def claimed(plan: Plan) -> Plan:
    """A plan that is about to be carried out, under the name on which the drivers agree that begin at this moment.

    Raises:
        ConfigurationError: the output may not be written.
    """
    if plan.same_before is None or not plan.count:
        return plan
    uri = plan.output.uri
    with storage_errors.errors_as(ConfigurationError, f"--output {uri}"):
        run_id = starts.claim(uri, plan.same_before, plan.about, plan.output.run_id)
    output = Output(uri, run_id, list(plan.task.tables))
    return replace(plan, about=plan.about | {"run_id": run_id}, output=output, same_before=None)


def _refuse_other_types(task: Task, output: str, earlier: Sequence[Row]) -> None:
    """Raise ConfigurationError where the newest run of the task wrote columns of other types than this one would: its
    tables could not be read as one."""
    for table, schema in task.tables.items():
        name = next((report[table][-1] for report in reversed(earlier) if report.get(table)), None)
        written = parts.schema(output, name) if name else schema
        for field in schema:
            if field not in PROVENANCE and field.name in written.names and written.field(field.name).type != field.type:
                raise ConfigurationError(
                    f"--output {output}: the column {field.name} of its table {table} is {_short(field.type)} in this"
                    f" run, and {_short(written.field(field.name).type)} in earlier ones, so that the table could not"
                    " be read as one: choose another --output"
                )


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 120 else f"{text[:117]}..."


def fingerprint(task: Task, settings: Settings, checkpoint: Checkpoint) -> str:
    """A hash of what changes a row of a task: recordings are done again where it differs."""
    return identity.fingerprint(task.name, task.fingerprint(settings, checkpoint))
