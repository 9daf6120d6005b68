"""One evaluation, end to end: a corpus or a manifest with references through the job, then scores and a report.

datasets/<corpus>/                    the manifest, and clips that lay in archives
evaluations/<id>/utterances.parquet   scoring.tables.UTTERANCE
evaluations/<id>/scores.parquet       scoring.tables.SCORE
evaluations/<id>/report.html          for people
evaluations/<id>/report.json          for machines; written last: it publishes the evaluation
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import store
from pipeline.errors import ConfigurationError, JobError
from pipeline.ledger import done, parts
from pipeline.ledger.done import Status
from pipeline.planning import Plan
from pipeline.references import FOLDER, Input, read_baseline
from pipeline.schema import Outcome
from pipeline.scoring import page, tables
from pipeline.scoring.error_rate import normalizer
from pipeline.tasks.transcribe.schema import TRANSCRIPT

# What the rows of a transcript must have for scoring beside KEYS; segments are not read.
COLUMNS = pa.schema(
    [TRANSCRIPT.field(name) for name in "run_id duration_s text language flags outcome failure_detail".split()]
)
NAMED = 10  # of the recordings that are not scored; the report names all
Row = dict[str, Any]


def evaluate(plan: Plan, what: Input) -> Row:
    """Score the newest transcripts of a plan's recordings, write the evaluation and return its report.

    Raises:
        ConfigurationError: the recordings have no transcripts with references.
        JobError: the output cannot be read or written.
    """
    try:
        rows, not_scored, runs = _transcripts(plan, what.reference)
        if not rows:
            why = "; ".join(_left_out(plan, not_scored))
            raise ConfigurationError(f"--input {what.settings.input}: nothing to score ({why})")
        problems = [*what.problems, *_left_out(plan, not_scored)]
        by = [normalizer(name) for name in what.settings.normalizers]
        utterances = tables.utterances(rows, what.reference, by, what.settings.cer_languages)
        report = _report(plan, what, utterances, runs) | {"problems": problems, "not_scored": not_scored}
        report["failures"] = [
            {name: row.get(name) for name in ("utterance_id", "uri", "failure_code", "failure_detail")}
            for row in rows
            if row["outcome"] == Outcome.FAILED
        ]
        _write(f"{plan.output.uri}/{FOLDER}/{plan.output.run_id}", report, utterances)
        return report
    except store.READ_ERRORS as error:
        raise JobError(f"--output {plan.output.uri}: {store.explain(error)}") from error


def _transcripts(plan: Plan, reference: str) -> tuple[list[Row], list[Row], list[Row]]:
    """The transcripts to score, each with the columns that its recording has in today's manifest; the recordings that
    are not scored (recording_id, uri, why): together with the first, all that are listed; and the reports of the runs.

    A transcript is scored when it counts for the recording as it is today, with these settings.
    """
    listed = plan.task.recordings(plan.settings)  # a plan has no more than what is to do
    places = listed.recordings["place"]
    reports = parts.of_task(parts.reports(plan.output.uri), plan.task.name)
    index, found = done.Index(plan.about["fingerprint"]), {}
    for name, keys in parts.published(plan.output.uri, reports):
        about = pc.and_(pc.is_in(keys["place"], value_set=places), pc.is_null(keys["channel"]))
        if pc.any(about).as_py():
            index.add(keys.filter(about))
            more = parts.read_part(plan.output.uri, name, COLUMNS.names).cast(COLUMNS)
            own = zip(keys.filter(about).to_pylist(), more.filter(about).to_pylist(), strict=True)
            found |= {key["place"]: key | row for key, row in own}  # the newest comes last
    status = index.find(listed.recordings).is_(Status.DONE, Status.FAILED_BEFORE).tolist()
    recordings = listed.recordings.select(["recording_id", "place", "uri"]).to_pylist()
    rows, not_scored = [], []
    for recording, own, transcribed in zip(recordings, listed.extra.to_pylist(), status, strict=True):
        if transcribed and str(own[reference] or "").strip():
            own[reference] = str(own[reference])
            rows.append(own | found[recording["place"]] | {"recording_id": recording["recording_id"]})
        else:
            why = f"no {reference}" if transcribed else "not transcribed"
            not_scored.append({"recording_id": recording["recording_id"], "uri": recording["uri"], "why": why})
    used = {row["run_id"] for row in rows}
    return rows, not_scored, [report for report in reports if report["run_id"] in used]


def _left_out(plan: Plan, not_scored: Sequence[Row]) -> list[str]:
    """In words, what of a manifest is not scored."""
    total, repeated = plan.why.total(), plan.listing.repeated
    uris: dict[str, list[str]] = defaultdict(list)
    for row in not_scored:
        uris[row["why"]].append(row["uri"])
    problems = []
    for why, names in uris.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        problems.append(f"{len(names)} of {total} recordings are not scored ({why}): {', '.join(names[:NAMED])}{more}")
    if repeated:
        problems.append(f"{repeated} rows of the manifest repeat earlier ones: each is scored once")
    return problems


def _report(plan: Plan, what: Input, rows: Sequence[Row], runs: Sequence[Row]) -> Row:
    settings, first = what.settings, what.settings.normalizers[0]
    facts = {name: plan.about[name] for name in ("model", "model_revision", "fingerprint", "pipeline_version")}
    report = facts | {
        "evaluation_id": plan.output.run_id,
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "corpus": what.facts,
        "declared_language": settings.declare_language,
        "scores": tables.scores(rows),
        "runs": {
            run["run_id"]: {name: run["numbers"][name] for name in ("recordings", "audio_s", "wall_s", "speed")}
            for run in runs
        },
        "comparison": None,
    }
    if settings.baseline:
        identity, before = read_baseline(settings.output, settings.baseline)
        by = normalizer(first)
        own = [row for row in rows if row["normalizer"] == first]
        before = tables.scored_again([row for row in before if row["normalizer"] == before[0]["normalizer"]], by)
        lines, notes = tables.compare(own, before, settings.max_regression / 100)
        report["comparison"] = {"baseline": identity, "limit": settings.max_regression, "lines": lines, "notes": notes}
    return report


def _write(folder: str, report: Row, rows: Sequence[Row]) -> None:
    said = {"evaluation_id": report["evaluation_id"], "dataset": report["corpus"]["dataset"]}
    said |= {name: report[name] for name in tables.SCORE.names if name in report}
    scores = [said | line for line in report["scores"]]
    marked = [row | {"evaluation_id": report["evaluation_id"]} for row in rows]
    for name, data in {
        "utterances.parquet": parts.parquet(pa.Table.from_pylist(marked, tables.UTTERANCE)),
        "scores.parquet": parts.parquet(pa.Table.from_pylist(scores, tables.SCORE)),
        "report.html": page.render(report, rows).encode(),
        "report.json": parts.to_json(report),
    }.items():
        store.replace(f"{folder}/{name}", data)
