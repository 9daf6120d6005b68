"""An evaluation's report on a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from pipeline.log import Log
from pipeline.scoring import published
from pipeline.scoring.tables import MACRO

Row = dict[str, Any]


def regressions(report: Row) -> list[Row]:
    """The lines of the comparison that are past the limit."""
    return [line for line in (report["comparison"] or {"lines": []})["lines"] if line["is_regression"]]


def percent(value: float | None) -> str:
    """A rate as people read it."""
    return "" if value is None else f"{100 * value:.2f}"


def show(report: Row, log: Log) -> None:
    """Say error rates by language beside published ones, problems, and the comparison with the baseline."""
    if log.as_json:
        log.say("evaluated", **{name: report[name] for name in ("evaluation_id", "scores", "problems", "comparison")})
        return
    names = list(dict.fromkeys((line["normalizer"], line["normalizer_version"]) for line in report["scores"]))
    first = names[0][0]
    others = {
        (line["normalizer"], line["language"]): percent(line["error_rate"])
        for line in report["scores"]
        if line["normalizer"] != first
    }
    theirs = published.beside(report["corpus"]["published"])
    models = theirs.models if theirs else []
    table = Table(title=f"error rates in percent: {report['model']}", box=box.SIMPLE_HEAD)
    headings = ["", "utterances", "failed", "sub/del/ins", f"{first}, 95% interval", *(name for name, _ in names[1:])]
    for heading in [*headings, "lang. right", *(published.MODELS[model] for model in models)]:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=heading in headings)
    for line in report["scores"]:
        if line["normalizer"] == first:
            language = line["language"]
            interval = "" if line["low"] is None else f"  {percent(line['low']):>5} -{percent(line['high']):>6}"
            figures = [theirs.percent.get((model, language)) for model in models] if theirs else []
            table.add_row(
                language if line["metric"] == "wer" else f"{language} ({line['metric']})",
                str(line["utterances"]),
                str(line["failed"]),
                f"{line['substitutions']}/{line['deletions']}/{line['insertions']}",
                percent(line["error_rate"]) + interval,
                *(others.get((name, language), "") for name, _ in names[1:]),
                "" if line["language_right"] is None else f"{line['language_right']:.1%}",
                *("" if figure is None else f"{figure:.2f}" for figure in figures),
                style="bold" if language == MACRO else None,
            )
    log.console.print(table)
    notes = ["normalisers: " + ", ".join(f"{name} ({version})" for name, version in names)]
    if theirs:
        notes.append(f"{', '.join(published.MODELS[x] for x in models)}: {theirs.source}; its normaliser is not stated")
    if report["failures"]:
        notes.append(f"{len(report['failures'])} utterances failed; they count as deletions")
    notes += [f"attention: {problem}" for problem in report["problems"]]
    for note in notes:
        log.say(note)
    if report["comparison"]:
        _compare(report["comparison"], log)


def _compare(comparison: Row, log: Log) -> None:
    table = Table(title=f"beside {comparison['baseline']}, in percentage points", box=box.SIMPLE_HEAD)
    for heading in ("language", "utterances", "now", "difference", "95% interval", "p"):
        table.add_column(heading, justify="left" if heading == "language" else "right")
    for line in comparison["lines"]:
        interval = "" if line["low"] is None else f"{100 * line['low']:+.2f} - {100 * line['high']:+.2f}"
        gap = "" if line["difference"] is None else f"{100 * line['difference']:+.2f}"
        cells = (line["language"], str(line["utterances"]), percent(line["error_rate"]), gap, interval)
        table.add_row(*cells, f"{line['p_value']:.4f}", style="red" if line["is_regression"] else None)
    log.console.print(table)
    for note in comparison["notes"]:
        log.say(note)
    worse = [line["language"] for line in comparison["lines"] if line["is_regression"]]
    if worse:
        said = f"regression: {', '.join(worse)} above the baseline by more than --max-regression"
        log.say(f"{said} {comparison['limit']:g}", style="red")
