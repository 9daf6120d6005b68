"""What finds the times of words in speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Word:
    """A word of a transcript, and where it is said: `[start_s, end_s)` in seconds from the first sample.

    `score` is the geometric mean of the probabilities, in [0, 1], that the aligner's model gives the word's characters
    or tokens: low where another word is said. It is None for a word of which the model knows no character (a number in
    digits), whose time is what its neighbours leave. Times are None where the word could not be aligned.
    """

    word: str
    start_s: float | None = None
    end_s: float | None = None
    score: float | None = None


class Aligner(Protocol):
    """Finds where words are said that are known to be said."""

    def align(
        self,
        samples: np.ndarray,
        words: Sequence[str],
        language: str | None = None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> list[Word]:
        """Int16 samples (mono, 16 kHz), the words said in them, and their ISO 639-1 language, None where it is not
        known -> each word with its time, in the same order. About `open_s` seconds at the start and the
        end may hold other words, too.

        No word starts before one ahead of it ends; all times are within the samples. Punctuation that stands alone has
        no time; no word has one where the model knows none of their characters, or the samples are too short for them.
        """
        ...
