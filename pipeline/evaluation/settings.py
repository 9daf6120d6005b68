"""The settings of evaluations, and which of them go together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from pipeline.errors import ConfigurationError
from pipeline.flags import flag_of
from pipeline.scoring.error_rate import CHARACTER_LANGUAGES, NormalizerName
from pipeline.scoring.tables import language_code
from pipeline.tasks.ask.settings import WithTask

OF_A_CORPUS = ("configs", "sample", "one_per_sentence", "declare_language")  # settings
OF_TRANSCRIPTS = ("normalizers", "cer_languages", "models")
NOT_OF_CORRECTIONS = (
    *(
        "task",
        "over",
        "models",
        "dataset",
        *OF_A_CORPUS,
        "split",
        "reference",
        "baseline",
        "dry_run",
        "limit",
        "run_id",
    ),
)
OF_ONE_MODEL = ("engine.model", "engine.revision", "baseline", "run_id")
DatasetName = Literal["manifest", "fleurs", "common-voice", "mls"]


class Evaluation(WithTask):
    """Transcribe recordings that have references, and score the transcripts: error rates by language with confidence
    intervals, a page with charts, tables, and the difference from an earlier evaluation. With --task: ask questions
    about recordings, and score the answers: the share that is right.

    It has all settings of jobs.transcribe. Started again, it does only what is not done yet with them.

    Examples:

        python -m jobs.evaluate --input references.csv --output s3://bucket/evaluation
        python -m jobs.evaluate --input references.csv --output s3://bucket/evaluation --task triage.yaml \\
            --reference category
        python -m jobs.evaluate --input references.csv --output s3://bucket/evaluation \\
            --models mistralai/Voxtral-Mini-3B-2507,openai/whisper-large-v3
        python -m jobs.evaluate --dataset common-voice --configs en,de --input /data/common-voice --output evaluation/
        python -m jobs.evaluate --corrections corrections.jsonl --input s3://bucket/transcripts \\
            --output s3://bucket/evaluation
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m jobs.evaluate")

    refused = ("over",)

    models: tuple[str, ...] = ()
    """Evaluate several models, one after the other, and compare them: one page, with the differences to the first. In
    place of --engine.model; the other settings are those of all."""
    corrections: tuple[str, ...] = ()
    """Score the segments that people have corrected on a reading page, whose files these are, without an engine.
    --input is what jobs.transcribe wrote: it has the texts. Rates are of all segments where those to correct were
    drawn by jobs.export --sample-for-review."""
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
    sentence. With --task, the wanted answer to the last turn: a text; JSON, where the task has a schema or tools."""
    normalizers: tuple[NormalizerName, ...] = Field(default=("whisper", "marks"), min_length=1)
    """How texts are made comparable, the first for the charts. `whisper`: Whisper's normaliser; `marks`: its basic one
    with vowel signs kept; `none`."""
    cer_languages: tuple[Annotated[str, AfterValidator(language_code)], ...] = CHARACTER_LANGUAGES
    """Languages that are scored by characters, since they do not space words."""
    baseline: str | None = None
    """An earlier evaluation to compare with: its id, or the place of its folder in another output."""
    max_regression: float = Field(default=1.0, ge=0)
    """Exit with status 3 when the error rate of a language, or their mean, lies more than this above the baseline and
    that is no accident (p < 0.05); with --task, the share of right answers below it. [percentage points]"""


class FleursEvaluation(Evaluation):
    """Score transcripts of FLEURS: jobs.evaluate for this corpus, which comes from the hub unless --input names it.

    Examples:

        python -m jobs.evaluate_fleurs --configs en_us,de_de --output s3://bucket/evaluation --input /data/fleurs
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m jobs.evaluate_fleurs")

    refused = ("over", "task", "dataset", "corrections")

    input: str = "hf://datasets/google/fleurs"
    """Where FLEURS is: on the hub, or a folder or bucket prefix with tsv and tar.gz, or Parquet."""
    dataset: DatasetName = "fleurs"
    """What --input holds."""


def check_task(wanted: Evaluation) -> None:
    """Raise ConfigurationError for settings that do not go together with --task, or without it."""
    if not wanted.task:
        return
    if wanted.dataset != "manifest":
        raise ConfigurationError(
            f"--dataset {wanted.dataset}: with --task, answers are scored on a manifest that has the wanted ones:"
            " jobs.evaluate with --input naming it, and without --dataset"
        )
    if given := [name for name in OF_TRANSCRIPTS if name in wanted.model_fields_set]:
        raise ConfigurationError(f"--{given[0].replace('_', '-')} is for transcripts: leave it out with --task")


def check_models(wanted: Evaluation) -> None:
    """Raise ConfigurationError where --models names no models to compare, or other settings are of one model."""
    models = wanted.models
    if "models" not in wanted.model_fields_set:
        return
    if len(models) < 2:
        raise ConfigurationError(
            f"--models {','.join(models)}: name two models or more, or one with --engine.model and leave this out"
        )
    if twice := next((model for model in models if models.count(model) > 1), None):
        raise ConfigurationError(f"--models names {twice} twice")
    given = wanted.model_fields_set | {f"engine.{name}" for name in wanted.engine.model_fields_set}
    if clash := next((name for name in OF_ONE_MODEL if name in given), None):
        raise ConfigurationError(f"{flag_of(clash)} is for one model: leave it out with --models")


def check_corrections(wanted: Evaluation) -> None:
    """Raise ConfigurationError for settings that do not go together with --corrections."""
    if clash := next((name for name in NOT_OF_CORRECTIONS if name in wanted.model_fields_set), None):
        raise ConfigurationError(f"{flag_of(clash)} is for recordings with references: leave it out with --corrections")
