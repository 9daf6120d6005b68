"""The rows of tables as typed values: dataclasses inside a folder of the pipeline, pyarrow between folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypedDict, TypeVar

import pyarrow as pa


class Span(TypedDict):
    """A stretch of a recording, half-open, in seconds of its clock."""

    start_s: float
    end_s: float


class Turn(TypedDict):
    """A stretch of a recording in which one speaker speaks, half-open, in seconds of its clock."""

    start_s: float
    end_s: float
    speaker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A row of schema.RECORDING."""

    recording_id: str
    uri: str
    place: str = ""
    content_version: str | None = None
    size_bytes: int | None = None
    modified_at: datetime | None = None
    language: str | None = None
    range_start_s: float | None = None
    range_end_s: float | None = None
    failure_code: str | None = None
    failure_detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A row of schema.WINDOW. `samples` is int16 little-endian mono 16 kHz; None where there is nothing for a model."""

    start_s: float
    end_s: float
    recording_id: str = ""
    segment_index: int = 0
    channel: int | None = None
    speech_s: float = 0.0
    spans: Sequence[Span] = ()
    overlap_s: float = 0.0
    language: str | None = None
    failure_code: str | None = None
    failure_detail: str | None = None
    segment_count: int | None = None
    duration_s: float | None = None
    content_version: str | None = None
    channel_speech_s: float | None = None
    recording_flags: Sequence[str] | None = None
    turns: Sequence[Turn] | None = None
    samples: bytes | None = None


Kind = TypeVar("Kind")


def read(table: pa.Table, kind: type[Kind]) -> list[Kind]:
    """The rows of a table as values of a dataclass whose fields are its columns."""
    return [kind(**row) for row in table.to_pylist()]


def table(rows: Iterable[Any], schema: pa.Schema) -> pa.Table:
    """A table of such values."""
    found = list(rows)
    names = [field.name for field in fields(found[0])] if found else []
    return pa.Table.from_pylist([{name: getattr(row, name) for name in names} for row in found], schema)
