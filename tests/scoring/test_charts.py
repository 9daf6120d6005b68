from __future__ import annotations

import pytest

from pipeline.scoring import charts


def test_intervals_reach_down_to_zero_and_are_left_out_where_there_are_none() -> None:
    lines = [
        {"language": "de", "error_rate": 0.1, "low": 0.0, "high": 0.3},
        {"language": "en", "error_rate": 0.2, "low": None, "high": None},
        {"language": "fr", "error_rate": None, "low": None, "high": None},
    ]
    (bars,) = charts.rates({"a": lines}).to_dict()["data"]
    assert bars["x"] == ["de", "en"] and bars["y"] == pytest.approx([10, 20])
    assert bars["error_y"]["arrayminus"] == pytest.approx([10, 0])
    assert bars["error_y"]["array"] == pytest.approx([20, 0])
