"""An evaluation of answers on a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from pipeline.log import Log
from pipeline.scoring.answers.right import RIGHT
from pipeline.scoring.answers.tables import ALL

Row = dict[str, Any]


def percent(value: float) -> str:
    """A share as people read it."""
    return f"{100 * value:.1f}"


def show(report: Row, log: Log) -> None:
    """Say the share of right answers, by score and by language, problems, and the difference from the baseline."""
    if log.as_json:
        log.say("evaluated", **{name: report[name] for name in ("evaluation_id", "scores", "problems", "comparison")})
        return
    table = Table(title=escape(f"right answers in percent: {report['model']}"), box=box.SIMPLE_HEAD)
    for heading in ("score", "language", "right", "of", "failed", "share, 95% interval"):
        table.add_column(heading, justify="left" if heading in ("score", "language") else "right")
    for line in report["scores"]:
        if line["language"] == ALL or line["score"] == RIGHT:  # the page has the others by language
            interval = f"{percent(line['share'])}  {percent(line['low']):>5} -{percent(line['high']):>6}"
            counts = (str(line[name]) for name in ("right", "recordings", "failed"))
            style = "bold" if (line["score"], line["language"]) == (RIGHT, ALL) else None
            table.add_row(escape(line["score"]), escape(line["language"]), *counts, interval, style=style)
    log.console.print(table)
    if report["failures"]:
        log.say(f"{len(report['failures'])} answers failed; they count as wrong")
    for problem in report["problems"]:
        log.say(f"attention: {problem}")
    if report["comparison"]:
        _compare(report["comparison"], log)


def _compare(comparison: Row, log: Log) -> None:
    for line in comparison["lines"]:
        counts = f"{line['better']} better, {line['worse']} worse, p = {line['p_value']:.4f}"
        log.say(
            f"beside {comparison['baseline']}: {100 * line['difference']:+.1f} percentage points on"
            f" {line['recordings']} recordings ({counts})"
        )
    for note in comparison["notes"]:
        log.say(note)
    if any(line["is_regression"] for line in comparison["lines"]):
        log.say(f"regression: below the baseline by more than --max-regression {comparison['limit']:g}", style="red")
