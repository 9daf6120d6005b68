from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import audio, segment
from pipeline.segment import FRAME, FRAME_S
from pipeline.settings import Audio, Segmentation
from tests.conftest import DEMO

# Speech and pauses by turns, in frames; the samples carry the probability so that a fake detector can read it.
TURNS = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 120)), min_size=1, max_size=12)


def spoken(turns: list[tuple[int, int]], leading: int) -> np.ndarray:
    marks = np.concatenate([np.zeros(leading), *(np.repeat([1, 0], turn) for turn in turns)])
    return np.repeat(marks * 1000, FRAME).astype(np.int16)


def fake_detector(frame: np.ndarray) -> float:
    return 0.9 if frame[0] else 0.1


def cut(samples: np.ndarray, settings: Segmentation, limit_s: float, block: int = 7_000) -> list[segment.Window]:
    blocks = (samples[at : at + block] for at in range(0, len(samples), block))
    return list(segment.windows(blocks, fake_detector, settings, limit_s))


@settings(max_examples=150, deadline=None)
@given(TURNS, st.integers(0, 60), st.sampled_from([1.0, 6.0, 30.0]), st.floats(0.1, 5.0), st.floats(0.0, 0.5))
def test_windows_are_ordered_disjoint_and_hold_all_speech(
    turns: list[tuple[int, int]], leading: int, limit_s: float, max_pause_s: float, padding_s: float
) -> None:
    samples = spoken(turns, leading)
    chosen = Segmentation(max_pause_s=max_pause_s, padding_s=padding_s, min_speech_s=0.0)
    found = cut(samples, chosen, limit_s)
    covered = np.zeros(len(samples) // FRAME, dtype=int)
    for window in found:
        first, last = round(window.start_s / FRAME_S), round(window.end_s / FRAME_S)
        assert window.end_s - window.start_s <= limit_s + 1e-6
        assert len(window.samples) == (last - first) * FRAME
        assert np.array_equal(window.samples, samples[first * FRAME : last * FRAME])
        assert window.speech_s > 0
        covered[first:last] += 1
    assert covered.max(initial=0) <= 1, "windows overlap"
    assert [w.start_s for w in found] == sorted(w.start_s for w in found)
    speech = samples[::FRAME] > 0
    assert covered[speech].all(), "speech was lost"
    assert abs(sum(w.speech_s for w in found) - speech.sum() * FRAME_S) < 1e-3 * (len(found) + 1)


@settings(max_examples=30, deadline=None)
@given(TURNS, st.integers(1, 5_000))
def test_block_size_changes_nothing(turns: list[tuple[int, int]], block: int) -> None:
    samples = spoken(turns, 10)
    first, second = cut(samples, Segmentation(), 6.0, block), cut(samples, Segmentation(), 6.0, 100_000)
    assert [(w.start_s, w.end_s) for w in first] == [(w.start_s, w.end_s) for w in second]


def test_a_cut_falls_into_the_longest_pause_of_the_later_half() -> None:
    # 6 s are 187 frames. Pauses of 5 frames at 3.4 s and of 12 frames at 4.2 s; speech all around.
    samples = spoken([(106, 5), (20, 12), (150, 1)], 0)
    first, second = cut(samples, Segmentation(padding_s=0.0), 6.0)
    assert round(first.end_s / FRAME_S) == 131
    assert round(second.start_s / FRAME_S) == 143


def test_a_long_pause_ends_a_window_and_a_short_one_does_not() -> None:
    samples = spoken([(30, 20), (30, 80), (30, 10)], 0)
    found = cut(samples, Segmentation(max_pause_s=1.0), 30.0)
    assert len(found) == 2
    assert found[0].speech_s == 60 * FRAME_S


def test_silence_and_noise_give_no_windows() -> None:
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(16_000 * 20) * 300).astype(np.int16)
    for samples in (np.zeros(16_000 * 20, np.int16), noise, np.zeros(0, np.int16)):
        assert list(segment.windows([samples], segment.detector(), Segmentation(), 30.0)) == []


def test_the_detector_finds_speech_where_it_is() -> None:
    clip = np.concatenate(list(audio.decode(DEMO / "held_out" / "en-00.ogg", Audio())))
    samples = np.concatenate([np.zeros(16_000 * 5, np.int16), clip, np.zeros(16_000 * 5, np.int16)])
    found = list(segment.windows([samples], segment.detector(), Segmentation(), 30.0))
    assert found[0].start_s > 4.5
    assert found[-1].end_s < 5.5 + len(clip) / 16_000
    assert sum(w.speech_s for w in found) > 0.5 * len(clip) / 16_000
