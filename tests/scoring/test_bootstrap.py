from __future__ import annotations

import numpy as np
import pytest

from pipeline.scoring import bootstrap


def test_the_interval_is_that_of_the_normal_approximation_for_many_alike_recordings() -> None:
    """Errors are binomial with p = 0.1 over 2,000 recordings of 20 words: standard error sqrt(0.1 * 0.9 / 40,000)."""
    rng = np.random.default_rng(1)
    tokens = np.full(2_000, 20)
    errors = rng.binomial(20, 0.1, 2_000)
    found = bootstrap.rate(errors, tokens)
    assert found.value == errors.sum() / 40_000
    width = 2 * 1.96 * np.sqrt(0.1 * 0.9 / 40_000)
    assert found.high - found.low == pytest.approx(width, rel=0.06)
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=0.0005)


def test_errors_that_come_together_in_recordings_widen_the_interval() -> None:
    tokens = np.full(400, 20)
    spread, together = np.full(400, 2), np.array([20, *[0] * 9] * 40)
    assert spread.sum() == together.sum()
    assert bootstrap.rate(spread, tokens).high == pytest.approx(0.1)
    assert bootstrap.rate(together, tokens).high > 0.125


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(100):
        tokens = rng.integers(5, 40, 150)
        found = bootstrap.rate(rng.binomial(tokens, 0.07), tokens)
        inside += found.low <= 0.07 <= found.high
    assert 88 <= inside <= 100


def test_paired_differences() -> None:
    rng = np.random.default_rng(3)
    tokens = rng.integers(10, 30, 500)
    base = rng.binomial(tokens, 0.10)
    same, p_same = bootstrap.difference(base, base, tokens)
    assert (same.value, p_same) == (0.0, 1.0)
    worse, p_worse = bootstrap.difference(base + (rng.random(500) < 0.2), base, tokens)
    assert worse.value > 0 and worse.low > 0 and p_worse < 0.001
    # The same change is far from sure when the recordings are others: pairing is what shows it.
    assert bootstrap.rate(base, tokens).high - bootstrap.rate(base, tokens).low > worse.value


def test_the_p_value_is_as_often_small_as_it_says() -> None:
    """Two systems that are alike: p < 0.05 in about one of twenty trials."""
    rng = np.random.default_rng(4)
    tokens = np.full(300, 20)
    small = 0
    for _ in range(200):
        _, p_value = bootstrap.difference(rng.binomial(20, 0.1, 300), rng.binomial(20, 0.1, 300), tokens)
        small += p_value < 0.05
    assert 2 <= small <= 22


def test_the_mean_over_languages_is_surer_than_each() -> None:
    rng = np.random.default_rng(5)
    tokens = np.full(200, 20)
    rates = [bootstrap.rate(rng.binomial(20, 0.1, 200), tokens) for _ in range(4)]
    macro = bootstrap.mean(rates)
    assert macro.value == pytest.approx(np.mean([rate.value for rate in rates]))
    widths = [rate.high - rate.low for rate in rates]
    assert macro.high - macro.low == pytest.approx(np.mean(widths) / 2, rel=0.15)


def test_too_little_to_say() -> None:
    alone = bootstrap.rate(np.array([1]), np.array([4]))
    assert alone.value == 0.25 and np.isnan(alone.low)
    assert np.isnan(bootstrap.rate(np.array([1, 2]), np.array([0, 0])).value)
    assert bootstrap.difference(np.array([1]), np.array([2]), np.array([4]))[1] == 1.0
    assert np.isnan(bootstrap.mean([alone]).low)
