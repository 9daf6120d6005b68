"""What a worker does with a batch: pyarrow tables in, pyarrow tables out. No Ray here.

Trouble with one recording or window becomes a row and never leaves as an exception; a dead engine does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import audio, segment, store
from pipeline.engines.base import Engine, EngineError, Hypothesis, Utterance
from pipeline.errors import RecordingError
from pipeline.schema import HYPOTHESIS, SAMPLE_RATE_HZ, WINDOW, FailureCode, LanguageSource
from pipeline.settings import Settings

WINDOWS_PER_TABLE = 8  # 8 MB of 30 s windows: what a decode worker holds before it hands them on

Row = dict[str, Any]


def prepare(recordings: pa.Table, settings: Settings, max_window_s: float) -> Iterator[pa.Table]:
    """RECORDING rows -> WINDOW rows: fetch, decode, find speech, cut. At least one window for every recording."""
    for recording in recordings.to_pylist():
        rows: list[Row] = []
        for row in _numbered(_windows(recording, settings, max_window_s), recording):
            rows.append(row)
            if len(rows) == WINDOWS_PER_TABLE:
                yield pa.Table.from_pylist(rows, WINDOW)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, WINDOW)


def _numbered(rows: Iterable[Row], recording: Row) -> Iterator[Row]:
    """Give each window its number, and the last one the facts of the whole recording."""
    common = {"recording_id": recording["recording_id"], "language": recording["language"]}
    held, count, duration_s = None, 0, None
    for row in rows:
        if "duration_s" in row:  # not a window: the last word on the recording
            duration_s = row["duration_s"]
            continue
        if held is not None:
            yield held
        held = common | {"segment_index": count, "speech_s": 0.0} | row
        count += 1
    assert held is not None, "every recording has at least one window"
    yield held | {"segment_count": count, "duration_s": duration_s}


def _windows(recording: Row, settings: Settings, max_window_s: float) -> Iterator[Row]:
    """The windows of one recording, then its duration. Trouble becomes a window without samples."""
    start_s = recording["range_start_s"] or 0.0
    clock = _Clock(start_s)
    stated_end_s = None
    try:
        if recording["failure_code"]:
            raise RecordingError(FailureCode(recording["failure_code"]), recording["failure_detail"])
        with store.local_copy(recording["uri"]) as path:
            facts = audio.probe(path, settings.audio)
            end_s = recording["range_end_s"]
            stated_s = facts.duration_s if facts.duration_is_stated else None
            stated_end_s = min(end_s or stated_s, stated_s) if stated_s else None
            if stated_s and start_s >= stated_s:
                detail = f"start_s {start_s} lies behind the end of the recording, {stated_s:.2f} s"
                raise RecordingError(FailureCode.INVALID_ROW, detail)
            blocks = clock.counting(audio.decode(path, settings.audio, start_s, end_s))
            spoke = False
            for window in segment.windows(
                blocks, segment.detector(), settings.segmentation, max_window_s, offset_s=start_s
            ):
                spoke = True
                yield {
                    "start_s": window.start_s,
                    "end_s": min(window.end_s, clock.end_s),
                    "speech_s": window.speech_s,
                    "samples": window.samples.tobytes(),
                }
            if not spoke and clock.end_s > start_s:
                yield {"start_s": start_s, "end_s": clock.end_s}
            if clock.failure:
                raise clock.failure
            if clock.end_s == start_s:
                raise RecordingError(FailureCode.DECODE_ERROR, "ffmpeg found no audio samples in it")
            _check_end(clock.end_s, stated_end_s, start_s, settings)
    except RecordingError as error:
        yield _failed(clock.end_s, stated_end_s, error.code, error.detail)
    except Exception as error:
        yield _failed(clock.end_s, stated_end_s, FailureCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
    known = clock.end_s > start_s or stated_end_s is not None
    yield {"duration_s": max(clock.end_s, stated_end_s or 0.0) - start_s if known else None}


class _Clock:
    """Counts decoded samples as they pass. Where decoding fails the audio ends, and `failure` says why.

    So what was decoded before is segmented like any other audio.
    """

    def __init__(self, start_s: float) -> None:
        self.end_s = start_s
        self.failure: RecordingError | None = None

    def counting(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        try:
            for block in blocks:
                self.end_s = round(self.end_s + len(block) / SAMPLE_RATE_HZ, 6)
                yield block
        except RecordingError as error:
            self.failure = error


def _check_end(end_s: float, stated_end_s: float | None, start_s: float, settings: Settings) -> None:
    if end_s - start_s >= settings.audio.max_duration_s and (stated_end_s is None or stated_end_s > end_s):
        limit = f"audio.max_duration_s = {settings.audio.max_duration_s:g}"
        raise RecordingError(FailureCode.TOO_LONG, f"only the first {limit} seconds were transcribed")
    if audio.is_truncated(end_s - start_s, stated_end_s - start_s if stated_end_s is not None else None):
        detail = f"the header states {stated_end_s:.2f} s, but the audio ends at {end_s:.2f} s"
        raise RecordingError(FailureCode.TRUNCATED, detail)


def _failed(start_s: float, end_s: float | None, code: FailureCode, detail: str) -> Row:
    return {
        "start_s": start_s,
        "end_s": max(start_s, end_s or 0.0),
        "failure_code": code.value,
        "failure_detail": detail,
    }


class Transcribe:
    """WINDOW rows -> HYPOTHESIS rows, as many and in the same order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
        try:
            heard = np.frombuffer(samples.as_buffer(), dtype="<i2")  # pyright: ignore[reportCallIssue, reportArgumentType]
            return _answer(await self._engine.transcribe(Utterance(heard, row["language"])), row["language"])
        except EngineError as error:
            return {"text": None, "failure_code": FailureCode.ENGINE_ERROR.value, "failure_detail": str(error)}


def _answer(hypothesis: Hypothesis, declared: str | None) -> Row:
    source = LanguageSource.DECLARED if declared else LanguageSource.MODEL if hypothesis.language else None
    return asdict(hypothesis) | {"language_source": source.value if source else None}
