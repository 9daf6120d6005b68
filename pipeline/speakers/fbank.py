"""Kaldi's log mel filter bank, as networks for speakers are trained on it: 80 bands, frames of 25 ms every 10 ms."""

from __future__ import annotations

from functools import cache

import numpy as np

from pipeline.schema import SAMPLE_RATE_HZ

# Kaldi's defaults for 16 kHz (src/feat/feature-window.h, mel-computations.h), but for the number of bands and dither,
# which is off: the same samples have the same features.
BANDS = 80
FRAME = 400  # samples, 25 ms
STEP = 160  # samples, 10 ms
FFT = 512
PREEMPHASIS = 0.97
LOWEST_HZ, HIGHEST_HZ = 20.0, SAMPLE_RATE_HZ / 2
WINDOW_POWER = 0.85  # of a Hann window: Povey's
FLOOR = float(np.finfo(np.float32).eps)
FULL_SCALE = 32768.0
AT_ONCE = 8192  # frames: 80 s of sound, 40 MB


def fbank(samples: np.ndarray) -> np.ndarray:
    """int16 (n,) at 16 kHz -> float32 (frames, BANDS), frames = 1 + (n - FRAME) // STEP, none where n < FRAME."""
    if len(samples) < FRAME:
        return np.empty((0, BANDS), dtype=np.float32)
    window, filters = _window(), _filters()
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::STEP]
    found = []
    for start in range(0, len(frames), AT_ONCE):
        sound = frames[start : start + AT_ONCE].astype(np.float32) / np.float32(FULL_SCALE)
        sound -= sound.mean(axis=1, keepdims=True)
        before = np.concatenate([sound[:, :1], sound[:, :-1]], axis=1)
        spectrum = np.fft.rfft((sound - np.float32(PREEMPHASIS) * before) * window, FFT, axis=1)[:, :-1]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        found.append(np.log(np.maximum(power @ filters, np.float32(FLOOR))))
    return np.concatenate(found)


@cache
def _window() -> np.ndarray:
    """float32 (FRAME,)."""
    return np.power(np.hanning(FRAME), WINDOW_POWER).astype(np.float32)


@cache
def _filters() -> np.ndarray:
    """float32 (FFT / 2, BANDS): triangles that are straight, and equally wide, on the mel scale."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    edges = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2)
    bins = mel(np.arange(FFT // 2) * (SAMPLE_RATE_HZ / FFT))[:, np.newaxis]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
