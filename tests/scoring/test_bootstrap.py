from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.sampled_from("abcd")), min_size=2, max_size=40))
@settings(max_examples=50, deadline=None)
def test_equal_weights_change_no_rate(sample: list[tuple[int, int, str]]) -> None:
    errors, tokens, strata = (np.array(column) for column in zip(*sample, strict=True))
    with patch.object(bootstrap, "MAX_RESAMPLES", 1_000):
        found = bootstrap.stratified_rate(errors, tokens, np.full(len(errors), 7.5), strata)
        assert found.value == pytest.approx(bootstrap.rate(errors, tokens).value)
    rates = errors / tokens
    assert rates.min() - 1e-9 <= found.low <= found.high <= rates.max() + 1e-9


def test_of_one_stratum_the_interval_is_that_of_recordings_and_of_pure_ones_narrower() -> None:
    rng = np.random.default_rng(6)
    tokens, wrong = np.full(1_000, 20), rng.random(1_000) < 0.3
    errors, weights = np.where(wrong, 8, 0), np.ones(1_000)
    usual = bootstrap.rate(errors, tokens)
    one = bootstrap.stratified_rate(errors, tokens, weights, np.zeros(1_000))
    assert (one.low, one.high) == pytest.approx((usual.low, usual.high), abs=0.002)
    pure = bootstrap.stratified_rate(errors, tokens, weights, wrong)
    assert (pure.low, pure.high) == pytest.approx((usual.value, usual.value))


def test_two_of_a_stratum_are_not_surer_than_they_can_be() -> None:
    """The variance of a mean of two is half their sample variance; of n draws of n it would be a quarter."""
    errors, tokens = np.array([0, 4] * 200), np.full(400, 10)
    found = bootstrap.stratified_rate(errors, tokens, np.ones(400), np.arange(400) // 2)
    assert np.var(found.resampled) == pytest.approx(0.04 * 2 / 2 / 200, rel=0.1)
    alone = bootstrap.stratified_rate(errors, tokens, np.ones(400), np.arange(400))
    assert np.isfinite([alone.low, alone.high]).all()
