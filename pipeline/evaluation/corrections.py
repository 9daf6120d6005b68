"""What people have corrected on the reading page, as references: each segment's text against what was said.

A line of the file is docs/reading.md's; segments are taken from the published tables, where the line's run left them.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from pipeline import identity, storage_errors, store
from pipeline.errors import ConfigurationError
from pipeline.evaluation.inputs import Input
from pipeline.evaluation.settings import Evaluation
from pipeline.evaluation.transcripts import Transcripts
from pipeline.ledger import parts
from pipeline.registry import TRANSCRIBE
from pipeline.schema import PROVENANCE, Outcome

REFERENCE = "corrected_text"
CHOSEN = "without --sample-for-review they say nothing of the other segments"
# Of the table of segments what is read.
COLUMNS = [
    *"recording_id uri channel segment_index start_s end_s text language flags failure_code failure_detail".split(),
    *(field.name for field in PROVENANCE),
]
SegmentKey = tuple[str, str, int | None, int]  # run_id, recording_id, channel, segment_index
Row = dict[str, Any]


class Drawn(BaseModel):
    """Which sample a segment is of, as exports.reading.sample drew it: how many segments of how many, and of its
    stratum."""

    sample_id: str
    drawn: int = Field(ge=1)
    segments: int = Field(ge=1)
    stratum: str
    stratum_drawn: int = Field(ge=1)
    stratum_segments: int = Field(ge=1)


class Correction(BaseModel):
    """What is read of a line."""

    recording_id: str
    uri: str
    channel: int | None
    segment_index: int
    text: str | None
    corrected_text: str
    corrected_at: AwareDatetime
    content_version: str | None
    run_id: str
    fingerprint: str
    sample: Drawn | None = None

    @property
    def key(self) -> SegmentKey:
        """The segment that it is about."""
        return self.run_id, self.recording_id, self.channel, self.segment_index


@dataclass(frozen=True)
class Corrected:
    """Rows as scoring.tables.utterances takes them, with `weight` and `stratum`, null where there was no `sample`; the
    corrections that are not scored (recording_id, uri, segment_index, why); the reports of the runs; and what is to be
    said of all."""

    rows: list[Row]
    not_scored: list[Row]
    reports: list[Row]
    sample: str | None
    notes: list[str]


class Corrections(Transcripts):
    """Segments are scored as transcripts are, with their weights."""

    def __init__(self, settings: Evaluation) -> None:
        facts: Row = {"dataset": "corrections", "input": settings.input, "split": None, "published": None, "counts": {}}
        self.what = Input(settings, REFERENCE, facts | {"corrections": list(settings.corrections)}, [])

    def utterances(self, rows: Sequence[Row]) -> list[Row]:
        each = [row for row in rows for _ in self.what.settings.normalizers]
        found = zip(super().utterances(rows), each, strict=True)
        return [one | {name: row[name] for name in ("weight", "stratum")} for one, row in found]


def read(files: Sequence[str]) -> list[Correction]:
    """The newest correction of each segment, of equally new ones the last.

    Raises:
        ConfigurationError: a file cannot be read, or a line in it is no correction.
    """
    found: dict[SegmentKey, Correction] = {}
    for file in files:
        with storage_errors.errors_as(ConfigurationError, f"--corrections {file}"):
            data = store.read(file)
        try:
            lines = data.decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"--corrections {file}: not JSONL in UTF-8: save it on a reading page") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                one = Correction.model_validate_json(line)
            except ValidationError as error:
                raise ConfigurationError(f"--corrections {file}, line {number}: {_explain(error)}") from error
            if one.key not in found or one.corrected_at >= found[one.key].corrected_at:
                found[one.key] = one
    if not found:
        raise ConfigurationError(f"--corrections {', '.join(files)}: no corrections in it")
    return list(found.values())


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "json_invalid" or not name:
        return "not a JSON object; a correction is one, as a reading page saves it"
    return f"no {name}" if problem["type"] == "missing" else f"{name} {problem['input']!r:.80}: {problem['msg']}"


def fit(source: str, corrections: Sequence[Correction]) -> Corrected:
    """The corrected segments of an output, and weights where they are of a sample.

    Raises:
        storage_errors.READ_ERRORS: its tables cannot be read.
    """
    runs = {
        report["run_id"]: report
        for report in parts.of_task(parts.reports(source), TRANSCRIBE)
        if report["run_id"] in {one.run_id for one in corrections}
    }
    published = {key: row for report in runs.values() for key, row in _segments(source, report, corrections)}
    recordings = {key[:2] for key in published}
    sample = _sample(corrections)
    rows: list[Row] = []
    kept: list[Correction] = []
    not_scored: list[Row] = []
    for one in corrections:
        segment = published.get(one.key)
        if one.run_id not in runs:
            why = f"--input has no published run {one.run_id}"
        elif (one.run_id, one.recording_id) not in recordings:
            why = f"run {one.run_id} has no such recording"
        elif segment is None:
            why = "the recording has no such segment"
        elif (one.fingerprint, one.content_version) != (segment["fingerprint"], segment["content_version"]):
            why = "it is of other settings or of other audio"
        elif one.text != segment["text"]:
            why = "the segment has another text"
        elif sample and (one.sample is None or one.sample.sample_id != sample):
            why = f"not in the sample {sample}"
        else:
            rows.append(_row(segment, one))
            kept.append(one)
            continue
        not_scored.append(
            {name: getattr(one, name) for name in ("recording_id", "uri", "segment_index")} | {"why": why}
        )
    notes = (
        _weigh(rows, kept) if sample else [f"the rates are of the {len(rows)} segments that were corrected: {CHOSEN}"]
    )
    used = {row["run_id"] for row in rows}
    return Corrected(rows, not_scored, [report for name, report in runs.items() if name in used], sample, notes)


def _segments(source: str, report: Row, corrections: Iterable[Correction]) -> Iterable[tuple[SegmentKey, Row]]:
    """The rows of a run's segments in whose recordings something is corrected."""
    run_id = report["run_id"]
    own = {(one.recording_id, one.channel) for one in corrections if one.run_id == run_id}
    ids = {recording_id for recording_id, _ in own} | {identity.channel_id(*each) for each in own}
    recordings = pa.array(ids, pa.string())
    for name in report["segments"]:
        table = parts.read_part(source, name, COLUMNS)
        for row in table.filter(pc.is_in(table["recording_id"], value_set=recordings)).to_pylist():
            whole = identity.whole_id(row["recording_id"], row["channel"])
            yield (run_id, whole, row["channel"], row["segment_index"]), row | {"recording_id": whole}


def _row(segment: Row, one: Correction) -> Row:
    place = identity.place(segment["uri"], segment["start_s"], segment["end_s"])
    return segment | {
        "run_id": one.run_id,
        "place": place if one.channel is None else f"{place}&channel={one.channel}",
        "declared_language": None,  # nobody was asked for the language: that it is right is not scored
        "duration_s": segment["end_s"] - segment["start_s"],
        "outcome": Outcome.FAILED if segment["text"] is None else Outcome.OK,
        REFERENCE: one.corrected_text,
        "weight": None,
        "stratum": None,
    }


def _sample(corrections: Sequence[Correction]) -> str | None:
    """The sample of the newest correction that is of one."""
    sampled = [one for one in corrections if one.sample]
    newest = max(sampled, key=lambda one: one.corrected_at, default=None)
    return newest.sample.sample_id if newest and newest.sample else None


def _weigh(rows: Sequence[Row], kept: Sequence[Correction]) -> list[str]:
    """Give rows the weights with which those of a stratum stand for all of it: its segments by those of it that are
    corrected. Returns what is missing."""
    drawn = [one.sample for one in kept if one.sample]
    corrected = Counter(one.stratum for one in drawn)
    for row, one in zip(rows, drawn, strict=True):
        row |= {"weight": one.stratum_segments / corrected[one.stratum], "stratum": one.stratum}
    notes = []
    if drawn and len(drawn) < drawn[0].drawn:
        notes.append(
            f"{len(drawn)} of the {drawn[0].drawn} segments in the sample are corrected: the rates take the others to"
            " be like the corrected ones of their stratum"
        )
    reached = sum({one.stratum: one.stratum_segments for one in drawn}.values())
    if drawn and reached < drawn[0].segments:
        notes.append(
            f"the rates are of {reached} of {drawn[0].segments} segments: in the strata of the others nothing is"
            " corrected"
        )
    return notes
