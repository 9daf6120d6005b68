"""Where clips are cut, and which words count; what is measured there is not measured here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bench.speech import Clip
from bench.words import common, cut
from pipeline.alignment.protocol import Word


class Seconds:
    """Each word takes a second, but for numbers and lone punctuation, which have no time."""

    def align(
        self,
        samples: np.ndarray,
        words: Sequence[str],
        language: str | None = None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> list[Word]:
        return [Word(w, at + 0.2, at + 0.8) if w.strip(",-").isalpha() else Word(w) for at, w in enumerate(words)]


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("one two three four", (2, 32_000)),
        ("one two 3 four five six", (4, 64_000)),  # the middle has no time
        ("one - two three", (3, 48_000)),
        ("日本 a b", (1, 32_000)),  # the first has two characters, each a word
        ("1 2 3", None),
        ("one", None),
    ],
)
def test_a_clip_is_cut_between_the_words_nearest_to_its_middle(reference: str, place: tuple[int, int] | None) -> None:
    assert cut(Seconds(), Clip(np.zeros(96_000, np.int16), reference, "en")) == place


def test_words_count_in_order_whatever_their_case_and_punctuation() -> None:
    assert common("One, two: three.", "one three two") == (3, 2)
    assert common("one two", "") == (2, 0)
