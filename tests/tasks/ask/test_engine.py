"""Every kind of question through the real engine, about clips by voices that the demo's model was not trained on."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from demo.training.speech import DIGITS
from pipeline import models
from pipeline.flow.tracker import GatheringActor
from pipeline.models.checkpoint import inspect
from pipeline.models.demand import Demand
from pipeline.models.protocol import Model
from pipeline.models.runtimes import vllm
from pipeline.settings import Engine, Segmentation
from pipeline.tasks.ask.settings import AskSettings
from pipeline.tasks.ask.task import Asking
from tests.conftest import DEMO, JobRun

ENGINE = Engine(model=str(DEMO / "model"), device="cpu")
LARGEST, CLIPS = 6, 16  # digits in a clip; clips
DIAL, EXTENSION = (
    {
        "name": name,
        "description": described,
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string", "description": "the digits"}},
            "required": ["number"],
        },
    }
    for name, described in (
        ("dial", "Dial a number of four digits or more."),
        ("extension", "Ring an extension of one to three digits."),
    )
)
JSON = {
    "type": "object",
    "properties": {"digits": {"type": "array", "items": {"type": "integer"}}, "language": {"type": "string"}},
    "required": ["digits", "language"],
    "additionalProperties": False,
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Spoken:
    """A clip, and what is said in it."""

    path: Path
    language: str
    digits: list[int]

    @property
    def number(self) -> str:
        return "".join(map(str, self.digits))


def spoken() -> list[Spoken]:
    """Short clips in all languages."""
    lines = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]
    found = []
    for line in lines:
        words = line["reference"].split()
        digits = [DIGITS[line["language"]].index(word) for word in words]
        found.append(Spoken(DEMO / "held_out" / line["path"], line["language"], digits))
    short = [clip for clip in found if len(clip.digits) <= LARGEST]
    return short[:: max(1, len(short) // CLIPS)][:CLIPS]


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The one that the engine belongs to."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="session")
def engine(loop: asyncio.AbstractEventLoop, demo_run: JobRun) -> Iterator[Model]:
    """Loaded once, for all questions here; after the job, which ends all engines that this process has."""
    found = inspect(ENGINE)
    model = models.start(AskSettings(input="in", output="out", engine=ENGINE), found, Demand(24.0, 700, audios=2))
    yield model
    model.shutdown()


@pytest.fixture
def ask(engine: Model, loop: asyncio.AbstractEventLoop, tmp_path: Path) -> Any:
    """Asks what a task file says of the rows of a manifest; the rows of `answers`, in order."""

    def answers(about: list[Row] | str, *, window_s: float = 12.0, **given: Any) -> list[Row]:
        (tmp_path / "task.yaml").write_text(json.dumps({"temperature": 0.0, "max_tokens": 64} | given))
        over = "transcripts" if isinstance(about, str) else "audio"
        if not isinstance(about, str):
            with (tmp_path / "in.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(about[0]))
                writer.writeheader()
                writer.writerows(about)
            about = str(tmp_path / "in.csv")
        settings = AskSettings(
            input=about,
            output=str(tmp_path / "out"),
            task=tmp_path / "task.yaml",
            over=over,
            engine=ENGINE,
            segmentation=Segmentation(max_window_s=window_s),
        )
        task = Asking(settings)
        settings = task.fit(settings, inspect(ENGINE))
        recordings = task.recordings(settings).recordings
        parts = pa.concat_tables(list(task.prepare(recordings, settings)))
        gathering = GatheringActor()

        async def gather(*given: Any) -> list[Any] | None:
            return gathering.add(*given)

        replied = loop.run_until_complete(task.worker(engine, settings, gather)(parts)).to_pylist()
        found: list[Row] = []
        for recording in recordings.to_pylist():
            own = [row for row in replied if row["recording_id"] == recording["recording_id"]]
            own.sort(key=lambda row: row["segment_index"])
            found += task.rows(recording, own, settings, complete=True)["answers"]
        return found

    return answers


def share(answers: list[Any], wanted: list[Any]) -> float:
    return sum(map(lambda one, other: one == other, answers, wanted)) / len(wanted)


def paths(clips: list[Spoken]) -> list[Row]:
    return [{"uri": str(clip.path)} for clip in clips]


def test_questions_and_follow_ups(ask: Any) -> None:
    clips = spoken()
    turns = ["How many digits?", "And which is the largest?", "Write it as a number.", "Write it in English."]
    answers = ask(paths(clips), turns=turns)
    wanted = {
        "How many digits?": [str(len(clip.digits)) for clip in clips],
        "And which is the largest?": [str(max(clip.digits)) for clip in clips],
        "Write it as a number.": [clip.number for clip in clips],
        "Write it in English.": [" ".join(DIGITS["en"][digit] for digit in clip.digits) for clip in clips],
    }
    for question, right in wanted.items():
        own = [row["answer"] for row in answers if row["question_name"] == question]
        assert share(own, right) >= 0.8, (question, own, right)


def test_answers_by_a_schema(ask: Any) -> None:
    clips = spoken()
    answers = ask(paths(clips), turns=["Write the digits as JSON."], schema=JSON)
    assert (
        share([row["value"] for row in answers], [{"digits": x.digits, "language": x.language} for x in clips]) >= 0.8
    )


def test_an_answer_that_is_cut_is_a_failure(ask: Any) -> None:
    (answer,) = ask(paths(spoken()[:1]), turns=["Write the digits as JSON."], schema=JSON, max_tokens=3)
    assert (answer["outcome"], answer["failure_code"]) == ("failed", "invalid_answer")
    assert (answer["answer"], answer["value"]) == (None, None) and "3 tokens (max_tokens)" in answer["failure_detail"]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_function_calls(ask: Any, choice: str) -> None:
    clips = spoken()
    answers = ask(paths(clips), turns=["Connect the call."], tools=[EXTENSION, DIAL], tool_choice=choice)
    wanted = [("dial" if len(clip.digits) > 3 else "extension", {"number": clip.number}) for clip in clips]
    calls = [[(x["name"], json.loads(x["arguments"])) for x in row["tool_calls"] or []] for row in answers]
    assert share(calls, [[call] for call in wanted]) >= 0.8, list(zip(calls, wanted, strict=True))


def test_a_named_function(ask: Any) -> None:
    clips = spoken()
    answers = ask(paths(clips), turns=["Dial the number."], tools=[DIAL], tool_choice="dial")
    calls = [[(x["name"], json.loads(x["arguments"])) for x in row["tool_calls"] or []] for row in answers]
    assert share(calls, [[("dial", {"number": clip.number})] for clip in clips]) >= 0.8


def test_two_recordings_in_one_prompt(ask: Any) -> None:
    clips = spoken()
    pairs = [(clip, clip if n % 2 else clips[n - 1]) for n, clip in enumerate(clips)]
    rows = [
        {"uri": str(clip.path), "group_id": n, "recording_id": f"{n}-{k}"}
        for n, x in enumerate(pairs)
        for k, clip in enumerate(x)
    ]
    answers = ask(rows, turns=["Are both the same number?"])
    said = [(row["answer"] or "").partition(": ") for row in answers]
    assert share([numbers for numbers, _, _ in said], [f"{one.number}, {two.number}" for one, two in pairs]) >= 0.7, (
        said
    )
    assert share([verdict for _, _, verdict in said], ["yes" if one == two else "no" for one, two in pairs]) >= 0.8, (
        said
    )
    assert [member["recording_id"] for member in answers[0]["members"]] == ["0-0", "0-1"]


def test_transcripts(ask: Any, demo_run: JobRun) -> None:
    answers = ask(demo_run.output, turns=["How many digits?", "And which is the largest?"])
    texts = {row["recording_id"]: row["text"] for row in demo_run.transcripts if row["text"]}
    numerals = {word: n for words in DIGITS.values() for n, word in enumerate(words)}
    digits = {key: [numerals[word] for word in text.split()] for key, text in texts.items()}
    short = [row for row in answers if 0 < len(digits.get(row["recording_id"], [])) <= LARGEST]
    wanted = {"How many digits?": lambda own: str(len(own)), "And which is the largest?": lambda own: str(max(own))}
    right = [row["answer"] == wanted[row["question_name"]](digits[row["recording_id"]]) for row in short]
    assert len(right) > 40 and sum(right) / len(right) >= 0.8
    assert {row["failure_code"] for row in answers if row["outcome"] == "failed"} >= {"no_speech", "empty_file"}


def test_a_recording_in_parts(ask: Any) -> None:
    recordings = DEMO / "recordings"
    lines = [json.loads(line) for line in (DEMO / "references.jsonl").read_text("utf-8").splitlines()]
    long = [line for line in lines if line["reference"] and 6 <= len(line["reference"].split()) <= 14]
    rows = [{"uri": str(recordings / line["path"])} for line in long]
    answers = ask(rows, turns=["Which is the largest?"], window_s=4.0)
    wanted = [str(max(DIGITS[x["language"]].index(word) for word in x["reference"].split())) for x in long]
    assert any(len(row["parts"] or []) > 1 for row in answers)
    assert share([row["answer"] for row in answers], wanted) >= 0.6


def test_the_scheduler_comes_from_a_process_that_has_imported_vllm(engine: Model) -> None:
    children = psutil.Process().children()
    server = next(child for child in children if any("forkserver" in word for word in child.cmdline()))
    (scheduler,) = server.children()
    assert "libgomp" in server.environ()["LD_PRELOAD"], "as vLLM starts its processes"
    assert not any(child.pid == scheduler.pid for child in children) and scheduler.create_time() > server.create_time()


def test_an_engine_starts_for_transcripts() -> None:
    """vLLM takes no audio of length 0. As far as it goes without loading the model once more."""
    settings = AskSettings(input="in", output="out", question=("Who?",), over="transcripts", engine=ENGINE)
    task, found = Asking(settings), inspect(ENGINE)
    given = vllm.arguments(task.fit(settings, found), found, task.demand(settings, found))
    import vllm as package

    config = package.AsyncEngineArgs(**given).create_engine_config()
    assert config.model_config.max_model_len == found.max_context
