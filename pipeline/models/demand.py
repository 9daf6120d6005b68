"""What the largest request of a task takes: a runtime reserves no more."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.models.checkpoint import Checkpoint
from pipeline.settings import Settings

SHORTEST_LIMIT = 8  # tokens of text that any window may have


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one request: seconds of audio, in so many pieces, and tokens of text beside it, those of the answer among
    them."""

    audio_s: float
    text_tokens: int
    audios: int = 1


def max_tokens(seconds: float, per_second: float) -> int:
    """Tokens of text that a window of so many seconds may have."""
    return SHORTEST_LIMIT + math.ceil(seconds * per_second)


def of_windows(settings: Settings, checkpoint: Checkpoint) -> Demand:
    """What a window and its transcript take."""
    longest_s = settings.segmentation.max_window_s or checkpoint.chunk_s
    return Demand(longest_s, max_tokens(longest_s, settings.engine.max_tokens_per_s))
