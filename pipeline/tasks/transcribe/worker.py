"""What an engine's actor does with a batch of windows: pyarrow tables in, pyarrow tables out. No Ray here.

Trouble with one window becomes a row and never leaves as an exception; a dead engine does.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.audio import segment
from pipeline.models.protocol import Engine, EngineError, Heard, Hypothesis, Utterance
from pipeline.schema import FailureCode, Flag
from pipeline.settings import Settings
from pipeline.tasks.transcribe import guards, language
from pipeline.tasks.transcribe.guards import Attempt
from pipeline.tasks.transcribe.overlaps import concatenate, join
from pipeline.tasks.transcribe.schema import DECLARED, HYPOTHESIS

UNSURE_SHARE = 0.1  # of probability, from which on the second likeliest language is tried too

Row = dict[str, Any]


class Transcribe:
    """WINDOW rows -> HYPOTHESIS rows, as many and in the same order. `finished` counts them."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings, self.finished = engine, settings, 0

    async def __call__(self, windows: pa.Table) -> pa.Table:
        """All windows of the batch go to the engine at once; it batches them as it sees fit."""
        samples = windows["samples"]
        rows = windows.drop_columns(["samples"]).to_pylist()
        answers = await asyncio.gather(*(self._one(row, samples[at]) for at, row in enumerate(rows)))
        return pa.Table.from_pylist([row | answer for row, answer in zip(rows, answers, strict=True)], HYPOTHESIS)

    async def _one(self, row: Row, samples: pa.BinaryScalar) -> Row:
        if row["failure_code"]:
            return {"text": None}
        if not samples.is_valid:  # nothing is said in it
            return {"text": ""}
        heard = np.frombuffer(samples.as_buffer(), dtype="<i2")  # pyright: ignore[reportCallIssue, reportArgumentType]
        spans = tuple((span["start_s"], span["end_s"]) for span in row["spans"])
        window = segment.Window(row["start_s"], row["end_s"], row["speech_s"], spans, row["overlap_s"], heard)
        try:
            return await self._hear(window, row["language"])
        except EngineError as error:
            return {"text": None, "failure_code": FailureCode.ENGINE_ERROR.value, "failure_detail": str(error)}
        finally:
            self.finished += 1

    async def _hear(self, window: segment.Window, declared: str | None) -> Row:
        """Transcribe a window, again in other ways as long as its text is suspicious, and tag its language."""
        heard, utterance, first = await self._first(Utterance(window.samples, declared))
        scripts = [declared] if declared else self._settings.language.expected
        attempts: list[Attempt] = []
        try:
            async for name, hypothesis in self._ways(window, utterance, first):
                flags = guards.suspicions(
                    hypothesis,
                    window.speech_s + window.overlap_s,
                    heard.no_speech_probability,
                    scripts,
                    self._settings.guards,
                )
                attempts.append(Attempt(name, hypothesis, flags))
                if not flags or Flag.NO_SPEECH in flags:
                    break
        except EngineError:
            if not attempts:
                raise
        kept = guards.best(attempts)
        flags, text = list(kept.flags), kept.hypothesis.text
        if Flag.NO_SPEECH in flags:
            text = ""
        tag = None if declared or not text else self._tag(heard, text)
        if tag and not tag.agreed:
            flags.append(Flag.LANGUAGE_DISPUTED)
        allowed = [*self._settings.language.expected, *filter(None, [declared])]
        if other := language.unexpected(text, allowed):
            flags.append(Flag.UNEXPECTED_LANGUAGE)
        return asdict(kept.hypothesis) | {
            "text": text,
            "language": declared if text and declared else tag.language if tag else None,
            "language_probability": tag.probability if tag else None,
            "language_source": DECLARED if text and declared else "witnesses" if tag else None,
            "unexpected_language": other,
            "language_shares": [{"language": x, "share": share} for x, share in tag.shares.items()] if tag else None,
            "no_speech_probability": heard.no_speech_probability,
            "padded_s": sum(attempt.hypothesis.padded_s for attempt in attempts),
            "flags": flags,
            "retried_for": list(attempts[0].flags) if len(attempts) > 1 else [],
            "attempts": [attempt.name for attempt in attempts],
            "kept_attempt": kept.name,
        }

    def _tag(self, heard: Heard, text: str) -> language.Tag | None:
        witnesses, expected = list(heard.languages.values()), self._settings.language.expected
        if "text" in self._settings.language.witnesses:
            witnesses.append(language.text_witness(text, expected))
        return language.combine(witnesses, expected)

    async def _first(self, utterance: Utterance) -> tuple[Heard, Utterance, Hypothesis]:
        """What the model hears, the utterance with the language that was prompted for its text, and the text."""
        if self._engine.needs_language:  # it knows no speech from speech, too: heard even where one is declared
            heard = await self._engine.listen(utterance)
            if utterance.language:
                return heard, utterance, await self._engine.transcribe(utterance)
            return heard, *await self._likeliest(utterance, heard)
        if utterance.language:
            return Heard({}), utterance, await self._engine.transcribe(utterance)
        # Both at once: asked one after the other, the audio would have left the engine's encoder cache between.
        text, heard = await asyncio.gather(self._engine.transcribe(utterance), self._listen(utterance))
        return heard, utterance, text

    async def _listen(self, utterance: Utterance) -> Heard:
        try:
            return await self._engine.listen(utterance)
        except EngineError:
            return Heard({})  # the text is worth having without a tag

    async def _likeliest(self, utterance: Utterance, heard: Heard) -> tuple[Utterance, Hypothesis]:
        """The utterance in the language that was heard, and its text.

        A model that is unsure is given its two likeliest. A text counts before none, since there is speech in the
        window; of two texts the one with the higher probability of its language times that of its average token: the
        probability of a whole text would be the lower, the longer it is.
        """
        (shares,) = heard.languages.values()
        likely = sorted(shares, key=lambda x: -shares[x])[:2]
        ways = [replace(utterance, language=x) for x in likely if x == likely[0] or shares[x] >= UNSURE_SHARE]
        tried = await asyncio.gather(*map(self._engine.transcribe, ways))

        def rank(at: int) -> tuple[bool, float]:
            return bool(tried[at].text), math.log(shares[likely[at]]) + (tried[at].mean_logprob or 0.0)

        best = max(range(len(tried)), key=rank)
        return ways[best], replace(tried[best], padded_s=sum(one.padded_s for one in tried))

    async def _ways(
        self, window: segment.Window, whole: Utterance, first: Hypothesis
    ) -> AsyncIterator[tuple[str, Hypothesis]]:
        """Ways to transcribe a window, the best first; that one is done."""
        yield "whole", first
        limits = self._settings.guards
        pieces = segment.split(window, self._settings.segmentation, limits.retry_max_pause_s)
        if len(pieces) > 1:
            parts = [Utterance(piece.samples, whole.language) for piece in pieces]
            heard = await asyncio.gather(*map(self._engine.transcribe, parts))
            yield "split", _joined(heard, [piece.overlap_s for piece in pieces])
        for temperature in limits.retry_temperatures:
            yield f"temperature {temperature:g}", await self._engine.transcribe(replace(whole, temperature=temperature))


def engine_died(windows: pa.Table, deaths: int) -> pa.Table:
    """The HYPOTHESIS rows of WINDOW rows that engines died of."""
    rows = windows.drop_columns(["samples"]).to_pylist()
    failure = {
        "text": None,
        "failure_code": FailureCode.ENGINE_DIED.value,
        "failure_detail": f"{deaths} engines died of it",
    }
    return pa.Table.from_pylist([row | failure for row in rows], HYPOTHESIS)


def _joined(pieces: Sequence[Hypothesis], overlaps_s: Sequence[float]) -> Hypothesis:
    """The hypotheses of consecutive pieces as one."""
    text = pieces[0].text
    for piece, overlap_s in zip(pieces[1:], overlaps_s[1:], strict=True):
        text = concatenate(join(text, piece.text, overlap_s))
    reasons = Counter(piece.finish_reason for piece in pieces)
    tokens = sum(piece.token_count for piece in pieces)

    def mean(values: Iterable[tuple[float | None, int]]) -> float | None:
        return sum((value or 0.0) * count for value, count in values) / tokens if tokens else None

    return Hypothesis(
        text=text,
        finish_reason=next((reason for reason in ("repetition", "length") if reasons[reason]), pieces[0].finish_reason),
        token_count=tokens,
        mean_logprob=mean((piece.mean_logprob, piece.token_count) for piece in pieces),
        low_probability_share=mean((piece.low_probability_share, piece.token_count) for piece in pieces),
        padded_s=sum(piece.padded_s for piece in pieces),
    )
