from __future__ import annotations

import pytest

from pipeline.scoring import charts


def test_intervals_reach_down_to_zero_and_are_left_out_where_there_are_none() -> None:
    lines = [
        {"language": "de", "error_rate": 0.1, "low": 0.0, "high": 0.3},
        {"language": "en", "error_rate": 0.2, "low": None, "high": None},
        {"language": "fr", "error_rate": None, "low": None, "high": None},
    ]
    chart = charts.rates({"a": lines}, [("theirs", {"en": 7.0, "xx": 9.0}, False)])
    ours, theirs = chart.series
    assert chart.categories == ["de", "en", "fr"]
    assert ours.values[:2] == pytest.approx([10, 20]) and ours.values[2] is None
    assert ours.bounds(0) == pytest.approx((0, 30)) and ours.bounds(1) == pytest.approx((20, 20))
    assert theirs.values == [None, 7.0, None] and not theirs.is_shown
    de, en = chart.bars(0)
    assert de.low_y == de.y + de.height and de.has_interval and not en.has_interval
