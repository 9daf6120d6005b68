from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import identity
from pipeline.ledger import done
from pipeline.ledger.done import Status
from pipeline.schema import KEYS, RECORDING, TRANSIENT, FailureCode


def recording(name: str, **more: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"recording_id": name, "uri": name, "content_version": "v1"} | more
    part = (facts.get("range_start_s"), facts.get("range_end_s"))
    return {"place": identity.place(facts["uri"], *part)} | facts


def row(name: str, **more: Any) -> dict[str, Any]:
    return recording(name, **({"fingerprint": "f", "outcome": "ok"} | more))


def table(rows: list[dict[str, Any]]) -> pa.Table:
    schema = KEYS
    return pa.Table.from_pylist(rows, schema)


def index(*parts: list[dict[str, Any]], complete: bool = True) -> done.Index:
    built = done.Index("f")
    for rows in parts:
        built.add(table(rows))
    if complete:
        built.complete()
    return built


def test_rows_of_several_models_may_lie_side_by_side() -> None:
    found = done.Index("f", own_only=True)
    rows = [row("a"), row("a", fingerprint="g"), row("b", fingerprint="g"), row("c", content_version="v0")]
    found.add(table(rows))
    status = found.find(pa.Table.from_pylist([recording(name) for name in "abc"], RECORDING)).status
    assert [done.STATUSES[at] for at in status] == [Status.DONE, Status.NEW, Status.CONTENT_CHANGED]


@pytest.mark.parametrize(
    ("wanted", "written", "status"),
    [
        (recording("a"), [], Status.NEW),
        (recording("a"), [row("b")], Status.NEW),
        (recording("a"), [row("a")], Status.DONE),
        (recording("a"), [row("a", failure_code="not_media")], Status.DONE),
        (recording("a"), [row("a", failure_code="storage_error")], Status.FAILED_BEFORE),
        (recording("a"), [row("a"), row("a", failure_code="storage_error")], Status.FAILED_BEFORE),
        # What stands newest for a place decides, for readers and for the next run.
        (recording("a"), [row("a"), row("a", fingerprint="g")], Status.SETTINGS_CHANGED),
        (recording("a"), [row("a", fingerprint="g"), row("a")], Status.DONE),
        (recording("a"), [row("a"), row("a", content_version="v2")], Status.CONTENT_CHANGED),
        (recording("a"), [row("a"), row("a", content_version="v2", fingerprint="g")], Status.CONTENT_CHANGED),
        # Two ids of one file are two recordings.
        (recording("a", place="id:a"), [row("a", place="id:a"), row("b", uri="a", place="id:b")], Status.DONE),
        (recording("a"), [row("a", fingerprint="g")], Status.SETTINGS_CHANGED),
        (recording("a"), [row("a", content_version="v0")], Status.CONTENT_CHANGED),
        (recording("new", uri="a"), [row("old", uri="a", content_version="v0")], Status.CONTENT_CHANGED),
        (recording("a", range_start_s=1.5), [row("a")], Status.NEW),
        (recording("a", range_start_s=1.5), [row("a", range_start_s=1.5)], Status.DONE),
        (recording("a", language="fr"), [row("a")], Status.CONTENT_CHANGED),
        (recording("a", language="fr"), [row("a", declared_language="fr")], Status.DONE),
        (recording("a"), [row("a", channel=0)], Status.NEW),
    ],
)
def test_status(wanted: dict[str, Any], written: list[dict[str, Any]], status: Status) -> None:
    found = index(written).find(pa.Table.from_pylist([wanted], RECORDING))
    assert found.counts == {status.value: 1}
    assert found.is_(status).tolist() == [True]


def test_the_last_failure_counts() -> None:
    rows = [
        row("a", failure_code="truncated"),
        row("b", failure_code="truncated"),
        row("b"),
        row("c"),
        row("c", failure_code="decode_error"),
        row("d", failure_code="truncated", content_version="v0"),
    ]
    wanted = pa.Table.from_pylist([recording(name) for name in "abcde"], RECORDING)
    found = index(rows).find(wanted)
    assert found.failed_with(["truncated"]).tolist() == [True, False, False, False, False]
    assert found.failed_with(list(FailureCode)).tolist() == [True, False, True, False, False]
    assert found.same.tolist() == [True, True, True, False, False]


def test_a_failure_of_another_version_is_done_and_no_code_of_ours() -> None:
    found = index([row("a", failure_code="of_tomorrow")]).find(pa.Table.from_pylist([recording("a")], RECORDING))
    assert found.is_(Status.DONE).tolist() == [True]
    assert found.failed_with(list(FailureCode)).tolist() == [False]


def expected(wanted: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[str, str | None]:
    """Status and failure by a plain dictionary of rows by place."""
    newest = {one["place"]: one for one in rows if one.get("channel") is None}
    if not (own := newest.get(wanted["place"])):
        return Status.NEW, None
    failure = own.get("failure_code")
    content = ["uri", "content_version", "range_start_s", "range_end_s"]
    changed = any(own.get(name) != wanted.get(name) for name in content)
    if changed or own.get("declared_language") != wanted.get("language"):
        return Status.CONTENT_CHANGED, failure if failure in done.UNREAD else None
    if own["fingerprint"] != "f":
        return Status.SETTINGS_CHANGED, failure
    return Status.FAILED_BEFORE if failure in TRANSIENT else Status.DONE, failure


FACTS: dict[str, Any] = {
    "content_version": st.sampled_from([None, "v1", "v2"]),
    "range_start_s": st.sampled_from([None, 0.5]),
    "place": st.sampled_from(["a", "b", "id:a", "c"]),
}
RECORDINGS = st.builds(recording, st.sampled_from("abc"), language=st.sampled_from([None, "de"]), **FACTS)
ROWS = st.builds(
    row,
    st.sampled_from("abc"),
    declared_language=st.sampled_from([None, "de"]),
    fingerprint=st.sampled_from("fg"),
    failure_code=st.sampled_from([None, "truncated", "storage_error", "of_tomorrow"]),
    channel=st.sampled_from([None, None, None, 0]),
    **FACTS,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(ROWS, max_size=12), max_size=8), st.lists(RECORDINGS, min_size=1, max_size=6), st.booleans())
def test_the_index_agrees_with_a_dictionary(
    parts: list[list[dict[str, Any]]], wanted: list[dict[str, Any]], complete: bool
) -> None:
    found = index(*parts, complete=complete).find(pa.Table.from_pylist(wanted, RECORDING))
    answers = [expected(one, [own for part in parts for own in part]) for one in wanted]
    assert [done.STATUSES[at] for at in found.status] == [status for status, _ in answers]
    for code in ("truncated", "storage_error"):
        assert found.failed_with([code]).tolist() == [failure == code for _, failure in answers]


@pytest.mark.parametrize("failure", [FailureCode.NOT_FOUND, FailureCode.FORBIDDEN, FailureCode.STORAGE_ERROR])
def test_what_cannot_be_reached_now_leaves_what_was_done(failure: FailureCode) -> None:
    """Nobody transcribes a recording again since storage refused it once, nor puts a failure in place of its text."""
    gone = recording("a", content_version=None, failure_code=failure.value)
    found = index([row("a")]).find(pa.Table.from_pylist([gone, gone | {"place": "b"}], RECORDING))
    assert [done.STATUSES[at] for at in found.status] == [Status.UNREACHABLE, Status.NEW]
    failed = index([row("a", content_version=None, failure_code=failure.value, outcome="failed")])
    (at,) = failed.find(pa.Table.from_pylist([gone], RECORDING)).status
    assert done.STATUSES[at] == (Status.FAILED_BEFORE if failure in TRANSIENT else Status.DONE)


def test_what_was_not_there_is_retried_once_it_is() -> None:
    before = index([row("a", content_version=None, failure_code="not_found", outcome="failed")])
    found = before.find(pa.Table.from_pylist([recording("a")], RECORDING))
    assert found.failed_with(["not_found"]).tolist() == [True]
    assert not found.failed_with(["truncated"]).any() and not found.same.any()
