"""From replies to the rows of both tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.schema import TRANSIENT, FailureCode, Flag, Outcome
from pipeline.tasks.ask import values
from pipeline.tasks.ask.questions import Questions, Turn
from pipeline.tasks.ask.schema import COST

FLAGS = {"length": Flag.LENGTH_LIMIT, "repetition": Flag.REPETITION}  # by finish_reason

Row = dict[str, Any]
Failure = tuple[str | None, str | None]  # code and detail


def rows(
    recording: Row, parts: Sequence[Row], questions: Questions, value: pa.DataType, complete: bool
) -> dict[str, list[Row]]:
    """The rows of a recording or group, from its REPLIED rows in order.

    A question is answered, partly where the recording could not be read to its end; or it failed. A recording is ok
    when all questions are, failed when none has an answer, else partial; its failure is one that passes, if a question
    has no answer because of one.
    """
    is_one = [row["segment_count"] for row in parts] == [1]
    whole = next((row["replies" if is_one else "whole"] for row in parts if is_one or row["whole"]), None)
    asked = [row for row in parts if row["replies"] is not None]
    failure = _failure(parts, complete and whole is not None)
    durations = (row["duration_s"] for row in parts if row["segment_count"] is not None)
    known = recording | {"duration_s": next(durations, recording.get("duration_s"))}
    found = []
    filled = questions.filled(json.loads(recording.get("columns") or "{}"))
    for at, turn in enumerate(turn for turns in filled for turn in turns):
        reply = whole[at] if whole else None
        own = [row["replies"][at] for row in asked]
        found.append(known | _answer(turn, reply, own, failure) | {"value": _value(turn, reply, questions, value)})
        if len(asked) > 1:
            said = [row["replies"][at]["answer"] for row in asked]
            spans = ({name: row[name] for name in ("start_s", "end_s")} for row in asked)
            found[-1]["parts"] = [span | {"answer": answer} for span, answer in zip(spans, said, strict=True)]
    answered = [row for row in found if row["outcome"] != Outcome.FAILED]
    failures = [failure, *((row["failure_code"], row["failure_detail"]) for row in found)]
    unanswered = [(row["failure_code"], row["failure_detail"]) for row in found if row["outcome"] == Outcome.FAILED]
    passing = (each for each in unanswered if each[0] in TRANSIENT)  # for which the next run asks again
    code, detail = next(passing, None) or next((each for each in failures if each[0]), (None, None))
    flags = {flag for row in parts for flag in row["recording_flags"] or []}
    row = known | {
        "speech_s": round(sum(part["speech_s"] for part in asked), 3),
        "part_count": len(asked),
        "questions": len(found),
        "answered": len(answered),
        "flags": sorted(flags.union(*(row["flags"] for row in found))),
        "outcome": (Outcome.OK if code is None else Outcome.PARTIAL if answered else Outcome.FAILED).value,
        "failure_code": code,
        "failure_detail": detail,
    }
    return {"answers": found, "recordings": [row]}


def _failure(parts: Sequence[Row], complete: bool) -> Failure:
    """What happened to a recording, whatever was asked."""
    failed = [row for row in parts if row["failure_code"]]
    unasked = [row for row in failed if row["replies"] is None]
    if not complete and not unasked:
        return FailureCode.INCOMPLETE.value, f"only {len(parts)} of its parts came back"
    return next(((row["failure_code"], row["failure_detail"]) for row in unasked or failed), (None, None))


def _answer(turn: Turn, reply: Row | None, parts: Sequence[Row], failure: Failure) -> Row:
    """The columns of an answer that come from its replies: to the question about the whole, and about each part."""
    used = [*parts, *([reply] if reply and all(reply is not part for part in parts) else [])]
    broken = reply if reply and reply["failure_code"] else next((part for part in parts if part["failure_code"]), None)
    if broken and (reply is None or reply["failure_code"]):
        failure = broken["failure_code"], broken["failure_detail"]
    given: Row = reply if reply and not reply["failure_code"] else {}
    flags = [FLAGS[given["finish_reason"]]] if given.get("finish_reason") in FLAGS else []
    if given and not given["answer"] and not given["tool_calls"]:
        flags.append(Flag.NO_TEXT)
    outcome = Outcome.FAILED if not given else Outcome.PARTIAL if failure[0] else Outcome.OK
    return {
        "question_name": turn.name,
        "question": turn.question,
        **{name: given.get(name) for name in ("answer", "tool_calls", "finish_reason")},
        **{name: sum(one[name] or 0 for one in used) if used else None for name in COST},
        "flags": [flag.value for flag in flags],
        "outcome": outcome.value,
        "failure_code": failure[0],
        "failure_detail": failure[1],
    }


def _value(turn: Turn, reply: Row | None, questions: Questions, value: pa.DataType) -> Any:
    """The answer to a question with a schema as a value of that type."""
    follows_schema = questions.answer_schema and any(turns[-1].name == turn.name for turns in questions.conversations)
    if not follows_schema or not reply or reply["failure_code"]:
        return None
    return values.value_of(reply["answer"], questions.answer_schema or {}, value)
