"""An aligner for each language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.alignment.protocol import Aligner, Word


class ByLanguage:
    """Words of a language go to its own aligner, others to the one that is under None, if any."""

    def __init__(self, aligners: Mapping[str | None, Aligner]) -> None:
        self._aligners = aligners

    def align(
        self,
        samples: np.ndarray,
        words: Sequence[str],
        language: str | None = None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> list[Word]:
        """See `protocol.Aligner`. No word has a time where there is no aligner for the language."""
        found_by = self._aligners.get(language) or self._aligners.get(None)
        return found_by.align(samples, words, language, open_s) if found_by else [Word(word) for word in words]
