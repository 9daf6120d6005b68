"""One evaluation, end to end: a corpus or a manifest with references through the job, then scores and a report.

datasets/<corpus>/             the manifest, and clips that lay in archives
evaluations/<id>/*             tables and a page: see evaluations.transcripts and evaluations.answers
evaluations/<id>/report.json   for machines; written last: it publishes the evaluation
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import __version__, estimate, planning, storage_errors, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.evaluation import corrections
from pipeline.evaluation.answers import Answers
from pipeline.evaluation.inputs import FOLDER, Input, with_references
from pipeline.evaluation.protocol import Scored
from pipeline.evaluation.settings import Evaluation
from pipeline.evaluation.transcripts import Transcripts
from pipeline.ledger import done, parts
from pipeline.ledger.done import Status
from pipeline.planning import Plan
from pipeline.registry import ASK, TRANSCRIBE
from pipeline.sources.columns import plain

SCORED: dict[str, type[Scored]] = {TRANSCRIBE: Transcripts, ASK: Answers}  # by the name of the task
FACTS = ("model", "model_revision", "fingerprint", "pipeline_version")
NAMED = 10  # of the recordings that are not scored; the report names all
Row = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """What is evaluated: `plan` makes the rows, `by` scores them."""

    plan: Plan
    by: Scored


def plan(what: Input, tell: Callable[[str], object] = lambda _: None) -> Planned:
    """Look at what can be wrong before anything runs. What is done with this model and these settings is not to do
    again, whatever other models have done since.

    Raises:
        ConfigurationError: something is; or there is nothing that could be scored.
    """
    found = planning.plan(what.settings, own_only=True, tell=tell)
    return Planned(found, SCORED[found.task.name](found, with_references(found, what)))


def evaluate(planned: Planned) -> tuple[Row, list[Row]]:
    """Score the newest answers for a plan's recordings and write the evaluation. Its report, and the rows about each
    recording, as Scored.score returns them.

    Raises:
        ConfigurationError: the recordings have no answers with references.
        JobError: the output cannot be read or written.
    """
    plan, by = planned.plan, planned.by
    with storage_errors.errors_as(JobError, f"--output {plan.output.uri}", storage_errors.READ_ERRORS):
        rows, not_scored, runs = _rows(plan, by)
        if not rows:
            why = "; ".join(_left_out(plan, not_scored))
            raise ConfigurationError(f"--input {by.what.settings.input}: nothing to score ({why})")
        found, about_each = by.score(rows)
        problems = [*by.what.problems, *_left_out(plan, not_scored)]
        facts = {name: plan.about[name] for name in FACTS} | _facts(plan.output.run_id, by.what, runs)
        report = facts | found | {"problems": problems, "not_scored": not_scored}
        _write(plan.output.uri, by, report, about_each)
        return report, about_each


def of_corrections(wanted: Evaluation) -> tuple[Row, Transcripts]:
    """Score the segments that people have corrected, without an engine, and write the evaluation. Its report, and what
    shows it.

    Raises:
        ConfigurationError: a file is not one of corrections, --input cannot be read, or no correction fits what it has.
        JobError: the output cannot be written.
    """
    by, lines = corrections.Corrections(wanted), corrections.read(wanted.corrections)
    with storage_errors.errors_as(ConfigurationError, f"--input {wanted.input}", storage_errors.READ_ERRORS):
        found = corrections.fit(wanted.input, lines)
    left_out = _reasons(found.not_scored, len(lines), "corrections")
    if not found.rows:
        raise ConfigurationError(f"--corrections {','.join(wanted.corrections)}: nothing to score ({left_out[0]})")
    scores, about_each = by.score(found.rows)
    facts = {name: ", ".join(sorted({row[name] for row in found.rows})) for name in FACTS} | {
        "pipeline_version": __version__
    }
    notes = [f"the texts are of {facts['model']}"] if ", " in facts["model"] else []
    report = facts | _facts(datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"), by.what, found.reports) | scores
    report |= {"sample": found.sample, "problems": [*notes, *found.notes, *left_out], "not_scored": found.not_scored}
    with storage_errors.errors_as(JobError, f"--output {wanted.output}"):
        _write(wanted.output.rstrip("/"), by, report, about_each)
    return report, by


def _write(output: str, by: Scored | Transcripts, report: Row, about_each: Sequence[Row]) -> None:
    identity, (about, schema) = {"evaluation_id": report["evaluation_id"]}, by.written
    said = report | report.get("asked", {}) | {"dataset": report["corpus"]["dataset"]}
    rows, scores = [row | identity for row in about_each], [said | line for line in report["scores"]]
    files = {
        f"{about}.parquet": parts.parquet(pa.Table.from_pylist(rows, schema)),
        "scores.parquet": parts.parquet(pa.Table.from_pylist(scores, by.score_schema)),
        "report.html": by.page(report, about_each).encode(),
        "report.json": parts.to_json(report),
    }
    for name, data in files.items():
        store.replace(f"{output}/{FOLDER}/{report['evaluation_id']}/{name}", data)


def _rows(plan: Plan, by: Scored) -> tuple[list[Row], list[Row], list[Row]]:
    """The rows to score, each with the columns that its recording has in today's manifest; the recordings that are not
    scored (recording_id, uri, why): together with the first, all that are listed; and the reports of the runs.

    A row is scored when it counts for the recording as it is today, with these settings.
    """
    listed = plan.task.recordings(plan.settings)  # a plan has no more than what is to do
    places = listed.recordings["place"]
    reports = parts.of_task(parts.reports(plan.output.uri), plan.task.name)
    index, found = done.Index(plan.about["fingerprint"], own_only=True), {}
    files = parts.beside(reports, by.table)
    for name, keys in parts.published(plan.output.uri, reports):
        about = pc.and_(pc.is_in(keys["place"], value_set=places), pc.is_null(keys["channel"]))
        about = pc.and_(about, pc.equal(keys["fingerprint"], plan.about["fingerprint"]))
        if pc.any(about).as_py():
            index.add(keys.filter(about))
            found |= by.read(plan.output.uri, files[name], keys, about)  # the newest comes last
    status = index.find(listed.recordings).is_(Status.DONE, Status.FAILED_BEFORE).tolist()
    recordings = listed.recordings.select(["recording_id", "place", "uri"]).to_pylist()
    column, rows, not_scored = by.what.reference, [], []
    names = listed.extra.column_names
    extras = zip(*(plain(listed.extra, name) for name in names), strict=True)
    for recording, values, answered in zip(recordings, extras, status, strict=True):
        own = dict(zip(names, values, strict=True))
        try:
            if not answered:
                raise ValueError(by.lacking)
            own[column] = by.reference(own[column])
            rows.append(own | found[recording["place"]] | {"recording_id": recording["recording_id"]})
        except ValueError as why:
            not_scored.append({"recording_id": recording["recording_id"], "uri": recording["uri"], "why": str(why)})
    used = {row["run_id"] for row in rows}
    return rows, not_scored, [report for report in reports if report["run_id"] in used]


def _left_out(plan: Plan, not_scored: Sequence[Row]) -> list[str]:
    """In words, what of a manifest is not scored."""
    problems, repeated = _reasons(not_scored, plan.why.total(), "recordings"), plan.listing.repeated
    if repeated:
        problems.append(f"{repeated} rows of the manifest repeat earlier ones: each is scored once")
    return problems


def _reasons(not_scored: Sequence[Row], total: int, of: str) -> list[str]:
    """In words, why how many of all are not scored."""
    uris: dict[str, list[str]] = defaultdict(list)
    for row in not_scored:
        uris[row["why"]].append(row["uri"])
    problems = []
    for why, names in uris.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        problems.append(f"{len(names)} of {total} {of} are not scored ({why}): {', '.join(names[:NAMED])}{more}")
    return problems


def _facts(evaluation_id: str, what: Input, runs: Sequence[Row]) -> Row:
    """What the report of any evaluation says of where its figures come from, beside FACTS."""
    return {
        "evaluation_id": evaluation_id,
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "corpus": what.facts,
        "engine_speed": estimate.mean_speed(runs),
        "runs": {
            run["run_id"]: {name: run["numbers"][name] for name in ("recordings", "audio_s", "wall_s", "speed")}
            for run in runs
        },
    }
