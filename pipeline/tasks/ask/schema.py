"""The two tables of answers, and the rows on their way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.rows import Window
from pipeline.schema import ANSWERED, KEYS, PROVENANCE, WINDOW
from pipeline.tasks.ask.values import TOOL_CALLS

# One row per prompt's worth of a recording or group, on its way to an engine. `samples` are those of its recordings,
# `lengths` samples each; empty where the prompt holds `text` alone. `columns` is JSON: what stands in the questions.
# With `samples` a failure is one of the rest of the recording.
PART = pa.schema(
    [
        *WINDOW,
        pa.field("lengths", pa.list_(pa.int64())),
        pa.field("names", pa.list_(pa.string())),  # of a group: its recordings' ids, in order
        pa.field("text", pa.string()),
        pa.field("columns", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Window):
    """A row of PART."""

    lengths: list[int] = field(default_factory=list)
    names: list[str] | None = None
    text: str | None = None
    columns: str | None = None


# What an engine said to one question.
REPLY = pa.struct(
    [
        pa.field("answer", pa.string()),
        pa.field("tool_calls", TOOL_CALLS),
        pa.field("finish_reason", pa.string()),
        pa.field("token_count", pa.int32()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("padded_s", pa.float64()),
        pa.field("failure_code", pa.string()),
        pa.field("failure_detail", pa.string()),
    ]
)


COST = ("token_count", "prompt_tokens", "padded_s")  # of a reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A value of REPLY. Without an answer it failed; `padded_s` is the audio that the engine was given, in seconds."""

    answer: str | None = None
    tool_calls: list[dict[str, str]] | None = None
    finish_reason: str | None = None
    token_count: int | None = None
    prompt_tokens: int | None = None
    padded_s: float | None = None
    failure_code: str | None = None
    failure_detail: str | None = None


# A part, back from an engine, with a reply to each question. Of a recording's several parts the one that was answered
# last has the replies about all of them, too: `whole`. The columns between are sums over both, for the metrics.
REPLIED = pa.schema(
    [
        *ANSWERED,
        pa.field("token_count", pa.int32()),
        pa.field("padded_s", pa.float64()),
        pa.field("replies", pa.list_(REPLY)),
        pa.field("whole", pa.list_(REPLY)),
    ]
)

_RECORDING = [
    pa.field("recording_id", pa.string(), nullable=False),
    pa.field("place", pa.string(), nullable=False),  # of rows with one place, the newest count
    pa.field("uri", pa.string(), nullable=False),  # of a group: its first recording's
    # Of a group: its recordings, in order.
    pa.field("members", pa.list_(pa.struct([pa.field("recording_id", pa.string()), pa.field("uri", pa.string())]))),
    pa.field("range_start_s", pa.float64()),
    pa.field("range_end_s", pa.float64()),
    pa.field("duration_s", pa.float64()),
]
_OUTCOME = [
    pa.field("flags", pa.list_(pa.string())),
    pa.field("outcome", pa.string(), nullable=False),
    pa.field("failure_code", pa.string()),
    pa.field("failure_detail", pa.string()),
]


def answer_schema(value: pa.DataType) -> pa.Schema:
    """The table of answers, one row per recording and question, with a column `value` of that type."""
    return pa.schema(
        [
            *_RECORDING,
            pa.field("question_name", pa.string(), nullable=False),
            pa.field("question", pa.string(), nullable=False),  # as it was asked
            pa.field("answer", pa.string()),
            pa.field("value", value),  # of an answer that follows a schema
            pa.field("tool_calls", TOOL_CALLS),  # asked for by the model; nothing is ever called
            # Of a recording that one prompt does not hold: what was answered of each part.
            pa.field(
                "parts",
                pa.list_(
                    pa.struct(
                        [
                            pa.field("start_s", pa.float64()),
                            pa.field("end_s", pa.float64()),
                            pa.field("answer", pa.string()),
                        ]
                    )
                ),
            ),
            pa.field("finish_reason", pa.string()),
            pa.field("token_count", pa.int32()),  # of the answers, those of parts included
            pa.field("prompt_tokens", pa.int32()),
            pa.field("padded_s", pa.float64()),  # audio seconds in the prompts, padding included
            *_OUTCOME,
            *PROVENANCE,
        ]
    )


# One row per recording or group: what became of it.
ASKED = pa.schema(
    [
        *_RECORDING,
        KEYS.field("declared_language"),
        pa.field("speech_s", pa.float64()),  # in the audio that was asked about
        pa.field("part_count", pa.int32(), nullable=False),
        pa.field("questions", pa.int32(), nullable=False),
        pa.field("answered", pa.int32(), nullable=False),
        *_OUTCOME,
        *PROVENANCE,
    ]
)


def said(row: Mapping[str, Any]) -> str:
    """What a row of answers says: a text, or the functions that it calls."""
    calls = [f"{call['name']}({call['arguments']})" for call in row["tool_calls"] or ()]
    return " ".join(filter(None, (row["answer"], *calls)))
