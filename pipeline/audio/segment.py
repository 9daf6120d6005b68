"""Audio into windows: runs of speech, cut in pauses, none longer than the model's window.

One pass over streamed blocks; nothing longer than one window is kept. The spans of a recording's windows are ordered,
disjoint, and together hold every frame in which the voice activity detector found speech, but for windows with less
of it than `min_speech_s`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.audio.vad import FRAME, FRAME_S, HYSTERESIS
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Segmentation

QUIET = 10.0  # of power below the loudest span of a window, 10 dB: such spans are raised
MAX_GAIN = 1e6  # of power, 60 dB
SPAN_GAP_FRAMES = 6  # shorter pauses than 0.2 s do not part two spans of speech
# Where a full window may be cut, the best first: behind so much of it, in pauses of so many frames. Gaps under 0.25 s
# count near the limit alone: further away, they cost more of the window than an overlap does.
CUTS = ((0.9, 8), (0.9, 4), (0.8, 8), (0.9, 2), (0.5, 8))
QUIET_FRAMES = 3  # a cut through speech is made where 0.1 s of it is quietest

# int16 (N, FRAME), the next frames of a recording -> (N,), the probability of speech in each: see vad.Detector.
Detect = Callable[[np.ndarray], Sequence[float] | np.ndarray]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recording for the model; times are the recording's own.

    `spans` are where speech was found in it, `speech_s` their sum. `samples` is int16 mono at 16 kHz; it begins
    `overlap_s` before `start_s`: so much is in the window before, too.
    """

    start_s: float
    end_s: float
    speech_s: float
    spans: tuple[tuple[float, float], ...]
    overlap_s: float
    samples: np.ndarray


class Segmenter:
    """Cuts one recording. `speech_s` is how much speech it has found so far, in windows or not."""

    def __init__(self, detect: Detect, settings: Segmentation, offset_s: float = 0.0) -> None:
        """`settings` have their max_window_s and max_pause_s; `offset_s` is the time of the first sample."""
        assert settings.max_window_s and settings.max_pause_s, "see checkpoint.fit"
        self.speech_s = 0.0
        self._detect, self._settings, self._offset_s = detect, settings, offset_s
        self._limit = max(2, int(settings.max_window_s / FRAME_S))
        self._padding = min(round(settings.padding_s / FRAME_S), max(0, (self._limit - 2) // 4))
        self._max_pause = max(1, round(settings.max_pause_s / FRAME_S))
        self._overlap = min(round(settings.overlap_s / FRAME_S), self._limit // 4)

    def windows(self, blocks: Iterable[np.ndarray]) -> Iterator[Window]:
        """Cut streamed int16 blocks of any size into windows of speech, none longer than max_window_s.

        A window ends in a pause longer than max_pause_s; where none comes before the limit, in the longest pause of
        its last tenth, else of its last fifth, else of its later half; where speech goes on without any, at the
        quietest point of its last tenth, and the next window hears overlap_s again.
        """
        pending, speaking = _Pending(first_frame=0), False
        for frame, probability in self._probabilities(blocks):
            speaking = probability >= self._settings.speech_threshold - (HYSTERESIS if speaking else 0.0)
            self.speech_s += FRAME_S * speaking
            pending.append(frame, speaking)
            if not pending.has_speech:
                pending.drop_front(len(pending) - self._padding)
                continue
            if pending.trailing_pause >= self._max_pause:
                end = pending.last_speech + min(self._padding, -(-self._max_pause // 2))
                keep_from = max(end, len(pending) - self._padding)
            elif len(pending) >= self._limit:
                end, keep_from = self._best_cut(pending)
            else:
                continue
            done, pending = pending.split(end, keep_from)
            yield from self._window(done)
            if not pending.overlap:
                pending.trim_front(self._padding)
        if pending.has_speech:
            yield from self._window(pending.split(pending.last_speech + self._padding, len(pending))[0])

    def _probabilities(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, float]]:
        """Each frame, and the probability of speech in it."""
        for frames in _frames(blocks):
            yield from zip(frames, np.asarray(self._detect(frames)).tolist(), strict=True)

    def _best_cut(self, pending: _Pending) -> tuple[int, int]:
        """Where to end this window, and from which frame on to keep the rest."""
        every = list(pending.pauses())
        pauses = next(filter(None, ([p for p in every if _is_at(p, len(pending), *kind)] for kind in CUTS)), None)
        if not pauses:
            tail = len(pending) - max(1, len(pending) // 10)
            cut = max(pending.overlap + 1, tail + pending.quietest(tail))
            return cut, max(pending.overlap + 1, cut - self._overlap)
        start, end = max(pauses, key=lambda pause: pause[1] - pause[0])
        if end - start <= 2 * self._padding:
            return (start + end + 1) // 2, (start + end + 1) // 2
        return start + self._padding, end - self._padding

    def _window(self, done: _Pending) -> Iterator[Window]:
        spans, speech_s = done.spans(), done.speech_frames * FRAME_S
        if not spans or (speech_s < self._settings.min_speech_s and not done.overlap):
            return

        def time(frame: int) -> float:
            return round(self._offset_s + (done.first_frame + frame) * FRAME_S, 3)

        yield Window(
            start_s=time(done.overlap),
            end_s=time(len(done)),
            speech_s=round(speech_s, 3),
            spans=tuple((time(start), time(end)) for start, end in spans),
            overlap_s=round(done.overlap * FRAME_S, 3),
            samples=level(np.concatenate(done.frames), [(start * FRAME, end * FRAME) for start, end in spans]),
        )


def level(samples: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Raise spans of samples that are far quieter than the loudest to its level; between them the gain glides.

    Models take the loudest sound of a window as their measure, and drop what lies far below it.
    """
    powers = [float(np.square(samples[start:end], dtype=np.float64).mean()) + 1e-9 for start, end in spans]
    gains = [min(max(powers) / power, MAX_GAIN) for power in powers]
    if max(gains) < QUIET:
        return samples
    decibels = [10 * float(np.log10(gain)) if gain >= QUIET else 0.0 for gain in gains]
    edges = [0, *(edge for span in spans for edge in span), len(samples)]
    levels = [decibels[0], *(level for level in decibels for _ in "se"), decibels[-1]]
    raised = np.empty_like(samples)
    for at, (start, end) in enumerate(itertools.pairwise(edges)):  # piece by piece: windows may be long
        curve = np.linspace(levels[at], levels[at + 1], end - start, dtype=np.float32)
        raised[start:end] = np.clip(samples[start:end] * 10 ** (curve / 20), -32768, 32767)
    return raised


def split(window: Window, settings: Segmentation, max_pause_s: float) -> list[Window]:
    """Cut a window again, into smaller ones: at pauses above `max_pause_s`, at most half as long as it is or 1 s."""
    start_s, length_s = window.start_s - window.overlap_s, len(window.samples) / SAMPLE_RATE_HZ
    spans = [(start_s, window.start_s), *window.spans] if window.overlap_s else window.spans
    marks = np.zeros(-(-len(window.samples) // FRAME), dtype=bool)
    for begin, end in spans:
        marks[round((begin - start_s) / FRAME_S) : round((end - start_s) / FRAME_S)] = True
    known = iter(marks)
    smaller = {"max_window_s": max(1.0, length_s / 2), "max_pause_s": max_pause_s, "min_speech_s": 0.0}
    again = Segmenter(lambda frames: [next(known) for _ in frames], settings.model_copy(update=smaller), start_s)
    return list(again.windows([window.samples]))


def _is_at(pause: tuple[int, int], length: int, behind: float, frames: int) -> bool:
    return pause[1] > length * behind and pause[1] - pause[0] >= frames


def _frames(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Regroup blocks into (N, FRAME); the last frame is filled up with zeros."""
    rest = np.empty(0, dtype=np.int16)
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        whole = len(rest) // FRAME * FRAME
        if whole:
            yield rest[:whole].reshape(-1, FRAME)
        rest = rest[whole:]
    if len(rest):
        yield np.pad(rest, (0, FRAME - len(rest)))[np.newaxis]


@dataclass
class _Pending:
    """The frames that may still become a window, and which of them are speech.

    The first `overlap` of them belong to the window before: they come again, but are not counted again.
    """

    first_frame: int
    overlap: int = 0
    frames: list[np.ndarray] = field(default_factory=list)
    speech: list[bool] = field(default_factory=list)
    last_speech: int = 0  # index behind the last frame of speech

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def has_speech(self) -> bool:
        return self.last_speech > self.overlap

    @property
    def trailing_pause(self) -> int:
        return len(self) - self.last_speech

    @property
    def speech_frames(self) -> int:
        return sum(self.speech[self.overlap :])

    def append(self, frame: np.ndarray, speech: bool) -> None:
        self.frames.append(frame)
        self.speech.append(speech)
        if speech:
            self.last_speech = len(self)

    def drop_front(self, count: int) -> None:
        if count > 0:
            self.first_frame += count
            self.overlap = max(0, self.overlap - count)
            del self.frames[:count], self.speech[:count]
            self.last_speech = max(0, self.last_speech - count)

    def trim_front(self, padding: int) -> None:
        """Drop leading silence beyond the padding."""
        leading = self.speech.index(True) if self.has_speech else len(self)
        self.drop_front(leading - padding)

    def split(self, end: int, keep_from: int) -> tuple[_Pending, _Pending]:
        """The frames before `end`, and those from `keep_from` on: silence lies between, or speech that both hold."""
        done = _Pending(self.first_frame, self.overlap)
        rest = _Pending(self.first_frame + keep_from, max(0, end - keep_from))
        for part, span in ((done, slice(0, end)), (rest, slice(keep_from, None))):
            for frame, speech in zip(self.frames[span], self.speech[span], strict=True):
                part.append(frame, speech)
        return done, rest

    def pauses(self) -> Iterator[tuple[int, int]]:
        """Runs [start, end) of frames without speech, behind the first speech of its own."""
        own = self.speech[self.overlap :]
        first = self.overlap + (own.index(True) if True in own else len(own))
        yield from _runs([not speech for speech in self.speech[first:]], first)

    def spans(self) -> list[tuple[int, int]]:
        """Runs [start, end) of frames of speech of its own; those that a short pause parts are one."""
        merged: list[tuple[int, int]] = []
        for start, end in _runs(self.speech[self.overlap :], self.overlap):
            if merged and start - merged[-1][1] < SPAN_GAP_FRAMES:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        return merged

    def quietest(self, start: int) -> int:
        """The frame behind `start`, counted from there, around which the sound has least energy."""
        energy = [float(np.square(frame, dtype=np.float64).mean()) for frame in self.frames[start:]]
        return int(np.convolve(np.pad(energy, QUIET_FRAMES // 2, mode="edge"), np.ones(QUIET_FRAMES), "valid").argmin())


def _runs(flags: Sequence[bool], offset: int) -> list[tuple[int, int]]:
    """Where flags are set, as [start, end) counted from `offset`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, dtype=np.int8), [0]]))) + offset
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
