"""Outputs of runs, written by the ledger from rows that tests make up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.ledger.parts import Output
from pipeline.ledger.report import Tally
from pipeline.settings import Settings
from pipeline.tasks.ask import numbers as ask_numbers
from pipeline.tasks.ask.schema import ASKED, answer_schema
from pipeline.tasks.transcribe.numbers import Numbers
from pipeline.tasks.transcribe.schema import SEGMENT, TRANSCRIPT

BEGAN = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
PROVENANCE = {
    "model": "m",
    "model_revision": "r",
    "runtime": "scripted",
    "runtime_version": "1",
    "fingerprint": "f",
    "pipeline_version": "0",
    "run_id": "x",
}
TRANSCRIPTS = {"segments": SEGMENT, "transcripts": TRANSCRIPT}
ANSWERS = {"answers": answer_schema(pa.string()), "recordings": ASKED}

Row = dict[str, Any]


def transcript(name: str, **facts: Any) -> Row:
    """A transcript of ten seconds."""
    usual = {"recording_id": name, "place": name, "uri": f"s3://in/{name}", "duration_s": 10.0, "speech_s": 8.0}
    usual |= {"windowed_s": 8.0, "transcribed_s": 8.0, "text": f"text of {name}", "language": "en", "flags": []}
    return PROVENANCE | usual | {"outcome": "ok", "failure_code": None, "channel": None} | facts


def failed(name: str, code: str, detail: str) -> Row:
    """A recording without a transcript."""
    nothing = {"duration_s": None, "speech_s": 0.0, "windowed_s": 0.0, "transcribed_s": 0.0, "text": None}
    why = {"outcome": "failed", "failure_code": code, "failure_detail": detail, "language": None}
    return transcript(name, **nothing, **why)


def segment(name: str, mean_logprob: float | None, tokens: int = 10, **facts: Any) -> Row:
    """A window of a recording."""
    usual = {"recording_id": name, "uri": name, "segment_index": 0, "start_s": 0.0, "end_s": 10.0, "speech_s": 8.0}
    usual |= {"overlap_s": 0.0, "padded_s": 20.0, "token_count": tokens, "attempts": ["whole"], "channel": None}
    return PROVENANCE | usual | {"mean_logprob": mean_logprob} | facts


def asked(name: str, answers: Sequence[str | None], **facts: Any) -> tuple[list[Row], Row]:
    """A recording that was asked questions, and the answers."""
    usual = {"recording_id": name, "place": name, "uri": f"s3://in/{name}", "duration_s": 10.0, "speech_s": 8.0}
    whole = PROVENANCE | usual | {"part_count": 1, "questions": len(answers), "answered": len(answers), "outcome": "ok"}
    whole |= {"failure_code": None, "flags": []} | facts
    rows = [
        whole | {"question_name": f"q{at}", "question": "?", "answer": answer, "padded_s": 1.0, "token_count": 2}
        for at, answer in enumerate(answers)
    ]
    return [row | {"prompt_tokens": 3} for row in rows], whole


def write(
    folder: Path | str, run_id: str, parts: Sequence[dict[str, list[Row]]], minutes: float = 10.0, **facts: Any
) -> Row:
    """A published run of one part every minute from its second one on; its report. On disk its files have the times of
    such a run."""
    schemas = TRANSCRIPTS if "transcripts" in parts[0] else ANSWERS
    *_, last = schemas
    output = Output(str(folder), run_id, list(schemas))
    about = {
        "task": "transcribe" if last == "transcripts" else "ask",
        "input": "s3://in/",
        "limit": None,
        "fingerprint": "f",
        "retry": [],
        **{name: PROVENANCE[name] for name in ("model", "model_revision", "runtime", "runtime_version")},
        "pipeline_version": "0",
        "started_at": BEGAN.isoformat(),
        "run_id": run_id,
        "output": output.uri,
        "settings": Settings(input="s3://in/", output=output.uri).model_dump(mode="json"),
    }
    output.start(about)
    tally = Tally(Numbers() if last == "transcripts" else ask_numbers.Numbers(), last)
    for rows in parts:
        tables = {name: pa.Table.from_pylist(rows[name], schema) for name, schema in schemas.items()}
        output.write(tables)
        tally.add_part(tables)
    tally.earlier_audio_s = 0.0  # they are this driver's
    report = about | {
        "finished_at": (BEGAN + timedelta(minutes=minutes)).isoformat(),
        "resumed": 0,
        "not_reached": 0,
        "engines": 1,
        "engines_served": 1,
        "engine_s": 30 * minutes,
        "engine_start_s": 60.0,
        "engine_deaths": 0,
        "engine_start_failures": [],
        "recordings_by_status": {"new": tally.recordings},
        "skipped_files": {".txt": 3},
        "unlisted_files": [],
        "repeated_rows": 0,
        "first_rows_s": 61.0,
        "numbers": tally.facts(60 * minutes),
        "tables": list(output.files),
        **output.files,
    }
    report = output.publish(report | facts)
    if isinstance(folder, Path):
        times = {f"started/{run_id}.json": 0.0, f"runs/{run_id}.json": 60 * minutes}
        times |= {name: 60.0 * (at + 2) for at, name in enumerate(report[last])}
        for name, after_s in times.items():
            at = BEGAN.timestamp() + after_s
            os.utime(folder / name, (at, at))
    return report
