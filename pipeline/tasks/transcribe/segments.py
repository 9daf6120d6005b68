"""A segment, as recordings are assembled from: a window and what transcription says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from pipeline.rows import Window


class LanguageShare(TypedDict):
    """The probability of a language (ISO 639-1) in one segment."""

    language: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Window):
    """A row of schema.HYPOTHESIS. The columns of answers.Answer stand beside those of the window; no samples."""

    text: str | None = None
    language_probability: float | None = None
    language_source: str | None = None
    language_shares: Sequence[LanguageShare] | None = None
    unexpected_language: str | None = None
    no_speech_probability: float | None = None
    finish_reason: str | None = None
    token_count: int | None = None
    mean_logprob: float | None = None
    low_probability_share: float | None = None
    padded_s: float | None = None
    flags: Sequence[str] | None = None
    retried_for: Sequence[str] | None = None
    attempts: Sequence[str] | None = None
    kept_attempt: str | None = None


def segments(rows: Iterable[Mapping[str, Any]]) -> list[Segment]:
    """HYPOTHESIS rows as segments."""
    return [Segment(**row) for row in rows]
