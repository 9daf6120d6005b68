"""Several models side by side as one HTML file that needs no network (page.html)."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from pipeline.pages import layout
from pipeline.scoring import charts, tables
from pipeline.scoring.comparison.text import points, price
from pipeline.scoring.error_rate import normalizer
from pipeline.scoring.tables import MACRO, SIGNIFICANT
from pipeline.scoring.text import percent

Row = dict[str, Any]


def render(report: Row) -> str:
    """The page of a comparison's report, by its first normaliser."""
    lines = [line for line in report["lines"] if line["normalizer"] == report["lines"][0]["normalizer"]]
    ordered = sorted((line for line in lines if line["language"] != MACRO), key=lambda line: line["language"])
    by_model = {one["model"]: [line for line in lines if line["model"] == one["model"]] for one in report["models"]}
    means = {line["model"]: line for line in lines if line["language"] == MACRO}
    filters = {"percent": percent, "points": points, "price": price}
    return layout.template("pipeline.scoring", "comparison/page.html", **filters).render(
        report=report,
        means=means,
        metric="error rate" if "mixed" in {line["metric"] for line in means.values()} else lines[0]["metric"].upper(),
        languages=[(language, list(own)) for language, own in groupby(ordered, key=lambda line: line["language"])],
        normalizers=list(dict.fromkeys((line["normalizer"], line["normalizer_version"]) for line in report["lines"])),
        disagreements=[_aligned(each) for each in report["disagreements"]],
        significant=SIGNIFICANT,
        chart=charts.rates(by_model),
    )


def _aligned(disagreement: Row) -> Row:
    rows = {
        model: row | {"alignment": tables.again(row, normalizer(row["normalizer"])).alignment}
        for model, row in disagreement["rows"].items()
    }
    return disagreement | {"rows": rows, "first": next(iter(rows.values()))}
