from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pages import charts, layout
from pipeline.pages.charts import Axis, BarChart, Bars, PointChart, Points

PAGE = """{% extends "layout.html" %}{% from "charts.html" import bars, points %}
{% block body %}{{ bars(one, "one") }}{{ points(two, "two") }}{% endblock %}"""


@given(st.floats(0, 1e12, allow_subnormal=False))
def test_ticks_are_few_round_numbers_that_reach_the_highest_value(high: float) -> None:
    ticks = Axis(0.0, high).ticks
    assert ticks[0] == 0 and ticks[-1] >= high * (1 - 1e-6) and 2 <= len(ticks) <= 2 * charts.TICKS
    assert re.fullmatch(r"[125]0*", f"{ticks[1]:.3e}".replace(".", "").partition("e")[0])


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=60), st.integers(1, 9)
)
def test_bars_are_inside_the_chart_and_stand_on_its_ground(pairs: list[tuple[float | None, float]], count: int) -> None:
    values, high = [value for value, _ in pairs], [(value or 0) + more for value, more in pairs]
    series = [Bars(f"s{at}", values, values, high) for at in range(count)]
    chart = BarChart("", "", [f"c{at}" for at in range(len(pairs))], series)
    for at in range(count):
        found = chart.bars(at)
        assert len(found) == len([value for value in values if value is not None])
        for bar in found:
            assert bar.x >= charts.LEFT and bar.x + bar.width <= chart.width and bar.width > 1
            assert bar.y + bar.height == pytest.approx(charts.TOP + charts.PLOT_HEIGHT)
            assert charts.TOP - 0.01 <= bar.high_y <= bar.low_y + 0.01


def test_charts_say_what_they_show_without_scripts_and_escape_it() -> None:
    nasty = '</title><script>alert(1)</script>" onload="x'
    one = BarChart(nasty, nasty, [nasty, "b"], [Bars(nasty, [1.0, None]), Bars("later", [2.0, 3.0], is_shown=False)])
    two = PointChart("two", "x", "y", [Points("p", [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [nasty])])
    template = layout.template("pipeline.pages", "layout.html")
    html = template.environment.from_string(PAGE).render(one=one, two=two)
    assert "<script" not in html and 'onload="x' not in html and "&lt;script&gt;" in html
    assert html.count('role="img" aria-label="') == 2 and html.count("<rect") == 3
    assert html.count('type="checkbox"') == 2 and html.count(" checked>") == 1
    assert html.count("<circle") == 1 and len(re.findall(r"M[\d. ]+h0", html)) == 2
