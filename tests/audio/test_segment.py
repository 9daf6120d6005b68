from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.speech import music, noise
from pipeline.audio import media, segment
from pipeline.audio.vad import FRAME, FRAME_S, Detector
from pipeline.settings import Audio, Segmentation
from tests.conftest import DEMO

# Speech and pauses by turns, in frames; the samples carry the probability so that a fake detector can read it.
TURNS = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 120)), min_size=1, max_size=12)


def spoken(turns: list[tuple[int, int]], leading: int) -> np.ndarray:
    marks = np.concatenate([np.zeros(leading), *(np.repeat([1, 0], turn) for turn in turns)])
    return np.repeat(marks * 1000, FRAME).astype(np.int16)


def fake_detector(frames: np.ndarray) -> np.ndarray:
    return np.where(frames[:, 0] != 0, 0.9, 0.1)


def cut(samples: np.ndarray, settings: Segmentation, limit_s: float, block: int = 7_000) -> list[segment.Window]:
    blocks = (samples[at : at + block] for at in range(0, len(samples), block))
    chosen = settings.model_copy(update={"max_window_s": limit_s, "max_pause_s": settings.max_pause_s or 2.0})
    return list(segment.Segmenter(fake_detector, chosen).windows(blocks))


def heard(samples: np.ndarray) -> list[segment.Window]:
    chosen = Segmentation(max_window_s=30.0, max_pause_s=2.0)
    return list(segment.Segmenter(Detector(), chosen).windows([samples]))


@settings(max_examples=150, deadline=None)
@given(
    TURNS,
    st.integers(0, 60),
    st.sampled_from([1.0, 6.0, 30.0]),
    st.builds(
        Segmentation,
        max_pause_s=st.floats(0.1, 5.0),
        padding_s=st.floats(0.0, 0.5),
        overlap_s=st.sampled_from([0.0, 0.3, 1.0]),
        min_speech_s=st.just(0.0),
    ),
)
def test_windows_are_ordered_and_hold_all_speech(
    turns: list[tuple[int, int]], leading: int, limit_s: float, chosen: Segmentation
) -> None:
    samples = spoken(turns, leading)
    found = cut(samples, chosen, limit_s)
    speech = samples[::FRAME] > 0
    covered = np.zeros(len(speech), dtype=int)
    for before, window in zip([None, *found], found, strict=False):
        begin, first, last = (
            round(at / FRAME_S) for at in (window.start_s - window.overlap_s, window.start_s, window.end_s)
        )
        assert len(window.samples) / 16_000 <= limit_s + 1e-6
        assert np.array_equal(window.samples, samples[begin * FRAME : last * FRAME])
        assert window.speech_s > 0
        covered[first:last] += 1
        if window.overlap_s:
            # Only what the window before has heard as speech, up to its very end, is heard again.
            assert before is not None
            assert first == round(before.end_s / FRAME_S)
            assert begin >= round(before.start_s / FRAME_S) - 1
            assert speech[max(0, first - 2) : first + 1].any()  # the quietest frame there may be a gap of one
            assert window.overlap_s <= chosen.overlap_s + FRAME_S
        marked = np.zeros(len(speech), dtype=bool)
        for start, end in window.spans:
            marked[round(start / FRAME_S) : round(end / FRAME_S)] = True
        assert not (speech[first:last] & ~marked[first:last]).any(), "a span leaves speech out"
        assert not marked[:first].any()
        assert not marked[last:].any()
    assert covered.max(initial=0) <= 1, "windows claim the same time"
    assert [w.start_s for w in found] == sorted(w.start_s for w in found)
    assert covered[speech].all(), "speech was lost"
    assert abs(sum(w.speech_s for w in found) - speech.sum() * FRAME_S) < 1e-3 * (len(found) + 1)


@settings(max_examples=60, deadline=None)
@given(TURNS, st.sampled_from([0.1, 0.3]))
def test_a_window_splits_into_smaller_ones_with_all_its_speech(
    turns: list[tuple[int, int]], max_pause_s: float
) -> None:
    samples = spoken(turns, 3)
    for window in cut(samples, Segmentation(), 30.0):
        pieces = segment.split(window, Segmentation(), max_pause_s)
        assert pieces
        begin = window.start_s - window.overlap_s
        assert pieces[0].start_s >= begin - 1e-6
        assert pieces[-1].end_s <= window.end_s + 1e-6
        assert all(len(p.samples) <= max(16_000, len(window.samples) / 2) + FRAME for p in pieces)
        # Spans join pauses under 0.2 s to the speech around them: there may be more of it, never less.
        assert sum(p.speech_s for p in pieces) >= window.speech_s - 0.01


@settings(max_examples=30, deadline=None)
@given(TURNS, st.integers(1, 5_000))
def test_block_size_changes_nothing(turns: list[tuple[int, int]], block: int) -> None:
    samples = spoken(turns, 10)
    first, second = cut(samples, Segmentation(), 6.0, block), cut(samples, Segmentation(), 6.0, 100_000)
    assert [(w.start_s, w.end_s) for w in first] == [(w.start_s, w.end_s) for w in second]


def test_a_cut_falls_into_the_longest_pause_near_the_limit() -> None:
    # 6 s are 187 frames. Pauses of 20 frames at 3.2 s, of 12 at 5 s and of 8 at 5.6 s; speech all around.
    samples = spoken([(100, 20), (36, 12), (7, 8), (150, 1)], 0)
    first, second = cut(samples, Segmentation(padding_s=0.0), 6.0)[:2]
    assert round(first.end_s / FRAME_S) == 175
    assert round(second.start_s / FRAME_S) == 183


def test_without_one_near_the_limit_the_cut_falls_into_the_longest_of_the_later_half() -> None:
    # Pauses of 5 frames at 3.4 s and of 12 frames at 4.2 s; 6 s are 187 frames.
    samples = spoken([(106, 5), (20, 12), (150, 1)], 0)
    first, second = cut(samples, Segmentation(padding_s=0.0), 6.0)
    assert round(first.end_s / FRAME_S) == 131
    assert round(second.start_s / FRAME_S) == 143


def test_a_gap_between_words_is_taken_near_the_limit_alone() -> None:
    samples = spoken([(100, 5), (70, 3), (150, 1)], 0)  # gaps at 3.2 s and at 5.6 s
    first, second = cut(samples, Segmentation(padding_s=0.0), 6.0)
    assert (round(first.end_s / FRAME_S), round(second.start_s / FRAME_S)) == (175, 178)
    samples = spoken([(100, 5), (250, 1)], 0)
    first, second, *_ = cut(samples, Segmentation(padding_s=0.0), 6.0)
    assert first.end_s > 0.9 * 6.0
    assert second.overlap_s > 0


def test_a_long_pause_ends_a_window_and_a_short_one_does_not() -> None:
    samples = spoken([(30, 20), (30, 80), (30, 10)], 0)
    found = cut(samples, Segmentation(max_pause_s=1.0), 30.0)
    assert len(found) == 2
    assert found[0].speech_s == 60 * FRAME_S


def test_silence_noise_and_music_give_no_windows() -> None:
    rng = np.random.default_rng(0)
    minute = 60 * 16_000
    for samples in (np.zeros(0), np.zeros(minute), noise(rng, minute), noise(rng, minute, 3_000), music(rng, minute)):
        assert heard(samples.astype(np.int16)) == []


def test_the_detector_finds_speech_where_it_is() -> None:
    clip = np.concatenate(list(media.decode(DEMO / "held_out" / "en-00.ogg", Audio())))
    samples = np.concatenate([np.zeros(16_000 * 5, np.int16), clip, np.zeros(16_000 * 5, np.int16)])
    found = heard(samples)
    assert found[0].start_s > 4.5
    assert found[-1].end_s < 5.5 + len(clip) / 16_000
    assert sum(w.speech_s for w in found) > 0.5 * len(clip) / 16_000


def test_a_quiet_voice_after_a_loud_one_is_heard() -> None:
    clip = np.concatenate(list(media.decode(DEMO / "held_out" / "en-00.ogg", Audio())))
    rng = np.random.default_rng(0)
    pause = (rng.standard_normal(16_000 * 2) * 2).astype(np.int16)
    samples = np.concatenate([clip, clip, pause, (clip / 100).astype(np.int16), pause])
    loud = sum(w.speech_s for w in heard(np.concatenate([pause, clip, pause])))
    quiet = sum(w.speech_s for w in heard(samples) if w.start_s > 2 * len(clip) / 16_000)
    assert quiet > 0.6 * loud


def test_speech_without_a_pause_is_cut_where_it_is_quietest_and_heard_again() -> None:
    samples = spoken([(400, 1)], 0)
    samples[170 * FRAME : 173 * FRAME] //= 10
    first, second, *_ = cut(samples, Segmentation(padding_s=0.0, overlap_s=0.5), 6.0)
    assert round(first.end_s / FRAME_S) == 171
    assert second.start_s == first.end_s
    assert second.overlap_s == round(16 * FRAME_S, 3)
