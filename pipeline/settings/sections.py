"""What is done to every recording: decoding, cutting into windows, and what is made of their texts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator
from pydantic_extra_types.language_code import LanguageAlpha2

from pipeline.settings.fields import Section
from pipeline.settings.languages import LANGUAGES, LanguageCode, primary_language


class Audio(Section):
    """Decoding with ffmpeg."""

    max_duration_s: float = Field(default=43_200.0, gt=0)
    """Seconds of a recording that are decoded at most; the rest is reported as too_long. [seconds]"""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """ffmpeg is stopped after this long without a byte of output. [seconds]"""
    cpu_limit_s: int = Field(default=1_800, gt=0)
    """CPU time one ffmpeg may use for one recording. [seconds]"""
    memory_limit_mb: int = Field(default=1_024, ge=512)
    """Address space one ffmpeg may use. [MB]"""
    max_object_gb: float = Field(default=20.0, gt=0)
    """An object of more than this is not fetched: it is reported as too_large. [GB]"""
    workers: int | None = Field(default=None, ge=1)
    """Decode workers, one CPU each. Default: every CPU that the engines leave free."""


class Segmentation(Section):
    """Finding speech and cutting it into windows for the model."""

    max_window_s: float | None = Field(default=None, gt=0, le=2_400)
    """Longest window. Default: the model's own chunk length, 30 s for Voxtral, to whose multiples it pads; for
    jobs.ask what one prompt holds. [seconds]"""
    max_pause_s: float | None = Field(default=None, gt=0)
    """A pause longer than this ends a window; shorter ones may stay inside. Default: 30 s, windows are packed full, or
    what the model's family takes (docs/models.md): 1 s where its own windows are shorter than 30 s. [seconds]"""
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


class Guards(Section):
    """When a window's text is suspicious, and what is tried then. docs/quality.md explains them."""

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


class Language(Section):
    """Which language is spoken."""

    expected: tuple[LanguageCode, ...] = Field(default=LANGUAGES, min_length=1)
    """ISO 639-1 codes (or BCP 47 tags) among which the language is found. Name as few as you can."""
    methods: tuple[Literal["score", "words", "token", "text"], ...] = ("score", "words", "token", "text")
    """Ways to find the language; the mean of those that the model has decides. `score`: the probability of Voxtral's
    prompt lang:xx. `words`: Voxtral's answer to a question. `token`: the language before the texts of Whisper
    and Cohere Transcribe, where it is always used, and of Qwen3-ASR. `text`: a language identifier on the
    transcript."""
    ask_every_window: bool = False
    """Ask the model for the language of every window, not only where the transcript's own language leaves doubt. Then
    language_disputed shows texts in another language than the one spoken. Whisper always tells it."""
    translate: bool = False
    """Write English, whatever is spoken: for Whisper models (but large-v3-turbo, which was not trained for it). With
    Voxtral: jobs.ask --preset translate."""

    @field_validator("expected")
    @classmethod
    def _each_once(cls, expected: tuple[LanguageAlpha2, ...]) -> tuple[LanguageAlpha2, ...]:
        return tuple(sorted(set(expected)))  # their order means nothing, and must change nothing


class Diarization(Section):
    """What tells speakers apart."""

    model: str | None = None
    """An ONNX file of another model of speaker embeddings, at the same place on every machine. Default: the CAM++ that
    comes with this package. See docs/speakers.md."""


class NamedModel(NamedTuple):
    """A model by its name on the hub, or its folder, and its revision."""

    model: str
    revision: str | None


class Alignment(Section):
    """What finds the times of words."""

    model: str | None = None
    """A Whisper model, or one that spells what it hears (wav2vec 2.0 or another CTC model of characters), in the format
    of transformers: a Hugging Face name, or a folder. Default: openai/whisper-base, unless there are
    --alignment.models. See docs/words.md."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face model."""
    models: tuple[str, ...] = ()
    """Models of single languages, instead of --alignment.model or beside it: de=NAME,fr=NAME@REVISION; in YAML a
    mapping. Words of a language that has none, where there is no --alignment.model, get no times."""
    min_score: float = Field(default=0.1, ge=0, le=1)
    """Words with a lower score are not in the audio, as far as the model can tell: the segment is flagged. See
    docs/words.md."""

    @field_validator("models", mode="before")
    @classmethod
    def _pairs(cls, models: Any) -> Any:
        return tuple(f"{language}={name}" for language, name in models.items()) if isinstance(models, dict) else models

    @field_validator("models")
    @classmethod
    def _of_each_language(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        found: dict[str, str] = {}
        for pair in models:
            tag, equals, name = (part.strip() for part in pair.partition("="))
            if not equals or not name:
                raise ValueError(f"{pair:.80}: write LANGUAGE=NAME, such as de=some/model")
            if (language := primary_language(tag)) in found:
                raise ValueError(f"{language} is there twice")
            found[language] = name
        return tuple(f"{language}={name}" for language, name in sorted(found.items()))

    @property
    def by_language(self) -> dict[str | None, NamedModel]:
        """The models of `models` by their languages; under None that of `model`."""
        found: dict[str | None, NamedModel] = {None: NamedModel(self.model, self.revision)} if self.model else {}
        for pair in self.models:
            language, _, named = pair.partition("=")
            name, at, revision = named.rpartition("@")
            in_path = "/" in revision and named.startswith(("/", ".", "~"))  # branches have slashes, too
            found[language] = NamedModel(name, revision) if at and not in_path else NamedModel(named, None)
        return found
