"""One evaluation, end to end: a corpus or a manifest with references through the job, then scores and a report.

datasets/<corpus>/                    the manifest, and clips that lay in archives
evaluations/<id>/utterances.parquet   scoring.tables.UTTERANCE
evaluations/<id>/scores.parquet       scoring.tables.SCORE
evaluations/<id>/report.html          for people
evaluations/<id>/report.json          for machines; written last: it publishes the evaluation
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from pipeline import planning, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.ledger import done, parts
from pipeline.ledger.done import Status
from pipeline.planning import Plan
from pipeline.schema import Outcome
from pipeline.scoring import page, tables
from pipeline.scoring.error_rate import UNSPACED, NormalizerName, normalizer
from pipeline.settings import Settings
from pipeline.sources.datasets import CORPORA, Choice, write_manifest
from pipeline.tasks.transcribe.schema import TRANSCRIPT

FOLDER = "evaluations"
# What the rows of a transcript must have for scoring beside KEYS; segments are not read.
COLUMNS = pa.schema(
    [TRANSCRIPT.field(name) for name in "run_id duration_s text language flags outcome failure_detail".split()]
)
OF_A_CORPUS = ("configs", "sample", "one_per_sentence", "declare_language")  # settings
NAMED = 10  # of the recordings that are not scored; the report names all
Row = dict[str, Any]
DatasetName = Literal["manifest", "fleurs", "common-voice", "mls"]


class Evaluation(Settings):
    """Transcribe recordings that have references, and score the transcripts: error rates by language with confidence
    intervals, a page with charts, tables, and the difference from an earlier evaluation.

    It has all settings of jobs.transcribe. Started again, it transcribes only what is not done yet with them.

    Examples:

        python -m jobs.evaluate --input references.csv --output s3://bucket/evaluation
        python -m jobs.evaluate --dataset common-voice --configs en,de --input /data/common-voice --output evaluation/
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m jobs.evaluate")

    dataset: DatasetName = "manifest"
    """What --input holds: a manifest with references; or a corpus as it is downloaded: FLEURS (tsv and tar.gz, or
    Parquet; also hf://datasets/google/fleurs), Common Voice (tsv and clips), Multilingual LibriSpeech."""
    configs: tuple[str, ...] = ()
    """Parts of the corpus: en_us,de_de (FLEURS); en,de (Common Voice); german,dutch (MLS)."""
    split: str = "test"
    """Split of the corpus."""
    sample: int | None = Field(default=None, ge=1)
    """Take only so many utterances of each configuration, drawn at random and always the same."""
    one_per_sentence: bool = False
    """FLEURS: take only the first recording of each sentence, as some published figures do."""
    declare_language: bool = False
    """Tell the model the language of a corpus. Default: it is found, as for recordings of which nothing is known."""
    reference: str | None = None
    """Column with the reference. Default: reference; FLEURS: transcription (or raw_transcription); Common Voice:
    sentence."""
    normalizers: tuple[NormalizerName, ...] = Field(default=("whisper", "marks"), min_length=1)
    """How texts are made comparable, the first for the charts. `whisper`: Whisper's normaliser; `marks`: its basic one
    with vowel signs kept; `none`."""
    cer_languages: tuple[str, ...] = UNSPACED
    """Languages that are scored by characters, since they do not space words."""
    baseline: str | None = None
    """An earlier evaluation to compare with: its id, or the place of its folder in another output."""
    max_regression: float = Field(default=1.0, ge=0)
    """Exit with status 3 when the error rate of a language, or their mean, lies more than this above the baseline and
    that is no accident (p < 0.05). [percentage points]"""


class FleursEvaluation(Evaluation):
    """Score transcripts of FLEURS: jobs.evaluate for this corpus, which comes from the hub unless --input names it.

    Examples:

        python -m jobs.evaluate_fleurs --configs en_us,de_de --output s3://bucket/evaluation --input /data/fleurs
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m jobs.evaluate_fleurs")

    input: str = "hf://datasets/google/fleurs"
    """Where FLEURS is: on the hub, or a folder or bucket prefix with tsv and tar.gz, or Parquet."""
    dataset: DatasetName = "fleurs"
    """What --input holds."""


@dataclass(frozen=True)
class Input:
    """What is evaluated: the settings with --input naming a manifest, and what a report says of the corpus."""

    settings: Evaluation
    reference: str  # column
    facts: Row
    problems: list[str]


def prepare(wanted: Evaluation) -> Input:
    """Write a corpus as a manifest, below --output; a manifest is taken as it is.

    Raises:
        ConfigurationError: there is nothing to evaluate, or settings contradict each other.
    """
    facts: Row = {"dataset": wanted.dataset, "input": wanted.input, "split": None, "published": None, "counts": {}}
    if wanted.baseline:
        read_baseline(wanted.output, wanted.baseline)
    if wanted.dataset == "manifest":
        given = [name for name in OF_A_CORPUS if getattr(wanted, name)]
        if given:
            raise ConfigurationError(f"--{given[0].replace('_', '-')} is for a corpus: name it with --dataset")
        return Input(wanted, wanted.reference or "reference", facts, [])
    corpus = CORPORA[wanted.dataset]
    if not wanted.configs:
        raise ConfigurationError(f"--configs is missing: which parts of {wanted.dataset}? (see --help)")
    try:
        parts.check(wanted.output)
        reference = wanted.reference or corpus.reference
        corpora = [
            corpus.read(wanted.input, config, wanted.split, reference) for config in dict.fromkeys(wanted.configs)
        ]
        languages = {part.language for part in corpora}
        lacking = sorted(languages - set(wanted.language.expected))
        if lacking and not wanted.declare_language:
            raise ConfigurationError(
                f"--language.expected has no {', '.join(lacking)}, which --configs {','.join(wanted.configs)} has:"
                " name it there, or --declare-language"
            )
        choice = Choice(wanted.sample, wanted.one_per_sentence, wanted.declare_language)
        manifest = write_manifest(wanted.dataset, corpora, wanted.output, choice)
    except store.STORAGE_ERRORS as error:
        raise ConfigurationError(f"--input {wanted.input}: {store.explain(error)}") from error
    known = {part.config: corpus.counts.get((part.config, wanted.split)) for part in corpora}
    facts |= {
        "split": wanted.split,
        "published": corpus.published,
        "sample": wanted.sample,
        "one_per_sentence": wanted.one_per_sentence,
        "manifest": manifest.uri,
        "counts": {
            part.config: {
                "utterances": len(part.utterances),
                "known": known[part.config],
                "sentences": len({one.sentence for one in part.utterances}),
                "evaluated": manifest.counts[part.config],
            }
            for part in corpora
        },
    }
    problems = [
        f"{part.config}: {len(part.utterances)} utterances, but the published {wanted.split} split has {count}"
        for part in corpora
        if (count := known[part.config]) not in (None, len(part.utterances))
    ]
    settings = wanted.model_copy(update={"input": manifest.uri})
    return Input(settings, "reference", facts, problems + manifest.problems)


def check_references(plan: Plan, what: Input) -> None:
    """Raise ConfigurationError unless the manifest has references."""
    columns = plan.listing.extra.column_names
    if what.reference not in columns:
        raise ConfigurationError(
            f"--input {what.settings.input}: no column {what.reference} with references; it has"
            f" {', '.join(columns) or 'none of its own'} (--reference names another)"
        )


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


def read_baseline(place: str, baseline: str) -> tuple[str, list[Row]]:
    """Id and UTTERANCE rows of an earlier evaluation, by id below an output, or by the place of its folder.

    Raises:
        ConfigurationError: it is not there.
    """
    folder = baseline.rstrip("/") if "/" in baseline else f"{place.rstrip('/')}/{FOLDER}/{baseline}"
    try:
        report = json.loads(store.read(f"{folder}/report.json"))
        rows = pq.read_table(pa.BufferReader(store.read(f"{folder}/utterances.parquet"))).to_pylist()
        return report["evaluation_id"], rows
    except store.READ_ERRORS as error:
        why = store.explain(error)
        raise ConfigurationError(f"--baseline {baseline}: {folder} is no evaluation ({why})") from error


def _transcripts(plan: Plan, reference: str) -> tuple[list[Row], list[Row], list[Row]]:
    """The transcripts to score, each with the columns that its recording has in today's manifest; the recordings that
    are not scored (recording_id, uri, why): together with the first, all that are listed; and the reports of the runs.

    A transcript is scored when it counts for the recording as it is today, with these settings.
    """
    listed = planning.listed(plan.settings, plan.task)  # a plan has no more than what is to do
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
