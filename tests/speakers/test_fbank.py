from __future__ import annotations

import numpy as np
import pytest

from pipeline.speakers.fbank import BANDS, FRAME, STEP, fbank

# What kaldi-native-fbank 1.22 computes of `chirp`, without dither: frames by bands.
AT_FRAMES, AT_BANDS = [0, 20, 47], [0, 9, 25, 40, 60, 79]
KALDI = [
    [-9.5533, 0.1873, -7.5450, -4.3797, -2.5211, -1.3552],
    [-12.3781, -9.7113, 2.3002, -5.5028, -3.2177, -2.7918],
    [-11.6975, -8.3974, -6.3364, -3.2703, -2.5047, -1.7043],
]


@pytest.fixture
def chirp() -> np.ndarray:
    time_s = np.arange(8000) / 16_000
    noise = np.random.default_rng(0).integers(-300, 300, 8000)
    return (8000 * np.sin(2 * np.pi * (200 + 1500 * time_s) * time_s) + noise).astype(np.int16)


def test_the_features_are_those_of_kaldi(chirp: np.ndarray) -> None:
    found = fbank(chirp)
    assert found.shape == (1 + (8000 - FRAME) // STEP, BANDS)
    assert found.dtype == np.float32
    assert np.abs(found[np.ix_(AT_FRAMES, AT_BANDS)] - KALDI).max() < 1e-3


def test_a_frame_depends_on_its_own_samples_alone(chirp: np.ndarray) -> None:
    # Products of matrices of other shapes may round otherwise, by processor.
    assert np.allclose(fbank(chirp)[7:], fbank(chirp[7 * STEP :]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (FRAME - 1, 0), (FRAME, 1), (FRAME + STEP, 2)])
def test_silence_has_finite_features(samples: int, frames: int) -> None:
    found = fbank(np.zeros(samples, dtype=np.int16))
    assert found.shape == (frames, BANDS)
    assert np.isfinite(found).all()
