"""The runs of an output, as people want to see them: those that are published, and those that are not."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError
from pipeline.ledger import keys, parts, starts
from pipeline.ledger.lease import LEASE
from pipeline.registry import TRANSCRIBE

PUBLISHED, UNFINISHED, RUNNING = "published", "unfinished", "running"
# Files of the table that commits are named by their number alone; see ledger.parts.
COMMITTING = re.compile(r"part-\d{6}\.parquet")

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run. `facts` are those of its report, else those that it began with; `files` are its committed parts, each
    with the names of its files by table, the one with a row for each recording last."""

    run_id: str
    state: str
    facts: Row
    recordings: int
    outcomes: Counter[str]
    audio_s: float
    files: Sequence[Row] = field(repr=False)
    left: int | None = None  # recordings that were not reached before --max-hours; None where that is not known
    until: str | None = None  # of a run that is at work: when its lease ends, unless it is renewed

    @property
    def task(self) -> str:
        return self.facts.get("task", TRANSCRIBE)

    @property
    def speed(self) -> float | None:
        return self.facts.get("numbers", {}).get("speed")

    def as_json(self) -> Row:
        """What `jobs.show --json` says of it."""
        names = ("input", "model", "model_revision", "started_at", "finished_at", "fingerprint", "night")
        return {
            "run_id": self.run_id,
            "state": self.state,
            "task": self.task,
            **{name: self.facts.get(name) for name in names if name in self.facts},
            "recordings": self.recordings,
            **{outcome: self.outcomes[outcome] for outcome in ("ok", "partial", "failed")},
            "audio_s": round(self.audio_s, 3),
            "speed": self.speed,
            "not_reached": self.left,
            "lease_until": self.until,
        }


def runs(output: str) -> list[Run]:
    """All runs below an output, the one that began last first.

    Raises:
        ConfigurationError: it cannot be read.
    """
    with storage_errors.errors_as(ConfigurationError, f"{output}: its runs cannot be read", storage_errors.READ_ERRORS):
        reports = {report["run_id"]: report for report in parts.reports(output)}
        begun = starts.begun(output, reports)
        with ThreadPoolExecutor(parts.READS_AT_ONCE) as pool:
            unfinished = list(pool.map(lambda facts: _unfinished(output, facts), begun))
        found = [*map(_published, reports.values()), *unfinished]
        holder = _holder(output)
    found.sort(key=lambda run: run.facts.get("started_at", run.run_id), reverse=True)
    nights = [run for run in found if run.state == UNFINISHED and "night" in run.facts]
    if holder and nights:  # the lease names no run: it is of the night that began last
        found[found.index(nights[0])] = replace(nights[0], state=RUNNING, until=holder["until"])
    return found


def _published(report: Row) -> Run:
    numbers, tables = report["numbers"], parts.tables_of(report)
    files = [dict(zip(tables, names, strict=True)) for names in zip(*(report[name] for name in tables), strict=True)]
    outcomes = Counter({name: numbers.get(name, 0) for name in ("ok", "partial", "failed")})
    left = report.get("not_reached")
    return Run(
        report["run_id"], PUBLISHED, report, numbers["recordings"], outcomes, numbers.get("audio_s") or 0.0, files, left
    )


def _unfinished(output: str, facts: Row) -> Run:
    run_id, outcomes, audio_s = facts["run_id"], Counter[str](), 0.0
    files = _committed(output, run_id)
    for names in files:
        table = keys.whole(parts.read_part(output, names[list(names)[-1]], ["outcome", "duration_s", "channel"]))
        outcomes.update(map(str, table["outcome"].to_pylist()))
        audio_s += pc.sum(table["duration_s"]).as_py() or 0.0
    return Run(run_id, UNFINISHED, facts, outcomes.total(), outcomes, audio_s, files)


def _committed(output: str, run_id: str) -> list[Row]:
    """The files of a run without a report, part by part."""
    scheme, path = store.split(output)
    storage = store.filesystem(scheme)
    folders = [entry["name"] for entry in storage.ls(path.rstrip("/"), detail=True) if entry["type"] != "file"]
    others = (PermissionError,) if scheme == "file" else ()  # lost+found: object storage answers for all of a bucket
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError, *others):
            names = [str(name).rpartition("/")[2] for name in storage.ls(f"{folder}/run_id={run_id}", detail=False)]
            own = sorted(name for name in names if COMMITTING.fullmatch(name))
            if own:
                table = str(folder).rstrip("/").rpartition("/")[2]
                return [_with_others(output, table, f"{table}/run_id={run_id}/{name}") for name in own]
    return []


def _with_others(output: str, table: str, name: str) -> Row:
    marks = parts.schema(output, name).metadata or {}
    others = {key.decode(): value.decode() for key, value in marks.items() if value.endswith(b".parquet")}
    return {**others, table: name}


def _holder(output: str) -> Row | None:
    """Who holds the lease of the output, if anybody does."""
    with suppress(FileNotFoundError):
        holder = json.loads(store.read(f"{output.rstrip('/')}/{LEASE}"))
        if datetime.fromisoformat(holder["until"]) > datetime.now(UTC):
            return holder
    return None
