"""What transcription says of a window, as a typed value; the table of all of them is schema.HYPOTHESIS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypedDict

import pyarrow as pa

from pipeline import rows
from pipeline.tasks.transcribe.schema import HYPOTHESIS


class LanguageShare(TypedDict):
    """The probability of a language (ISO 639-1) in one window."""

    language: str
    share: float


class TimedWord(TypedDict):
    """A word, and when it is said, in seconds of the recording's clock; see alignment.protocol.Word. `speaker` is None
    where nobody is known to say it."""

    word: str
    start_s: float | None
    end_s: float | None
    score: float | None
    speaker: str | None


@dataclass(frozen=True, kw_only=True)  # no slots: segments.Segment has another base that has some
class Answer:
    """The columns of a HYPOTHESIS row that do not come from its WINDOW row, or may be changed.

    `text` is None where transcription failed, and "" where nobody speaks. `language` is ISO 639-1. Other columns are
    None where no model was asked.
    """

    text: str | None
    language: str | None
    failure_code: str | None = None
    failure_detail: str | None = None
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
    words: Sequence[TimedWord] | None = None


_ANSWER = pa.schema([HYPOTHESIS.field(field.name) for field in fields(Answer)])


def hypotheses(windows: pa.Table, answers: Sequence[Answer]) -> pa.Table:
    """The HYPOTHESIS rows of a WINDOW table and the answers to its rows, in order."""
    answered = rows.table(answers, _ANSWER)
    columns = [answered[name] if name in _ANSWER.names else windows[name] for name in HYPOTHESIS.names]
    return pa.Table.from_arrays(columns, HYPOTHESIS.names).cast(HYPOTHESIS)
