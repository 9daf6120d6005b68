"""Charts that several pages have, with plotly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

COLOURS = ("#1f4e9c", "#e8743b", "#19a979", "#945ecf", "#b0883f", "#6c8893", "#d04a6f")

Row = dict[str, Any]


def html(figure: go.Figure) -> str:
    """A figure as a part of a page that has plotly's code."""
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": -0.22},
        colorway=COLOURS,
    )
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})


def rates(lines: Mapping[str, Sequence[Row]]) -> go.Figure:
    """Bars of error rates in percent with their intervals: by model lines of languages, as tables.SCORE has them."""
    figure = go.Figure()
    for model, own in lines.items():
        shown = [line for line in own if line["error_rate"] is not None]
        figure.add_bar(
            name=model,
            x=[line["language"] for line in shown],
            y=[100 * line["error_rate"] for line in shown],
            error_y={
                "array": [100 * (_or(line["high"], line["error_rate"]) - line["error_rate"]) for line in shown],
                "arrayminus": [100 * (line["error_rate"] - _or(line["low"], line["error_rate"])) for line in shown],
            },
        )
    figure.update_layout(barmode="group", yaxis_title="error rate in percent", height=430)
    return figure


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
