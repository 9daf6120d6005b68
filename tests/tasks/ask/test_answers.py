from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import rows
from pipeline.flow.tracker import GatheringActor
from pipeline.schema import PROVENANCE, FailureCode
from pipeline.tasks.ask import answers, values, worker
from pipeline.tasks.ask.numbers import Numbers, summary
from pipeline.tasks.ask.questions import Questions
from pipeline.tasks.ask.schema import ASKED, PART, REPLIED, Reply, answer_schema
from pipeline.writer import Assembly
from tests.tasks.ask.fakes import SCHEMA, TOOLS, Random, ask, part, parted, questions, samples

Row = dict[str, Any]
RECORDING = {
    "recording_id": "r",
    "place": "/r.wav",
    "uri": "/r.wav",
    "content_version": "v",
    **{field.name: "x" for field in PROVENANCE if not field.nullable},
}


def made(replied: Sequence[Row], asked: Questions, complete: bool = True, **recording: Any) -> tuple[list[Row], Row]:
    """The rows of both tables, as their schemas hold them."""
    value = values.arrow_type(asked.answer_schema) if asked.answer_schema else pa.string()
    found = answers.rows(RECORDING | recording, replied, asked, value, complete)
    (row,) = pa.Table.from_pylist(found["recordings"], ASKED).to_pylist()
    return pa.Table.from_pylist(found["answers"], answer_schema(value)).to_pylist(), row


def back(replies: Sequence[Reply] | None, index: int = 0, count: int | None = 1, **more: Any) -> Row:
    """A row from an engine; `whole` are the replies about all parts."""
    whole = more.pop("whole", None)
    of_part = part(index, count, **({"duration_s": 9.0, "speech_s": 1.5} | more))
    return worker.replied(of_part, replies, whole)


OK = Reply(answer="yes", finish_reason="stop", token_count=2, prompt_tokens=10, padded_s=30.0)
INVALID = Reply(failure_code="invalid_answer", failure_detail="not JSON", token_count=4, prompt_tokens=5, padded_s=1.0)
ENGINE = Reply(failure_code="engine_error", failure_detail="refused")


def test_an_answer_has_its_question_cost_and_recording() -> None:
    (answer,), row = made([back([OK])], questions("Who {x}?"), columns=json.dumps({"x": "Ann"}))
    assert (answer["question_name"], answer["question"], answer["answer"]) == ("Who {x}?", "Who Ann?", "yes")
    assert (answer["token_count"], answer["prompt_tokens"], answer["padded_s"]) == (2, 10, 30.0)
    assert (answer["outcome"], answer["failure_code"], answer["flags"], answer["parts"]) == ("ok", None, [], None)
    assert (row["outcome"], row["answered"], row["questions"], row["part_count"]) == ("ok", 1, 1, 1)
    assert (row["duration_s"], row["speech_s"], answer["value"]) == (9.0, 1.5, None)


@pytest.mark.parametrize(
    ("replies", "more", "outcomes", "outcome", "code"),
    [
        ([OK, OK], {}, ["ok", "ok"], "ok", None),
        ([OK, INVALID], {}, ["ok", "failed"], "partial", "invalid_answer"),
        ([INVALID, INVALID], {}, ["failed", "failed"], "failed", "invalid_answer"),
        ([INVALID, ENGINE], {}, ["failed", "failed"], "failed", "engine_error"),
        ([OK, OK], {"failure_code": "truncated"}, ["partial", "partial"], "partial", "truncated"),
        ([OK, INVALID], {"failure_code": "truncated"}, ["partial", "failed"], "partial", "truncated"),
        ([OK, ENGINE], {"failure_code": "truncated"}, ["partial", "failed"], "partial", "engine_error"),
        (None, {"failure_code": "no_speech"}, ["failed", "failed"], "failed", "no_speech"),
    ],
)
def test_outcomes(replies: Any, more: Row, outcomes: list[str], outcome: str, code: str | None) -> None:
    found, row = made([back(replies, **more)], questions("Who?", "Why?"))
    assert [answer["outcome"] for answer in found] == outcomes
    assert (row["outcome"], row["failure_code"]) == (outcome, code)
    for answer in found:
        assert (answer["answer"] is None) == (answer["outcome"] == "failed")
        assert (answer["failure_code"] is None) == (answer["outcome"] == "ok")


def test_flags_say_what_is_doubtful() -> None:
    cut, loop, empty = (
        Reply(answer=text, finish_reason=reason)
        for text, reason in (("a", "length"), ("b", "repetition"), ("", "stop"))
    )
    calls = Reply(answer="", tool_calls=[{"name": "call", "arguments": "{}"}], finish_reason="stop")
    found, row = made([back([cut, loop, empty, calls], recording_flags=["long_gaps"])], questions(*"abcd"))
    assert [answer["flags"] for answer in found] == [["length_limit"], ["repetition"], ["no_text"], []]
    assert row["flags"] == ["length_limit", "long_gaps", "no_text", "repetition"]


def test_values_follow_the_schema_of_the_last_turn() -> None:
    asked = questions(conversations=[["Who?", "How many?"]], answer_schema=SCHEMA)
    replies = [OK, Reply(answer='{"n": 3}', finish_reason="stop")]
    first, second = made([back(replies)], asked)[0]
    assert (first["value"], second["value"], second["answer"]) == (None, {"n": 3}, '{"n": 3}')


def test_the_whole_answers_for_its_parts() -> None:
    whole = Reply(answer="both", finish_reason="stop", token_count=1, prompt_tokens=1, padded_s=0.0)
    own = [Reply(answer=text, token_count=2, prompt_tokens=10, padded_s=30.0) for text in "ab"]
    replied = [
        back([own[0]], 0, None, duration_s=None, end_s=5.0, whole=[whole]),
        back([own[1]], 1, 2, start_s=5.0, end_s=9.0),
    ]
    (answer,), row = made(replied, questions("Who?"))
    assert answer["answer"] == "both"
    assert answer["parts"] == [
        {"start_s": 0.0, "end_s": 5.0, "answer": "a"},
        {"start_s": 5.0, "end_s": 9.0, "answer": "b"},
    ]
    assert (answer["token_count"], answer["prompt_tokens"], answer["padded_s"]) == (5, 21, 60.0)
    assert (row["part_count"], row["speech_s"], row["duration_s"]) == (2, 3.0, 9.0)


def test_what_did_not_come_back_passes_and_what_killed_does_not() -> None:
    some = [back([OK], 0, None), back([OK], 2, 3, failure_code="truncated", failure_detail="x")]
    (answer,), row = made(some, questions("Who?"), complete=False)
    assert (answer["outcome"], answer["failure_code"], row["failure_code"]) == ("failed", "incomplete", "incomplete")
    assert [one["answer"] for one in answer["parts"]] == ["yes", "yes"]
    died = back(None, 1, None, failure_code="engine_died", failure_detail="2 engines died of it")
    (answer,), row = made([some[0], died, some[1]], questions("Who?"))
    assert (row["outcome"], row["failure_code"], answer["failure_code"]) == ("failed", "engine_died", "engine_died")
    (answer,), row = made([], questions("Who?"), complete=False)
    assert (row["failure_code"], row["part_count"], answer["failure_code"]) == ("incomplete", 0, "incomplete")


def test_members_of_a_group_are_named() -> None:
    members = [{"recording_id": name, "uri": f"/{name}", "place": "x", "failure_code": None} for name in "ab"]
    (answer,), row = made([back([OK])], questions("Who?"), members=members)
    assert answer["members"] == row["members"] == [{"recording_id": name, "uri": f"/{name}"} for name in "ab"]


def test_numbers_are_sums_over_both_tables() -> None:
    numbers = Numbers()
    for replies in ([OK, INVALID], [OK, OK]):
        found, row = made([back(replies)], questions("Who?", "Why?"))
        numbers.add({"answers": found, "recordings": [row]})
    facts = numbers.facts()
    assert (facts["questions"], facts["answered"], facts["answer_failures"]) == (4, 3, {"invalid_answer": 1})
    assert (facts["tokens"], facts["prompt_tokens"], facts["padded_s"], facts["in_parts"]) == (10, 35, 91.0, 0)
    lines = dict(summary(facts))
    assert lines["answers"] == "3 of 4; not 1 invalid_answer"
    assert dict(summary(Numbers().facts()))["answers"] == "0 of 0"


@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from(["", "schema", "tools"]), st.data())
@settings(max_examples=80, deadline=None)
def test_whatever_fails_a_recording_has_one_row_and_each_question_has_one(
    seed: int, count: int, form: str, data: st.DataObject
) -> None:
    """Models fail, engines die of parts, rows come twice, in any order, or never."""
    more: Row = {"answer_schema": SCHEMA} if form == "schema" else {"tools": TOOLS} if form == "tools" else {}
    asked = questions(conversations=[["Who?", "Why?"], ["When?"]], **more)
    given = [part(0, 1, **samples(1))] if count == 1 else parted(count)
    if data.draw(st.booleans()):
        given[-1] = replace(given[-1], failure_code="truncated")
    if data.draw(st.integers(0, 5)) == 0:  # decode workers died behind the first parts
        failure = {"failure_code": "decode_died", "failure_detail": "3 decode workers died of it"}
        given[-1] = replace(given[-1], segment_count=None)
        given.append(part(len(given), len(given) + 1, **failure))
    died = [one for one in given if one.samples is not None and data.draw(st.integers(0, 7)) == 0]
    lost = [one for one in given if data.draw(st.integers(0, 9)) == 0]
    gathering, model, found = GatheringActor(), Random(seed), list[Row]()
    for one in data.draw(st.permutations(given)):
        if one in lost:
            continue
        if one in died:
            found += worker.engine_died(rows.table([one], PART), 2).to_pylist()
            continue
        found += ask(model, asked, [one], gathering)
        if data.draw(st.integers(0, 9)) == 0:
            found += ask(model, asked, [one], gathering)  # its engine crashed meanwhile
    assembly, done = Assembly(), list[tuple[list[Row], bool]]()
    for row in found:
        done += [(own, True) for _, own in assembly.add(pa.Table.from_pylist([row], REPLIED))]
    done += [(own, False) for _, own in assembly.unfinished()]
    replied, complete = done[0] if done else ([], False)
    assert complete or lost, "what has come back is not waited for"
    answered, row = made(replied, asked, complete)
    assert [answer["question_name"] for answer in answered] == ["Who?", "Why?", "When?"]
    assert (row["questions"], row["answered"]) == (3, sum(answer["outcome"] != "failed" for answer in answered))
    assert (row["outcome"] == "ok") == all(answer["outcome"] == "ok" for answer in answered)
    assert (row["outcome"] == "failed") == all(answer["outcome"] == "failed" for answer in answered)
    assert (row["failure_code"] is None) == (row["outcome"] == "ok")
    for answer in answered:
        assert (answer["failure_code"] is None) == (answer["outcome"] == "ok")
        assert (answer["answer"] is None) == (answer["outcome"] == "failed")
        assert answer["failure_code"] is None or FailureCode(answer["failure_code"])
