"""What an engine's actor does with a batch of windows: pyarrow tables in, pyarrow tables out. No Ray here.

Trouble with one window becomes a row and never leaves as an exception; a dead engine does.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline import rows
from pipeline.alignment.protocol import Aligner
from pipeline.audio import segment
from pipeline.models.protocol import Hypothesis, LanguageError, LanguageScores, Model, Request, RequestError
from pipeline.rows import Window
from pipeline.schema import FailureCode, Flag
from pipeline.settings import Settings
from pipeline.tasks.transcribe import guards, language
from pipeline.tasks.transcribe.answers import Answer, hypotheses
from pipeline.tasks.transcribe.guards import Attempt
from pipeline.tasks.transcribe.overlaps import concatenate, join
from pipeline.tasks.transcribe.schema import DECLARED
from pipeline.tasks.transcribe.words import WordTimes

UNSURE_SHARE = 0.1  # of probability, from which on the second likeliest language is tried too
NO_SCORES = LanguageScores({})
ENGLISH = "en"  # which models translate into
PROBE = "any text that is long enough"


class Transcribe:
    """WINDOW rows -> HYPOTHESIS rows, as many and in the same order. `finished` counts them."""

    def __init__(self, model: Model, settings: Settings, aligner: Aligner | None = None) -> None:
        """For one loaded model, and what finds the times of words, where they are asked for.

        Raises:
            ConfigurationError: the model does not know an expected language.
        """
        self._model, self._settings, self.finished = model, settings, 0
        self._word_times = WordTimes(aligner, settings.alignment.min_score) if aligner else None
        self._translate = settings.language.translate
        # In a translation the text tells nothing of the language that is spoken.
        self._methods = [x for x in settings.language.methods if not (self._translate and x == "text")]
        self._score = model.language_scorer(settings.language.expected, self._methods)
        # A text whose language cannot be told, since it may be one that py3langid does not know, always leaves doubt.
        by_text = "text" in self._methods and language.of_text(PROBE, settings.language.expected)
        self._ask_always = settings.language.ask_every_window or not by_text

    async def __call__(self, windows: pa.Table) -> pa.Table:
        """All windows of the batch go to the model at once; it batches them as it sees fit."""
        return hypotheses(windows, await asyncio.gather(*map(self._one, rows.read(windows, Window))))

    async def _one(self, window: Window) -> Answer:
        if window.failure_code:
            return _failed(window.language, window.failure_code, window.failure_detail)
        if window.samples is None:  # nobody speaks
            return Answer(text="", language=window.language)
        try:
            return await self._transcribe(speech(window, window.samples), window.language)
        except RequestError as error:
            is_declared = isinstance(error, LanguageError) and window.language is not None
            code = FailureCode.INVALID_ROW if is_declared else FailureCode.ENGINE_ERROR
            return _failed(window.language, code, str(error))
        finally:
            self.finished += 1

    async def _transcribe(self, window: segment.Window, declared: str | None) -> Answer:
        """Transcribe a window, again in other ways as long as its text is suspicious, and tag its language."""
        scores, request, first = await self._first(Request(window.samples, declared, translate=self._translate))
        written = [ENGLISH] if self._translate else [declared] if declared else self._settings.language.expected
        attempts: list[Attempt] = []
        try:
            async for name, hypothesis in self._ways(window, request, first):
                flags = guards.suspicions(
                    hypothesis,
                    window.speech_s + window.overlap_s,
                    scores.no_speech_probability,
                    written,
                    self._settings.guards,
                )
                attempts.append(Attempt(name, hypothesis, flags))
                if not flags or Flag.NO_SPEECH in flags:
                    break
        except RequestError:
            if not attempts:
                raise
        kept = guards.best(attempts)
        flags, text = list(kept.flags), kept.hypothesis.text
        if Flag.NO_SPEECH in flags:
            text = ""
        allowed = [*self._settings.language.expected, *filter(None, [declared])]
        other = language.unexpected(text, written if self._translate else allowed)
        tag = None
        if text and not declared:
            tag = await self._tag(scores, request, text, doubtful=bool(flags or other))
        if tag and not tag.agreed:
            flags.append(Flag.LANGUAGE_DISPUTED)
        if other:
            flags.append(Flag.UNEXPECTED_LANGUAGE)
        spoken = declared if text and declared else tag.language if tag else None
        found = None
        if self._word_times:
            found, doubts = await self._word_times.of(window, text, spoken)
            flags += doubts
        return Answer(
            text=text,
            language=spoken,
            language_probability=tag.probability if tag else None,
            language_source=DECLARED if text and declared else language.IDENTIFIED if tag else None,
            language_shares=[{"language": x, "share": share} for x, share in tag.shares.items()] if tag else None,
            unexpected_language=other,
            no_speech_probability=scores.no_speech_probability,
            finish_reason=kept.hypothesis.finish_reason,
            token_count=kept.hypothesis.token_count,
            mean_logprob=kept.hypothesis.mean_logprob,
            low_probability_share=kept.hypothesis.low_probability_share,
            padded_s=sum(attempt.hypothesis.padded_s for attempt in attempts),
            flags=flags,
            retried_for=attempts[0].flags if len(attempts) > 1 else [],
            attempts=[attempt.name for attempt in attempts],
            kept_attempt=kept.name,
            words=found,
        )

    async def _tag(self, scores: LanguageScores, request: Request, text: str, doubtful: bool) -> language.Tag | None:
        """A model that was not asked for the language yet is asked where the text is doubtful, or its language."""
        expected = self._settings.language.expected
        by_text = [language.of_text(text, expected)] if "text" in self._methods else []
        if not scores.languages and not self._ask_always and (doubtful or not language.is_clear(by_text[0])):
            scores = await self._scores(request)
        return language.combine([*scores.languages.values(), *by_text], expected)

    async def _first(self, request: Request) -> tuple[LanguageScores, Request, Hypothesis]:
        """The language scores, the request with the language that was prompted for its text, and the text."""
        abilities = self._model.abilities
        if abilities.needs_language:
            scores = await self._score(request) if abilities.detects_silence or not request.language else NO_SCORES
            if request.language:
                return scores, request, await self._model.transcribe(request)
            return scores, *await self._likeliest(request, scores)
        if not abilities.detects_silence and (request.language or not self._ask_always):
            return NO_SCORES, request, await self._model.transcribe(request)
        # Both at once: asked one after the other, the audio would have left the model's encoder cache between.
        text, scores = await asyncio.gather(self._model.transcribe(request), self._scores(request))
        return scores, request, text

    async def _scores(self, request: Request) -> LanguageScores:
        try:
            return await self._score(request)
        except RequestError:
            return NO_SCORES  # the text is worth having without a tag

    async def _likeliest(self, request: Request, scores: LanguageScores) -> tuple[Request, Hypothesis]:
        """The request in the likeliest language, and its text.

        A model that is unsure is given its two likeliest languages. An empty text loses, since there is speech in the
        window; of two texts the one wins whose language's probability, times that of its average token, is the higher
        (the probability of a whole text falls with its length).
        """
        tag = language.combine(scores.languages.values(), self._settings.language.expected)
        if not tag:
            raise RequestError("the model has to be told a language, and scored none")
        shares = tag.shares
        likely = sorted(shares, key=lambda x: -shares[x])[:2]
        ways = [replace(request, language=x) for x in likely if x == likely[0] or shares[x] >= UNSURE_SHARE]
        tried = await asyncio.gather(*map(self._model.transcribe, ways))

        def rank(at: int) -> tuple[bool, float]:
            return bool(tried[at].text), math.log(shares[likely[at]]) + (tried[at].mean_logprob or 0.0)

        best = max(range(len(tried)), key=rank)
        return ways[best], replace(tried[best], padded_s=sum(one.padded_s for one in tried))

    async def _ways(
        self, window: segment.Window, whole: Request, first: Hypothesis
    ) -> AsyncIterator[tuple[str, Hypothesis]]:
        """Ways to transcribe a window, the best first; `first` is the text of that one."""
        yield "whole", first
        limits = self._settings.guards
        pieces = segment.split(window, self._settings.segmentation, limits.retry_max_pause_s)
        if len(pieces) > 1:
            parts = [Request(piece.samples, whole.language, translate=whole.translate) for piece in pieces]
            answers = await asyncio.gather(*map(self._model.transcribe, parts))
            yield "split", _joined(answers, [piece.overlap_s for piece in pieces])
        for temperature in limits.retry_temperatures:
            yield f"temperature {temperature:g}", await self._model.transcribe(replace(whole, temperature=temperature))


def speech(window: Window, samples: bytes) -> segment.Window:
    """A window with its samples, as they were cut."""
    spans = tuple((span["start_s"], span["end_s"]) for span in window.spans)
    return segment.Window(
        window.start_s, window.end_s, window.speech_s, spans, window.overlap_s, np.frombuffer(samples, dtype="<i2")
    )


def engine_died(windows: pa.Table, deaths: int) -> pa.Table:
    """The HYPOTHESIS rows of WINDOW rows that engines died of."""
    failure = FailureCode.ENGINE_DIED, f"{deaths} engines died of it"
    return hypotheses(windows, [_failed(language, *failure) for language in windows["language"].to_pylist()])


def _failed(language: str | None, code: str, detail: str | None) -> Answer:
    return Answer(text=None, language=language, failure_code=code, failure_detail=detail)


def _joined(pieces: Sequence[Hypothesis], overlaps_s: Sequence[float]) -> Hypothesis:
    """The hypotheses of consecutive pieces as one."""
    text = pieces[0].text
    for piece, overlap_s in zip(pieces[1:], overlaps_s[1:], strict=True):
        text = concatenate(join(text, piece.text, overlap_s))
    reasons = Counter(piece.finish_reason for piece in pieces)
    counts = [piece.token_count for piece in pieces]
    tokens = None if None in counts else sum(count or 0 for count in counts)

    def mean(values: Iterable[tuple[float | None, int | None]]) -> float | None:
        found = [(value, count or 0) for value, count in values]
        if not tokens or all(value is None for value, _ in found):
            return None
        return sum((value or 0.0) * count for value, count in found) / tokens

    return Hypothesis(
        text=text,
        finish_reason=next((reason for reason in ("repetition", "length") if reasons[reason]), pieces[0].finish_reason),
        token_count=tokens,
        mean_logprob=mean((piece.mean_logprob, piece.token_count) for piece in pieces),
        low_probability_share=mean((piece.low_probability_share, piece.token_count) for piece in pieces),
        padded_s=sum(piece.padded_s for piece in pieces),
    )
