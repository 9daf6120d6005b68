"""A recording becomes windows: fetched, decoded, its speech found, cut. pyarrow tables in, pyarrow tables out.

Trouble with a recording becomes a window without samples, and never leaves as an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import rows
from pipeline.audio import fetch, media, segment, short, timestamps, vad
from pipeline.errors import RecordingError, TransientError, failure
from pipeline.rows import Recording, Span, Window
from pipeline.schema import SAMPLE_RATE_HZ, WINDOW, FailureCode, Flag
from pipeline.settings import Settings

MAX_CHANNELS = 32  # to split: each is decoded apart
# What a decode worker holds before it hands it on, but for the last window: 8 of 30 s are 8 MB.
WINDOWS_PER_TABLE, BYTES_PER_TABLE = 8, 8_000_000


def prepare(recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
    """RECORDING rows -> WINDOW rows: fetch, decode, find speech, cut. At least one window for every recording."""
    for recording in rows.read(recordings, Recording):
        some: list[Window] = []
        for window in _numbered(_windows(recording, settings), recording):
            some.append(window)
            if len(some) == WINDOWS_PER_TABLE or sum(len(one.samples or b"") for one in some) >= BYTES_PER_TABLE:
                yield rows.table(some, WINDOW)
                some = []
        if some:
            yield rows.table(some, WINDOW)


def decode_died(given: Iterable[pa.Table], recording: pa.Table, kills: int) -> Iterator[pa.Table]:
    """The WINDOW rows of a RECORDING row that decode workers died of: those that came before, and one that failed."""
    (row,) = rows.read(recording, Recording)
    count, start_s = 0, row.range_start_s or 0.0
    end_s = start_s
    for table in given:
        count, end_s = count + len(table), max(end_s, pc.max(table["end_s"]).as_py())
        yield table
    error = RecordingError(FailureCode.DECODE_DIED, f"{kills} decode workers died of it")
    (last,) = _numbered([_failed(end_s, None, error), _Whole(end_s - start_s or None, row.content_version)], row)
    yield rows.table([replace(last, segment_index=count, segment_count=count + 1)], WINDOW)


@dataclass(frozen=True, slots=True)
class _Whole:
    """What is known of a recording when it has been read: how long it is, and which content it had."""

    duration_s: float | None
    content_version: str | None


def _numbered(found: Iterable[Window | _Whole], recording: Recording) -> Iterator[Window]:
    """Give each window its number, and the last one the facts of the whole recording."""
    held, count, whole = None, 0, _Whole(None, None)
    for window in found:
        if isinstance(window, _Whole):
            whole = window
            continue
        if held is not None:
            yield held
        of_recording = {"recording_id": recording.recording_id, "language": recording.language}
        held = replace(window, segment_index=count, **of_recording)
        count += 1
    assert held is not None, "every recording has at least one window"
    facts = {"duration_s": whole.duration_s, "content_version": whole.content_version}
    yield replace(held, segment_count=count, **facts)


def _windows(recording: Recording, settings: Settings) -> Iterator[Window | _Whole]:
    """The windows of one recording, channel by channel, then the facts of the whole recording. Trouble is a window
    without samples, up to where the header says that the recording ends."""
    start_s, end_s = recording.range_start_s or 0.0, recording.range_end_s
    stated_end_s, reached_s, version = None, start_s, recording.content_version
    try:
        if recording.failure_code:
            raise failure(FailureCode(recording.failure_code), recording.failure_detail or "")
        listed, max_bytes = (recording.content_version, recording.size_bytes), settings.audio.max_object_gb * 1e9
        with fetch.local_copy(recording.uri, *listed, max_bytes) as copy:
            path, version = copy.path, copy.content_version
            whole = short.decode(path, settings.audio) if _is_whole_mix(recording, settings) else None
            facts = whole.facts if whole else media.probe(path, settings.audio)
            stated_s = facts.duration_s if facts.duration_is_stated else None
            stated_end_s = min(end_s or stated_s, stated_s) if stated_s else None
            if stated_s and start_s >= stated_s:
                detail = f"start_s {start_s} is not before the end of the recording, {stated_s:.2f} s"
                raise RecordingError(FailureCode.INVALID_ROW, detail)
            if settings.channels == "split" and not 1 <= facts.channels <= MAX_CHANNELS:
                detail = f"{facts.channels} channels; --channels split takes 1 to {MAX_CHANNELS}"
                raise RecordingError(FailureCode.DECODE_ERROR, detail)
            for channel in [None] if settings.channels == "mix" else range(facts.channels):
                clock = _Clock(start_s)
                blocks = (
                    whole.blocks
                    if whole
                    else media.decode(path, settings.audio, start_s, end_s, channel, flags=clock.flags)
                )
                for window in _channel(clock.counting(blocks), clock, (stated_end_s, end_s), settings):
                    yield replace(window, channel=channel)
                reached_s = max(reached_s, clock.end_s)
    except RecordingError as error:
        yield _failed(reached_s, stated_end_s, error)
    except Exception as error:
        yield _failed(reached_s, stated_end_s, _fault(error))
    yield _Whole(reached_s - start_s if reached_s > start_s else None, version)


def _is_whole_mix(recording: Recording, settings: Settings) -> bool:
    return settings.channels == "mix" and recording.range_start_s is None and recording.range_end_s is None


def _channel(
    blocks: Iterable[np.ndarray], clock: _Clock, ends_s: tuple[float | None, float | None], settings: Settings
) -> Iterator[Window]:
    """The windows of one channel; where it holds no speech, one without samples; where it is broken, one that failed.
    `ends_s` are those that the header states and that the manifest's range has.

    The last one carries `channel_speech_s` and `recording_flags`.
    """
    start_s, held = clock.end_s, None
    segmenter = segment.Segmenter(vad.Detector(), settings.segmentation, start_s)
    trouble: RecordingError | None = None
    try:
        for found in segmenter.windows(blocks):
            if held:
                yield held
            held = Window(
                start_s=found.start_s,
                end_s=min(found.end_s, clock.end_s),
                speech_s=found.speech_s,
                spans=[Span(start_s=start, end_s=min(end, clock.end_s)) for start, end in found.spans],
                overlap_s=found.overlap_s,
                samples=found.samples.tobytes(),
            )
        trouble = clock.failure
        if not trouble and clock.end_s == start_s:
            trouble = RecordingError(FailureCode.DECODE_ERROR, "ffmpeg found no audio samples in it")
        trouble = trouble or _early_end(clock.end_s, *ends_s, start_s, settings)
    except Exception as error:
        trouble = _fault(error)
    if not held and clock.end_s > start_s:
        held = Window(start_s=start_s, end_s=clock.end_s)
    if held and trouble:
        yield held
    last = _failed(clock.end_s, ends_s[0], trouble) if trouble else held
    assert last is not None
    yield replace(last, channel_speech_s=round(segmenter.speech_s, 3), recording_flags=sorted(clock.flags))


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


def _early_end(
    end_s: float, stated_end_s: float | None, range_end_s: float | None, start_s: float, settings: Settings
) -> RecordingError | None:
    last_s = stated_end_s if stated_end_s is not None else range_end_s
    if end_s - start_s >= settings.audio.max_duration_s and (last_s is None or last_s > end_s + 1 / SAMPLE_RATE_HZ):
        limit = f"audio.max_duration_s = {settings.audio.max_duration_s:g}"
        return RecordingError(FailureCode.TOO_LONG, f"only the first {limit} seconds were transcribed")
    if timestamps.is_truncated(end_s - start_s, stated_end_s - start_s if stated_end_s is not None else None):
        detail = f"the header states {stated_end_s:.2f} s, but the audio ends at {end_s:.2f} s"
        return RecordingError(FailureCode.TRUNCATED, detail)
    return None


def _fault(error: Exception) -> RecordingError:
    return TransientError(FailureCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}")


def _failed(start_s: float, end_s: float | None, error: RecordingError) -> Window:
    end_s = max(start_s, end_s or 0.0)
    return Window(start_s=start_s, end_s=end_s, failure_code=error.code.value, failure_detail=error.detail)
