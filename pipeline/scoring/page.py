"""An evaluation's report as one HTML file that needs no network (page.html)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pipeline.pages import layout
from pipeline.pages.charts import BarChart, PointChart, Points
from pipeline.scoring import charts, published, tables
from pipeline.scoring.error_rate import normalizer
from pipeline.scoring.text import percent, regressions

WORST = 50
MAX_POINTS, NAMED = 5_000, 200  # in a chart: the worst are among them, and those have names
DURATIONS_S = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, math.inf)

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
    return layout.template("pipeline.scoring", "page.html", percent=percent).render(
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
        rates=_rates(report["model"], lines, figures),
        points=_points(own),
        durations=_durations(own),
        confusion=tables.confusion(own),
    )


def _worst(rows: Sequence[Row]) -> list[Row]:
    """The utterances with the most errors for their length, failures apart, with their alignments."""
    recognised = [row for row in rows if row["hypothesis"] is not None and row["error_rate"]]
    found = sorted(recognised, key=lambda row: (-row["error_rate"], row["utterance_id"]))[:WORST]
    return [row | {"alignment": tables.again(row, normalizer(row["normalizer"])).alignment} for row in found]


def _rates(model: str, lines: Sequence[Row], figures: Sequence[published.Figure]) -> BarChart:
    """Bars of the error rates with their intervals, and the published ones beside them."""
    theirs = []
    for source in dict.fromkeys(f.source for f in figures):
        elsewhere = source.startswith(published.LEADERBOARD)
        for key, name in published.MODELS.items():
            percent = {f.language: f.wer_percent for f in figures if (f.model, f.source) == (key, source)}
            if percent.keys() & {line["language"] for line in lines}:
                theirs.append((f"{name}, {published.LEADERBOARD}" if elsewhere else name, percent, not elsewhere))
    return charts.rates({model: lines}, theirs)


def _points(rows: Sequence[Row]) -> PointChart:
    """Each utterance: how long it is and how wrong; the worst have their names."""
    shown = [row for row in rows if row["duration_s"] is not None and row["error_rate"] is not None]
    shown = sorted(shown, key=lambda row: -row["error_rate"])[:MAX_POINTS]
    named = {row["utterance_id"] for row in shown[:NAMED]}
    series = []
    for language in sorted({row["language"] for row in shown}):
        own = [row for row in shown if row["language"] == language]
        names = [row["utterance_id"] for row in own if row["utterance_id"] in named]
        rates = [100 * row["error_rate"] for row in own]
        series.append(Points(language, [row["duration_s"] for row in own], rates, names))
    title = "Each utterance: duration in seconds, error rate in percent"
    return PointChart(title, "duration in seconds", "error rate in percent", series)


def _durations(rows: Sequence[Row]) -> list[Row]:
    """Utterances and error rates by duration."""
    found = []
    for low, high in pairwise(DURATIONS_S):
        own = [row for row in rows if row["duration_s"] is not None and low <= row["duration_s"] < high]
        if own:
            weights = [row.get("weight") or 1.0 for row in own]  # a segment of a sample stands for more than itself
            of = sum(weight * row["tokens"] for weight, row in zip(weights, own, strict=True))
            wrong = sum(weight * tables.errors(row) for weight, row in zip(weights, own, strict=True))
            rate, tokens = wrong / of if of else None, sum(row["tokens"] for row in own)
            found.append({"low": low, "high": high, "utterances": len(own), "tokens": tokens, "error_rate": rate})
    return found
