"""Transcripts, scored by their error rates.

evaluations/<id>/utterances.parquet   scoring.tables.UTTERANCE
evaluations/<id>/scores.parquet       scoring.tables.SCORE
evaluations/<id>/report.html          for people
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.evaluation.inputs import Input, read_baseline
from pipeline.ledger import parts
from pipeline.log import Log
from pipeline.planning import Plan
from pipeline.schema import Outcome
from pipeline.scoring import page, tables, text
from pipeline.scoring.error_rate import normalizer
from pipeline.tasks.transcribe.schema import TRANSCRIPT

# What the rows of a transcript must have for scoring beside KEYS; segments are not read.
COLUMNS = pa.schema(
    [TRANSCRIPT.field(name) for name in "run_id duration_s text language flags outcome failure_detail".split()]
)
Row = dict[str, Any]


class Transcripts:
    """An evaluation.protocol.Scored."""

    table: ClassVar[str] = "transcripts"
    lacking: ClassVar[str] = "not transcribed"
    written: ClassVar[tuple[str, pa.Schema]] = ("utterances", tables.UTTERANCE)
    score_schema: ClassVar[pa.Schema] = tables.SCORE

    def __init__(self, plan: Plan, what: Input) -> None:
        self.what = what

    def reference(self, value: Any) -> str:
        return self.what.text(value)

    def read(self, output: str, name: str, keys: pa.Table, wanted: pa.Array) -> Mapping[str, Row]:
        found = parts.read_part(output, name, COLUMNS.names).cast(COLUMNS)
        pairs = zip(keys.filter(wanted).to_pylist(), found.filter(wanted).to_pylist(), strict=True)
        return {key["place"]: key | row for key, row in pairs}

    def score(self, rows: Sequence[Row]) -> tuple[Row, list[Row]]:
        settings, utterances = self.what.settings, self.utterances(rows)
        report: Row = {
            "declared_language": settings.declare_language,
            "scores": tables.scores(utterances),
            "comparison": self._comparison(utterances) if settings.baseline else None,
            "failures": [
                {"utterance_id": row[self._named_by()]}
                | {name: row[name] for name in ("uri", "failure_code", "failure_detail")}
                for row in rows
                if row["outcome"] == Outcome.FAILED
            ],
        }
        return report, utterances

    def utterances(self, rows: Sequence[Row]) -> list[Row]:
        """UTTERANCE rows: of each row one for each normaliser, in this order."""
        settings = self.what.settings
        by = [normalizer(name) for name in settings.normalizers]
        return tables.utterances(rows, self.what.reference, by, settings.cer_languages, self._named_by())

    def _named_by(self) -> str:
        """The column with an utterance's name: manifests of corpora have one."""
        return "place" if self.what.settings.dataset == "manifest" else "utterance_id"

    def _comparison(self, rows: Sequence[Row]) -> Row:
        settings, by = self.what.settings, normalizer(self.what.settings.normalizers[0])
        identity, before = read_baseline(settings)
        own = [row for row in rows if row["normalizer"] == by.name]
        before = [row for row in before if row["normalizer"] == before[0]["normalizer"]]
        # Earlier versions named utterances by a column of the manifest.
        shared = {row["utterance_id"] for row in own} & {row["utterance_id"] for row in before}
        key = "utterance_id" if shared else "recording_id"
        before = tables.scored_alike(before, own, by, key)
        lines, notes = tables.compare(own, before, settings.max_regression / 100, key)
        return {"baseline": identity, "limit": settings.max_regression, "lines": lines, "notes": notes}

    def page(self, report: Row, rows: Sequence[Row]) -> str:
        return page.render(report, rows)

    def show(self, report: Row, log: Log) -> None:
        text.show(report, log)
