from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import store
from pipeline.errors import ConfigurationError, RecordingError
from pipeline.schema import RECORDING, SEGMENT, TRANSCRIPT, FailureCode


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: str) -> str:
    return str(tmp_path) if request.param == "local" else f"s3://test/{tmp_path.name}"


def transcript(recording_id: str, version: str | None = "v1", mark: str = "f") -> dict[str, Any]:
    facts = {"model": "m", "model_revision": "r", "fingerprint": mark, "pipeline_version": "0", "run_id": "one"}
    return facts | {"recording_id": recording_id, "uri": recording_id, "outcome": "ok", "content_version": version}


def recordings(*ids: str) -> pa.Table:
    return pa.Table.from_pylist([{"recording_id": i, "uri": i, "content_version": "v1"} for i in ids], RECORDING)


def test_create_never_overwrites(place: str) -> None:
    store.create(f"{place}/sub dir/ü.bin", b"first")
    with pytest.raises(FileExistsError):
        store.create(f"{place}/sub dir/ü.bin", b"second")
    assert store.read(f"{place}/sub dir/ü.bin") == b"first"


def test_of_many_writers_one_wins(place: str) -> None:
    def write(number: int) -> bool:
        try:
            store.create(f"{place}/race.bin", f"{number}".encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(write, range(16)))
    assert sum(won) == 1
    assert store.read(f"{place}/race.bin") == str(won.index(True)).encode()
    scheme, path = store.split(place)
    assert [Path(name).name for name in store.filesystem(scheme).ls(path, detail=False)] == ["race.bin"]


def test_parts_count_once_their_report_is_there(place: str) -> None:
    output = store.Output(place, "one")
    output.check()
    output.start({"run_id": "one"})
    passing = {"outcome": "failed", "failure_code": "storage_error"}
    lasting = {"outcome": "failed", "failure_code": "not_media"}
    ids = [transcript("a"), transcript("b", None), transcript("d") | passing, transcript("e") | lasting]
    rows = pa.Table.from_pylist(ids, TRANSCRIPT)
    output.write([], rows)
    assert output.done(recordings("a", "c"), "f").to_pylist() == [False, False]
    output.publish({"fingerprint": "f", "transcripts": output.transcript_files})
    later = store.Output(place, "two")
    assert later.done(recordings("a", "c", "b"), "f").to_pylist() == [True, False, False]
    assert later.done(recordings("d", "e"), "f").to_pylist() == [False, True]
    assert later.done(recordings("a", "c"), "another").to_pylist() == [False, False]
    (name,) = output.transcript_files
    assert name.startswith("transcripts/run_id=one/")
    assert pq.read_schema(pa.BufferReader(store.read(f"{place}/{name}"))).equals(TRANSCRIPT)
    assert pq.read_schema(pa.BufferReader(store.read(f"{place}/{output.segment_files[0]}"))).equals(SEGMENT)
    assert json.loads(store.read(f"{place}/runs/one.json"))["fingerprint"] == "f"
    with pytest.raises(ConfigurationError, match="one: a run of this name is finished"):
        store.Output(place, "one").start({})


def test_pandas_duckdb_and_polars_read_the_folder(tmp_path: Path) -> None:
    for run_id in ("one", "two"):
        output = store.Output(str(tmp_path), run_id)
        output.write([], pa.Table.from_pylist([transcript("a") | {"run_id": run_id}], TRANSCRIPT))
    assert sorted(pd.read_parquet(tmp_path / "transcripts")["run_id"]) == ["one", "two"]
    files = str(tmp_path / "transcripts" / "*" / "*.parquet")
    assert duckdb.connect().execute(f"select run_id from '{files}' order by all").fetchall() == [("one",), ("two",)]
    assert sorted(pl.read_parquet(files)["run_id"]) == ["one", "two"]


def test_a_wrong_output_is_named(s3: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for uri in ("s3://no-such-bucket/x", str(tmp_path / "file" / "below"), "gs://bucket/x", "s3://"):
        with pytest.raises(ConfigurationError, match=uri):
            store.Output(uri, "one").check()


def test_what_cannot_be_fetched_says_why(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(uri: str) -> FailureCode:
        with pytest.raises(RecordingError) as caught, store.local_copy(uri):
            pass
        assert uri in caught.value.detail
        return caught.value.code

    assert code("s3://test/nothing here.wav") is FailureCode.NOT_FOUND
    assert code(str(tmp_path / "nothing here.wav")) is FailureCode.NOT_FOUND

    def refuse(*_: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(store.filesystem("s3"), "get_file", refuse)
    assert code("s3://test/secret.wav") is FailureCode.FORBIDDEN

    def break_off(*_: object) -> None:
        raise TimeoutError("too slow")

    monkeypatch.setattr(store.filesystem("s3"), "get_file", break_off)
    assert code("s3://test/slow.wav") is FailureCode.STORAGE_ERROR


def test_a_fetched_copy_is_gone_afterwards(s3: str) -> None:
    store.create("s3://test/copy/a.bin", b"abc")
    with store.local_copy("s3://test/copy/a.bin") as copy:
        assert copy.read_bytes() == b"abc"
    assert not copy.exists()
