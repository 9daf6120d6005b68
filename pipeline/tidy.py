"""What stopped runs have left below an output, and no reader should meet: found, and removed.

Published files are never touched, nor is a run that the same command would resume, unless it is named.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.ledger import parts, starts
from pipeline.settings import JobSettings
from pipeline.sources.walk import walk

TABLES = {"segments", "transcripts", "answers", "recordings"}  # that reports and other tasks may add to

Row = dict[str, Any]


class Tidy(JobSettings):
    """Remove what stopped runs have left in an output: rows of runs that a later one has overtaken, and files that were
    written and never committed. Readers who go by the reports never see them; those who read all files do.

    Published rows stay, and so do stopped runs that the same command would resume: --run-id gives one of them up.

    Examples:

        python -m jobs.tidy --output s3://bucket/transcripts --dry-run
        python -m jobs.tidy --output s3://bucket/transcripts
        python -m jobs.tidy --output s3://bucket/transcripts --run-id 20261101T020000.000000Z
    """

    model_config = SettingsConfigDict(env_prefix="VOXTRAL_TIDY_", cli_prog_name="python -m jobs.tidy")

    output: str
    """The --output of jobs."""
    run_id: str | None = None
    """A stopped run to give up: all that it has written goes, too."""
    min_age_hours: float = Field(default=24.0, ge=0)
    """Runs with a younger file, and younger files, stay: they may be at work. [hours]"""
    dry_run: bool = False
    """Say what would be removed, and stop."""


@dataclass(frozen=True)
class LeftOver:
    """A file that may go. `why` it may is the same for all of its kind; `run_id` is the run that wrote it."""

    uri: str
    run_id: str
    size_bytes: int
    why: str


@dataclass(frozen=True)
class LeftOvers:
    """What may go, in the order in which it must; and runs that stay though they are not finished: why, by run_id."""

    left_over: Sequence[LeftOver]
    kept: dict[str, str]


OVERTAKEN = "of a stopped run that a later one has overtaken"
GIVEN_UP = "of the run that --run-id names"
NOT_COMMITTED = "never committed"


def find(settings: Tidy) -> LeftOvers:
    """Look below an output.

    Raises:
        ConfigurationError: it cannot be read, or --run-id names no stopped run.
    """
    output = store.join(*store.split(settings.output)).rstrip("/")
    with storage_errors.errors_as(ConfigurationError, f"--output {settings.output}", storage_errors.READ_ERRORS):
        reports = {report["run_id"]: report for report in parts.reports(output)}
        begun = {start["run_id"]: start for start in starts.begun(output, reports)}
        claims = starts.claims(output) if begun else {}
        tables = TABLES.union(*(parts.tables_of(report) for report in reports.values()))
        files = [file for table in sorted(tables) for file in _files(f"{output}/{table}")]
    if settings.run_id in reports:
        raise ConfigurationError(f"--run-id {settings.run_id}: is finished and published; its rows stay")
    if settings.run_id and settings.run_id not in begun:
        raise ConfigurationError(f"--run-id {settings.run_id}: no such run in {settings.output}")
    before = datetime.now(UTC) - timedelta(hours=settings.min_age_hours)
    of_run: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        of_run[file.run_id].append(file)
    left_over: list[LeftOver] = []
    kept: dict[str, str] = {}
    for run_id, start in begun.items():
        own = of_run[run_id]
        last = max([datetime.fromisoformat(start["started_at"]), *(file.modified_at for file in own)])
        why = (
            GIVEN_UP if run_id == settings.run_id else OVERTAKEN if starts.overtaken(start, reports.values()) else None
        )
        if not why:
            kept[run_id] = "the same command resumes it"
        elif last > before:
            kept[run_id] = f"it wrote within the last {settings.min_age_hours:g} hours (--min-age-hours)"
        else:
            # The last part first, and each before what it commits: where this is interrupted, the run is still of one
            # piece. Its start last: until that is gone, the rest is found.
            ordered = sorted(own, key=lambda file: (file.commits, file.uri), reverse=True)
            left_over += [LeftOver(file.uri, run_id, file.size_bytes, why) for file in ordered]
            left_over.append(LeftOver(f"{output}/started/{run_id}.json", run_id, 0, why))
    whys = {file.run_id: file.why for file in left_over}
    # Whoever claims the next run with the same facts would join one that is gone.
    left_over[:0] = [LeftOver(uri, run_id, 0, whys[run_id]) for uri, run_id in claims.items() if run_id in whys]
    for run_id, report in reports.items():
        listed = {f"{output}/{name}" for table in parts.tables_of(report) for name in report[table]}
        left_over += [
            LeftOver(file.uri, run_id, file.size_bytes, NOT_COMMITTED)
            for file in of_run[run_id]
            if file.uri not in listed and file.modified_at <= before
        ]
    return LeftOvers(left_over, kept)


def remove(found: LeftOvers, output: str) -> None:
    """Remove what was found.

    Raises:
        JobError: a file cannot be removed.
    """
    for file in found.left_over:
        with storage_errors.errors_as(JobError, f"--output {output}: {file.uri}"):
            store.remove(file.uri)


@dataclass(frozen=True)
class _File:
    uri: str
    run_id: str
    size_bytes: int
    modified_at: datetime

    @property
    def commits(self) -> bool:
        """Whether it is of a table of recordings, whose files have no more than a number."""
        return re.fullmatch(r"part-\d+\.parquet", self.uri.rpartition("/")[2]) is not None


def _files(table: str) -> Iterator[_File]:
    """Those of runs below a table."""
    scheme, _ = store.split(table)
    for path, info in walk(table):
        found = re.fullmatch(r"run_id=([^/]+)/[^/]+", store.join(scheme, path).removeprefix(f"{table}/"))
        if found and not isinstance(info, str):
            at = store.modified_at(info)
            assert at, "storage tells it of every file"
            yield _File(store.join(scheme, path), found[1], info["size"], at)
