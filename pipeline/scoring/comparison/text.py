"""A comparison of models on a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from pipeline.log import Log
from pipeline.scoring.tables import MACRO, SIGNIFICANT
from pipeline.scoring.text import percent

GAPS = ("difference, 95%", "p")
SHOWN = 5  # utterances about which the models disagree; the page has more, with their texts

Row = dict[str, Any]


def points(value: float | None) -> str:
    """A difference of rates in percentage points."""
    return "" if value is None else f"{100 * value:+.2f}"


def price(value: float | None) -> str:
    """What an hour of audio costs, in whatever currency."""
    return "" if value is None else f"{value:.2f}" if value >= 1 else f"{value:.2g}"


def show(report: Row, log: Log) -> None:
    """Say error rates, differences, speed and price by model and by language, and what is wrong with them."""
    if log.as_json:
        names = ("comparison_id", "models", "lines", "problems", "not_evaluated")
        log.say("compared", **{name: report[name] for name in names})
        return
    lines = [line for line in report["lines"] if line["normalizer"] == report["lines"][0]["normalizer"]]
    names = {one["model"]: str(at) for at, one in enumerate(report["models"], 1)}
    title = f"models, by error rates in percent ({lines[0]['normalizer']})"
    table = _table(title, "", "model", "mean, 95% interval", *GAPS, "failed", "flagged", "RTFx", "price/audio h")
    means = {line["model"]: line for line in lines if line["language"] == MACRO}
    for one in report["models"]:
        line = means[one["model"]]
        speed = "" if one["engine_speed"] is None else f"{one['engine_speed']:.1f}"
        cells = (str(line["failed"]), str(line["flagged"]), speed, price(one["price_per_audio_hour"]))
        table.add_row(names[one["model"]], escape(one["model"]), _rate(line), *_gap(line), *cells)
    log.console.print(table)
    headings = ("utterances", "error rate, 95% interval", *GAPS, "failed", "flagged")
    by_language = _table("by language", "language", "", *headings)
    for language in sorted({line["language"] for line in lines} - {MACRO}):
        for line in (line for line in lines if line["language"] == language):
            name = language if line["metric"] == "wer" else f"{language} ({line['metric']})"
            cells = (escape(name), names[line["model"]], str(line["utterances"]), _rate(line), *_gap(line))
            by_language.add_row(*cells, str(line["failed"]), str(line["flagged"]))
    log.console.print(by_language)
    if report["disagreements"]:
        _disagreements(report["disagreements"][:SHOWN], names, log)
    log.say(f"differences are to {report['models'][0]['model']}; bold where p < {SIGNIFICANT:g}")
    for note in [*report["notes"], *(f"attention: {problem}" for problem in report["problems"])]:
        log.say(note)
    for one in report["not_evaluated"]:
        log.say(f"attention: {one['model']} is not compared: {one['why']}", style="red")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for at, heading in enumerate(headings):
        long = heading in ("model", "utterance")
        table.add_column(heading, justify="left" if at < 2 else "right", no_wrap=not long, overflow="fold")
    return table


def _rate(line: Row) -> str:
    interval = "" if line["low"] is None else f"  {percent(line['low']):>5} -{percent(line['high']):>6}"
    return percent(line["error_rate"]) + interval


def _gap(line: Row) -> tuple[str, str]:
    if line["difference"] is None:
        return "", ""
    low = line["difference_low"]
    said = points(line["difference"]) + ("" if low is None else f"  {points(low)} - {points(line['difference_high'])}")
    return (f"[bold]{said}[/bold]" if line["p_value"] < SIGNIFICANT else said), f"{line['p_value']:.4f}"


def _disagreements(found: list[Row], names: dict[str, str], log: Log) -> None:
    table = _table("where they disagree most, in errors", "utterance", "language", *names.values())
    for each in found:
        rows = each["rows"]
        counts = (str(rows[model]["errors"]) if model in rows else "" for model in names)
        table.add_row(escape(each["utterance_id"]), escape(next(iter(rows.values()))["language"]), *counts)
    log.console.print(table)
