"""The aligner's training sees the features that transformers makes, and the times that espeak-ng tells."""

from __future__ import annotations

from ctypes.util import find_library

import numpy as np
import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from demo.training import speech, word_times
from demo.training.aligner import TOKENS, Features, Window, joined, targets
from demo.training.train import WINDOW_SAMPLES


def spoken(tokens: np.ndarray) -> str:
    return "".join(TOKENS[token] if token else "." for token in tokens)


@pytest.mark.parametrize("samples", [WINDOW_SAMPLES, 2 * WINDOW_SAMPLES, 12_345])
def test_features_are_those_of_the_extractor(samples: int) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    wanted = SeamlessM4TFeatureExtractor()(waveform, sampling_rate=16_000, pad_to_multiple_of=None, return_tensors="np")
    found = Features()(torch.from_numpy(waveform)[None])
    np.testing.assert_allclose(found.numpy(), wanted["input_features"], atol=1e-3)


def test_letters_share_the_frames_of_their_word() -> None:
    words = [("six", 0.04, 0.16), ("three", 0.16, 0.36), ("deux", 0.4, 0.48)]
    assert spoken(targets(words, 28)) == ".|ssiix|tthhrre.ee.|deux...."[:28]


def test_joined_windows_keep_their_words() -> None:
    one = Window("en", np.zeros(WINDOW_SAMPLES, dtype=np.float32), [("six", 1.0, 1.5)])
    both = joined([one, one])
    assert len(both.samples) == 2 * WINDOW_SAMPLES
    assert both.words == [("six", 1.0, 1.5), ("six", 7.0, 7.5)]


@pytest.mark.skipif(not find_library("espeak-ng"), reason="espeak-ng is missing")
def test_words_are_loud_where_espeak_says_they_are() -> None:
    told = speech.Utterance("en", ("six", "two"), "six, two", "en-us", "f2", 150, 50, 10)
    phrase = word_times.spoken(told)
    assert phrase and len(phrase.spans_s) == 2
    loudness = [np.abs(phrase.samples[int(a * 16_000) : int(b * 16_000)]).mean() for a, b in phrase.spans_s]
    (_, end_s), (start_s, _) = phrase.spans_s
    pause = np.abs(phrase.samples[int(end_s * 16_000) : int(start_s * 16_000)])
    assert len(pause) > 1600
    assert pause.mean() < 0.05 * min(loudness)
