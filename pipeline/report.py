"""The numbers of a run: counted as rows pass, shown while it runs and at its end, kept as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.schema import Outcome

Row = dict[str, Any]
PLAIN_INTERVAL_S = 30.0  # between progress lines where there is no terminal


@dataclass
class Tally:
    """Sums over the finished recordings of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    audio_s: float = 0.0
    speech_s: float = 0.0
    windowed_s: float = 0.0  # length of the windows that went to an engine
    padded_s: float = 0.0  # what the engine computed for them
    tokens: int = 0
    segments: int = 0

    def add(self, transcript: Row, segments: Iterable[Row]) -> None:
        self.outcomes[transcript["outcome"]] += 1
        if transcript["failure_code"]:
            self.failures[transcript["failure_code"]] += 1
        if transcript["language"]:
            self.languages[transcript["language"]] += 1
        self.audio_s += transcript["duration_s"] or 0.0
        self.speech_s += transcript["speech_s"] or 0.0
        for segment in segments:
            self.segments += 1
            if segment["padded_s"]:
                self.padded_s += segment["padded_s"]
                self.windowed_s += segment["speech_s"]
                self.tokens += segment["token_count"] or 0

    @property
    def recordings(self) -> int:
        return self.outcomes.total()

    @property
    def failed_share(self) -> float:
        return self.outcomes[Outcome.FAILED] / self.recordings if self.recordings else 0.0

    def facts(self, wall_s: float) -> Row:
        """The report's numbers. Slot fill is speech seconds over the padded seconds that engines computed."""
        return {
            "recordings": self.recordings,
            **{outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "failures": dict(self.failures.most_common()),
            "languages": dict(self.languages.most_common()),
            "segments": self.segments,
            "audio_s": round(self.audio_s, 3),
            "speech_s": round(self.speech_s, 3),
            "padded_s": round(self.padded_s, 3),
            "slot_fill": round(self.windowed_s / self.padded_s, 4) if self.padded_s else None,
            "tokens": self.tokens,
            "wall_s": round(wall_s, 3),
            "real_time_factor": round(self.audio_s / wall_s, 3) if wall_s else None,
        }


class Watch:
    """Progress on a terminal as a bar, elsewhere as a line now and then."""

    def __init__(self, total: int, console: Console) -> None:
        self._total, self._console, self._printed = total, console, time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting the engines", total=total)

    def display(self) -> AbstractContextManager[Any]:
        return self._bar

    def show(self, tally: Tally) -> None:
        words = f"{duration(tally.audio_s)} of audio, {tally.outcomes[Outcome.FAILED]} failed"
        self._bar.update(self._task, completed=tally.recordings, description=words)
        if not self._console.is_terminal and time.monotonic() - self._printed > PLAIN_INTERVAL_S:
            self._printed = time.monotonic()
            self._console.print(f"{tally.recordings}/{self._total} recordings, {words}", highlight=False)


def duration(seconds: float) -> str:
    """1.5 -> "1.5 s", 75 -> "1 min 15 s", 7500 -> "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def print_summary(report: Row, console: Console) -> None:
    """The report as people read it."""
    numbers = report["numbers"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    counts = ", ".join(f"{numbers[outcome]} {outcome}" for outcome in Outcome)
    table.add_row("recordings", f"{numbers['recordings']} ({counts})")
    for code, count in numbers["failures"].items():
        table.add_row("", f"{count} {code}")
    table.add_row("audio", f"{duration(numbers['audio_s'])}, of it speech {duration(numbers['speech_s'])}")
    if numbers["languages"]:
        table.add_row("languages", ", ".join(f"{count} {name}" for name, count in numbers["languages"].items()))
    if numbers["padded_s"]:
        table.add_row("slot fill", f"{numbers['slot_fill']:.0%} of the audio seconds computed were speech")
    start_s = report["engine_start_s"]
    speed = f"{numbers['audio_s'] / max(numbers['wall_s'] - start_s, 1e-9):.1f} x real time"
    table.add_row("time", f"{duration(numbers['wall_s'])}, of it {duration(start_s)} to the first text; then {speed}")
    table.add_row("transcripts", f"{report['output']}/transcripts/run_id={report['run_id']}/")
    table.add_row("report", f"{report['output']}/runs/{report['run_id']}.json")
    console.print(table, highlight=False, soft_wrap=True)
