from __future__ import annotations

import glob
import io
import json
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import store
from pipeline.errors import ConfigurationError, JobError
from pipeline.ledger import parts, starts
from pipeline.ledger.access import check
from pipeline.ledger.parts import Output
from pipeline.schema import KEYS
from pipeline.tasks.transcribe.schema import SEGMENT, TRANSCRIPT
from tests.conftest import ROOT

TABLES = ["segments", "transcripts"]
BEGUN = {"input": "in", "fingerprint": "f"}
SINCE = {"started_at": "0"}


def transcripts(*ids: str, run_id: str = "one") -> pa.Table:
    facts = {"model": "m", "model_revision": "r", "fingerprint": "f", "pipeline_version": "0", "run_id": run_id}
    rows = [facts | {"recording_id": x, "place": x, "uri": x, "outcome": "ok", "content_version": "v1"} for x in ids]
    return pa.Table.from_pylist(rows, TRANSCRIPT)


def segment(recording_id: str) -> dict[str, Any]:
    row = {"recording_id": recording_id, "uri": recording_id, "segment_index": 0, "start_s": 0.0, "end_s": 1.0}
    facts = {"model": "m", "model_revision": "r", "fingerprint": "f", "pipeline_version": "0", "run_id": "one"}
    return row | facts | {"speech_s": 1.0, "overlap_s": 0.0}


def part(*ids: str, segments: Sequence[dict[str, Any]] = (), run_id: str = "one") -> dict[str, pa.Table]:
    return {"segments": pa.Table.from_pylist(list(segments), SEGMENT), "transcripts": transcripts(*ids, run_id=run_id)}


def begin(place: str, run_id: str = "one", **facts: Any) -> Output:
    check(place)
    opened = Output(place, run_id, TABLES)
    opened.start(BEGUN | SINCE | facts)
    return opened


def finish(opened: Output, at: str = "1") -> None:
    opened.publish(BEGUN | {"run_id": opened.run_id, "finished_at": at, **opened.files})


def published(place: str) -> list[Any]:
    """The ids of all published rows."""
    tables = [table for _, table in parts.published(place, parts.reports(place))]
    return [x for table in tables for x in table["recording_id"].to_pylist()]


def test_parts_count_once_their_report_is_there(place: str) -> None:
    opened = begin(place)
    opened.write(part("a", "b", segments=[segment("a")]))
    assert published(place) == []
    finish(opened)
    assert published(place) == ["a", "b"]
    (name,) = opened.files["transcripts"]
    assert name == "transcripts/run_id=one/part-000000.parquet"
    assert pq.read_schema(pa.BufferReader(store.read(f"{place}/{name}"))).equals(TRANSCRIPT)
    assert parts.read_part(place, opened.files["segments"][0]).schema.equals(SEGMENT)
    with pytest.raises(ConfigurationError, match="one: a run of this name is finished"):
        Output(place, "one", TABLES).refuse_published()
    with pytest.raises(parts.AlreadyPublished, match="one was finished by another driver"):
        Output(place, "one", TABLES).start(BEGUN)


def test_a_stopped_run_is_resumed_where_it_ended(place: str) -> None:
    first = begin(place)
    first.write(part("a", segments=[segment("a")]))
    store.create(f"{place}/segments/run_id=one/part-000001-dead.parquet", b"killed before its transcripts came")
    assert starts.stopped(place, parts.reports(place), BEGUN) == "one"
    assert starts.stopped(place, parts.reports(place), BEGUN | {"fingerprint": "g"}) is None
    again = begin(place)
    (tables,) = again.catch_up()
    assert (tables["segments"].num_rows, tables["transcripts"]["recording_id"].to_pylist()) == (1, ["a"])
    again.write(part("b", segments=[segment("b")]))
    finish(again)
    assert starts.stopped(place, parts.reports(place), BEGUN) is None
    assert published(place) == ["a", "b"]
    assert len(again.files["segments"]) == 2
    assert not any("dead" in name for name in again.files["segments"])


def test_a_run_begun_with_other_settings_is_not_resumed(place: str) -> None:
    begin(place)
    with pytest.raises(ConfigurationError, match="began with another fingerprint"):
        begin(place, fingerprint="g")


def test_two_drivers_of_one_run_commit_a_part_once(place: str) -> None:
    first, second = begin(place), begin(place)
    first.write(part("a"))
    with pytest.raises(FileExistsError):
        second.write(part("a", "b"))
    (theirs,) = second.catch_up()
    assert theirs["transcripts"]["recording_id"].to_pylist() == ["a"]
    second.write(part("b"))
    assert list(first.catch_up())
    finish(first)
    assert second.publish({"finished_at": "2"})["finished_at"] == "1"
    with pytest.raises(JobError, match="finished by another driver"):
        second.write(part("c"))
    assert published(place) == ["a", "b"]


def test_readers_see_published_rows_alone(tmp_path: Path) -> None:
    for run_id in ("one", "two", "stopped"):
        opened = begin(str(tmp_path), run_id)
        opened.write(part(run_id, run_id=run_id))
        if run_id != "stopped":
            finish(opened)
    docs = (ROOT / "docs" / "tables.md").read_text("utf-8").replace("out/", f"{tmp_path}/")
    sql, expression = re.findall(r"^```(?:sql|python)\n(.+?)\n```$", docs, re.M | re.S)
    assert sorted(row[0] for row in duckdb.connect().execute(sql).fetchall()) == ["one", "two"]
    read = eval(expression, {"pl": pl, "glob": glob, "json": json})
    assert sorted(read["run_id"]) == ["one", "two"]
    assert len(pd.read_parquet(tmp_path / "transcripts")) == 3


def test_what_is_done_is_read_without_the_texts(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, text = begin(place), pa.array([secrets.token_hex(50_000)])
    table = transcripts("a")
    table = table.set_column(table.schema.get_field_index("text"), TRANSCRIPT.field("text"), text)
    opened.write({"segments": SEGMENT.empty_table(), "transcripts": table})
    finish(opened)
    before, read = parts.reports(place), Counter[str]()
    monkeypatch.setattr(store, "read", None)  # fetches whole objects
    open_ranges = store.open_ranges

    def counting(uri: str) -> pa.PythonFile:
        file = open_ranges(uri)

        class Ranges(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def seekable(self) -> bool:
                return True

            def tell(self) -> int:
                return file.tell()

            def seek(self, at: int, whence: int = 0) -> int:
                return file.seek(at, whence)

            def read(self, size: int = -1) -> bytes:
                data = file.read(size)
                read["bytes"] += len(data)
                return data

        return pa.PythonFile(Ranges(), "r")

    monkeypatch.setattr(store, "open_ranges", counting)
    ((_, keys),) = parts.published(place, before)
    assert keys.schema == KEYS
    assert keys["place"].to_pylist() == ["a"]
    assert 0 < read["bytes"] < 70_000, "the end of the file, and columns before and behind the text of 100,000 bytes"


def test_parts_come_in_order_and_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, names = begin(str(tmp_path)), [f"{number}" for number in range(50)]
    for name in names:
        opened.write(part(name))
    finish(opened)
    started: list[str] = []
    read = parts.read_recordings

    def counting(output: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        started.append(name)
        return read(output, name, columns)

    monkeypatch.setattr(parts, "read_recordings", counting)
    found = []
    for _, table in parts.published(str(tmp_path), parts.reports(str(tmp_path))):
        found += table["recording_id"].to_pylist()
        assert len(started) <= len(found) + parts.READS_AT_ONCE
    assert found == names


def test_a_wrong_output_is_named(s3: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for uri in ("s3://no-such-bucket/x", str(tmp_path / "file" / "below"), "gs://bucket/x", "s3://"):
        with pytest.raises(ConfigurationError, match=uri):
            check(uri)


def test_files_of_others_are_no_reports(place: str) -> None:
    """A bucket that is input and output may hold recordings in a folder of that name, and what belongs to them."""
    opened = begin(place)
    opened.write(part("a"))
    finish(opened)
    for name, data in (("call.json", b'{"customer": 5}'), ("list.json", b"[1, 2]"), ("deeper/call.json", b"{}")):
        store.create(f"{place}/runs/{name}", data)
    assert published(place) == ["a"]


def test_of_a_prefix_that_is_empty_nothing_else_is_listed(place: str) -> None:
    for name in ("a.wav", "runsheet.json", "runs.json"):
        store.create(f"{place}/{name}", b"{}")
    assert parts.reports(place) == [] and parts.files_in(place, "started", ".json") == []
