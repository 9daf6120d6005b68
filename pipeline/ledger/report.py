"""The numbers of a run: counted as rows pass, shown while it runs and at its end, kept as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.log import Log
from pipeline.schema import Outcome

Row = dict[str, Any]
SEGMENT_COLUMNS = ["start_s", "end_s", "overlap_s", "padded_s", "token_count", "attempts"]  # that are counted
PLAIN_INTERVAL_S = 30.0  # between progress lines where there is no terminal


@dataclass
class Tally:
    """Sums over the finished recordings of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    audio_s: float = 0.0
    flags: Counter[str] = field(default_factory=Counter)
    speech_s: float = 0.0  # that the voice activity detector heard
    windowed_s: float = 0.0  # of it, what went to an engine
    transcribed_s: float = 0.0  # of it, what is in windows that returned text
    window_s: float = 0.0  # length of the windows that went to an engine
    padded_s: float = 0.0  # audio seconds that the engine computed for them, second attempts included
    tokens: int = 0
    segments: int = 0
    retried: int = 0

    earlier_audio_s: float = 0.0  # of audio_s, what an earlier driver of the run did

    def add(self, transcript: Row, segments: Iterable[Row]) -> None:
        self.outcomes[transcript["outcome"]] += 1
        if transcript["failure_code"]:
            self.failures[transcript["failure_code"]] += 1
        if transcript["language"]:
            self.languages[transcript["language"]] += 1
        self.audio_s += transcript["duration_s"] or 0.0
        self.flags.update(transcript["flags"])
        self.speech_s += transcript["speech_s"]
        self.windowed_s += transcript["windowed_s"]
        self.transcribed_s += transcript["transcribed_s"]
        self._add_segments(segments)

    def add_part(self, segments: pa.Table, transcripts: pa.Table) -> None:
        """Count what another driver of the run has committed."""
        before_s = self.audio_s
        for transcript in transcripts.drop_columns(["segments"]).to_pylist():
            if transcript["channel"] is None:
                self.add(transcript, [])
        self._add_segments(segments.select(SEGMENT_COLUMNS).to_pylist())
        self.earlier_audio_s += self.audio_s - before_s

    def _add_segments(self, segments: Iterable[Row]) -> None:
        for segment in segments:
            self.segments += 1
            if segment["padded_s"]:
                self.padded_s += segment["padded_s"]
                self.window_s += segment["end_s"] - segment["start_s"] + segment["overlap_s"]
                self.tokens += segment["token_count"] or 0
                self.retried += len(segment["attempts"]) > 1

    @property
    def recordings(self) -> int:
        return self.outcomes.total()

    def facts(self, wall_s: float) -> Row:
        """The report's numbers. Slot fill is the windows' length over the padded seconds that engines computed;
        coverage is the speech in windows that returned text over all speech that was heard."""
        return {
            "recordings": self.recordings,
            **{outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "failures": dict(self.failures.most_common()),
            "languages": dict(self.languages.most_common()),
            "flags": dict(self.flags.most_common()),
            "segments": self.segments,
            "retried": self.retried,
            "audio_s": round(self.audio_s, 3),
            "speech_s": round(self.speech_s, 3),
            "windowed_s": round(self.windowed_s, 3),
            "transcribed_s": round(self.transcribed_s, 3),
            "coverage": round(self.transcribed_s / self.speech_s, 4) if self.speech_s else None,
            "padded_s": round(self.padded_s, 3),
            "slot_fill": round(self.window_s / self.padded_s, 4) if self.padded_s else None,
            "tokens": self.tokens,
            "wall_s": round(wall_s, 3),
            "speed": round((self.audio_s - self.earlier_audio_s) / wall_s, 3) if wall_s else None,
        }


class Watch:
    """Progress on a terminal as a bar, elsewhere as a line now and then."""

    def __init__(self, total: int, log: Log) -> None:
        self._total, self._log, self._said = total, log, time.monotonic()
        console, self._lines = log.console, log.as_json or not log.console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=self._lines)
        self._task = self._bar.add_task("starting the engines", total=total)

    def display(self) -> AbstractContextManager[Any]:
        return self._bar

    def show(self, tally: Tally) -> None:
        words = f"{duration(tally.audio_s)} of audio, {tally.outcomes[Outcome.FAILED]} failed"
        self._bar.update(self._task, completed=tally.recordings, description=words)
        if self._lines and time.monotonic() - self._said > PLAIN_INTERVAL_S:
            self._said = time.monotonic()
            facts = {"recordings": tally.recordings, "total": self._total, "audio_s": round(tally.audio_s, 1)}
            self._log.say(
                f"{tally.recordings}/{self._total} recordings, {words}", failed=tally.outcomes[Outcome.FAILED], **facts
            )


def duration(seconds: float) -> str:
    """1.5 -> "1.5 s", 75 -> "1 min 15 s", 7500 -> "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def print_summary(report: Row, log: Log) -> None:
    """The report as people read it."""
    numbers, run_id = report["numbers"], report["run_id"]
    counts = ", ".join(f"{numbers[outcome]} {outcome}" for outcome in Outcome)
    lines = [("recordings", f"{numbers['recordings']}: {counts}")]
    if numbers["failures"]:
        lines.append(("failures", ", ".join(f"{count} {code}" for code, count in numbers["failures"].items())))
    lines.append(("audio", f"{duration(numbers['audio_s'])}, of it speech {duration(numbers['speech_s'])}"))
    if numbers["languages"]:
        lines.append(("languages", ", ".join(f"{count} {name}" for name, count in numbers["languages"].items())))
    if numbers["speech_s"]:
        lines.append(("coverage", f"{numbers['coverage']:.1%} of the speech is in windows that returned text"))
    if numbers["flags"]:
        lines.append(("flags", ", ".join(f"{count} {name}" for name, count in numbers["flags"].items())))
    if numbers["padded_s"]:
        again = f"; {numbers['retried']} of {numbers['segments']} segments took a second attempt"
        lines.append(("slot fill", f"{numbers['slot_fill']:.0%} of the audio computed was in windows{again}"))
    whole = f"{numbers['speed']:.1f} x real time, start of the engines included"
    lines.append(
        ("time", f"{duration(numbers['wall_s'])} ({duration(report['first_rows_s'])} to the first rows); {whole}")
    )
    if failures := report.get("engine_start_failures"):
        said = f"{report['engines_served']} of {report['engines']} started; {failures[0]}"
        lines.append(("engines", said + (f"; and {len(failures) - 1} more" if failures[1:] else "")))
    if report["not_reached"]:
        lines.append(
            ("not reached", f"{report['not_reached']} recordings: --max-hours is over, the next run does them")
        )
    lines.append(("transcripts", f"{report['output']}/transcripts/run_id={run_id}/"))
    lines.append(("report", f"{report['output']}/runs/{run_id}.json"))
    if log.as_json:
        log.say("finished", run_id=run_id, **numbers)
        return
    for name, value in lines:
        log.say(f"{name:<12} {value}")
