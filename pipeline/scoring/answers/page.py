"""An evaluation of answers as one HTML file that needs no network (page.html)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.pages import layout
from pipeline.schema import Outcome
from pipeline.scoring.answers.right import RIGHT
from pipeline.scoring.answers.tables import ALL
from pipeline.scoring.answers.text import percent
from pipeline.scoring.text import regressions

MOST = 500  # answers on the page
LONGEST = 2_000  # characters of one text

Row = dict[str, Any]


def render(report: Row, rows: Sequence[Row]) -> str:
    """The page of a report and its ANSWER rows, of which it shows the wrong ones first, then failures."""
    ordered = sorted(rows, key=lambda row: (row[RIGHT], row["outcome"] == Outcome.FAILED))
    (overall,) = (line for line in report["scores"] if (line["score"], line["language"]) == (RIGHT, ALL))
    return layout.template("pipeline.scoring", "answers/page.html", percent=percent, cut=_cut).render(
        report=report, overall=overall, answers=ordered[:MOST], count=len(rows), regressions=regressions(report)
    )


def _cut(text: str | None) -> str:
    return "" if text is None else text if len(text) <= LONGEST else f"{text[:LONGEST]} [...]"
