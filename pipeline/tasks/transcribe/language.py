"""Which language is it? Each method gives a distribution over the expected languages; one rule combines them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipeline.tasks.transcribe.segments import Segment

IDENTIFIED = "identified"  # language_source where no manifest declares it
MIN_CHARS = 12  # of text below which its language cannot be told
# When a text is called one of another language than those expected. Of 247 texts of 20 characters and more in nine
# languages none was called another one at this probability; of 29 sentences in eleven others 22 were.
SURE_CHARS, SURE = 20, 0.9
# When a text leaves no doubt among those expected. Of 213 references of clips in nine languages 87% have this
# probability, of 80 of the demo's held-out clips 74%: none of them is called another language.
CLEAR = 0.98
PRIOR_S = 30.0  # of speech in every language at once, which each recording is taken to begin with
MIXED_SHARE = 0.1  # of the speech that a second language holds in a recording that is called mixed


# Labels of py3langid for parts of languages, or in another code than ISO 639-1; and its label for what is no language.
WHOLES = {
    "yue": "zh",
    "wuu": "zh",
    "arz": "ar",
    "ary": "ar",
    "sdh": "ku",
    "uzs": "uz",
    "kik": "ki",
    "gug": "gn",
    "fuv": "ff",
    "ltg": "lv",
    "nn": "no",
}
NO_LANGUAGE = "zxx"


@dataclass(frozen=True, slots=True)
class Tag:
    """A language (ISO 639-1), its probability, whether all methods agree on it, and all languages' shares."""

    language: str
    probability: float
    agreed: bool
    shares: Mapping[str, float]


def of_text(text: str, expected: Sequence[str]) -> dict[str, float]:
    """The probability of each expected language, by the letters of a text (py3langid). Empty where the text is too
    short, or where py3langid does not know all of the languages."""
    if len(text) < MIN_CHARS:
        return {}
    identifier = _identifier(tuple(expected))
    return {language: float(share) for language, share in identifier.rank(text)} if identifier else {}


def is_clear(by_text: Mapping[str, float]) -> bool:
    """Whether the distribution that of_text gives leaves no doubt."""
    return max(by_text.values(), default=0.0) >= CLEAR


def unexpected(text: str, expected: Sequence[str]) -> str | None:
    """The language of a text that is surely in none of those expected, in ISO 639-1, or 639-3 where that has none; None
    where that is not sure."""
    if len(text) < SURE_CHARS:
        return None
    label, probability = _every_language().classify(text)
    language = WHOLES.get(label, str(label))
    known = {str(label), language} & {*expected, NO_LANGUAGE}
    return language if probability >= SURE and not known else None


@cache
def _every_language() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _identifier(expected: tuple[str, ...]) -> LanguageIdentifier | None:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = [language for language in expected if language in set(identifier.labels)]
    if len(known) < len(expected):
        return None  # it would call what it does not know by another name
    identifier.set_languages(known)
    return identifier


def combine(distributions: Iterable[Mapping[str, float]], expected: Sequence[str]) -> Tag | None:
    """The mean of the methods' distributions decides. An empty one counts as undecided.

    So a language that one method alone is sure of has a probability near one half, and disagreement shows as a low one.
    None where all are empty.
    """
    given = list(distributions)
    if not any(given):
        return None
    undecided = {language: 1 / len(expected) for language in expected}
    mean = {x: sum((one or undecided).get(x, 0.0) for one in given) / len(given) for x in expected}
    language = max(mean, key=lambda x: mean[x])
    agreed = all(max(one, key=lambda x: one[x]) == language for one in given if one)
    return Tag(language, min(1.0, mean[language]), agreed, mean)


def in_context(segments: Iterable[Segment]) -> list[Segment]:
    """The same segments of a recording, each one's language weighed with that of the others: a speaker of Dutch before
    and after hardly spoke German between.

    A segment's shares are multiplied by the mean of the other segments' (by their speech, with PRIOR_S of all
    languages alike). So the recording settles doubt, a lone segment stays as it was, and a change of language
    that the methods are sure of stays.
    """
    found = list(segments)
    shares = {
        at: {x["language"]: x["share"] for x in s.language_shares} for at, s in enumerate(found) if s.language_shares
    }
    total: dict[str, float] = defaultdict(float)
    for at, own in shares.items():
        for language, share in own.items():
            total[language] += found[at].speech_s * share
    for at, own in shares.items():
        speech_s = found[at].speech_s
        weights = {x: share * (total[x] - speech_s * share + PRIOR_S / len(own)) for x, share in own.items()}
        likeliest = max(weights, key=lambda x: weights[x])
        probability = weights[likeliest] / sum(weights.values())
        found[at] = replace(found[at], language=likeliest, language_probability=probability)
    return found


def mix(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """Languages of a recording: language, speech_s, and the mean probability of its segments, weighted by their
    speech. First comes the one with most speech, each second counted by its probability: doubtful ones rule nothing.
    """
    speech_s: dict[str, float] = defaultdict(float)
    weighted: dict[str, float] = defaultdict(float)
    for segment in segments:
        if segment.text and segment.language:
            certainty = 1.0 if segment.language_probability is None else segment.language_probability  # None: declared
            speech_s[segment.language] += segment.speech_s
            weighted[segment.language] += segment.speech_s * certainty
    return [
        {
            "language": x,
            "speech_s": round(speech_s[x], 3),
            "probability": weighted[x] / speech_s[x] if speech_s[x] else 0,
        }
        for x in sorted(speech_s, key=lambda x: -weighted[x])
    ]
