from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.scoring import proportion


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe (Statistics in Medicine 17, 1998, 857-872), table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_the_one_that_is_published(right: int, count: int, low: float, high: float) -> None:
    found = proportion.share(right, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.value == right / count


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_the_interval_holds_the_share_and_is_as_wide_for_what_is_wrong(counts: tuple[int, int]) -> None:
    right, count = counts
    found, other = proportion.share(right, count), proportion.share(count - right, count)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert (1 - other.high, 1 - other.low) == pytest.approx((found.low, found.high))


def test_the_test_is_exact() -> None:
    assert proportion.p_value(0, 0) == 1.0
    assert proportion.p_value(5, 0) == pytest.approx(2 * 0.5**5)
    assert proportion.p_value(6, 0) == proportion.p_value(0, 6) == pytest.approx(2 * 0.5**6)
    assert proportion.p_value(9, 9) == 1.0
    assert proportion.p_value(86, 150) == pytest.approx(2 * stats.binom.cdf(86, 236, 0.5))
