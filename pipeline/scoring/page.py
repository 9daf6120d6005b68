"""An evaluation's report as one HTML file that needs no network: plotly draws, jinja2 lays out (page.html)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pipeline.scoring import charts, layout, published, tables
from pipeline.scoring.error_rate import normalizer
from pipeline.scoring.text import percent, regressions

WORST = 50
MAX_POINTS = 5_000  # in a chart: the worst of each language are among them

Row = dict[str, Any]


def render(report: Row, rows: Sequence[Row]) -> str:
    """The page of a report and its UTTERANCE rows; charts show the first normaliser."""
    first = rows[0]["normalizer"]
    own = [row for row in rows if row["normalizer"] == first]
    lines = [line for line in report["scores"] if line["normalizer"] == first]
    others: dict[str, dict[str, float | None]] = {}
    for line in report["scores"]:
        if line["normalizer"] != first:
            others.setdefault(line["language"], {})[line["normalizer"]] = line["error_rate"]
    benchmark = report["corpus"]["published"]
    figures = published.figures(benchmark)
    return layout.template("page.html", percent=percent).render(
        report=report,
        lines=lines,
        macro=lines[-1],
        others=others,
        normalizers=list(dict.fromkeys((line["normalizer"], line["normalizer_version"]) for line in report["scores"])),
        theirs=published.beside(benchmark),
        names=published.MODELS,
        sources=list(dict.fromkeys((figure.source, figure.normaliser) for figure in figures)),
        worst=_worst(own),
        regressions=regressions(report),
        charts={
            "rates": charts.html(_rates(report["model"], lines, figures)),
            "durations": charts.html(_durations(own)),
            "confusion": charts.html(_confusion(tables.confusion(own))),
        },
        plotly=get_plotlyjs(),
    )


def _worst(rows: Sequence[Row]) -> list[Row]:
    """The utterances with the most errors for their length, failures apart, with their alignments."""
    recognised = [row for row in rows if row["hypothesis"] is not None and row["error_rate"]]
    found = sorted(recognised, key=lambda row: (-row["error_rate"], row["utterance_id"]))[:WORST]
    return [row | {"alignment": tables.again(row, normalizer(row["normalizer"])).alignment} for row in found]


def _rates(model: str, lines: Sequence[Row], figures: Sequence[published.Figure]) -> go.Figure:
    """Bars of the error rates with their intervals, and the published ones beside them."""
    figure = charts.rates({model: lines})
    languages = {line["language"] for line in lines}
    for source in dict.fromkeys(f.source for f in figures):
        elsewhere = source.startswith(published.LEADERBOARD)
        for key, name in published.MODELS.items():
            theirs = [f for f in figures if f.model == key and f.source == source and f.language in languages]
            if theirs:
                figure.add_bar(
                    name=f"{name}, {published.LEADERBOARD}" if elsewhere else name,
                    x=[f.language for f in theirs],
                    y=[f.wer_percent for f in theirs],
                    visible="legendonly" if elsewhere else True,
                )
    return figure


def _durations(rows: Sequence[Row]) -> go.Figure:
    """Each utterance: how long it is and how wrong."""
    figure = go.Figure()
    shown = [row for row in rows if row["duration_s"] is not None and row["error_rate"] is not None]
    shown = sorted(shown, key=lambda row: -row["error_rate"])[:MAX_POINTS]
    for language in sorted({row["language"] for row in shown}):
        own = [row for row in shown if row["language"] == language]
        figure.add_scattergl(
            name=language,
            mode="markers",
            x=[row["duration_s"] for row in own],
            y=[100 * row["error_rate"] for row in own],
            text=[row["utterance_id"] for row in own],
            hovertemplate="%{text}<br>%{x:.1f} s, %{y:.1f} %",
            marker={"size": 6, "opacity": 0.6},
        )
    figure.update_layout(xaxis_title="duration in seconds", yaxis_title="error rate in percent", height=400)
    return figure


def _confusion(counts: dict[str, Counter[str]]) -> go.Figure:
    """Languages of the references in rows, those that were detected in columns, in shares of the row."""
    spoken = sorted(counts)
    tagged = sorted({language for row in counts.values() for language in row} | set(spoken))
    figure = go.Figure(
        go.Heatmap(
            x=tagged,
            y=spoken,
            z=[[counts[row][column] / counts[row].total() for column in tagged] for row in spoken],
            text=[[counts[row][column] or "" for column in tagged] for row in spoken],
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            showscale=False,
        )
    )
    figure.update_layout(
        xaxis={"title": "detected", "type": "category"},
        yaxis={"title": "of the reference", "type": "category", "autorange": "reversed"},
        height=130 + 44 * max(2, len(spoken)),
    )
    return figure
