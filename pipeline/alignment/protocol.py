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
    where they were aligned: low where another word is said there. It is None for a word of which the model knows no
    character (a number in digits), whose time is what its neighbours leave. Times are None where the word could not be
    aligned.
    """

    word: str
    start_s: float | None = None
    end_s: float | None = None
    score: float | None = None


class Aligner(Protocol):
    """Finds where words are said that are known to be said."""

    def align(
        self, samples: np.ndarray, words: Sequence[str], open_start_s: float = 0.0, open_end_s: float = 0.0
    ) -> list[Word]:
        """Int16 samples (mono, 16 kHz) and the words said in them -> each word with its time, in the same order. About
        so many of the first and last seconds may hold other words, too.

        No word starts before one ahead of it ends; all times are within the samples. Punctuation that stands alone has
        no time; no word has one where the model knows none of their characters, or the samples are too short for them.
        """
        ...
