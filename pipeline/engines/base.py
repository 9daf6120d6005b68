"""The seam to a speech model: one utterance in, one hypothesis out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.schema import SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Utterance:
    """One window for the model: int16 mono samples at 16 kHz, and the language (ISO 639-1) if it is known."""

    samples: np.ndarray
    language: str | None = None

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model made of an utterance.

    `language` is the declared one, or the model's best guess with its probability among the languages asked for.
    `mean_logprob` is the mean natural log-probability of the text's tokens, null for an empty text.
    """

    text: str
    language: str | None
    language_probability: float | None
    finish_reason: str
    token_count: int
    mean_logprob: float | None
    padded_s: float


class Engine(Protocol):
    """A loaded model that many utterances may be given to at once."""

    async def transcribe(self, utterance: Utterance) -> Hypothesis:
        """Transcribe one utterance. Raises EngineError where this utterance alone failed."""
        ...

    def shutdown(self) -> None:
        """Free what the engine holds. Called once."""
        ...


class EngineError(Exception):
    """The engine refused or failed one utterance; others are not affected."""
