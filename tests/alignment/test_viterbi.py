from __future__ import annotations

import time
from itertools import groupby, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.viterbi import align

BLANK = 0


def logprobs(frames: int, vocabulary: int, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, vocabulary))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def likeliest(given_logprobs: np.ndarray, tokens: list[int]) -> float | None:
    """The log-probability of the best of all paths."""
    frames, found = len(given_logprobs), None
    for path in product(sorted({BLANK, *tokens}), repeat=frames):
        if [token for token, _ in groupby(path) if token != BLANK] == tokens:
            logprob = float(given_logprobs[np.arange(frames), path].astype(np.float64).sum())
            found = logprob if found is None else max(found, logprob)
    return found


@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.integers(0, 10_000),
)
def test_it_finds_the_best_of_all_paths(frames: int, tokens: list[int], seed: int) -> None:
    emitted = logprobs(frames, 4, seed)
    spans, best = align(emitted, tokens, BLANK), likeliest(emitted, tokens)
    if spans is None:
        assert best is None
        return
    path = np.full(frames, BLANK)
    for token, span in zip(tokens, spans, strict=True):
        path[span.start : span.end] = token
        assert span.score == pytest.approx(np.exp(emitted[span.start : span.end, token]).mean())
    assert [token for token, _ in groupby(path) if token != BLANK] == tokens
    assert emitted[np.arange(frames), path].sum() == pytest.approx(best, abs=1e-4)


@given(st.integers(1, 40), st.lists(st.integers(1, 3), min_size=1, max_size=20), st.integers(0, 10_000))
def test_spans_follow_each_other(frames: int, tokens: list[int], seed: int) -> None:
    spans = align(logprobs(frames, 4, seed), tokens, BLANK)
    needed = len(tokens) + sum(a == b for a, b in pairwise(tokens))
    assert (spans is None) == (needed > frames)
    if spans:
        edges = [0, *(edge for span in spans for edge in (span.start, span.end)), frames]
        assert edges == sorted(edges)
        assert all(span.start < span.end for span in spans)


def test_nothing_to_align() -> None:
    assert align(logprobs(5, 3, 0), [], BLANK) == []
    assert align(logprobs(0, 3, 0), [1], BLANK) is None


def test_a_token_that_is_not_there_has_a_span_and_a_score_of_nothing() -> None:
    emitted = np.log(np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32) + 1e-30)
    found = align(emitted, [1], BLANK)
    assert found and found[0].score == pytest.approx(0.0)


def test_a_window_takes_a_fraction_of_a_second() -> None:
    emitted, tokens = logprobs(1500, 40, 1), [*np.random.default_rng(2).integers(1, 40, 500)]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert align(emitted, tokens, BLANK)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.1
