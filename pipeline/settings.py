"""Every setting of a job, from flags, environment and a YAML file, in that order of precedence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin
from urllib.parse import urlsplit

import pycountry
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import from_json, to_json
from pydantic_extra_types.language_code import LanguageAlpha2
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline import registry
from pipeline.schema import FailureCode

# The languages of Voxtral's model card.
LANGUAGES = tuple(map(LanguageAlpha2, "en es fr pt hi de nl it".split()))
_ALPHA2 = TypeAdapter(LanguageAlpha2)  # what mistral_common accepts in a prompt


def primary_language(tag: Any) -> LanguageAlpha2:
    """The ISO 639-1 code of a BCP 47 tag, which is its primary subtag: "en-US" and "eng" -> "en".

    Raises:
        ValueError: it has none; the message names the code where the tag is a language's English name.
    """
    try:
        code = re.split("[-_]", tag.strip())[0].lower()
        found = pycountry.languages.get(alpha_3=code) if len(code) == 3 else None
        return _ALPHA2.validate_python(getattr(found, "alpha_2", code))
    except (AttributeError, ValidationError) as error:
        named = pycountry.languages.get(name=str(tag).strip().title())
        wanted = getattr(named, "alpha_2", "use ISO 639-1, such as en")
        raise ValueError(f"{tag!s:.80} is not a language code: {wanted}") from error


if TYPE_CHECKING:
    FamilyName = RuntimeName = str
else:
    FamilyName = Literal["auto", *registry.FAMILIES]
    RuntimeName = Literal["auto", *registry.RUNTIMES]
LanguageCode = Annotated[LanguageAlpha2, BeforeValidator(primary_language)]


TEXTS = "texts"  # in a field's annotation: a list of texts, whose commas are their own


def _as_list(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """Lists may be written a,b (or as JSON: ["a", "b"]) in flags, environment and YAML alike."""
    field = cls.model_fields[info.field_name or ""]
    if not isinstance(value, str) or get_origin(field.annotation) is not tuple:
        return value
    if value.lstrip().startswith("["):
        try:
            return from_json(value)
        except ValueError as error:
            raise ValueError(f"{value:.80} is not a list: write a,b") from error
    return (value,) if TEXTS in field.metadata else tuple(part.strip() for part in value.split(",") if part.strip())


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    _lists = field_validator("*", mode="before")(_as_list)


class Audio(_Frozen):
    """Decoding with ffmpeg."""

    max_duration_s: float = Field(default=43_200.0, gt=0)
    """Seconds of a recording that are decoded at most; the rest is reported as too_long. [seconds]"""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """ffmpeg is stopped after this long without a byte of output. [seconds]"""
    cpu_limit_s: int = Field(default=1_800, gt=0)
    """CPU time one ffmpeg may use for one recording. [seconds]"""
    memory_limit_mb: int = Field(default=1_024, ge=256)
    """Address space one ffmpeg may use. [MB]"""
    max_object_gb: float = Field(default=20.0, gt=0)
    """An object of more than this is not fetched: it is reported as too_large. [GB]"""
    workers: int | None = Field(default=None, ge=1)
    """Decode workers, one CPU each. Default: every CPU that the engines leave free."""


class Segmentation(_Frozen):
    """Finding speech and cutting it into windows for the model."""

    max_window_s: float | None = Field(default=None, gt=0, le=1_800)
    """Longest window. Default: the model's own chunk length, 30 s for Voxtral, to whose multiples it pads. [seconds]"""
    max_pause_s: float | None = Field(default=None, gt=0)
    """A pause longer than this ends a window; shorter ones may stay inside. Default: 30 s, windows are packed full; 1 s
    for models whose own windows are shorter than 30 s. See docs/quality.md. [seconds]"""
    overlap_s: float = Field(default=1.0, ge=0, le=5)
    """Speech without any pause is cut so that the next window hears this much again; the words that come twice are
    joined. [seconds]"""
    speech_threshold: float = Field(default=0.3, gt=0.15, lt=1)
    """Speech begins where the voice activity detector's probability reaches this (and ends 0.15 below it).
    Silero suggests 0.5; with 0.3 the demo's lecture loses 7 words of 174 instead of 12."""
    padding_s: float = Field(default=0.3, ge=0, le=1)
    """Audio kept before and after speech, so that no word loses its edge. [seconds]"""
    min_speech_s: float = Field(default=0.25, ge=0)
    """A window with less speech than this is taken for noise or music, not for speech. Silero's own limit. [seconds]"""


class Guards(_Frozen):
    """When a window's text is suspicious, and what is tried then. docs/quality.md says how each was chosen."""

    min_chars_per_s: float = Field(default=8.0, ge=0)
    """Less text than this for its speech: the model stopped early. Of 300 clips in nine languages, three had less.
    [characters per second of speech]"""
    max_chars_per_s: float = Field(default=40.0, gt=0)
    """More text than this: nobody speaks so fast. The fastest of those clips had 27. [characters per second of speech]
    """
    max_compression_ratio: float = Field(default=2.4, gt=1)
    """Text that zlib makes this many times smaller repeats itself. Whisper's own limit."""
    min_mean_logprob: float = Field(default=-1.0, lt=0)
    """Mean natural log-probability of the tokens below which a text is doubted. Whisper's own limit."""
    max_no_speech_probability: float = Field(default=0.6, gt=0, le=1)
    """Where the model itself doubts that there is speech (Whisper does) and doubts its text, the text is dropped.
    Whisper's own limit."""
    min_speech_s: float = Field(default=1.0, ge=0)
    """Windows with less speech are not judged by the amount of their text. [seconds]"""
    retry_max_pause_s: float = Field(default=0.3, gt=0)
    """A suspicious window is tried again in smaller windows: cut at pauses longer than this, at most half as long as
    it was or 1 s. [seconds]"""
    retry_temperatures: tuple[Annotated[float, Field(gt=0, le=2)], ...] = (0.4, 0.8)
    """Then at these temperatures."""


class Language(_Frozen):
    """Which language is spoken."""

    expected: tuple[LanguageCode, ...] = Field(default=LANGUAGES, min_length=1)
    """ISO 639-1 codes (or BCP 47 tags) among which the language is found. Name as few as you can."""
    methods: tuple[Literal["score", "words", "token", "text"], ...] = ("score", "words", "token", "text")
    """Ways to find the language; the mean of those that the model has decides. `score`: the probability of Voxtral's
    prompt lang:xx. `words`: Voxtral's answer to a question. `token`: the language before the texts of Whisper
    and Cohere Transcribe, where it is always used, and of Qwen3-ASR. `text`: a language identifier on the
    transcript."""
    translate: bool = False
    """Write English, whatever is spoken: for Whisper models (but large-v3-turbo, which was not trained for it). With
    Voxtral: jobs.ask --preset translate."""

    @field_validator("expected")
    @classmethod
    def _each_once(cls, expected: tuple[LanguageAlpha2, ...]) -> tuple[LanguageAlpha2, ...]:
        return tuple(sorted(set(expected)))  # their order means nothing, and must change nothing


def _server_address(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        ValueError: it is none of a server, or holds a secret. The message has no part of it that may be one.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises
    except ValueError as error:
        raise ValueError("not a URL: write http://host:8000/v1") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"{host}: no password, query or fragment in the URL; the key goes into OPENAI_API_KEY")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url:.80}: not the URL of a server: write http://host:8000/v1")
    return url.rstrip("/")


def _argument(pair: str) -> tuple[str, Any]:
    """KEY=VALUE -> the key with underscores, and the value: JSON, or the text itself.

    Raises:
        ValueError: it is no such pair.
    """
    name, equals, value = pair.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    if not equals or not name.isidentifier():
        raise ValueError(f"{pair:.80}: write KEY=VALUE, such as quantization=fp8")
    try:
        return name, from_json(value)
    except ValueError:
        return name, value.strip()


class Engine(_Frozen):
    """The speech model and the engines that run it."""

    model: str = "mistralai/Voxtral-Small-24B-2507"
    """A Hugging Face name (openai/whisper-large-v3, too), or a folder with the model's files; with --engine.server the
    name that the server has for it."""
    server: tuple[str, ...] = ()
    """Where an OpenAI-compatible server runs the model (http://host:8000/v1); no engine starts then. Several, for
    replicas of one model. The key is read from OPENAI_API_KEY."""
    server_audio: Literal["flac", "opus"] = "flac"
    """What a server is sent: `flac` loses nothing; `opus` (in Ogg) loses a little, and takes a quarter of the bytes."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face model."""
    family: FamilyName = "auto"
    """The model's family (docs/models.md). `auto` reads it from the checkpoint; `scripted` computes nothing and
    serves tests: the model is a file that says how it behaves (pipeline/models/runtimes/scripted.py), or `none`."""
    runtime: RuntimeName = "auto"
    """What runs the model. `auto`: vLLM, or `transformers` (Hugging Face's) for a Voxtral that is in its format alone.
    See docs/operations.md."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """`auto`: gpu where the cluster has any, else cpu."""
    tensor_parallel_size: int | None = Field(default=None, ge=1)
    """GPUs (or CPU ranks) that share one engine. Default: as many as the weights need of the memory of these GPUs (one
    for Voxtral Mini and Whisper, two of 80 GB for Voxtral Small); 1 on cpu."""
    count: int | None = Field(default=None, ge=1)
    """Engines. Default: as many as the GPUs allow; 1 on cpu."""
    elastic: bool = False
    """Begin with the engines that fit; the others of --engine.count start as machines come: for clusters that scale.
    Name --engine.device, too. Default: all of them must fit from the start."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of weights and activations. `auto`: bfloat16 on gpu (float16 on GPUs that have none), float32 on
    cpu."""
    max_model_len: int | None = Field(default=None, ge=128)
    """Context. Default: what one window and its text need. [tokens]"""
    max_num_seqs: int = Field(default=64, ge=1)
    """Windows in one engine's batch at most; requests inside one server at most."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory for weights and cache."""
    cpu_kv_cache_gb: int = Field(default=1, ge=1)
    """Cache of an engine on the CPU. [GB]"""
    max_tokens_per_s: float = Field(default=16.0, gt=0)
    """Longest text that a window may have; reaching it is reported as finish_reason `length`. [tokens per second]"""
    vllm: Annotated[tuple[str, ...], TEXTS] = ()
    """Another argument of vLLM's engine, by its own name: quantization=fp8, kv_cache_dtype=fp8 or
    speculative_config={"method": "ngram", ...}; the value is JSON or a word. Repeatable; in YAML a mapping."""
    stall_timeout_s: float = Field(default=600.0, gt=0)
    """An engine that has windows and finishes none for this long is replaced; so long, servers may answer nothing.
    [seconds]"""
    start_timeout_s: float = Field(default=1_800.0, gt=0)
    """An engine that takes longer than this to start, once it is its turn, is started again. [seconds]"""
    max_deaths: int = Field(default=20, ge=0)
    """Engines that may die and be replaced before the job gives up."""

    @field_validator("server")
    @classmethod
    def _addresses(cls, server: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(_server_address, server)))

    @field_validator("vllm", mode="before")
    @classmethod
    def _pairs(cls, vllm: Any) -> Any:
        return (
            tuple(f"{name}={to_json(value).decode()}" for name, value in vllm.items())
            if isinstance(vllm, dict)
            else vllm
        )

    @field_validator("vllm")
    @classmethod
    def _named(cls, vllm: tuple[str, ...]) -> tuple[str, ...]:
        names = [_argument(pair)[0] for pair in vllm]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} is there twice")
        return vllm

    @property
    def vllm_arguments(self) -> dict[str, Any]:
        """Those of `vllm`, by vLLM's names."""
        return dict(map(_argument, self.vllm))

    @property
    def windows_at_once(self) -> int:
        """Windows that one engine computes at once."""
        return self.max_num_seqs * max(1, len(self.server))

    @property
    def resolved_dtype(self) -> str:
        """The number format that `auto` means on this device; a server does not tell its own."""
        if self.server:
            return "unknown"
        return {"cpu": "float32", "gpu": "bfloat16"}[self.device] if self.dtype == "auto" else self.dtype


class Alignment(_Frozen):
    """What finds the times of words."""

    model: str | None = None
    """A model that spells what it hears (wav2vec 2.0 or another CTC model of characters, in the format of
    transformers): a Hugging Face name, or a folder. See docs/words.md."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face model."""
    min_score: float = Field(default=0.1, ge=0, le=1)
    """Words with a lower score are not in the audio, as far as the model can tell: the segment is flagged. See
    docs/words.md."""


class JobSettings(BaseSettings):
    """How every job reads its flags, its environment and its YAML file; see command_line.load."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        enable_decoding=False,  # `_as_list` does it
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
    )

    _lists = field_validator("*", mode="before")(_as_list)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` passes the YAML file's content as arguments: it comes last. Flags come first by themselves.
        return env_settings, init_settings


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
    """Take only the first so many recordings."""
    retry: tuple[Literal["failed"] | FailureCode, ...] = ()
    """Do only recordings that failed before, by failure code (truncated,decode_error), or `failed` for all of them."""
    allow: tuple[str, ...] = ()
    """A manifest may name recordings below these prefixes only (s3://bucket/calls/,/data). Default: a manifest in
    object storage may name objects but no local files; a local one may name both."""
    max_hours: float | None = Field(default=None, gt=0)
    """Stop after so long and publish what is done; the rest is for the next run. [hours]"""
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
    """Find when each word is said: --alignment.model names what finds it."""
    audio: Audio = Audio()
    segmentation: Segmentation = Segmentation()
    engine: Engine = Engine()
    language: Language = Language()
    guards: Guards = Guards()
    alignment: Alignment = Alignment()

    @property
    def task_name(self) -> str:
        """Of pipeline.registry.TASKS."""
        return "transcribe"

    @field_validator("run_id")
    @classmethod
    def _names_a_file(cls, run_id: str | None) -> str | None:
        if run_id is not None and not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run_id):
            raise ValueError(f"{run_id} cannot name a run: use at most 100 letters, digits, and after the first . _ -")
        return run_id
