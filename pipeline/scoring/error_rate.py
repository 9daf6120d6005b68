"""Word and character error rates: normalise, align, count. Texts in, numbers out; the counting is jiwer's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Literal

import jiwer
import regex
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

# Words are not spaced in them: scored by characters. Radford et al., arXiv 2212.04356, section 4.
CHARACTER_LANGUAGES = ("zh", "ja", "th", "lo", "my")
NormalizerName = Literal["whisper", "marks", "none"]


@dataclass(frozen=True)
class Normalizer:
    """Makes texts comparable: `apply(text, language)`. Figures of different versions are not to be compared."""

    name: NormalizerName
    version: str
    apply: Callable[[str, str], str]


@dataclass(frozen=True)
class Chunk:
    """A run of an alignment: the words of the reference and of the hypothesis there; equal where the two are alike."""

    said: str
    recognised: str

    @property
    def is_hit(self) -> bool:
        return self.said == self.recognised


@dataclass(frozen=True)
class Score:
    """Counts of one utterance in tokens: words, or characters (grapheme clusters without white space)."""

    tokens: int  # of the reference
    substitutions: int
    deletions: int
    insertions: int
    alignment: tuple[Chunk, ...]

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@cache
def normalizer(name: NormalizerName) -> Normalizer:
    """The normaliser of a name.

    `whisper`: Whisper's own, for English and for other languages. `marks`: Whisper's basic one for every language, but
    vowel signs and other combining marks stay, which words of Hindi and many scripts consist of. `none`: no change.
    """
    package = f"whisper-normalizer {version('whisper-normalizer')}"
    if name == "whisper":
        english, basic = EnglishTextNormalizer(), BasicTextNormalizer()

        def apply(text: str, language: str) -> str:
            if language == "en":
                with suppress(AssertionError):  # of a number with more digits than Python reads, 4,300
                    return english(text)
            return basic(text)

        return Normalizer(name, package, apply)
    if name == "marks":
        keeping = BasicTextNormalizer(preserve_marks=True)
        return Normalizer(name, package, lambda text, language: keeping(text))
    return Normalizer(name, "1", lambda text, language: text)


def tokens(text: str, by_characters: bool) -> list[str]:
    """Words, or grapheme clusters, of a normalised text."""
    return regex.findall(r"\X", "".join(text.split())) if by_characters else text.split()


def score(reference: str, hypothesis: str | None, language: str, by: Normalizer, by_characters: bool) -> Score:
    """Compare one hypothesis with its reference. A hypothesis that is null, a failure, counts as one without words."""
    said = tokens(by.apply(reference, language), by_characters)
    recognised = tokens(by.apply(hypothesis or "", language), by_characters)
    joint = "" if by_characters else " "
    if not said:  # jiwer takes no empty reference
        chunks = (Chunk("", joint.join(recognised)),) if recognised else ()
        return Score(0, 0, 0, len(recognised), chunks)
    found = jiwer.process_words(" ".join(said), " ".join(recognised))
    chunks = tuple(
        Chunk(
            joint.join(said[chunk.ref_start_idx : chunk.ref_end_idx]),
            joint.join(recognised[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in found.alignments[0]
    )
    return Score(len(said), found.substitutions, found.deletions, found.insertions, chunks)
