"""A run's speed over time, from when its parts were written: their times in storage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipeline import store
from pipeline.ledger import parts

MAX_POINTS = 120
MIN_STRETCH_S = 30.0  # commits that follow each other closely say nothing of speed
SLACK_S, SLACK_SHARE = 5.0, 0.02  # between storage's clock and the driver's: more, and it is a copy of the output

Row = dict[str, Any]


def speeds(output: str, report: Row, part_audio_s: Sequence[float]) -> list[tuple[float, float]] | None:
    """For each stretch of the run the seconds from the start to its end, and how many seconds of audio were committed
    in each second of it.

    None where storage's times are not those of the run, as in a copy, or where its start is not there any more.

    Raises:
        storage_errors.READ_ERRORS: the files cannot be looked at.
    """
    *_, last = parts.tables_of(report)
    if not report[last]:
        return []
    try:
        begun = datetime.fromisoformat(
            json.loads(store.read(f"{output}/started/{report['run_id']}.json"))["started_at"]
        )
        started, ended = (_times(output, f"{folder}/{report['run_id']}.json") for folder in ("started", "runs"))
    except FileNotFoundError:
        return None
    took_s = (datetime.fromisoformat(report["finished_at"]) - begun).total_seconds()
    (start,), (end,) = started.values(), ended.values()
    if abs(end - start - took_s) > max(SLACK_S, SLACK_SHARE * took_s):
        return None
    times = _times(output, f"{last}/run_id={report['run_id']}/")
    ends = [times[name] - start for name in report[last]]
    if ends != sorted(ends) or any(at > end - start for at in ends):
        return None
    found, since_s, audio_s = list[tuple[float, float]](), 0.0, 0.0
    for number, (at, seconds) in enumerate(zip(ends, part_audio_s, strict=True), 1):
        audio_s += seconds
        is_long = at - since_s >= max(MIN_STRETCH_S, took_s / MAX_POINTS)
        if number == len(ends) and not is_long and found:  # it belongs to the stretch before
            before_s = found[-2][0] if found[1:] else 0.0
            found[-1] = at, (audio_s + found[-1][1] * (since_s - before_s)) / (at - before_s)
        elif is_long:
            found.append((at, audio_s / (at - since_s)))
            since_s, audio_s = at, 0.0
    return found


def _times(output: str, name: str) -> dict[str, float]:
    """When a file was last modified, or all in a folder: seconds since 1970, by their names below the output."""
    scheme, path = store.split(f"{output}/{name.rstrip('/')}")
    root = store.split(output)[1].rstrip("/") + "/"
    files = store.filesystem(scheme)
    infos = files.ls(path, detail=True) if name.endswith("/") else [files.info(path)]
    times = {info["name"].removeprefix(root): store.modified_at(info) for info in infos}
    return {name: at.timestamp() for name, at in times.items() if at}
