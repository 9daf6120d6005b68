"""Which language is it? Witnesses give distributions over the expected languages; one rule combines them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier

MIN_CHARS = 12  # of text below which its language cannot be told
MIXED_SHARE = 0.1  # of the speech that a second language holds in a recording that is called mixed


@dataclass(frozen=True, slots=True)
class Tag:
    """A language (ISO 639-1), its probability, and whether every witness would have said so."""

    language: str
    probability: float
    agreed: bool


def text_witness(text: str, expected: Sequence[str]) -> dict[str, float]:
    """The language of a text, by its letters (py3langid); none of them for a text too short to tell."""
    if len(text) < MIN_CHARS:
        return {}
    identifier = _identifier(tuple(expected))
    return {language: float(share) for language, share in identifier.rank(text)} if identifier else {}


@cache
def _identifier(expected: tuple[str, ...]) -> LanguageIdentifier | None:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = [language for language in expected if language in set(identifier.labels)]
    if len(known) < len(expected):
        return None  # it would call what it does not know by another name
    identifier.set_languages(known)
    return identifier


def combine(witnesses: Iterable[Mapping[str, float]], expected: Sequence[str]) -> Tag | None:
    """The mean of the witnesses' distributions decides. One that cannot tell (is empty) counts as undecided.

    So a language that one witness alone is sure of has a probability near one half, and disagreement shows as a low
    one. None where no witness can tell.
    """
    said = list(witnesses)
    if not any(said):
        return None
    undecided = {language: 1 / len(expected) for language in expected}
    mean = {x: sum((one or undecided).get(x, 0.0) for one in said) / len(said) for x in expected}
    language = max(mean, key=lambda x: mean[x])
    agreed = all(max(one, key=lambda x: one[x]) == language for one in said if one)
    return Tag(language, min(1.0, mean[language]), agreed)


def mix(segments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Languages of a recording: language, speech_s, and the mean probability of its segments, weighted by their
    speech. First comes the one with most speech, each second counted by its probability: doubtful ones rule nothing.
    """
    speech_s: dict[str, float] = defaultdict(float)
    weighted: dict[str, float] = defaultdict(float)
    for segment in segments:
        if segment["text"] and segment["language"]:
            speech_s[segment["language"]] += segment["speech_s"]
            declared = segment["language_probability"] is None
            weighted[segment["language"]] += segment["speech_s"] * (
                1.0 if declared else segment["language_probability"]
            )
    return [
        {
            "language": x,
            "speech_s": round(speech_s[x], 3),
            "probability": weighted[x] / speech_s[x] if speech_s[x] else 0,
        }
        for x in sorted(speech_s, key=lambda x: -weighted[x])
    ]
