"""Where speech is: Silero's voice activity detector, for many frames in one call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from pipeline.schema import SAMPLE_RATE_HZ

# The weights of silero-vad 5 (MIT, see silero_vad.LICENSE) in graphs of ours: infra/silero_vad.py.
ENCODER, DECODER = (Path(__file__).with_name(f"silero_vad_{part}.onnx") for part in ("encoder", "decoder"))
FRAME = 512  # samples; the detector's only frame size at 16 kHz
FRAME_S = FRAME / SAMPLE_RATE_HZ
CONTEXT = 64  # samples before a frame that the detector hears with it
FULL_SCALE = 32767.0
# Silero's own hysteresis: speech ends this far below the threshold at which it begins.
HYSTERESIS = 0.15
LEVEL_FRAMES = 16  # the level of sound is that of half a second
DROP = 100.0  # of energy: 20 dB
AT_ONCE = 128  # frames in one call of the network: more gain nothing


class Detector:
    """Silero's voice activity detector, for one recording.

    Its memory of loud sound makes it deaf to quiet speech that follows: a voice 40 dB below the one before is not
    detected at all. So it begins afresh where the sound falls by DROP. Never in sound that goes on at its level: a
    fresh detector takes the beginning of music for speech.
    """

    def __init__(self) -> None:
        self._encoder, self._decoder = _session(ENCODER), _session(DECODER)
        self._context = np.zeros(CONTEXT, dtype=np.float32)
        self._energies = np.full(LEVEL_FRAMES - 1, np.nan)  # of the last frames
        self._forget(peak=0.0)

    def _forget(self, peak: float) -> None:
        self._state = np.zeros((1, 1, 128), dtype=np.float32), np.zeros((1, 1, 128), dtype=np.float32)
        self._peak = peak

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """int16 (N, FRAME), the recording's next frames -> float32 (N,), the probability of speech in each."""
        samples = np.concatenate([self._context, frames.reshape(-1).astype(np.float32) / np.float32(FULL_SCALE)])
        self._context = samples[-CONTEXT:]
        in_context = np.lib.stride_tricks.sliding_window_view(samples, CONTEXT + FRAME)[::FRAME]
        levels = self._levels(frames)
        found: list[np.ndarray] = []
        for at in range(0, len(frames), AT_ONCE):
            ahead = slice(at, at + AT_ONCE)
            features: Any = self._encoder.run(None, {"frames": np.ascontiguousarray(in_context[ahead])})[0]
            found += self._probabilities(features, levels[ahead])
        return np.concatenate(found)

    def _probabilities(self, features: np.ndarray, levels: np.ndarray) -> Iterator[np.ndarray]:
        """(N, 128) features of the next frames, and their levels -> probabilities, in pieces. Where the sound falls,
        those behind are computed again."""
        done = 0
        while done < len(features):
            hidden, cell = self._state
            answer: Any = self._decoder.run(None, {"features": features[done:], "h": hidden, "c": cell})
            probabilities, *state = answer
            peaks = np.fmax.accumulate(np.fmax(levels[done:], self._peak))
            fallen = np.flatnonzero((probabilities < HYSTERESIS) & (levels[done:] < peaks / DROP))
            count = int(fallen[0]) + 1 if len(fallen) else len(probabilities)
            yield probabilities[:count]
            done += count
            if len(fallen):
                self._forget(peak=float(levels[done - 1]))
            else:
                self._state, self._peak = (state[0], state[1]), float(peaks[-1])

    def _levels(self, frames: np.ndarray) -> np.ndarray:
        """Mean energy of the LEVEL_FRAMES frames up to each; NaN where there are not so many yet."""
        energies = np.square(frames, dtype=np.float64).mean(axis=1) + 1.0  # digital silence is not zero
        energies = np.concatenate([self._energies, energies])
        self._energies = energies[len(frames) :]
        return np.lib.stride_tricks.sliding_window_view(energies, LEVEL_FRAMES).mean(axis=1)


@cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    """One for all recordings of a process: it holds no state."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
