"""Outputs of jobs by hand: rows with what a test is about, in tables as the jobs write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import identity
from pipeline.ledger.parts import Output
from pipeline.tasks.ask.schema import ASKED, answer_schema
from pipeline.tasks.transcribe.assemble import SEGMENT_NAMES
from pipeline.tasks.transcribe.schema import SEGMENT, TRANSCRIPT

FINISHED_AT = "2026-03-04T05:06:07+00:00"
PROVENANCE = {
    "content_version": "v1",
    "model": "m",
    "model_revision": "r",
    "fingerprint": "f",
    "pipeline_version": "1",
    "run_id": "run",
}

Row = dict[str, Any]


def segment(index: int, start_s: float, end_s: float, text: str | None, **others: Any) -> Row:
    """A row of the segments, but for what is the recording's."""
    words = others.pop("words", None)
    names = ("word", "start_s", "end_s", "score", "speaker")
    timed = words and [dict(zip(names, (*word, None), strict=False)) for word in words]
    own: Row = {"segment_index": index, "channel": None, "start_s": start_s, "end_s": end_s, "text": text}
    spans = [{"start_s": start_s, "end_s": end_s}]
    facts: Row = {"language": "en", "flags": [], "attempts": ["whole"], "kept_attempt": "whole", "spans": spans}
    facts["failure_code"] = None
    return own | facts | {"words": timed, "speech_s": end_s - start_s, "overlap_s": 0.0} | others


def transcript(uri: str, segments: Sequence[Row], **others: Any) -> Row:
    """A row of the transcripts, with its segments as rows of the other table."""
    texts = [one["text"] for one in segments if one["text"] is not None]
    flags = sorted({flag for one in segments for flag in one["flags"]})
    said = [one for one in segments if one.get("speaker")]
    turns = [{name: one[name] for name in ("start_s", "end_s", "speaker")} for one in said]
    duration_s = segments[-1]["end_s"] if segments else None
    own: Row = {"recording_id": uri, "place": uri, "uri": uri, "duration_s": duration_s, "turns": turns or None}
    own |= {"text": " ".join(texts) if texts else None, "language": "en", "language_probability": 0.9, "flags": flags}
    own |= {"outcome": "ok" if texts else "failed", "failure_code": None if texts else "not_media"}
    return own | {"segments": list(segments)} | PROVENANCE | others


def write_transcripts(output: Path | str, rows: Sequence[Row], source: str) -> None:
    """A published run, with manifest columns where rows have others than ours."""
    names = [name for row in rows for name in row if name not in TRANSCRIPT.names]
    schema = pa.schema([*TRANSCRIPT, *(pa.field(name, pa.string()) for name in dict.fromkeys(names))])
    segments = [
        one | {"recording_id": identity.channel_id(row["recording_id"], one["channel"]), "uri": row["uri"]} | PROVENANCE
        for row in rows
        for one in row["segments"]
    ]
    shown = [row | {"segments": [_named(one) for one in row["segments"]]} for row in rows]
    tables = {
        "segments": pa.Table.from_pylist(segments, SEGMENT),
        "transcripts": pa.Table.from_pylist(shown, schema),
    }
    _publish(output, "transcribe", "run", tables, source)


def _named(row: Row) -> Row:
    return {name: row.get(name) for name in SEGMENT_NAMES}


def write_answers(output: Path | str, rows: Sequence[Row]) -> None:
    """A published run of jobs.ask."""
    defaults = {"question_name": "q", "question": "q", "outcome": "ok"} | PROVENANCE | {"run_id": "asked"}
    tables = {
        "answers": pa.Table.from_pylist([defaults | row for row in rows], answer_schema(pa.string())),
        "recordings": pa.Table.from_pylist([], ASKED),
    }
    _publish(output, "ask", "asked", tables, "s3://b/in")


def _publish(output: Path | str, task: str, run_id: str, tables: dict[str, pa.Table], source: str) -> None:
    run = Output(str(output), run_id, list(tables))
    run.write(tables)
    facts = {"run_id": run_id, "task": task, "tables": list(tables), "input": source, "finished_at": FINISHED_AT}
    numbers = dict.fromkeys(("recordings", "audio_s", "wall_s", "speed"), 1.0)
    run.publish(facts | {"numbers": numbers, "engines": 1} | run.files)
