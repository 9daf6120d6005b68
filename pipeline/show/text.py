"""Runs and recordings of an output as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import regex

from pipeline.exports import spoken
from pipeline.log import duration
from pipeline.registry import TRANSCRIBE
from pipeline.show.lookup import Said
from pipeline.show.runs import PUBLISHED, RUNNING, Run
from pipeline.tasks.ask.schema import said

HEADINGS = ("run", "began (UTC)", "task", "model", "ok", "partial", "failed", "audio", "speed", "state")
NUMBERS = ("ok", "partial", "failed", "audio", "speed")  # right-aligned

Row = dict[str, Any]


def of_runs(runs: Sequence[Run], count: int) -> str:
    """A table of runs; `count` is how many there are in all."""
    rows = [HEADINGS, *map(_cells, runs)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADINGS))]
    lines = [
        "  ".join(
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for name, cell, width in zip(HEADINGS, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    if not any(run.state == PUBLISHED for run in runs):
        lines.append("no run here is published: rows count once their run is; the same command continues it")
    if count > len(runs):
        lines.append(f"and {count - len(runs)} earlier runs: --last {count}")
    return _plain("\n".join(lines))


def _cells(run: Run) -> tuple[str, ...]:
    outcomes = [f"{run.outcomes[name]:,}" for name in ("ok", "partial", "failed")]
    speed = "" if run.speed is None else f"{run.speed:.1f}x"
    began = str(run.facts.get("started_at", ""))[:16].replace("T", " ")
    return (run.run_id, began, run.task, str(run.facts.get("model", "")), *outcomes, _hours(run), speed, state(run))


def _hours(run: Run) -> str:
    return f"{run.audio_s / 3600:,.1f} h" if run.audio_s >= 3600 else duration(run.audio_s)


def state(run: Run) -> str:
    """In words."""
    if run.state == PUBLISHED:
        return f"published, {run.left:,} not reached" if run.left else "published"
    done = f"{run.state}, {run.recordings:,} done"
    return f"{done}, lease until {str(run.until)[11:16]} UTC" if run.state == RUNNING else done


def of_recording(found: Said) -> str:
    """What a run says of a recording."""
    whole = [row for row in found.rows if row.get("channel") is None] or found.rows
    return _plain("\n".join(line for row in whole for line in _lines(row, found)))


def _plain(text: str) -> str:
    """Without what a terminal obeys instead of showing it: control characters, and those that turn its direction."""
    return regex.sub(r"[\p{Cc}\u202a-\u202e\u2066-\u2069--\n\t]", "\N{REPLACEMENT CHARACTER}", text, flags=regex.V1)


def _lines(row: Row, found: Said) -> Iterator[str]:
    yield row["uri"]
    own = row if found.run.task == TRANSCRIBE else {}  # elsewhere these are a manifest's columns
    facts = {
        "recording_id": row["recording_id"],
        "range": _range(row),
        "run": f"{found.run.run_id} ({found.run.task}, {state(found.run)})",
        "model": f"{row['model']} {row['model_revision']}",
        "outcome": row["outcome"],
        "failure": _failure(row),
        "duration": None if row.get("duration_s") is None else duration(row["duration_s"]),
        "speech": None if row.get("speech_s") is None else duration(row["speech_s"]),
        "language": _language(own),
        "flags": ", ".join(row.get("flags") or []),
    }
    for name, value in facts.items():
        if value:
            yield f"  {name:<13} {value}"
    if own.get("segments"):
        yield from map(_segment, _by_turns(row))
    if own.get("text") == "" and not row.get("failure_code"):
        yield "  (silence)"
    for answer in found.others.get("answers", []):
        yield f"  {answer['question_name']}"
        yield f"    {_answer(answer)}"


def _by_turns(row: Row) -> Iterator[Row]:
    """The segments of a transcript, those in which several speak cut where another one begins."""
    for segment, words in spoken.with_words(row["segments"], row.get("words")):
        said = spoken.utterances([segment], words)
        facts = ("start_s", "end_s", "text", "speaker")
        cut: list[Row] = [{**segment, **{name: getattr(one, name) for name in facts}} for one in said]
        yield from cut if cut[1:] else [dict(segment)]


def _range(row: Row) -> str | None:
    if row.get("range_start_s") is None and row.get("range_end_s") is None:
        return None
    end = "the end" if row.get("range_end_s") is None else clock(row["range_end_s"])
    return f"{clock(row.get('range_start_s') or 0.0)} to {end}"


def _failure(row: Row) -> str | None:
    if not row.get("failure_code"):
        return None
    return ": ".join(filter(None, (row["failure_code"], row.get("failure_detail"))))


def _language(row: Row) -> str | None:
    if not row.get("language"):
        return None
    probability = row.get("language_probability")
    said = row["language"] + ("" if probability is None else f" ({probability:.2f})")
    others = [f"{one['language']} {duration(one['speech_s'])}" for one in row.get("languages") or []]
    return f"{said}; {', '.join(others)}" if others[1:] else said


def _segment(segment: Row) -> str:
    where = f"{clock(segment['start_s'])} - {clock(segment['end_s'])}"
    channel = segment.get("channel")
    who = [segment.get("speaker"), None if channel is None else f"channel {channel}", segment.get("language")]
    text = segment["text"] if segment.get("failure_code") is None else f"failed: {segment['failure_code']}"
    flags = f"  [{', '.join(segment['flags'])}]" if segment.get("flags") else ""
    return f"  {where}  {' '.join(filter(None, who))}  {text or ''}{flags}"


def _answer(answer: Row) -> str:
    if answer["failure_code"]:
        return f"failed: {_failure(answer)}"
    return said({"tool_calls": None} | answer) or "(nothing)"


def clock(seconds: float) -> str:
    """75.25 -> "0:01:15.2"."""
    tenths = int(seconds * 10)
    return f"{tenths // 36_000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"
