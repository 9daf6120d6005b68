"""What a job that was disturbed must have left, and what it must not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import store, tidy
from pipeline.ledger import parts
from pipeline.schema import TRANSIENT, FailureCode
from pipeline.tidy import Tidy

BLAMED = {FailureCode.ENGINE_DIED, FailureCode.DECODE_DIED}  # where kills hit the same window or recording again
STAGES = ("EngineActor", "prepare", "EngineTracker", "DecodeTracker", "GatheringActor")  # in titles of Ray's processes

Row = dict[str, Any]


def newest(output: str) -> dict[str, Row]:
    """The row that counts of each recording's place, of published runs."""
    return {row["place"]: row for report in parts.reports(output) for row in _rows(output, report, -1)}


def texts(output: str) -> dict[str, list[str]]:
    """By URI, what was transcribed or answered, of published recordings whose outcome is ok."""
    found: dict[str, list[str]] = {}
    for report in parts.reports(output):
        is_asked = report["task"] == "ask"
        done = {row["recording_id"] for row in _rows(output, report, -1) if row["outcome"] == "ok"}
        rows = _rows(output, report, 0 if is_asked else -1)
        told: dict[str, list[str]] = {}
        for row in rows:
            if row["recording_id"] in done:
                told.setdefault(row["uri"], []).append(row["answer" if is_asked else "text"])
        found |= told
    return found


def _rows(output: str, report: Row, table: int) -> Iterator[Row]:
    for part in report[parts.tables_of(report)[table]]:
        yield from parts.read_part(output, part).to_pylist()


def published(output: str, count: int, expected: dict[str, list[str]]) -> Iterator[str]:
    """What is wrong with the rows that count."""
    rows = newest(output)
    if len(rows) != count:
        yield f"{len(rows)} recordings are published, of {count}"
    if unfinished := Counter(row["failure_code"] for row in rows.values() if row["outcome"] != "ok"):
        yield f"recordings failed for good: {dict(unfinished)}"
    found = texts(output)
    if other := [uri for uri, text in expected.items() if found.get(uri) != text]:
        yield f"{len(other)} texts differ, such as {other[0]}: {found.get(other[0])} for {expected[other[0]]}"
    for report in parts.reports(output):
        yield from _consistent(output, report)


def _consistent(output: str, report: Row) -> Iterator[str]:
    """A report and its tables say the same, and each recording once."""
    run_id, rows = report["run_id"], list(_rows(output, report, -1))
    ids = Counter(row["recording_id"] for row in rows)
    if max(ids.values(), default=1) > 1:
        yield f"run {run_id} publishes {sum(n > 1 for n in ids.values())} recordings more than once"
    if len(rows) != report["numbers"]["recordings"]:
        yield f"run {run_id} reports {report['numbers']['recordings']} recordings and publishes {len(rows)}"
    odd = {row["failure_code"] for row in rows if row["failure_code"]} - {str(c) for c in (*TRANSIENT, *BLAMED)}
    if odd:
        yield f"run {run_id} has failures that say something of the recording: {odd}"
    if {row["recording_id"] for row in _rows(output, report, 0)} - ids.keys():
        yield f"run {run_id} has rows of recordings that it does not publish"


def committed(output: str) -> Iterator[str]:
    """Recordings that were committed as ok more than once, whether published or not; parts that cannot be read."""
    done: Counter[str] = Counter()
    for uri in files(output):
        if uri.endswith(".parquet"):
            try:
                table = pq.read_table(pa.BufferReader(store.read(uri)))
            except pa.ArrowException as error:
                yield f"{uri} is half-written: {error}"
                continue
            if "/transcripts/" in uri or "/recordings/" in uri:
                ok = zip(table["recording_id"].to_pylist(), table["outcome"].to_pylist(), strict=True)
                done.update(str(recording_id) for recording_id, outcome in ok if outcome == "ok")
    if doubled := sum(times > 1 for times in done.values()):
        yield f"{doubled} recordings were committed more than once"


def files(output: str) -> list[str]:
    """All files below it."""
    scheme, path = store.split(output)
    return [store.join(scheme, name) for name in store.filesystem(scheme).find(path)]


def tidied(output: str) -> Iterator[str]:
    """Run jobs.tidy's work; what stays that should not."""
    found = tidy.find(Tidy(output=output, min_age_hours=0.0))
    tidy.remove(found, output)
    yield from (f"run {run_id} stays unfinished: {why}" for run_id, why in found.kept.items())
    allowed = set()
    for report in parts.reports(output):
        allowed |= {f"{output}/{name}" for table in parts.tables_of(report) for name in report[table]}
        allowed |= {f"{output}/{folder}/{report['run_id']}.json" for folder in ("runs", "started")}
    if left := [uri for uri in files(output) if uri not in allowed and not uri.endswith(".claim")]:
        yield f"{len(left)} files are left, such as {left[0]}"


def processes(folder: str) -> list[str]:
    """Titles of engines, decode workers and trackers of nodes whose files are below a folder, and ffmpeg's there."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        title = " ".join(process.info["cmdline"] or [])
        try:
            if title.startswith("ray::") and any(name in title for name in STAGES):
                if os.readlink(f"/proc/{process.pid}/fd/1").startswith(folder):  # its log
                    found.append(title)
            elif process.info["name"] in ("ffmpeg", "ffprobe") and process.cwd().startswith(folder):
                found.append(title)
        except (psutil.Error, OSError):
            continue
    return found


def temporary(folder: str) -> list[str]:
    """Temporary folders of ours."""
    return [path.name for path in Path(folder).glob("voxtral-*") if path.is_dir()]
