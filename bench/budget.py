"""Measurements in the order of their value, until the time is up: each in a process of its own, whose results are kept
as they come, so that what fails, hangs or is cut off takes nothing else along."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL = 2_000  # characters of a failed step's output that its result has


@dataclass(frozen=True)
class Step:
    """A command that prints a JSON object per result. It is not begun with less than `expected_s` left, and ended after
    `limit_s`."""

    name: str
    command: Sequence[str]
    expected_s: float
    limit_s: float


def kept(results: Path) -> list[dict[str, Any]]:
    """The lines of a results file; what was cut off in the middle is left out."""
    found = []
    for line in results.read_text("utf-8").splitlines() if results.is_file() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def due(steps: Sequence[Step], results: Path) -> list[Step]:
    """The steps that are not done, in their order; those that were tried before come last."""
    outcomes = {line["step"]: line["outcome"] for line in kept(results) if "outcome" in line}
    left = [step for step in steps if outcomes.get(step.name) != "done"]
    return sorted(left, key=lambda step: step.name in outcomes)


def run(steps: Sequence[Step], results: Path, log: Path, deadline: float) -> Iterator[dict[str, Any]]:
    """Run what is due until `deadline` (time.monotonic); yield each line as it is added to `results`. A step's last
    line has its outcome: done, failed or timeout."""
    left = due(steps, results)
    results.write_text("".join(json.dumps(line) + "\n" for line in kept(results)), "utf-8")  # whole lines alone
    for step in left:
        if deadline - time.monotonic() < step.expected_s:
            continue  # a later one may be short enough
        for line in _results(step, log, min(time.monotonic() + step.limit_s, deadline)):
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            yield line


def _results(step: Step, log: Path, deadline: float) -> Iterator[dict[str, Any]]:
    started = time.monotonic()
    with log.open("a+", encoding="utf-8", errors="replace") as said:
        said.write(f"=== {step.name}\n")
        said.flush()
        begun = said.tell()
        process = subprocess.Popen(
            list(step.command), stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        outcome = "failed"
        try:
            while (line := lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
                if line.startswith("{"):
                    yield {"step": step.name, **json.loads(line)}
                else:
                    said.write(line)
            if process.wait(timeout=max(0.0, deadline - time.monotonic())) == 0:
                outcome = "done"
        except (queue.Empty, subprocess.TimeoutExpired):
            outcome = "timeout"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # vLLM's processes too, which would keep the GPU's memory
            except ProcessLookupError:
                pass
            process.wait()
        result: dict[str, Any] = {
            "step": step.name,
            "outcome": outcome,
            "seconds": round(time.monotonic() - started, 1),
        }
        if outcome != "done":
            said.flush()
            said.seek(begun)
            result["end"] = said.read()[-TAIL:]
        yield result


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)
