"""The seam between tasks and models: a model (a family in a runtime) takes requests and gives answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from pipeline.models.abilities import Abilities
from pipeline.schema import SAMPLE_RATE_HZ

_AUDIO_IDS = itertools.count()  # for requests and clips alike: one model may be given both


@dataclass(frozen=True, slots=True)
class Request:
    """One window for the model: int16 mono samples at 16 kHz.

    `language` (ISO 639-1) goes into the prompt, where it is known or the model needs one. `temperature` is 0 but for
    second attempts. `translate`: the text shall be English. `audio_id` numbers the samples as they come: a model takes
    requests in this order, and need not encode samples of one number twice.
    """

    samples: np.ndarray
    language: str | None = None
    temperature: float = 0.0
    translate: bool = False
    audio_id: int = field(default_factory=_AUDIO_IDS.__next__)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The model's answer to a request for a transcript.

    `finish_reason` and `token_count` are None where the runtime does not say them. `mean_logprob` is the mean natural
    log-probability of the tokens, `low_probability_share` the share of them whose probability is below one half; both
    None where the model gives no probabilities or no tokens. `padded_s` is the audio that the model computed, in
    seconds.
    """

    text: str
    finish_reason: str | None
    token_count: int | None
    mean_logprob: float | None
    low_probability_share: float | None
    padded_s: float

    @classmethod
    def of_tokens(
        cls, text: str, finish_reason: str, token_count: int, logprobs: Sequence[float], padded_s: float
    ) -> Hypothesis:
        """A text from a runtime that gives the natural log-probabilities of its tokens."""
        known = np.array(logprobs)
        return cls(
            text,
            finish_reason,
            token_count,
            mean_logprob=float(known.mean()) if len(known) else None,
            low_probability_share=float((known < math.log(0.5)).mean()) if len(known) else None,
            padded_s=padded_s,
        )


@dataclass(frozen=True, slots=True)
class LanguageScores:
    """The model's answer to a request for the language.

    `languages` holds a distribution over the expected languages for each method (see Abilities.language_methods) that
    was asked for. `no_speech_probability` is None for models that do not detect silence.
    """

    languages: Mapping[str, Mapping[str, float]]
    no_speech_probability: float | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """Audio in a conversation: int16 mono samples at 16 kHz; for `audio_id` see Request."""

    samples: np.ndarray
    audio_id: int = field(default_factory=_AUDIO_IDS.__next__)


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody says in a conversation. A system message stands first, and in conversations without audio only."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation whose next answer is asked for; its last message is a user's.

    The clips stand before the text of the first user message. An answer follows `schema`, a JSON Schema, where there is
    one. `tools` are functions as OpenAI's clients declare them ({"name", "description", "parameters"}), which the model
    may call. Where `tool_choice` is not auto it must: `required`, any of them; else the one of that name. Its calls, a
    JSON array of {"name", "arguments"}, then follow `calls_schema`.
    """

    messages: Sequence[Message]
    clips: Sequence[Clip] = ()
    schema: Mapping[str, Any] | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = "auto"
    calls_schema: Mapping[str, Any] | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 1_024


@dataclass(frozen=True, slots=True)
class Reply:
    """The model's answer in a conversation. `calls` is the JSON text of the functions that it called, as it wrote it,
    None where it called none; `padded_s` the audio in the prompt as the model computes it, in seconds. For what may be
    None beside it see Hypothesis."""

    text: str
    calls: str | None
    finish_reason: str | None
    token_count: int | None
    prompt_tokens: int | None
    padded_s: float


# Scores the languages of one request's samples. It raises RequestError where this request alone failed.
LanguageScorer = Callable[[Request], Awaitable[LanguageScores]]


class Model(Protocol):
    """A loaded model. Many requests may be inside at once. Any exception but RequestError means that it is dead."""

    abilities: Abilities

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        """What scores the expected languages (ISO 639-1), by those of the methods that the model has: made once, and
        called for every window. A model that needs a language always uses its own methods; one that has none of the
        methods gives empty scores.

        Raises:
            ConfigurationError: a language that the model does not know.
        """
        ...

    async def transcribe(self, request: Request) -> Hypothesis:
        """Transcribe one window.

        Raises:
            RequestError: this request alone failed.
        """
        ...

    async def chat(self, chat: Chat) -> Reply:
        """Answer in a conversation; for models with Ability.CHAT.

        Raises:
            ContextError: the conversation is longer than the model's context.
            RequestError: this request alone failed.
        """
        ...

    def shutdown(self) -> None:
        """Free what the model holds. Called once."""
        ...


class RequestError(Exception):
    """The model refused or failed one request; others are not affected."""


class LanguageError(RequestError):
    """The model does not know the language that a request names."""


class ContextError(RequestError):
    """A prompt leaves no room for an answer."""


class DeadModelError(Exception):
    """The model is dead, and none of the requests is to blame."""
