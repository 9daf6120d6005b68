from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline import identity
from pipeline.ledger import done
from pipeline.ledger.done import Status
from pipeline.schema import KEYS, RECORDING


def recording(name: str, **more: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"recording_id": name, "uri": name, "content_version": "v1"} | more
    part = (facts.get("range_start_s"), facts.get("range_end_s"))
    return {"place": identity.place(facts["uri"], *part)} | facts


def row(name: str, **more: Any) -> dict[str, Any]:
    return recording(name, **({"fingerprint": "f", "outcome": "ok"} | more))


def table(rows: list[dict[str, Any]]) -> pa.Table:
    schema = KEYS
    return pa.Table.from_pylist(rows, schema)


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
    found = done.status(pa.Table.from_pylist([wanted], RECORDING), table(written), "f")
    assert found.to_pylist() == [status.value]


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
    assert done.last_failure(wanted, table(rows)).to_pylist() == ["truncated", None, "decode_error", None, None]


def test_rows_of_earlier_versions_have_places_too() -> None:
    own = identity.generated_id("u", "v1", None, None)
    rows = [
        row("u", recording_id=own),
        row("u", recording_id=f"{own}#0", channel=0),
        row("u", recording_id="mine"),
        row("u", recording_id="part", range_start_s=1.0),
    ]
    old = table(rows).drop_columns(["place"])
    assert done.with_keys(old)["place"].to_pylist() == ["u", "u", "id:mine", "id:part"]
    assert done.with_keys(table(rows)).equals(table(rows))
