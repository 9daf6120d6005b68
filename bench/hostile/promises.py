"""What the preparation promises of any file, however it is damaged, and whether it was kept."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import pyarrow as pa

from pipeline.audio import prepare, short
from pipeline.schema import RECORDING, WINDOW, FailureCode
from pipeline.settings import Segmentation, Settings

SETTINGS = Settings(input="none", output="none", segmentation=Segmentation(max_window_s=30.0, max_pause_s=30.0))
# What may be wrong with a file that is there.
CODES = {
    FailureCode.EMPTY_FILE,
    FailureCode.NOT_MEDIA,
    FailureCode.NO_AUDIO,
    FailureCode.DECODE_ERROR,
    FailureCode.TRUNCATED,
    FailureCode.TOO_LONG,
    FailureCode.DECODE_LIMIT,
}
GROWTH_BYTES = 200 << 20  # of a worker over all its files: the caches of allocators, not a leak
EDGE_S = 1e-5
CHUNK_SAMPLES = 512  # of the voice activity detector: the last one of a recording is filled up with zeros


@dataclass(slots=True)
class Carried:
    """One file's way through the preparation: failure codes, flags, decoded and wall-clock seconds, broken promises."""

    name: str
    codes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    duration_s: float = 0.0
    took_s: float = 0.0
    broken: list[str] = field(default_factory=list)
    difference: str = ""


class Carrier:
    """Carries files through `prepare`, one after another, and watches what is left behind."""

    def __init__(self, temporary: Path) -> None:
        self.temporary, self.process = temporary, psutil.Process()
        self.settle()

    def settle(self) -> None:
        """What is here now is not left behind by a file."""
        self.before, self.memory = self._here(), self.process.memory_info().rss

    def carry(self, path: Path, start_s: float | None = None, channels: Literal["mix", "split"] = "mix") -> Carried:
        """Prepare one local file with a job's settings; `start_s` is a manifest's, `channels` as in the settings."""
        result, began = Carried(path.name), time.monotonic()
        row = {"recording_id": "a", "place": "a", "uri": str(path.absolute()), "range_start_s": start_s}
        settings = SETTINGS.model_copy(update={"channels": channels})
        try:
            tables = list(prepare.prepare(pa.Table.from_pylist([row], RECORDING), settings))
        except BaseException as error:
            result.broken.append(f"{type(error).__name__}: {error}")
        else:
            rows = [row for table in tables for row in table.to_pylist()]
            result.codes = sorted({row["failure_code"] for row in rows if row["failure_code"]})
            result.details = [row["failure_detail"] for row in rows if row["failure_code"]]
            result.flags = rows[-1]["recording_flags"] or [] if rows else []
            result.duration_s = (rows[-1]["duration_s"] or 0.0) if rows else 0.0
            result.broken = [] if all(table.schema == WINDOW for table in tables) else ["tables of another schema"]
            result.broken += broken_rows(rows, start_s or 0.0)
        result.took_s = time.monotonic() - began
        result.broken += self._left_behind()
        return result

    def _here(self) -> tuple[list[str], ...]:
        """Open files, processes and temporary folders."""
        links = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        files = [str(link.readlink()) for link in links if link.is_symlink()]
        return files, self._processes(), [str(path) for path in self.temporary.glob("voxtral-*")]

    def _processes(self) -> list[str]:
        """Those that are there, but for the one that decodes short recordings, which stays, and its last fork."""
        found, stays = list[str](), set[int]()
        for child in self.process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if short.PROGRAM.name in " ".join(child.cmdline()):
                    stays.add(child.pid)
                elif child.ppid() not in stays:
                    found.append(f"process {child.pid}")
        return found

    def _left_behind(self) -> list[str]:
        pairs = zip(self._here(), self.before, strict=True)
        found = [
            f"leaves {', '.join(sorted(set(now) - set(before)))}" for now, before in pairs if len(now) > len(before)
        ]
        grown = self.process.memory_info().rss - self.memory
        if grown > GROWTH_BYTES:
            found.append(f"memory has grown by {grown >> 20} MB")
        if found:
            self.settle()
        return found


def broken_rows(rows: list[dict[str, Any]], from_s: float = 0.0) -> list[str]:
    """What is wrong with the WINDOW rows of one recording, which are wanted from `from_s` on."""
    if not rows:
        return ["no window"]
    found: list[str] = []
    if [row["segment_index"] for row in rows] != list(range(len(rows))) or rows[-1]["segment_count"] != len(rows):
        found.append("windows are numbered wrongly")
    duration_s = rows[-1]["duration_s"] or 0.0
    if duration_s > SETTINGS.audio.max_duration_s + EDGE_S:
        found.append(f"{duration_s} s of audio, more than audio.max_duration_s")
    for row in rows:
        code, at = row["failure_code"], f"window {row['segment_index']}"
        start_s, end_s, samples = row["start_s"], row["end_s"], row["samples"]
        if code and code not in (CODES | {FailureCode.INVALID_ROW} if from_s else CODES):
            found.append(f"{at} failed as {code}: {row['failure_detail']}")
        if code and (not row["failure_detail"] or "voxtral-" in row["failure_detail"]):
            found.append(f"{at} has the detail {row['failure_detail']!r}")
        if not from_s <= start_s <= end_s < math.inf:
            found.append(f"{at} is from {start_s} to {end_s}")
        if not code and end_s > from_s + duration_s + EDGE_S:
            found.append(f"{at} ends at {end_s}, the recording at {from_s + duration_s}")
        length_s = end_s - start_s + (row.get("overlap_s") or 0.0)
        if samples is not None and not 0 <= len(samples) - 2 * round(length_s * 16_000) < 2 * CHUNK_SAMPLES:
            found.append(f"{at} has {len(samples)} bytes for {length_s} s")
        edges = [edge for span in row["spans"] or [] for edge in (span["start_s"], span["end_s"])]
        if edges != sorted(edges) or (edges and not start_s - EDGE_S <= edges[0] <= edges[-1] <= end_s + EDGE_S):
            found.append(f"{at} has spans outside of it")
    return found
