"""Samples as models compute them: floats, filled with silence to a whole number of chunks."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

import numpy as np

from pipeline.models.protocol import Clip, Request
from pipeline.schema import SAMPLE_RATE_HZ


def padded(samples: np.ndarray, chunk_s: float) -> np.ndarray:
    """int16 samples -> float32 in [-1, 1], filled with silence to a whole number of chunks."""
    chunk = int(chunk_s * SAMPLE_RATE_HZ)
    audio = np.zeros(max(1, -(-len(samples) // chunk)) * chunk, dtype=np.float32)
    audio[: len(samples)] = samples / np.float32(32768.0)
    return audio


class PadOnce:
    """Pads the samples once for all requests for a window or clip: an array that one request still holds is shared."""

    def __init__(self, pad: Callable[[np.ndarray], np.ndarray]) -> None:
        self._pad = pad
        self._held: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()  # by audio_id

    def __call__(self, request: Request | Clip) -> np.ndarray:
        """float32 samples of the length that the model computes."""
        audio = self._held.get(request.audio_id)
        if audio is None:
            audio = self._held[request.audio_id] = self._pad(request.samples)
        return audio
