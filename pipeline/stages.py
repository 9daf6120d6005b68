"""What a worker does with a batch: pyarrow tables in, pyarrow tables out. No Ray here.

Trouble with one recording or window becomes a row and never leaves as an exception; a dead engine does.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import audio, fetch, guards, language, segment, timestamps, vad
from pipeline.engines.base import Engine, EngineError, Heard, Hypothesis, Utterance
from pipeline.errors import RecordingError
from pipeline.guards import Attempt
from pipeline.join import concatenate, join
from pipeline.schema import DECLARED, HYPOTHESIS, SAMPLE_RATE_HZ, WINDOW, FailureCode, Flag
from pipeline.settings import Settings

MAX_CHANNELS = 32  # to split: each is decoded apart
UNSURE_SHARE = 0.1  # of probability, from which on the second likeliest language is tried too
WINDOWS_PER_TABLE = 8  # 8 MB of 30 s windows: what a decode worker holds before it hands them on

Row = dict[str, Any]


def prepare(recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
    """RECORDING rows -> WINDOW rows: fetch, decode, find speech, cut. At least one window for every recording."""
    for recording in recordings.to_pylist():
        rows: list[Row] = []
        for row in _numbered(_windows(recording, settings), recording):
            rows.append(row)
            if len(rows) == WINDOWS_PER_TABLE:
                yield pa.Table.from_pylist(rows, WINDOW)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, WINDOW)


def _numbered(rows: Iterable[Row], recording: Row) -> Iterator[Row]:
    """Give each window its number, and the last one the facts of the whole recording."""
    common = {"recording_id": recording["recording_id"], "language": recording["language"]}
    held, count, last = None, 0, {}
    nothing: Row = {"speech_s": 0.0, "overlap_s": 0.0, "spans": []}
    for row in rows:
        if "duration_s" in row:  # not a window: facts of the whole recording
            last = row
            continue
        if held is not None:
            yield held
        held = common | nothing | {"segment_index": count} | row
        count += 1
    assert held is not None, "every recording has at least one window"
    yield held | {"segment_count": count} | last


def _windows(recording: Row, settings: Settings) -> Iterator[Row]:
    """The windows of one recording, channel by channel, then the facts of the whole recording. Trouble is a
    window without samples."""
    start_s, end_s = recording["range_start_s"] or 0.0, recording["range_end_s"]
    stated_end_s, reached_s, version = None, start_s, recording["content_version"]
    try:
        if recording["failure_code"]:
            raise RecordingError(FailureCode(recording["failure_code"]), recording["failure_detail"])
        listed, max_bytes = (recording["content_version"], recording["size_bytes"]), settings.audio.max_object_gb * 1e9
        with fetch.local_copy(recording["uri"], *listed, max_bytes) as copy:
            path, version = copy.path, copy.content_version
            facts = audio.probe(path, settings.audio)
            stated_s = facts.duration_s if facts.duration_is_stated else None
            stated_end_s = min(end_s or stated_s, stated_s) if stated_s else None
            if stated_s and start_s >= stated_s:
                detail = f"start_s {start_s} lies behind the end of the recording, {stated_s:.2f} s"
                raise RecordingError(FailureCode.INVALID_ROW, detail)
            if settings.channels == "split" and not 1 <= facts.channels <= MAX_CHANNELS:
                detail = f"{facts.channels} channels; --channels split takes 1 to {MAX_CHANNELS}"
                raise RecordingError(FailureCode.DECODE_ERROR, detail)
            for channel in [None] if settings.channels == "mix" else range(facts.channels):
                clock = _Clock(start_s)
                blocks = clock.counting(audio.decode(path, settings.audio, start_s, end_s, channel, flags=clock.flags))
                for row in _channel(blocks, clock, stated_end_s, settings):
                    yield row | {"channel": channel}
                reached_s = max(reached_s, clock.end_s)
    except RecordingError as error:
        yield _failed(reached_s, stated_end_s, error)
    except Exception as error:
        yield _failed(reached_s, stated_end_s, _fault(error))
    yield {"duration_s": reached_s - start_s if reached_s > start_s else None, "content_version": version}


def _channel(
    blocks: Iterable[np.ndarray], clock: _Clock, stated_end_s: float | None, settings: Settings
) -> Iterator[Row]:
    """The windows of one channel; where it holds no speech, one without samples; where it is broken, one that failed.

    The last one carries `heard_s` and `recording_flags`.
    """
    start_s, held = clock.end_s, None
    segmenter = segment.Segmenter(vad.Detector(), settings.segmentation, start_s)
    failure: RecordingError | None = None
    try:
        for window in segmenter.windows(blocks):
            if held:
                yield held
            held = {
                "start_s": window.start_s,
                "end_s": min(window.end_s, clock.end_s),
                "speech_s": window.speech_s,
                "spans": [{"start_s": start, "end_s": min(end, clock.end_s)} for start, end in window.spans],
                "overlap_s": window.overlap_s,
                "samples": window.samples.tobytes(),
            }
        failure = clock.failure
        if not failure and clock.end_s == start_s:
            failure = RecordingError(FailureCode.DECODE_ERROR, "ffmpeg found no audio samples in it")
        failure = failure or _early_end(clock.end_s, stated_end_s, start_s, settings)
    except Exception as error:
        failure = _fault(error)
    if not held and clock.end_s > start_s:
        held = {"start_s": start_s, "end_s": clock.end_s}
    if held and failure:
        yield held
    last = _failed(clock.end_s, stated_end_s, failure) if failure else held
    assert last is not None
    yield last | {"heard_s": round(segmenter.speech_s, 3), "recording_flags": sorted(clock.flags)}


class _Clock:
    """Counts decoded samples as they pass. Where decoding fails the audio ends, and `failure` says why.

    So what was decoded before is segmented like any other audio.
    """

    def __init__(self, start_s: float) -> None:
        self.end_s = start_s
        self.flags: set[Flag] = set()  # that audio.decode raises
        self.failure: RecordingError | None = None

    def counting(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        try:
            for block in blocks:
                self.end_s = round(self.end_s + len(block) / SAMPLE_RATE_HZ, 6)
                yield block
        except RecordingError as error:
            self.failure = error


def _early_end(end_s: float, stated_end_s: float | None, start_s: float, settings: Settings) -> RecordingError | None:
    if end_s - start_s >= settings.audio.max_duration_s and (stated_end_s is None or stated_end_s > end_s):
        limit = f"audio.max_duration_s = {settings.audio.max_duration_s:g}"
        return RecordingError(FailureCode.TOO_LONG, f"only the first {limit} seconds were transcribed")
    if timestamps.is_truncated(end_s - start_s, stated_end_s - start_s if stated_end_s is not None else None):
        detail = f"the header states {stated_end_s:.2f} s, but the audio ends at {end_s:.2f} s"
        return RecordingError(FailureCode.TRUNCATED, detail)
    return None


def _fault(error: Exception) -> RecordingError:
    return RecordingError(FailureCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}")


def _failed(start_s: float, end_s: float | None, error: RecordingError) -> Row:
    return {
        "start_s": start_s,
        "end_s": max(start_s, end_s or 0.0),
        "failure_code": error.code.value,
        "failure_detail": error.detail,
    }


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


def decode_died(given: Iterable[pa.Table], recording: pa.Table, kills: int) -> Iterator[pa.Table]:
    """The WINDOW rows of a RECORDING row that decode workers died of: those that came before, and one that failed."""
    (row,) = recording.to_pylist()
    count, end_s = 0, row["range_start_s"] or 0.0
    for table in given:
        count, end_s = count + len(table), max(end_s, pc.max(table["end_s"]).as_py())
        yield table
    error = RecordingError(FailureCode.DECODE_DIED, f"{kills} decode workers died of it")
    rows = [_failed(end_s, None, error), {"duration_s": end_s or None, "content_version": row["content_version"]}]
    (last,) = _numbered(rows, row)
    yield pa.Table.from_pylist([last | {"segment_index": count, "segment_count": count + 1}], WINDOW)


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
