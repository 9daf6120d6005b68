from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import command_line
from pipeline.errors import ConfigurationError
from pipeline.nightly import Nightly
from pipeline.tasks.ask.settings import AskSettings

PLACES = ["--input", "in", "--output", "out"]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "my-task.yaml"
    path.write_text("turns:\n- Who?\n")
    return path


def load(*arguments: str) -> AskSettings:
    return command_line.load([*PLACES, *arguments], AskSettings)


def test_questions_keep_their_commas_and_their_order() -> None:
    wanted = load("--question", "Who, and why?", "--question", '"Quoted" [really]?', "--question=b,c")
    assert wanted.question == ("Who, and why?", '"Quoted" [really]?', "b,c")
    assert [turn.question for turn in wanted.questions().turns] == list(wanted.question)


def test_a_question_may_be_long_and_in_any_script() -> None:
    long = "何が話されましたか? 🎙 " * 800
    assert load("--question", long).questions().turns[0].question == long


def test_questions_come_from_the_environment_and_from_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("question:\n- Who said it\n- Why?\n")
    assert load("--config", str(file)).question == ("Who said it", "Why?")
    file.write_text("question: Who, and why?\n")
    assert load("--config", str(file)).question == ("Who, and why?",)
    monkeypatch.setenv("VOXTRAL_QUESTION", "Where, and when?")
    assert load("--config", str(file)).question == ("Where, and when?",)
    monkeypatch.setenv("VOXTRAL_QUESTION", '["Where?", "When?"]')
    assert load().question == ("Where?", "When?")
    assert load("--question", "What?").question == ("What?",)


def test_presets_and_task_files(task: Path) -> None:
    assert load("--preset", "topics").questions().name == "topics"
    assert load("--task", str(task)).questions().name == "my-task"
    assert load("--task", str(task)).task_name == "ask"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to ask is one of --question, --preset, --task, which is missing"),
        (
            ["--question", "a", "--preset", "topics"],
            "what to ask is one of --question, --preset, --task, not --question",
        ),
        (["--question", "a", "--question", "a"], "--question a: is asked twice"),
        (["--question", ""], "--question '': is empty"),
        (["--question", "{}"], "--question '{}': {} at character 1 names no column"),
        (["--preset", "topic"], "--preset topic: did you mean topics? It must be one of minutes, summary, topics,"),
        (["--task", "no-such.yaml"], "no-such.yaml: "),
        (["--over", "texts"], "--over texts: must be one of audio, transcripts"),
        (["--questions", "a"], "there is no --questions (did you mean --question?)"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(*arguments).questions()
    assert str(error.value).startswith(message) and len(str(error.value).splitlines()) == 1


def test_a_nightly_run_asks_what_a_task_file_says(task: Path) -> None:
    wanted = command_line.load([*PLACES, "--task", str(task)], Nightly)
    assert (wanted.task_name, wanted.questions().name) == ("ask", "my-task")
    assert command_line.load(PLACES, Nightly).task_name == "transcribe"
    with pytest.raises(ConfigurationError, match="--over: transcripts are asked about by a --task, which is missing"):
        command_line.load([*PLACES, "--over", "transcripts"], Nightly)
