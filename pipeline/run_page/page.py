"""A run as one HTML file that needs no network (page.html), written beside its report: runs/<run_id>.html."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from pipeline import estimate, storage_errors, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.ledger import parts
from pipeline.log import duration
from pipeline.pages import layout
from pipeline.pages.charts import BarChart, Bars, PointChart, Points
from pipeline.run_page import against, commits, tables
from pipeline.run_page.tables import DURATIONS_S, Contents
from pipeline.schema import Outcome
from pipeline.settings import JobSettings

MOST_LANGUAGES = 30  # in the chart; the table has all
LONGEST = 600  # characters of one text
# What reports of earlier versions, or of some tasks, do not have.
MAY_LACK = (
    "task asked resumed not_reached recordings_by_status skipped_files repeated_rows runtime runtime_version".split()
)

Row = dict[str, Any]


class Page(JobSettings):
    """Write a page about a finished run: what came in and out, failures, languages, durations, speed, engines, and the
    recordings to look at first. With --against: how it differs from another run.

    Examples:

        python -m jobs.report --output s3://bucket/transcripts
        python -m jobs.report --output transcripts/ --run-id new --against old
    """

    model_config = SettingsConfigDict(env_prefix="VOXTRAL_REPORT_", cli_prog_name="python -m jobs.report")

    output: str
    """What a job wrote: its --output. The page goes there, to runs/."""
    run_id: str | None = None
    """Which run. Default: the one that was finished last."""
    against: str | None = None
    """A run to put beside it: its id in the same output, or the place of its report (s3://other/runs/<id>.json)."""
    price_per_engine_hour: float | None = Field(default=None, ge=0)
    """What an engine, with all its GPUs, costs for an hour. Default: as the run was told."""


def write(settings: Page) -> str:
    """Write the page; returns where.

    Raises:
        ConfigurationError: there is no such run, or its tables cannot be read.
        JobError: the page cannot be written.
    """
    output = settings.output.rstrip("/")
    against = f", --against {settings.against}" if settings.against else ""
    with storage_errors.errors_as(ConfigurationError, f"--output {output}{against}", storage_errors.READ_ERRORS):
        report = _report(output, settings.run_id, "--run-id")
        before = _before(output, settings.against) if settings.against else None
        html = render(output, report, before, settings.price_per_engine_hour)
    beside = f"-against-{before[1]['run_id']}" if before else ""
    uri = f"{output}/runs/{report['run_id']}{beside}.html"
    with storage_errors.errors_as(JobError, f"--output {output}"):
        store.replace(uri, html.encode("utf-8", "replace"))
    return uri


def _before(output: str, against: str) -> tuple[str, Row]:
    theirs, separator, name = against.rpartition("/runs/")
    with storage_errors.errors_as(ConfigurationError, f"--against {against}", storage_errors.READ_ERRORS):
        if not separator:
            return output, _report(output, name, "--against")
        return theirs, _report(theirs, name.removesuffix(".json"), "--against")


def _report(output: str, run_id: str | None, flag: str) -> Row:
    reports = parts.reports(output)
    if not reports:
        raise ConfigurationError(f"{output}: no finished run; is it the --output of a job?")
    found = [report for report in reports if run_id in (None, report["run_id"])]
    if not found:
        newest = ", ".join(report["run_id"] for report in reports[-3:])
        raise ConfigurationError(f"{flag} {run_id}: no finished run of this name in {output}; the newest are {newest}")
    return found[-1]


def render(output: str, report: Row, before: tuple[str, Row] | None = None, price: float | None = None) -> str:
    """The page of a run, beside another one where there is one: that one's output and report.

    Raises:
        storage_errors.READ_ERRORS: a part cannot be read.
    """
    found = tables.read(output, report)
    speeds = commits.speeds(output, report, found.part_audio_s)
    filters = {"duration": duration, "percent": _percent, "cut": _cut, "json": _json}
    filters["shorten"] = partial(_shortened, report["input"])
    return layout.template("pipeline.run_page", "page.html", **filters).render(
        report=dict.fromkeys(MAY_LACK) | report,
        numbers=report["numbers"],
        found=found,
        outcomes=list(Outcome),
        problems=_problems(report, found),
        languages=sorted(found.languages.items(), key=lambda one: -one[1].audio_s),
        languages_chart=_languages(found),
        bins=list(zip(_bins(), found.counts.tolist(), found.audio_s.tolist(), strict=True)),
        durations_chart=BarChart(
            "Recordings by duration", "recordings", _bins(), [Bars("recordings", found.counts.tolist())]
        ),
        speeds=speeds,
        speeds_chart=_speeds(speeds or []),
        engines=_engines(report, price),
        before=before and before[1],
        beside=before and _beside(before[1], report, price),
        changes=before and against.changes(output, before[1], before[0], report),
        settings=before and against.settings(before[1], report),
    )


def _problems(report: Row, found: Contents) -> list[str]:
    numbers, problems = report["numbers"], []
    if found.outcomes.total() != numbers["recordings"]:
        problems.append(f"the report counts {numbers['recordings']} recordings, the tables {found.outcomes.total()}")
    if count := report.get("not_reached"):
        problems.append(f"{count} recordings were not reached: the next run does them")
    if count := report.get("engine_deaths"):
        problems.append(f"{count} engines died and were replaced")
    problems += [f"an engine did not start: {reason}" for reason in report.get("engine_start_failures", [])]
    problems += [f"left out, since it cannot be listed: {name}" for name in report.get("unlisted_files", [])]
    return problems


def _languages(found: Contents) -> BarChart:
    shown = sorted(found.languages.items(), key=lambda one: -one[1].audio_s)[:MOST_LANGUAGES]
    hours = Bars("hours", [one.audio_s / 3600 for _, one in shown])
    return BarChart("Hours of audio by language", "hours of audio", [name for name, _ in shown], [hours])


def _bins() -> list[str]:
    names = [
        duration(low).replace(".0 s", " s").replace(" 00 s", "").replace(" 00 min", "") for low in DURATIONS_S[:-1]
    ]
    return [f"to {high}" for _, high in pairwise(names)] + [f"{names[-1]} or more"]


def _speeds(speeds: list[tuple[float, float]]) -> PointChart:
    """As steps: each speed holds from the commit before to its own."""
    x, y, since_s = list[float](), list[float](), 0.0
    for at, speed in speeds:
        x += [since_s / 60, at / 60]
        y += [speed, speed]
        since_s = at
    title = "Speed over time: audio committed, in times real time"
    return PointChart(title, "minutes since the run began", "times real time", [Points("speed", x, y)], has_lines=True)


def _engines(report: Row, price: float | None) -> Row:
    """What the engines took. Reports of earlier versions, or without engines, do not say it all: None."""
    numbers, wall_s, served = report["numbers"], report["numbers"]["wall_s"], report.get("engines_served")
    ready_s, start_s = report.get("engine_s"), report.get("engine_start_s")
    held_s = ready_s + (served or 0) * (start_s or 0.0) if ready_s is not None else None
    each = price if price is not None else report["settings"].get("price_per_engine_hour")
    audio_s = (numbers["speed"] or 0.0) * wall_s  # of the last driver alone, as are the engines' times
    cost = each * held_s / 3600 if each is not None and held_s is not None else None
    return {
        "count": report.get("engines"),
        "served": served,
        "start_s": start_s,
        "ready_s": ready_s,
        "held_s": held_s,
        "ready_share": min(1.0, ready_s / (served * wall_s)) if ready_s and served and wall_s else None,
        "speed": estimate.mean_speed([report]),
        "cost": cost,
        "cost_per_audio_hour": cost / (audio_s / 3600) if cost is not None and audio_s else None,
    }


def _beside(before: Row, report: Row, price: float | None) -> list[tuple[str, Any, Any]]:
    """Facts of two runs: the name and both values."""

    def facts(run: Row) -> Row:
        numbers, engines = run["numbers"], _engines(run, price)
        return {
            **{name: run.get(name) for name in ("task", "model", "model_revision", "runtime", "runtime_version")},
            **{name: run.get(name) for name in ("pipeline_version", "fingerprint", "input", "started_at")},
            **{name: numbers[name] for name in ("recordings", *Outcome)},
            **{f"failed with {code}": count for code, count in numbers["failures"].items()},
            "audio": duration(numbers["audio_s"]),
            "wall time": duration(numbers["wall_s"]),
            "times real time": numbers["speed"],
            "times real time, of an engine that is ready": _rounded(engines["speed"]),
            "slot fill": numbers.get("slot_fill"),
            "coverage": numbers.get("coverage"),
            "second attempts": numbers.get("retried"),
            "price per audio hour": _rounded(engines["cost_per_audio_hour"]),
            **{f"flag {name}": count for name, count in numbers.get("flags", {}).items()},
            **{f"language {name}": count for name, count in numbers.get("languages", {}).items()},
        }

    one, other = facts(before), facts(report)
    return [(name, one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _shortened(source: str, uri: str) -> str:
    """A recording's URI below the input, or below the folder of the manifest."""
    source = source.rstrip("/")
    roots = (f"{source}/", f"{source.rpartition('/')[0]}/")
    return _cut(uri.removeprefix(next((root for root in roots if len(root) > 1 and uri.startswith(root)), "")))


def _cut(text: str | None) -> str:
    return "" if text is None else text if len(text) <= LONGEST else f"{text[:LONGEST]} [...]"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
