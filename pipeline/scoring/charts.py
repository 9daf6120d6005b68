"""Charts that several pages have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.pages.charts import BarChart, Bars

Row = dict[str, Any]


def rates(
    lines: Mapping[str, Sequence[Row]], published: Sequence[tuple[str, Mapping[str, float], bool]] = ()
) -> BarChart:
    """Bars of error rates in percent with their intervals: by model lines of languages, as tables.SCORE has them; and
    of `published` ones, each its name, percent by language, and whether it is shown at first."""
    languages = list(dict.fromkeys(line["language"] for own in lines.values() for line in own))
    series = []
    for model, own in lines.items():
        by = {line["language"]: line for line in own}
        value, low, high = (
            [_percent(by.get(each, {}).get(name)) for each in languages] for name in ("error_rate", "low", "high")
        )
        series.append(Bars(model, value, low, high))
    for name, percent, is_shown in published:
        series.append(Bars(name, [percent.get(each) for each in languages], is_shown=is_shown))
    return BarChart("Error rates by language, in percent", "error rate in percent", languages, series)


def _percent(rate: float | None) -> float | None:
    return None if rate is None else 100 * rate
