"""Evaluations of answers end to end, with a scripted engine: Ray, ffmpeg and storage are real."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs import evaluate, evaluate_fleurs
from pipeline import store
from pipeline.ledger.parts import reports
from tests.conftest import DEMO, SCRIPTED, published

Row = dict[str, Any]
Scripted = Callable[[str], list[str]]
CLIPS = sorted((DEMO / "held_out").glob("*.ogg"))
CHOICES = """
turns:
  - What is said?
  - name: category
    question: "Is it sales or support, {customer}?"
"""
SCHEMA = """
turns: [Describe it.]
schema:
  type: object
  properties: {category: {type: string}, count: {type: integer}, summary: {type: string}}
"""
TOOLS = """
turns: [Do what the caller wants.]
tools:
  - name: open_ticket
    parameters: {type: object, properties: {subject: {type: string}}}
  - name: call_back
tool_choice: required
"""


class Folder:
    """A manifest, a task file and what the engine answers, in one folder."""

    def __init__(self, folder: Path, scripted: Scripted) -> None:
        self.folder, self.output = folder, str(folder / "out")
        self.engine = scripted(f"answer={folder / 'answer'}")

    def evaluate(self, *arguments: str, task: str, rows: Sequence[Row], answer: str = "Sales.") -> int:
        (self.folder / "answer").write_text(answer)
        (self.folder / "task.yaml").write_text(task)
        (self.folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        asked = ["--input", str(self.folder / "list.jsonl"), "--task", str(self.folder / "task.yaml")]
        return evaluate.main([*asked, "--output", self.output, *self.engine, *arguments])

    @property
    def reports(self) -> list[Row]:
        scheme, path = store.split(f"{self.output}/evaluations")
        names = sorted(store.filesystem(scheme).glob(f"{path}/*/report.json"))
        return [json.loads(store.read(store.join(scheme, str(name)))) for name in names]

    def table(self, name: str) -> list[Row]:
        """Of the last evaluation."""
        place = f"{self.output}/evaluations/{self.reports[-1]['evaluation_id']}/{name}.parquet"
        (self.folder / f"{name}.parquet").write_bytes(store.read(place))
        return pq.read_table(self.folder / f"{name}.parquet").to_pylist()


@pytest.fixture
def folder(tmp_path: Path, scripted: Scripted) -> Folder:
    return Folder(tmp_path, scripted)


def listed(*references: Any, **columns: Any) -> list[Row]:
    """A row for each reference."""
    return [{"path": str(clip), "reference": each} | columns for clip, each in zip(CLIPS, references, strict=False)]


def test_choices(shared_ray: None, folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row | {"customer": "Ann"} for row in listed("sales", "Support", "SALES", None, "sales")]
    rows[0]["language"] = rows[1]["language"] = "en-GB"
    rows[2]["language"] = "de"
    rows[4]["path"] = "gone.wav"
    folder.output = f"s3://test/{folder.folder.name}/out"
    assert folder.evaluate(task=CHOICES, rows=rows) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "right all 2 4 1 50.0 15.0 - 85.0" in said
    assert "right en 1 2 0 50.0" in said and "right de 1 1 0 100.0" in said and "right unknown 0 1 1 0.0" in said
    assert "1 answers failed; they count as wrong" in said
    problem = f"1 of 5 recordings are not scored (no reference): {CLIPS[3]}"
    assert f"attention: {problem}" in said and folder.reports[0]["problems"] == [problem]
    assert [row["why"] for row in folder.reports[0]["not_scored"]] == ["no reference"]
    assert [row["failure_code"] for row in folder.reports[0]["failures"]] == ["not_found"]
    assert folder.reports[0]["asked"] == {
        "task": "task",
        "kind": "text",
        "question_name": "category",
        "question": "Is it sales or support, {customer}?",
    }

    answers = folder.table("answers")
    assert [(row["reference"], row["answer"], row["right"]) for row in answers] == [
        ("sales", "Sales.", True),
        ("Support", "Sales.", False),
        ("SALES", "Sales.", True),
        ("sales", None, False),
    ]
    assert {row["question"] for row in answers} == {"Is it sales or support, Ann?"}
    assert [row["language"] for row in answers] == ["en", "en", "de", None]
    assert [row["failure_code"] for row in answers] == [None, None, None, "not_found"]
    assert {(row["model"], row["evaluation_id"]) for row in answers} == {
        (folder.engine[-1], folder.reports[0]["evaluation_id"])
    }
    (whole,) = [row for row in folder.table("scores") if row["language"] == "all"]
    assert (whole["score"], whole["task"], whole["question_name"]) == ("right", "task", "category")
    assert (whole["right"], whole["recordings"], whole["failed"], whole["share"]) == (2, 4, 1, 0.5)
    page = store.read(f"{folder.output}/evaluations/{whole['evaluation_id']}/report.html").decode()
    assert page.index(str(CLIPS[1])) < page.index(str(CLIPS[0]))

    # A reference is mended, and another comes: no engine starts.
    rows[1]["reference"], rows[3]["reference"] = "sales", "support"
    assert folder.evaluate("--baseline", whole["evaluation_id"], task=CHOICES, rows=rows) == 0
    said = capsys.readouterr().err
    assert "nothing to do" in said and "1 recordings are not in the baseline" in said
    assert "1 recordings have another reference in the baseline" in said
    again = folder.reports[-1]
    assert (again["scores"][0]["right"], again["scores"][0]["recordings"], again["not_scored"]) == (3, 5, [])
    assert again["comparison"]["lines"][0]["recordings"] == 3
    assert len(reports(folder.output)) == 1


@pytest.mark.slow
def test_fields_of_a_schema(shared_ray: None, folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """References as JSON in a text, and as an object; one is neither."""
    rows = listed(
        {"category": "sales", "count": 2},
        {"category": "support", "count": 2},
        {"count": 2},  # in a column with others a category that is null
    )
    answer = '{"category": "Sales", "count": 2, "summary": "A caller."}'
    assert folder.evaluate(task=SCHEMA, rows=rows, answer=answer) == 0
    expected = [("right", 1), ("field category", 1), ("field count", 3)]
    assert [(line["score"], line["right"]) for line in folder.reports[-1]["scores"]] == expected
    for row in rows:
        row["reference"] = json.dumps(row["reference"])
    rows += [row | {"path": str(CLIPS[len(rows)])} for row in listed("sales")]
    assert folder.evaluate(task=SCHEMA, rows=rows, answer=answer) == 0
    assert [(line["score"], line["right"]) for line in folder.reports[-1]["scores"]] == expected
    assert folder.reports[-1]["problems"] == [
        f"1 of 4 recordings are not scored (its reference is not JSON): {CLIPS[3]}"
    ]
    assert [one["score"] for row in folder.table("answers") for one in row["scores"] if not one["right"]] == [
        "right",
        "field category",
    ] * 2
    capsys.readouterr()

    # References without any field say nothing.
    assert folder.evaluate(task=SCHEMA, rows=listed("{}", "{}"), answer=answer) == 2
    assert "nothing to score (no reference has a field)" in capsys.readouterr().err

    # An answer that breaks the schema failed, and is wrong in every way.
    folder.output += "2"
    assert folder.evaluate(task=SCHEMA, rows=rows, answer="Sales") == 0
    assert [(line["right"], line["failed"]) for line in folder.reports[-1]["scores"]] == [(0, 3)] * 3
    assert {row["failure_code"] for row in folder.table("answers")} == {"invalid_answer"}


@pytest.mark.slow
def test_calls_of_tools(shared_ray: None, folder: Folder) -> None:
    ticket = {"name": "open_ticket", "arguments": {"subject": "Bill"}}
    call = {"name": "call_back", "arguments": {}}
    rows = listed(
        [ticket, call], [call, ticket], [{"name": "open_ticket", "arguments": {"subject": "bill"}}, call], call
    )
    assert folder.evaluate(task=TOOLS, rows=rows, answer=json.dumps([ticket, call])) == 0
    assert [(line["score"], line["right"]) for line in folder.reports[-1]["scores"]] == [("right", 2), ("names", 3)]
    assert json.loads(folder.table("answers")[0]["tool_calls"]) == [ticket, call]


@pytest.mark.slow
def test_a_regression_sets_the_exit_status(
    shared_ray: None, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers to the same question, asked in other words."""
    rows = [row | {"customer": "Ann", "answer": row["reference"]} for row in listed(*["sales"] * 8, "support")]
    assert folder.evaluate("--reference", "answer", task=CHOICES, rows=rows) == 0  # also a column of the answers
    assert folder.reports[-1]["scores"][0]["right"] == 8
    baseline = ("--reference", "answer", "--baseline", folder.reports[-1]["evaluation_id"])
    other = CHOICES.replace("or", "or rather")
    assert folder.evaluate(*baseline, task=other, rows=rows, answer="Support.") == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "-77.8 percentage points on 9 recordings (1 better, 8 worse, p = 0.0391)" in said
    assert "regression: below the baseline by more than --max-regression 1" in said
    assert folder.evaluate(*baseline, "--max-regression", "80", task=other, rows=rows, answer="Support.") == 0
    assert len(reports(folder.output)) == 2 and len(published(folder.output, "answers")) == 36


@pytest.mark.slow
def test_of_a_group_the_first_row_has_the_reference(shared_ray: None, folder: Folder) -> None:
    rows = [row | {"customer": "Ann", "group_id": "call"} for row in listed("sales", "support")]
    assert folder.evaluate(task=CHOICES, rows=rows) == 0
    assert [(row["reference"], row["right"]) for row in folder.table("answers")] == [("sales", True)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reference", "words"], "no column words with references; it has reference, customer"),
        (["--dataset", "fleurs"], "--dataset fleurs: with --task, answers are scored on a manifest"),
        (["--configs", "en_us"], "--configs is for a corpus"),
        (["--normalizers", "none"], "--normalizers is for transcripts"),
        (["--over", "transcripts"], "--over: is not for this job; leave it out"),
        (["--baseline", "never"], "--baseline never: .*evaluations/never is no evaluation of answers"),
        (["--reference", "customer"], r"no row to score: .* \(its customer is not JSON, no customer\)"),
        (["--task", "none.yaml"], "none.yaml: No such file"),
        (["--input", str(DEMO / "held_out")], "no column reference with references; it has none of its own"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_is_impossible_is_said_before_anything_starts(
    arguments: list[str], words: str, dry: list[str], folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"customer": name} for row, name in zip(listed({}, {}), ("Ann", None), strict=True)]
    assert folder.evaluate(*arguments, *dry, task=SCHEMA, rows=rows) == 2
    assert re.search(words, " ".join(capsys.readouterr().err.split()))
    assert not (folder.folder / "out/runs").exists()


def test_a_corpus_has_no_wanted_answers(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.folder / "task.yaml").write_text(CHOICES)
    arguments = ["--task", str(folder.folder / "task.yaml"), "--output", folder.output, *SCRIPTED]
    assert evaluate_fleurs.main([*arguments, "--configs", "en_us"]) == 2
    assert "--task: is not for this job" in capsys.readouterr().err
    corpus = ["--dataset", "fleurs", "--configs", "en_us", "--input", str(folder.folder)]
    assert evaluate.main([*arguments, *corpus]) == 2
    assert "with --task, answers are scored on a manifest" in capsys.readouterr().err
