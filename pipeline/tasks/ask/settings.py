"""The settings of jobs that ask questions, beside those of all jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic_settings import SettingsConfigDict

from pipeline.errors import ConfigurationError
from pipeline.registry import ASK, TRANSCRIBE
from pipeline.settings import TEXTS, Settings
from pipeline.tasks.ask import questions
from pipeline.tasks.ask.questions import Questions

# Keys of settings that mean nothing to answers.
ABOUT_TRANSCRIPTS = ("words", "speakers", "keep_texts", "engine.beams", "language.translate")

if TYPE_CHECKING:
    PresetName = str
else:
    PresetName = Literal[questions.PRESETS]


class WithTask(Settings):
    """Settings of jobs that transcribe, or ask what a task file says."""

    task: Path | None = None
    """A task file: ask its questions, as jobs.ask does, in place of transcribing. See docs/asking.md."""
    over: Literal["audio", "transcripts"] = "audio"
    """`transcripts`: ask about the transcripts in --input, the output of an earlier jobs.transcribe, by the model's
    skill at text alone: no audio is decoded or computed."""

    @property
    def task_name(self) -> str:
        return ASK if self.task else TRANSCRIBE

    def questions(self) -> Questions:
        """What is asked.

        Raises:
            ConfigurationError: nothing, or what cannot be asked.
        """
        if not self.task:
            raise ConfigurationError("--task is missing: a file that says what to ask")
        return questions.from_file(self.task)


class AskSettings(WithTask):
    """Ask questions about a bucket of recordings, and get a table of answers: free text, JSON by a schema, function
    calls. What to ask is one of --question, --preset and --task.

    Examples:

        python -m jobs.ask --input s3://bucket/calls/ --output s3://bucket/answers --preset summary
        python -m jobs.ask --input calls/ --output answers/ --question "Does the caller complain?" \\
            --question "Which product is it about?"
        python -m jobs.ask --input calls.csv --output answers/ --task triage.yaml --dry-run
        python -m jobs.ask --input s3://bucket/transcripts --over transcripts --output s3://bucket/topics \\
            --preset topics
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m jobs.ask")

    refused = ("channels", *ABOUT_TRANSCRIPTS)

    question: Annotated[tuple[str, ...], TEXTS] = ()
    """A question; may be given more than once, for questions that have nothing to do with each other. Columns of a
    manifest may stand in it: "What does {customer} want?"; braces as such are doubled."""
    preset: PresetName | None = None
    """Questions that come with the package; its files are there to be copied (pipeline/tasks/ask/presets)."""
    task: Path | None = None
    """A task file (YAML): turns, a schema for the answer, tools, and more; see docs/asking.md."""

    @property
    def task_name(self) -> str:
        return ASK

    def questions(self) -> Questions:
        given = {"--question": self.question, "--preset": self.preset, "--task": self.task}
        used = [name for name, value in given.items() if value]
        if len(used) != 1:
            said = f"not {' and '.join(used)}" if used else "which is missing"
            raise ConfigurationError(f"what to ask is one of {', '.join(given)}, {said}")
        if self.question:
            return questions.from_texts(self.question)
        return questions.preset(self.preset) if self.preset else super().questions()
