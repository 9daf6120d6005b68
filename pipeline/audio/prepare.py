"""A recording becomes windows: fetched, decoded, its speech found, cut. pyarrow tables in, pyarrow tables out.

Trouble with a recording becomes a window without samples, and never leaves as an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.audio import fetch, media, segment, timestamps, vad
from pipeline.errors import RecordingError
from pipeline.schema import SAMPLE_RATE_HZ, WINDOW, FailureCode, Flag
from pipeline.settings import Settings

MAX_CHANNELS = 32  # to split: each is decoded apart
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
            facts = media.probe(path, settings.audio)
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
                blocks = clock.counting(media.decode(path, settings.audio, start_s, end_s, channel, flags=clock.flags))
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
        self.flags: set[Flag] = set()  # that media.decode raises
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
