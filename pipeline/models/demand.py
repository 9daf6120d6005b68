"""What the largest request of a task takes: a runtime reserves no more."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import ConfigurationError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.family import family as load_family
from pipeline.models.protocol import ContextError
from pipeline.settings import Engine, Settings

SHORTEST_LIMIT = 8  # tokens of text that any window may have


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one request: seconds of audio, in so many pieces, and tokens of text beside it, those of the answer among
    them."""

    audio_s: float
    text_tokens: int
    audios: int = 1

    def padded_s(self, checkpoint: Checkpoint) -> float:
        """Seconds of audio that the model computes of it."""
        return math.ceil(self.audio_s / checkpoint.chunk_s) * checkpoint.chunk_s


def context(engine: Engine, checkpoint: Checkpoint) -> int | None:
    """Tokens of the longest prompt with its text; None where neither the settings nor the model tell."""
    return engine.max_model_len or checkpoint.max_context


def room(prompt_tokens: int, tokens: int, text: str) -> int:
    """Tokens of text that a prompt leaves room for in a context of so many tokens.

    Raises:
        ContextError: fewer than any text may have; `text` says what there is no room for.
    """
    if (left := tokens - prompt_tokens) < SHORTEST_LIMIT:
        raise ContextError(f"a prompt of {prompt_tokens} tokens leaves no room for {text} in {tokens}")
    return left


def check(demand: Demand, engine: Engine, checkpoint: Checkpoint) -> None:
    """Raise ConfigurationError where the model's context has no room for the audio of a demand, and a text."""
    prompts = load_family(checkpoint.family).prompts
    tokens, padded_s = context(engine, checkpoint), demand.padded_s(checkpoint)
    if not prompts or not tokens:
        return
    if tokens < (needed := prompts.context(padded_s)) + SHORTEST_LIMIT:
        raise ConfigurationError(
            f"--segmentation.max-window-s: {padded_s:g} s of audio in one prompt take {needed} tokens, and text some"
            f" more, and the context has {tokens}: choose shorter windows"
            + (", or a larger --engine.max-model-len" if engine.max_model_len else "")
        )


def max_tokens(seconds: float, per_second: float) -> int:
    """Tokens of text that a window of so many seconds may have."""
    return SHORTEST_LIMIT + math.ceil(seconds * per_second)


def of_windows(settings: Settings, checkpoint: Checkpoint) -> Demand:
    """What a window and its transcript take."""
    longest_s = settings.segmentation.max_window_s or checkpoint.chunk_s
    return Demand(longest_s, max_tokens(longest_s, settings.engine.max_tokens_per_s))
