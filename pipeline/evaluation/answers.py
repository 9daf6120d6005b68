"""Answers to the last turn of a task file, scored as right or wrong.

evaluations/<id>/answers.parquet   scoring.answers.tables.ANSWER
evaluations/<id>/scores.parquet    scoring.answers.tables.SCORE
evaluations/<id>/report.html       for people
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ConfigurationError
from pipeline.evaluation.inputs import Input, read_baseline
from pipeline.ledger import parts
from pipeline.log import Log
from pipeline.planning import Plan
from pipeline.schema import PROVENANCE, Outcome
from pipeline.scoring.answers import page, tables, text
from pipeline.scoring.answers.right import Kind, scoring, wanted
from pipeline.sources.columns import plain

# What is read of a row of answers; the columns that a question's schema decides are not.
COLUMNS = [
    *"place question_name question answer tool_calls outcome failure_code failure_detail".split(),
    *(field.name for field in PROVENANCE),
]
Row = dict[str, Any]


class Answers:
    """An evaluation.protocol.Scored."""

    table: ClassVar[str] = "answers"
    lacking: ClassVar[str] = "not asked"
    written: ClassVar[tuple[str, pa.Schema]] = ("answers", tables.ANSWER)
    score_schema: ClassVar[pa.Schema] = tables.SCORE

    def __init__(self, plan: Plan, what: Input) -> None:
        self.what, self._questions = what, what.settings.questions()
        self._turn = self._questions.turns[-1]
        asked = self._questions
        self._kind = Kind.TOOLS if asked.tools else Kind.SCHEMA if asked.answer_schema else Kind.TEXT
        if plan.count and plan.count == plan.why.total():
            self._check(plain(plan.listing.extra, what.reference))

    def _check(self, values: Sequence[Any]) -> None:
        """Raise ConfigurationError where none of the values is a reference: no engine need start for that."""
        reasons = []
        for value in values:
            try:
                self.reference(value)
                return
            except ValueError as reason:
                reasons.append(str(reason))
        why = ", ".join(dict.fromkeys(reasons))
        raise ConfigurationError(
            f"--input {self.what.settings.input}: no row to score: the column {self.what.reference} has no reference"
            f" for an answer of this task ({why})"
        )

    def reference(self, value: Any) -> str:
        found = self.what.text(value)
        try:
            wanted(self._kind, found)
        except ValueError as error:
            raise ValueError(f"its {self.what.reference} is {error}") from error
        return found

    def read(self, output: str, name: str, keys: pa.Table, wanted: pa.Array) -> Mapping[str, Row]:
        by_place = {key["place"]: key for key in keys.filter(wanted).to_pylist()}
        found = parts.read_part(output, name, COLUMNS)
        own = pc.is_in(found["place"], value_set=pa.array(by_place, pa.string()))
        rows = found.filter(pc.and_(own, pc.equal(found["question_name"], self._turn.name))).to_pylist()
        return {row["place"]: by_place[row["place"]] | row | {"tool_calls": _calls(row["tool_calls"])} for row in rows}

    def score(self, rows: Sequence[Row]) -> tuple[Row, list[Row]]:
        settings, column = self.what.settings, self.what.reference
        by = scoring(self._kind, (row[column] for row in rows))
        if self._kind == Kind.SCHEMA and not by.fields:
            raise ConfigurationError(f"--input {settings.input}: nothing to score (no reference has a field)")
        answers = tables.answers(rows, column, by)
        report: Row = {
            "asked": {
                "task": self._questions.name,
                "kind": self._kind.value,
                "question_name": self._turn.name,
                "question": self._turn.question,
            },
            "scores": tables.scores(answers),
            "comparison": None,
            "failures": [
                {name: row[name] for name in ("recording_id", "uri", "failure_code", "failure_detail")}
                for row in answers
                if row["outcome"] == Outcome.FAILED
            ],
        }
        if settings.baseline:
            identity, before = read_baseline(settings)
            lines, notes = tables.compare(answers, before, by, settings.max_regression / 100)
            report["comparison"] = {"baseline": identity, "limit": settings.max_regression}
            report["comparison"] |= {"lines": lines, "notes": notes}
        return report, answers

    def page(self, report: Row, rows: Sequence[Row]) -> str:
        return page.render(report, rows)

    def show(self, report: Row, log: Log) -> None:
        text.show(report, log)


def _calls(calls: Sequence[Row] | None) -> str | None:
    """Tool calls of a row of answers as one JSON text."""
    if calls is None:
        return None
    found = [{"name": call["name"], "arguments": json.loads(call["arguments"])} for call in calls]
    return json.dumps(found, ensure_ascii=False)
