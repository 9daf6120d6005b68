"""A segment, as recordings are assembled from: a window and what transcription says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.rows import Window
from pipeline.tasks.transcribe.answers import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Answer, Window):
    """A row of schema.HYPOTHESIS, and who says most of it; it has no samples."""

    speaker: str | None = None


def segments(rows: Iterable[Mapping[str, Any]]) -> list[Segment]:
    """HYPOTHESIS rows as segments."""
    return [Segment(**row) for row in rows]
