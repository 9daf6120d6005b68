"""Stretches of speech into embeddings: vectors that are close where one person speaks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline.errors import ConfigurationError
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.speakers.fbank import BANDS, FRAME, STEP, fbank

# CAM++ of 3D-Speaker (Apache-2.0, see campplus.LICENSE) in a graph of ours: infra/speaker_embeddings.py.
MODEL = Path(__file__).with_name("campplus.onnx")
STEP_S = STEP / SAMPLE_RATE_HZ
WINDOW = 150  # frames of features, 1.5 s; CAM++ takes up to 200. See docs/speakers.md for this and the next
HOP = 75
SHORTEST = 50  # frames: spans with less are embedded with what is around them
AT_ONCE = 16  # windows in one call of the network
REMEDY = "Leave it out for the model that comes with this package, or see docs/speakers.md for what fits."


@dataclass(frozen=True)
class Voice:
    """A stretch of speech and its embedding; times in seconds from the first sample given.

    `embedding` is float32 (d,) of length 1.
    """

    start_s: float
    end_s: float
    embedding: np.ndarray


class Embedder:
    """Embeds speech with a network from features (N, T, 80) to embeddings (N, d), both float32.

    Features are Kaldi's log mel filter bank, less their mean over each window. Raises ConfigurationError if the model
    is not there, is not ONNX, or has other inputs or outputs.
    """

    def __init__(self, model: str | None = None) -> None:
        """`model`: path of an ONNX file; None is CAM++, which comes with this package."""
        self._session = _session(str(MODEL if model is None else model))
        self._input = self._session.get_inputs()[0].name

    def __call__(self, samples: np.ndarray, spans: Sequence[tuple[float, float]]) -> list[Voice]:
        """int16 (n,), mono at 16 kHz, and the spans of speech in it in seconds -> voices in the order of the spans.

        A span of more than WINDOW frames is cut into windows that overlap by half, the last one at its end; others
        are one voice each. No voice comes of samples shorter than a frame of 25 ms.
        """
        frames = fbank(samples)
        if not len(frames):
            return []
        frames = np.resize(frames, (max(len(frames), SHORTEST), BANDS))  # again from the start, where there are fewer
        cuts = [cut for start_s, end_s in spans for cut in _cuts(start_s, end_s, len(frames))]
        by_length: dict[int, list[int]] = defaultdict(list)
        for at, (_, _, first, last) in enumerate(cuts):
            by_length[last - first].append(at)
        found: dict[int, np.ndarray] = {}
        for chosen in by_length.values():
            for start in range(0, len(chosen), AT_ONCE):
                some = chosen[start : start + AT_ONCE]
                found |= zip(
                    some, self._embed(np.stack([frames[cuts[at][2] : cuts[at][3]] for at in some])), strict=True
                )
        return [Voice(start_s, end_s, found[at]) for at, (start_s, end_s, _, _) in enumerate(cuts)]

    def _embed(self, features: np.ndarray) -> np.ndarray:
        """(N, T, BANDS) -> (N, d), each of length 1."""
        centred = features - features.mean(axis=1, keepdims=True)
        embeddings = np.asarray(self._session.run(None, {self._input: centred})[0], dtype=np.float32)
        return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32(1e-9))


def _cuts(start_s: float, end_s: float, count: int) -> list[tuple[float, float, int, int]]:
    """A span in windows: start and end in seconds, and as frames of features, of which there are `count`."""
    first = min(max(0, round(start_s / STEP_S)), count - 1)
    # A frame is longer than the step: the last that begins in a span ends behind it.
    last = min(max(first + 1, round((end_s - (FRAME - STEP) / SAMPLE_RATE_HZ) / STEP_S)), count)
    length = last - first
    if length < SHORTEST:
        first = max(0, min(first - (SHORTEST - length) // 2, count - SHORTEST))
        return [(start_s, end_s, first, min(first + SHORTEST, count))]
    if length <= WINDOW:
        return [(start_s, end_s, first, last)]
    starts = [*range(first, last - WINDOW, HOP), last - WINDOW]
    times = [(start_s + (at - first) * STEP_S, start_s + (at - first + WINDOW) * STEP_S) for at in starts]
    times[-1] = times[-1][0], end_s
    return [(begin_s, stop_s, at, at + WINDOW) for (begin_s, stop_s), at in zip(times, starts, strict=True)]


@cache
def _session(path: str) -> onnxruntime.InferenceSession:
    """One for all recordings of a process: it holds no state."""
    if not Path(path).is_file():
        raise ConfigurationError(f"no model for speakers at {path}. {REMEDY}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        raise ConfigurationError(f"{path} is not a model in ONNX: {str(error).splitlines()[0]}. {REMEDY}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shapes = [(each.name, each.type, each.shape) for each in (*inputs, *outputs)]
    fits = (
        len(inputs) == len(outputs) == 1
        and all(each.type == "tensor(float)" for each in (*inputs, *outputs))
        and len(inputs[0].shape) == 3
        and inputs[0].shape[2] in (BANDS, None)
        and not any(isinstance(size, int) for size in inputs[0].shape[:2])
        and len(outputs[0].shape) == 2
    )
    if not fits:
        raise ConfigurationError(
            f"{path} maps {shapes}; a model for speakers maps one tensor(float) (N, T, {BANDS}), N and T free, to one "
            f"tensor(float) (N, d). {REMEDY}"
        )
    return session
