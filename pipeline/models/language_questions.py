"""The scores of languages from a family's questions, whichever runtime answers them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np

from pipeline.models.abilities import Abilities
from pipeline.models.candidates import Question
from pipeline.models.family import LanguageQuestion
from pipeline.models.protocol import LanguageScorer, LanguageScores, Request

# Given a request, its padded audio, token ids about it, and the ids that may come next: their log-probabilities.
Next = Callable[[Request, np.ndarray, Sequence[int], tuple[int, ...]], Awaitable[Mapping[int, float]]]


def chosen(
    questions: Mapping[str, LanguageQuestion], methods: Sequence[str], abilities: Abilities
) -> dict[str, LanguageQuestion]:
    """Of a family's questions those by these methods; all of them for a model that needs a language."""
    return {method: question for method, question in questions.items() if abilities.needs_language or method in methods}


def scorer(
    questions: Mapping[str, LanguageQuestion], padded: Callable[[Request], np.ndarray], following: Next
) -> LanguageScorer:
    """What asks all questions, by method, for a window at once: next to each other, they can share the audio's
    encoding."""

    async def choose(request: Request, audio: np.ndarray, asked: LanguageQuestion) -> dict[str, float]:
        before = asked.ask(audio)

        async def answer(question: Question) -> Mapping[int, float]:
            return await following(request, audio, [*before, *question.prefix], question.following)

        parts = asked.candidates.questions
        answers = await asyncio.gather(*map(answer, parts))
        return asked.candidates.logprobs(dict(zip((part.prefix for part in parts), answers, strict=True)))

    async def score(request: Request) -> LanguageScores:
        audio, languages, no_speech = padded(request), {}, None
        answers = await asyncio.gather(*(choose(request, audio, asked) for asked in questions.values()))
        for method, logprobs in zip(questions, answers, strict=True):
            if (silent := logprobs.pop("", None)) is not None:
                no_speech = math.exp(silent)
            languages[method] = _distribution(logprobs)
        return LanguageScores(languages, no_speech)

    return score


def _distribution(logprobs: Mapping[str, float]) -> dict[str, float]:
    """Log-probabilities -> probabilities that add up to 1."""
    top = max(logprobs.values())
    shares = {name: math.exp(value - top) for name, value in logprobs.items()}
    return {name: share / sum(shares.values()) for name, share in shares.items()}
