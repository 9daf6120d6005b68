"""Windows and the answers to them as typed values; the tables around them are pipeline.schema.WINDOW and HYPOTHESIS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pyarrow as pa

from pipeline.audio import segment
from pipeline.tasks.transcribe.schema import HYPOTHESIS


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no text: a FailureCode's value, and the details."""

    code: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Window:
    """What transcription needs of a WINDOW row.

    `speech` is None where there is nothing to transcribe: nobody speaks, or preparing the audio failed, and `failure`
    says why. `language` (ISO 639-1) is the one that the manifest declares.
    """

    speech: segment.Window | None
    language: str | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The columns of a HYPOTHESIS row that do not come from its WINDOW row, or may be changed.

    `text` is None where transcription failed, and "" where nobody speaks. Columns that are None say nothing: no model
    was asked.
    """

    text: str | None
    language: str | None
    failure_code: str | None = None
    failure_detail: str | None = None
    language_probability: float | None = None
    language_source: str | None = None
    language_shares: Sequence[Mapping[str, str | float]] | None = None
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


_READ = ["start_s", "end_s", "speech_s", "spans", "overlap_s", "language", "failure_code", "failure_detail"]
_WRITTEN = pa.schema([HYPOTHESIS.field(field.name) for field in fields(Answer)])


def failed(window: Window, failure: Failure) -> Answer:
    """The answer for a window that has no text."""
    return Answer(None, window.language, failure.code, failure.detail)


def windows_of(table: pa.Table) -> list[Window]:
    """The rows of a WINDOW table. Their samples are int16, and share the table's memory."""
    found = []
    for row, samples in zip(table.select(_READ).to_pylist(), table["samples"], strict=True):
        speech, failure = None, None
        if row["failure_code"]:
            failure = Failure(row["failure_code"], row["failure_detail"])
        elif samples.is_valid:
            spans = tuple((span["start_s"], span["end_s"]) for span in row["spans"])
            values = np.frombuffer(samples.as_buffer(), dtype="<i2")  # pyright: ignore[reportCallIssue, reportArgumentType]
            speech = segment.Window(row["start_s"], row["end_s"], row["speech_s"], spans, row["overlap_s"], values)
        found.append(Window(speech, row["language"], failure))
    return found


def hypotheses(table: pa.Table, answers: Sequence[Answer]) -> pa.Table:
    """The HYPOTHESIS rows of a WINDOW table and the answers to its rows, in order."""
    written = pa.Table.from_pylist([asdict(answer) for answer in answers], _WRITTEN)
    columns = [written[name] if name in _WRITTEN.names else table[name] for name in HYPOTHESIS.names]
    return pa.Table.from_arrays(columns, HYPOTHESIS.names).cast(HYPOTHESIS)
