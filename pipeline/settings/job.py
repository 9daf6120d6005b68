"""The settings of a job as a whole."""

from __future__ import annotations

import re
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.registry import TRANSCRIBE
from pipeline.schema import FailureCode
from pipeline.settings.engine import Engine
from pipeline.settings.fields import as_list
from pipeline.settings.sections import Alignment, Audio, Diarization, Guards, Language, Segmentation

# What the YAML file has, while command_line.load makes settings.
OF_FILE: ContextVar[dict[str, Any]] = ContextVar("OF_FILE", default={})  # noqa: B039


class JobSettings(BaseSettings):
    """How every job reads its flags, its environment and its YAML file; see command_line.load."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,  # reports are JSON
        use_attribute_docstrings=True,
        enable_decoding=False,  # `as_list` does it
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
    )

    refused: ClassVar[tuple[str, ...]] = ()
    """Keys of settings that it has from another job, and refuses: its help does not show them."""

    _lists = field_validator("*", mode="before")(as_list)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Flags come first by themselves.
        return init_settings, env_settings, InitSettingsSource(settings_cls, OF_FILE.get())


class Settings(JobSettings):
    """Transcribe a bucket of recordings into a table of transcripts.

    Object storage takes endpoint, region and credentials from the usual AWS settings.

    Examples:

        python -m jobs.transcribe --input recordings/ --output transcripts/ \\
            --engine.model openai/whisper-small --engine.device cpu
        python -m jobs.transcribe --input s3://bucket/calls/ --output s3://bucket/transcripts --dry-run
        python -m jobs.transcribe --input s3://bucket/calls/ --output s3://bucket/transcripts \\
            --language.expected en,es --channels split --limit 100
    """

    model_config = SettingsConfigDict(
        env_prefix="VOXTRAL_", env_nested_delimiter="__", cli_prog_name="python -m jobs.transcribe"
    )

    input: str
    """Where the recordings are: a bucket prefix (s3://bucket/calls/), a directory, one recording, or a manifest
    (.jsonl, .csv or .parquet with a column `uri` or `path`)."""
    output: str
    """Where the tables are written: a bucket prefix or a directory."""
    config: Path | None = None
    """A YAML file with any of these settings."""
    run_id: str | None = None
    """Name of this run in the output. Default: the time it started."""
    dry_run: bool = False
    """Say what would be done, and stop."""
    limit: int | None = Field(default=None, ge=1)
    """Take only the first N recordings."""
    retry: tuple[Literal["failed"] | FailureCode, ...] = ()
    """Do only recordings that failed before, by failure code (truncated,decode_error), or `failed` for all of them."""
    allow: tuple[str, ...] = ()
    """A manifest may name recordings below these prefixes only (s3://bucket/calls/,/data). Default: a manifest in
    object storage may name objects but no local files; a local one may name both."""
    max_hours: float | None = Field(default=None, gt=0)
    """Stop after this many hours and publish what is done; the rest is for the next run. [hours]"""
    price_per_engine_hour: float | None = Field(default=None, ge=0)
    """What an engine, with all its GPUs, costs for an hour: estimates name the price then."""
    engine_speed: float | None = Field(default=None, gt=0)
    """Audio hours that an engine does in an hour, for estimates. Default: what earlier runs of this model in --output
    measured."""
    max_failed_share: float = Field(default=1.0, gt=0, le=1)
    """Exit with status 1 when this share of the recordings, or more, has failed."""
    flush_interval_s: float = Field(default=60.0, gt=0)
    """Finished recordings are written at least this often: what a job that is killed has to do again. [seconds]"""
    verbose: bool = False
    """Show the logs of Ray and vLLM."""
    log_format: Literal["text", "json"] = "text"
    """`json`: a JSON object per line on stderr, for log collectors."""
    channels: Literal["mix", "split"] = "mix"
    """`split`: a transcript for each channel, and one in which they take turns. For calls with a side per channel."""
    words: bool = False
    """Find when each word is said, with --alignment.model."""
    speakers: str | None = None
    """Find who speaks when: `auto`, or how many speakers each recording has (2, or 2-4). Labels of one recording mean
    nothing in another. With --channels split each channel is a speaker."""
    keep_texts: bool = False
    """Take the texts that --output has of this model and these settings, and add what they lack (--words, --speakers):
    no engine starts, and no GPU is used. Recordings without a text are left for a run without this flag. See
    docs/words.md."""
    audio: Audio = Audio()
    segmentation: Segmentation = Segmentation()
    engine: Engine = Engine()
    language: Language = Language()
    guards: Guards = Guards()
    alignment: Alignment = Alignment()
    diarization: Diarization = Diarization()

    @property
    def task_name(self) -> str:
        """Of pipeline.registry.TASKS."""
        return TRANSCRIBE

    @field_validator("speakers", mode="before")
    @classmethod
    def _counts_speakers(cls, speakers: Any) -> str | None:
        if speakers is None:
            return None
        wanted = str(speakers).strip()  # YAML has numbers
        counts = [int(count) for count in re.findall(r"\d+", wanted)]
        if wanted != "auto" and (not re.fullmatch(r"[1-9]\d?(-[1-9]\d?)?", wanted) or counts != sorted(counts)):
            raise ValueError(f"{wanted:.80}: write auto, 2, or 2-4 (at most 99)")
        return wanted

    @property
    def speaker_counts(self) -> tuple[int, int | None]:
        """The least and the most speakers of a recording, as `speakers` says; None: as many as there are."""
        counts = [int(count) for count in re.findall(r"\d+", self.speakers or "")]
        return (counts[0], counts[-1]) if counts else (1, None)

    @field_validator("run_id")
    @classmethod
    def _names_a_file(cls, run_id: str | None) -> str | None:
        if run_id is not None and not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run_id):
            raise ValueError(f"{run_id} cannot name a run: use at most 100 letters, digits, and after the first . _ -")
        return run_id
