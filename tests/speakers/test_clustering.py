from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.speakers import clustering
from pipeline.speakers.clustering import cluster

SIZE = 192


def spoken(speakers: list[int], seed: int, noise: float = 0.9) -> np.ndarray:
    """Embeddings of windows of these speakers: an axis each, and noise that is as long as `noise`."""
    rng = np.random.default_rng(seed)
    found = np.eye(SIZE)[speakers] + noise * rng.standard_normal((len(speakers), SIZE)) / np.sqrt(SIZE)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def by_appearance(labels: list[int]) -> list[int]:
    order = list(dict.fromkeys(labels))
    return [order.index(label) for label in labels]


sequences = st.lists(st.integers(0, 4), min_size=1, max_size=6).flatmap(
    lambda turns: st.lists(st.integers(4, 12), min_size=len(turns), max_size=len(turns)).map(
        lambda lengths: [who for who, length in zip(turns, lengths, strict=True) for _ in range(length)]
    )
)


@settings(max_examples=20, deadline=None)
@given(sequences, st.integers(0, 10))
def test_voices_far_apart_are_told_apart_and_numbered_as_they_appear(speakers: list[int], seed: int) -> None:
    assert cluster(spoken(speakers, seed)).tolist() == by_appearance(speakers)


@settings(max_examples=15, deadline=None)
@given(sequences, st.integers(0, 10), st.permutations(range(72)))
def test_another_order_gives_the_same_speakers(speakers: list[int], seed: int, order: list[int]) -> None:
    embeddings = spoken(speakers, seed)
    order = [at for at in order if at < len(speakers)]
    labels = cluster(embeddings)
    assert cluster(embeddings[order]).tolist() == by_appearance(labels[order].tolist())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 6), st.none() | st.integers(1, 6), st.floats(0, 3), st.booleans())
def test_the_number_of_speakers_is_within_its_bounds(
    count: int, least: int, most: int | None, noise: float, same: bool
) -> None:
    speakers = [0] * count if same else [at % 3 for at in range(count)]
    labels = cluster(spoken(speakers, seed=1, noise=noise), least, most)
    assert labels.shape == (count,)
    found = len(set(labels.tolist()))
    assert min(least, count) <= found
    assert most is None or found <= max(least, most)
    assert labels.tolist() == by_appearance(labels.tolist())


@pytest.mark.parametrize("least", [1, 3])
def test_identical_vectors_are_one_speaker_unless_more_are_asked_for(least: int) -> None:
    embeddings = np.repeat(spoken([0], seed=0), 50, axis=0)
    assert set(cluster(embeddings, least).tolist()) == set(range(least))


def test_a_long_recording_keeps_its_speakers_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "CHUNK", 300)
    monkeypatch.setattr(clustering, "GROUPS", 15)
    rng = np.random.default_rng(0)
    speakers = np.repeat(rng.choice(5, 600, p=[0.5, 0.3, 0.1, 0.06, 0.04]), 10).tolist()
    start = time.process_time()
    labels = cluster(spoken(speakers, seed=3))
    assert time.process_time() - start < 10
    assert labels.tolist() == by_appearance(speakers)
