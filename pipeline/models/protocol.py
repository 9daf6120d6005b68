"""The seams: an engine (one utterance in, one hypothesis out), and a family of models (how it wants to be asked)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from weakref import WeakValueDictionary

import numpy as np

from pipeline.models.candidates import Choice
from pipeline.schema import SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Utterance:
    """One window for the model: int16 mono samples at 16 kHz.

    `language` (ISO 639-1) goes into the prompt, where it is known or the family needs one. `temperature` is 0 but for
    second tries. `audio_id` numbers the samples as they come: an engine takes them in this order, and need not encode
    twice what bears one number.
    """

    samples: np.ndarray
    language: str | None = None
    temperature: float = 0.0
    audio_id: int = field(default_factory=itertools.count().__next__)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model made of an utterance.

    `mean_logprob` is the mean natural log-probability of the tokens, `low_probability_share` the share of them whose
    probability was below one half; both null where there are none. `padded_s` is the audio that the model computed.
    """

    text: str
    finish_reason: str
    token_count: int
    mean_logprob: float | None
    low_probability_share: float | None
    padded_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model says of an utterance without transcribing it.

    `languages` holds a distribution over the expected languages for each way of asking ("score", "words", "token").
    """

    languages: Mapping[str, Mapping[str, float]]
    no_speech_probability: float | None = None


class Engine(Protocol):
    """A loaded model that many utterances may be given to at once."""

    needs_language: bool

    async def listen(self, utterance: Utterance) -> Heard:
        """Which language, and whether it is speech at all. Raises EngineError where this utterance alone failed."""
        ...

    async def transcribe(self, utterance: Utterance) -> Hypothesis:
        """Transcribe one utterance. Raises EngineError where this utterance alone failed."""
        ...

    def shutdown(self) -> None:
        """Free what the engine holds. Called once."""
        ...


class EngineError(Exception):
    """The engine refused or failed one utterance; others are not affected."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A way to ask the model for the language: after the ids that `ask` gives for padded audio, one of the choices."""

    ask: Callable[[np.ndarray], list[int]]
    choice: Choice


class Family(Protocol):
    """What one family of models wants to be told, and how. Made from a checkpoint's tokenizer."""

    load_arguments: ClassVar[Mapping[str, Any]]
    """How vLLM loads a checkpoint of it."""
    needs_language: ClassVar[bool]
    """Whether it transcribes only what it is told the language of."""

    def __init__(self, tokenizer: Any, languages: Sequence[str]) -> None: ...

    @property
    def witnesses(self) -> Mapping[str, Witness]:
        """By the name of Heard.languages. The name "" of a choice stands for no speech."""
        ...

    @staticmethod
    def context(padded_s: float) -> int:
        """Tokens that a prompt with so many seconds of audio takes."""
        ...

    def padded(self, samples: np.ndarray) -> np.ndarray:
        """int16 samples -> float32 in [-1, 1] of the length that the model computes."""
        ...

    def transcription(self, audio: np.ndarray, language: str | None) -> list[int]:
        """Token ids that ask for a transcript of padded audio."""
        ...

    def prompt(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        """vLLM's prompt for these ids and this audio; `audio_id` spares it hashing the audio."""
        ...


def padded(samples: np.ndarray, chunk_s: float) -> np.ndarray:
    """int16 samples -> float32 in [-1, 1], filled with silence to a whole number of chunks."""
    chunk = int(chunk_s * SAMPLE_RATE_HZ)
    audio = np.zeros(max(1, -(-len(samples) // chunk)) * chunk, dtype=np.float32)
    audio[: len(samples)] = samples / np.float32(32768.0)
    return audio


class PadOnce:
    """A family's padding, done once for all requests for a window: what one request still holds, the next is given."""

    def __init__(self, pad: Callable[[np.ndarray], np.ndarray]) -> None:
        self._pad = pad
        self._held: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()  # by audio_id

    def __call__(self, utterance: Utterance) -> np.ndarray:
        """float32 samples of the length that the model computes."""
        audio = self._held.get(utterance.audio_id)
        if audio is None:
            audio = self._held[utterance.audio_id] = self._pad(utterance.samples)
        return audio
