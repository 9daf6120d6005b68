"""What the largest request of a task takes: a runtime reserves no more."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import ConfigurationError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.family import family as load_family
from pipeline.settings import Engine, Settings

SHORTEST_LIMIT = 8  # tokens of text that any window may have


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one request: seconds of audio, in so many pieces, and tokens of text beside it, those of the answer among
    them."""

    audio_s: float
    text_tokens: int
    audios: int = 1


def check(demand: Demand, engine: Engine, checkpoint: Checkpoint) -> None:
    """Raise ConfigurationError where the model's context has no room for the audio of a demand, and a text."""
    prompts = load_family(checkpoint.family).prompts
    context = engine.max_model_len or checkpoint.max_context
    if not prompts or not context:
        return
    padded_s = math.ceil(demand.audio_s / checkpoint.chunk_s) * checkpoint.chunk_s
    if context < (needed := prompts.context(padded_s)) + SHORTEST_LIMIT:
        raise ConfigurationError(
            f"--segmentation.max-window-s: {padded_s:g} s of audio in one prompt take {needed} tokens, and text some"
            f" more, and the context has {context}: choose shorter windows"
            + (", or a larger --engine.max-model-len" if engine.max_model_len else "")
        )


def max_tokens(seconds: float, per_second: float) -> int:
    """Tokens of text that a window of so many seconds may have."""
    return SHORTEST_LIMIT + math.ceil(seconds * per_second)


def of_windows(settings: Settings, checkpoint: Checkpoint) -> Demand:
    """What a window and its transcript take."""
    longest_s = settings.segmentation.max_window_s or checkpoint.chunk_s
    return Demand(longest_s, max_tokens(longest_s, settings.engine.max_tokens_per_s))
