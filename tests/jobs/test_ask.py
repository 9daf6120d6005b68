"""The job that asks, with a scripted engine: Ray, ffmpeg and storage are real, the answers are not."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from jobs import ask, nightly
from pipeline import planning
from pipeline.audio import media
from pipeline.ledger.parts import reports
from pipeline.schema import RECORDING
from pipeline.settings import Audio, Settings
from pipeline.tasks.ask import parts
from pipeline.tasks.ask.schema import REPLIED, Reply
from pipeline.tasks.ask.settings import AskSettings
from pipeline.tasks.ask.worker import replied
from pipeline.writer import Writer
from tests.conftest import DEMO, SCRIPTED, published, run_job, write_wav
from tests.tasks.ask.fakes import part

Row = dict[str, Any]
CLIPS = sorted((DEMO / "held_out").glob("*.ogg"))
Scripted = Callable[[str], list[str]]
FORM = """\
turns:
- Who speaks to {customer}?
- name: count
  question: How many are there?
schema:
  type: object
  properties:
    n: {type: integer}
    names: {type: array, items: {type: string}}
  required: [n]
  additionalProperties: false
"""
FORMED = '{"n": 2, "names": ["Ann", "Bob"]}'


@dataclass(frozen=True)
class Asked:
    """What a job wrote."""

    output: str
    report: Row
    answers: list[Row]
    recordings: list[Row]

    def of(self, name: str) -> list[Row]:
        return [row for row in self.answers if row["uri"].endswith(name)]


def run(folder: Path, *arguments: str, job: Any = ask, output: str = "out") -> Asked:
    place = str(folder / output)
    assert job.main([*arguments, "--output", place]) == 0
    found = Asked(place, reports(place)[-1], published(place, "answers"), published(place, "recordings"))
    assert len({row["recording_id"] for row in found.recordings}) == len(found.recordings)
    answers = Counter(row["recording_id"] for row in found.answers)
    assert answers == {row["recording_id"]: row["questions"] for row in found.recordings}
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert ask.main([*arguments, *SCRIPTED]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def answering(folder: Path, scripted: Scripted, answer: str, more: str = "") -> list[str]:
    (folder / "answer").write_text(answer, "utf-8")
    return scripted(f"answer={folder / 'answer'}{more}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, silence, and three files that are broken."""
    (tmp_path / "in").mkdir()
    for clip in CLIPS[:2]:
        shutil.copy(clip, tmp_path / "in")
    for name in ("silence.flac", "empty.wav", "not a recording.mp3", "truncated.wav"):
        shutil.copy(DEMO / "recordings" / "odd" / name, tmp_path / "in")
    return tmp_path


def test_questions_about_a_folder(shared_ray: None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--question", "Who, and why?", "--question", "Is {{this}} «ünï 🎙»?"]
    arguments = ["--input", str(folder / "in"), *names, *SCRIPTED]
    assert ask.main([*arguments, "--output", str(folder / "out"), "--dry-run"]) == 0
    assert "6 to do" in capsys.readouterr().err and not (folder / "out").exists()
    done = run(folder, *arguments)
    assert Counter(row["outcome"] for row in done.recordings) == {"ok": 2, "partial": 1, "failed": 3}
    assert {row["failure_code"]: row["answered"] for row in done.recordings} == {
        None: 2,
        "truncated": 2,
        "no_speech": 0,
        "empty_file": 0,
        "not_media": 0,
    }
    for clip in CLIPS[:2]:
        first, second = done.of(clip.name)
        assert (first["question_name"], second["question"]) == ("Who, and why?", "Is {this} «ünï 🎙»?")
        assert first["answer"].endswith(" s: Who, and why?") and second["answer"].endswith("Is {this} «ünï 🎙»?")
    assert done.report["asked"]["conversations"][0][0]["question"] == "Who, and why?"
    assert (done.report["numbers"]["questions"], done.report["numbers"]["answered"]) == (12, 6)
    said = capsys.readouterr().err
    assert "answers      6 of 12; not " in said and "2 no_speech" in said
    # Again, and with another question.
    assert ask.main([*arguments, "--output", done.output]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert ask.main([*arguments[:-4], "--question", "More?", *SCRIPTED, "--output", done.output, "--dry-run"]) == 0
    assert "6 model or settings changed" in capsys.readouterr().err


def test_a_table_by_a_schema_opens_everywhere(
    shared_ray: None, folder: Path, scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    named = dict.fromkeys(("answer", "parts", "columns", "run_id"), "the manifest's")
    own: Row = named | {"tags": ["a", "b"], "nothing": None}
    rows = [own | {"path": f"in/{clip.name}", "customer": name} for clip, name in zip(CLIPS, "ÄB", strict=False)]
    rows.append({"path": "in/empty.wav", "customer": None})
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "form.yaml").write_text(FORM, "utf-8")
    arguments = ["--input", str(folder / "list.jsonl"), "--task", str(folder / "form.yaml")]
    done = run(folder, *arguments, *answering(folder, scripted, FORMED))
    first, count = done.of(CLIPS[0].name)
    assert (first["question"], first["value"]) == ("Who speaks to Ä?", None)
    assert (count["question_name"], count["value"]) == ("count", {"n": 2, "names": ["Ann", "Bob"]})
    assert (count["customer"], count["tags"], count["manifest_answer"]) == ("Ä", ["a", "b"], "the manifest's")
    glob = f"{done.output}/answers/*/*.parquet"
    query = f"select sum(value.n), count(*) from '{glob}' where question_name = 'count' and value is not null"
    assert duckdb.connect().execute(query).fetchall() == [(4, 2)]
    frame = pl.read_parquet(glob).filter(pl.col("question_name") == "count").unnest("value")
    assert frame["names"].to_list().count(["Ann", "Bob"]) == 2
    table = pd.read_parquet(f"{done.output}/answers")
    assert [value["n"] for value in table["value"] if value is not None] == [2, 2]
    # A value of another type in that output is refused, with the column as it was.
    other = refusal(capsys, "--input", str(folder / "list.jsonl"), "--output", done.output, "--question", "Who?")
    assert "the column value of its table answers is string in this run, and struct<n: int64, names: " in other


def test_tools_groups_and_parts(shared_ray: None, folder: Path, scripted: Scripted) -> None:
    samples = np.concatenate([s for clip in CLIPS[:6] for s in media.decode(clip, Audio())])
    write_wav(folder / "in" / "long.wav", samples)
    length_s = len(samples) / 16_000
    rows = [{"path": f"in/{clip.name}", "group_id": "pair"} for clip in CLIPS[:2]]
    rows += [{"path": "in/long.wav"}]
    rows += [{"path": "in/empty.wav", "group_id": 7}, {"path": "in/truncated.wav", "group_id": 7}]
    rows += [{"path": f"in/{CLIPS[0].name}", "end_s": at + 1.0, "group_id": "many"} for at in range(6)]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "tools.yaml").write_text("turns:\n- Who?\n- Then call.\ntools:\n- name: call\ntool_choice: required\n")
    answer = '[{"name": "call", "arguments": {"x": 1}}]'
    arguments = ["--input", str(folder / "list.jsonl"), "--task", str(folder / "tools.yaml")]
    arguments += ["--segmentation.max-window-s", "12", "--segmentation.max-pause-s", "1"]
    done = run(folder, *arguments, *answering(folder, scripted, answer))
    outcomes = {row["place"].rsplit("/", 1)[-1]: (row["outcome"], row["failure_code"]) for row in done.recordings}
    assert outcomes == {
        "group:pair": ("ok", None),
        "long.wav": ("ok", None),
        "group:7": ("failed", "empty_file"),
        "group:many": ("failed", "invalid_row"),
    }
    (long,) = [row for row in done.recordings if row["uri"].endswith("long.wav")]
    assert long["part_count"] >= 2 and long["duration_s"] == pytest.approx(length_s, abs=0.1)
    who, call = done.of("long.wav")
    assert len(call["parts"]) == long["part_count"] == len(call["tool_calls"])
    assert all(one["end_s"] - one["start_s"] <= 12.0 for one in call["parts"])
    assert (who["answer"], who["tool_calls"], call["tool_calls"][0]) == (
        answer,
        None,
        {"name": "call", "arguments": '{"x":1}'},
    )
    (pair,) = [row for row in done.recordings if row["members"] and row["answered"]]
    assert [Path(member["uri"]).name for member in pair["members"]] == [clip.name for clip in CLIPS[:2]]
    assert done.report["numbers"]["in_parts"] == 1


@pytest.mark.slow
def test_over_transcripts(shared_ray: None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = run_job(["--input", str(folder / "in"), "--channels", "split", *SCRIPTED], str(folder / "made"))
    texts = {row["uri"]: row["text"] for row in made.transcripts if row["channel"] is None}
    (folder / "topic.yaml").write_text("turns:\n- What is it about?\nsystem: Be brief.\n")
    arguments = ["--input", made.output, "--over", "transcripts", "--task", str(folder / "topic.yaml"), *SCRIPTED]
    done = run(folder, *arguments)
    assert {row["uri"]: row["answer"] for row in done.answers} == {
        uri: f"Transcript of a recording:\n\n{text}\n\nWhat is it about?" if text else None
        for uri, text in texts.items()
    }
    assert {row["failure_code"] for row in done.recordings} == {None, "no_speech", "empty_file", "not_media"}
    assert done.report["numbers"]["padded_s"] == 0.0
    assert ask.main([*arguments, "--output", done.output]) == 0
    assert "nothing to do" in capsys.readouterr().err
    places = ["--output", str(folder / "other"), "--over", "transcripts"]
    topic = ["--task", str(folder / "topic.yaml")]
    for wrong in (folder / "in", done.output, DEMO / "held_out" / "manifest.jsonl"):
        assert "takes the --output of jobs.transcribe" in refusal(capsys, "--input", str(wrong), *places, *topic)
    assert "no column customer" in refusal(capsys, "--input", made.output, *places, "--question", "{customer}?")


@pytest.mark.slow
def test_failures_are_asked_again_and_nights_go_on(
    shared_ray: None, folder: Path, scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "form.yaml").write_text(FORM.replace("{customer}", "them"), "utf-8")
    arguments = ["--input", str(folder / "in"), "--task", str(folder / "form.yaml")]
    done = run(folder, *arguments, *answering(folder, scripted, "no JSON"))
    invalid = [row for row in done.answers if row["failure_code"] == "invalid_answer"]
    assert len(invalid) == 3 and all("it began: 'no JSON'" in row["failure_detail"] for row in invalid)
    assert Counter(row["outcome"] for row in done.recordings) == {"partial": 3, "failed": 3}
    again = [*arguments, *answering(folder, scripted, FORMED), "--output", done.output]
    assert ask.main([*again, "--retry", "invalid_answer", "--max-failed-share", "0.5"]) == 0
    newest = published(done.output, "recordings")[len(done.recordings) :]
    assert [row["outcome"] for row in newest] == ["ok", "ok"]
    # A night does what is new alone: its settings are those of the job.
    shutil.copy(CLIPS[2], folder / "in")
    assert nightly.main(again) == 0
    (row,) = published(done.output, "recordings")[len(done.recordings) + 2 :]
    assert (Path(row["uri"]).name, row["outcome"]) == (CLIPS[2].name, "ok")
    assert reports(done.output)[-1]["task"] == "ask"


def test_two_drivers_commit_each_recording_once_and_a_third_resumes(folder: Path) -> None:
    engine = {"family": "scripted", "model": "none", "device": "cpu"}
    wanted = {"input": str(folder / "in"), "output": str(folder / "out"), "engine": engine, "question": ("a", "b")}
    plans = [planning.plan(AskSettings.model_validate(wanted | {"run_id": "one"})) for _ in range(2)]
    writers = []
    for plan in plans:
        plan.output.start(plan.about)
        writers.append(Writer(plan))

    def answered(plan: planning.Plan, first: int, last: int) -> Any:
        ids = plan.listing.recordings["recording_id"].to_pylist()[first:last]
        yes = [Reply(answer="yes", finish_reason="stop")] * 2
        return REPLIED.empty_table().from_pylist([replied(part(recording_id=x), yes) for x in ids], REPLIED)

    writers[0].add(answered(plans[0], 0, 2))
    writers[0].flush()
    writers[1].add(answered(plans[1], 1, 4))
    writers[1].flush()
    third = planning.plan(AskSettings.model_validate(wanted))
    assert third.resumed and (third.count, third.tally.recordings) == (2, 4)
    last = Writer(third)
    last.add(answered(third, 0, 1))
    last.finish()
    third.output.publish(third.about | {"finished_at": "1", "tables": ["answers", "recordings"]} | third.output.files)
    rows = defaultdict[str, list[str]](list)
    for row in published(str(folder / "out"), "answers"):
        rows[row["recording_id"]].append(row["question_name"])
    assert list(rows.values()) == [["a", "b"]] * 6
    codes = Counter(row["failure_code"] for row in published(str(folder / "out"), "recordings"))
    assert codes == {None: 5, "incomplete": 1}


@pytest.mark.slow
def test_a_part_that_ends_engines_takes_nothing_else_along(shared_ray: None, folder: Path, scripted: Scripted) -> None:
    samples = np.concatenate([s for clip in CLIPS[:4] for s in media.decode(clip, Audio())])
    row = {"recording_id": "r", "place": "", "uri": str(write_wav(folder / "in" / "long.wav", samples))}
    cut = {"max_window_s": 5.0, "max_pause_s": 5.0}
    settings = Settings.model_validate({"input": "in", "output": "out", "segmentation": cut})
    _, second, *_ = parts.of_audio(pa.Table.from_pylist([row], RECORDING), settings)
    length_s = f"{second['lengths'][0].as_py()[0] / 16_000:.1f}"
    arguments = ["--input", str(folder / "in"), "--question", "Who?", "--segmentation.max-window-s", "5"]
    done = run(folder, *arguments, *scripted(f"die={length_s}"))
    outcomes = {Path(row["uri"]).name: (row["outcome"], row["failure_code"]) for row in done.recordings}
    assert outcomes.pop("long.wav") == ("failed", "engine_died")
    assert outcomes["empty.wav"] == ("failed", "empty_file")
    assert any(outcome == "ok" for outcome, _ in outcomes.values())
