from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.audio import fetch
from pipeline.errors import ConfigurationError
from pipeline.ledger import parts
from pipeline.schema import RECORDING, FailureCode
from pipeline.sources import listing
from tests.conftest import tone, write_wav


def rows(found: listing.Listing) -> list[dict[str, Any]]:
    assert found.recordings.schema == RECORDING
    assert len(found.extra) == len(found.recordings)
    assert len(set(found.recordings["recording_id"].to_pylist())) == len(found.recordings)
    return found.recordings.to_pylist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "sub dir/ünï 会議.wav", "no extension", "#odd?%20name*.mp3"):
        write_wav(tmp_path / "in" / name, tone(0.2))
    for name in ("notes.txt", "model.safetensors", ".hidden.wav", "_tmp/x.wav"):
        write_wav(tmp_path / "in" / name, tone(0.1))
    return tmp_path / "in"


def test_a_folder(folder: Path) -> None:
    listed = listing.read(str(folder), str(folder / "out"))
    assert sorted(Path(row["uri"]).name for row in rows(listed)) == [
        "#odd?%20name*.mp3",
        "a.wav",
        "no extension",
        "ünï 会議.wav",
    ]
    assert listed.skipped == {".safetensors": 1, ".txt": 1, "hidden": 2}
    assert all(row["content_version"] and row["size_bytes"] for row in rows(listed))


def test_what_jobs_wrote_beside_recordings_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    ours = """transcripts/run_id=x/part-000000.parquet started/x.json started/5e.0.claim started/nightly.lock
        started/probe runs/x.json evaluations/1/report.html comparisons/1/report.json
        datasets/fleurs/de/1.wav""".split()
    recordings = ["evaluations/call.wav", "datasets/mine/2.wav", "runs/2026/jog.wav", "started/engine.wav"]
    for name in [*ours, *recordings]:
        write_wav(tmp_path / name, tone(0.1))
    listed = listing.read(str(tmp_path), str(tmp_path))
    assert sorted(str(Path(row["uri"]).relative_to(tmp_path)) for row in rows(listed)) == sorted(recordings)
    assert not listed.skipped
    elsewhere = listing.read(str(tmp_path), str(tmp_path / "elsewhere"))  # what another job wrote
    assert sorted(Path(row["uri"]).name for row in rows(elsewhere)) == sorted(
        ["1.wav", "probe", *(Path(x).name for x in recordings)]
    )


def test_a_row_that_names_a_folder_says_so(folder: Path) -> None:
    (folder / "list.jsonl").write_text('{"uri": "sub dir"}\n')
    (row,) = rows(listing.read(str(folder / "list.jsonl"), "out"))
    assert (row["failure_code"], row["failure_detail"]) == ("not_found", "a directory, not a file")


def test_a_bucket_lists_as_the_folder_does(folder: Path, s3: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.create(f"s3://test/listing/{path.relative_to(folder)}", path.read_bytes())
    store.create("s3://test/listing-other/b.wav", b"not ours")
    listed = listing.read("s3://test/listing", "s3://test/listing/out")
    here = listing.read(str(folder), "elsewhere")
    below = {row["uri"].removeprefix("s3://test/listing/") for row in rows(listed)}
    assert below == {str(Path(row["uri"]).relative_to(folder)) for row in rows(here)}
    with fetch.local_copy(next(row["uri"] for row in rows(listed) if "#odd" in row["uri"])) as copy:
        assert copy.path.read_bytes() == (folder / "#odd?%20name*.mp3").read_bytes()


def test_one_recording_and_a_limit(folder: Path) -> None:
    (row,) = rows(listing.read(str(folder / "a.wav"), "out"))
    assert row["uri"] == str(folder / "a.wav")
    assert len(rows(listing.read(str(folder), "out", limit=2))) == 2


def test_the_id_follows_content_not_output(folder: Path) -> None:
    def ids(output: str) -> list[str]:
        return [row["recording_id"] for row in rows(listing.read(str(folder / "a.wav"), output))]

    before = ids("out")
    assert before == ids("another")
    write_wav(folder / "a.wav", tone(0.3))
    assert before != ids("out")


@pytest.mark.parametrize(
    "source", ["s3://no-such-bucket/x/", "s3://test/no-such-prefix/", "/no/such/folder", "gs://b/c"]
)
def test_a_wrong_place_is_named(source: str, s3: str) -> None:
    with pytest.raises(ConfigurationError, match=source.rstrip("/")) as caught:
        listing.read(source, "out")
    assert source != "/no/such/folder" or str(caught.value).endswith("it does not exist")


ENTRIES = [
    {"uri": "a.wav", "speaker": "Ann", "take": 1, "text": "theirs", "reference": "one two"},
    {"path": "sub dir/ünï 会議.wav", "language": "DE", "start_s": 0.05, "end_s": 0.15, "recording_id": "mine"},
    {"uri": "missing.wav"},
    {"uri": "a.wav", "speaker": "Ann", "take": 1, "text": "theirs", "reference": "one two"},
    {"uri": "no extension", "recording_id": "mine"},
    {"uri": None},
    {"uri": "a.wav", "start_s": 3, "end_s": 1},
    {"uri": "a.wav", "start_s": "soon"},
    {"uri": "a.wav", "language": "English"},
    {"uri": "ftp://x/y.wav"},
]


def as_jsonl(path: Path) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES) + "{broken\n[1]\n", "utf-8")
    return path


def as_csv(path: Path) -> Path:
    columns = ["uri", "path", "recording_id", "language", "start_s", "end_s", "speaker", "take", "text", "reference"]
    lines = [
        ",".join(columns),
        *(",".join(str(e[c]) if e.get(c) is not None else "" for c in columns) for e in ENTRIES),
    ]
    path = path.with_suffix(".csv")
    path.write_text("\n".join(lines) + "\n" + ",".join("x" * 12) + "\n,,,,,,,,,\n", "utf-8-sig")
    return path


def as_parquet(path: Path) -> Path:
    path = path.with_suffix(".parquet")
    texts = [entry | {key: str(entry[key]) for key in ("start_s", "end_s") if key in entry} for entry in ENTRIES]
    columns = ["uri", "path", "recording_id", "language", "start_s", "end_s", "speaker", "text", "reference"]
    schema = pa.schema([*((name, pa.string()) for name in columns), ("take", pa.int64())])
    pq.write_table(pa.Table.from_pylist([*texts, {}, {}], schema), path)
    return path


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
def test_every_row_of_a_manifest_has_its_say(write: Callable[[Path], Path], folder: Path) -> None:
    listed = listing.read(str(write(folder / "list")), "out", taken=["text"])
    found = rows(listed)
    assert listed.repeated == 1
    assert len(found) + listed.repeated == 12
    first, second = found[0], found[1]
    assert first["uri"] == str(folder / "a.wav")
    assert first["failure_code"] is None
    assert (second["recording_id"], second["language"], second["range_start_s"], second["range_end_s"]) == (
        "mine",
        "de",
        0.05,
        0.15,
    )
    codes = [row["failure_code"] for row in found[2:]]
    assert codes[:2] == [FailureCode.NOT_FOUND, FailureCode.DUPLICATE_ID]
    assert set(codes[2:]) == {FailureCode.INVALID_ROW}
    assert all(row["failure_detail"] for row in found[2:])
    extra = listed.extra.to_pylist()
    assert extra[0] == {
        "speaker": "Ann",
        "take": "1" if write is as_csv else 1,
        "manifest_text": "theirs",
        "reference": "one two",
    }


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_listing_is_the_same_in_pieces(
    at_once: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = str(as_jsonl(folder / "list"))
    whole = [listing.read(source, str(folder)) for source in (manifest, str(folder))]
    monkeypatch.setattr(listing, "ROWS_AT_ONCE", at_once)
    for source, before in zip((manifest, str(folder)), whole, strict=True):
        again = listing.read(source, str(folder))
        assert again.recordings.equals(before.recordings)
        assert again.extra.equals(before.extra)
        assert (again.repeated, again.aliases, again.skipped) == (before.repeated, before.aliases, before.skipped)
        none = listing.read(source, str(folder), keep=lambda table: np.zeros(len(table), bool))
        assert (len(none.recordings), none.extra.schema) == (0, before.extra.schema)
        assert (none.repeated, none.skipped) == (before.repeated, before.skipped)


def test_a_manifest_is_read_from_a_bucket(folder: Path, s3: str) -> None:
    store.create("s3://test/listed/list.jsonl", json.dumps({"uri": "a.wav", "x": 1}).encode())
    store.create("s3://test/listed/a.wav", (folder / "a.wav").read_bytes())
    listed = listing.read("s3://test/listed/list.jsonl", "elsewhere")
    assert [row["uri"] for row in rows(listed)] == ["s3://test/listed/a.wav"]
    assert listed.extra.to_pylist() == [{"x": 1}]


def manifest_of(folder: Path, *entries: dict[str, Any]) -> listing.Listing:
    path = folder / "ids.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return listing.read(str(path), "out")


def test_every_row_has_an_id_of_its_own(folder: Path) -> None:
    entries = [("a.wav", "a"), ("no extension", "a"), ("sub dir/ünï 会議.wav", "a#row2")]
    found = rows(manifest_of(folder, *({"uri": uri, "recording_id": name} for uri, name in entries)))
    assert [row["recording_id"] for row in found] == ["a", "a#row2+", "a#row2"]
    assert [row["failure_code"] for row in found] == [None, "duplicate_id", None]
    assert found[1]["failure_detail"] == "row 2 has the recording_id of row 1, 'a', which names another file"


def test_one_file_under_two_ids_is_two_recordings_and_said(folder: Path) -> None:
    listed = manifest_of(
        folder,
        {"uri": "a.wav", "recording_id": "one"},
        {"uri": "a.wav", "recording_id": "two"},
        {"uri": "a.wav", "recording_id": "three", "start_s": 0.1},
    )
    assert [row["failure_code"] for row in rows(listed)] == [None, None, None]
    assert len({row["place"] for row in rows(listed)}) == 3
    assert listed.aliases == 1


def test_a_place_outlives_content_but_not_a_row_that_cannot_be_used(folder: Path) -> None:
    good, bad = {"uri": "a.wav"}, {"uri": "a.wav", "language": "English"}
    first = rows(manifest_of(folder, good, bad))
    write_wav(folder / "a.wav", tone(0.3))
    second = rows(manifest_of(folder, good, bad))
    assert first[0]["place"] == second[0]["place"] == f"{folder}/a.wav"
    assert first[0]["recording_id"] != second[0]["recording_id"]
    assert first[1]["place"] not in (first[0]["place"], f"{folder}/a.wav")


def test_what_cannot_be_listed_is_named(folder: Path) -> None:
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "linked").symlink_to(folder / "sub dir")
    listed = listing.read(str(folder), "out")
    assert len(rows(listed)) == 4
    assert listed.skipped["dangling link"] == listed.skipped["linked folder"] == 1
    assert f"{folder}/gone.wav (dangling link)" in listed.unlisted


def test_a_name_in_another_encoding_can_be_written(tmp_path: Path) -> None:
    write_wav(tmp_path / "in/a.wav", tone(0.1))
    os.symlink(b"nowhere", os.fsencode(tmp_path / "in") + b"/M\xfcller")
    (unlisted,) = listing.read(str(tmp_path / "in"), "out").unlisted
    assert unlisted.endswith("M\\udcfcller (dangling link)")
    assert json.loads(parts.to_json({"of a library": "\udcfc", "unlisted": [unlisted]}))["unlisted"] == [unlisted]


def test_half_a_surrogate_pair_is_a_row_that_failed(folder: Path) -> None:
    (found,) = rows(manifest_of(folder, {"uri": "a.wav", "language": "\ud800"}))
    assert (found["failure_code"], "is not a language code" in found["failure_detail"]) == ("invalid_row", True)


def test_the_id_of_another_row_hides_no_failure(folder: Path) -> None:
    """Pages give no audio of rows that failed so."""
    entries = [{"uri": name, "recording_id": "x"} for name in ("a.wav", "/elsewhere/private.wav")]
    (folder / "ids.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    found = rows(listing.read(f"{folder}/ids.jsonl", "out", allow=[str(folder)]))
    assert [row["failure_code"] for row in found] == [None, "invalid_row"]
    assert len({row["recording_id"] for row in found}) == 2


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "name,size\nx,1\n"), ("a.jsonl", ""), ("a.parquet", "PAR1"), ("a.jsonl", "\xff")]
)
def test_an_unusable_manifest_stops_the_job(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=name):
        listing.read(str(tmp_path / name), "out")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ENTRY = st.dictionaries(
    st.sampled_from(["uri", "path", "language", "start_s", "end_s", "recording_id", "x", "text"]), JSON
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(ENTRY.map(json.dumps) | st.text(max_size=20).filter(lambda text: "\n" not in text), min_size=1, max_size=8)
)
def test_no_manifest_breaks_the_reader(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "fuzz.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    try:
        listed = listing.read(str(path), "out")
    except ConfigurationError:
        assert not "".join(lines).strip()
        return
    assert len(rows(listed)) + listed.repeated == sum(1 for line in "\n".join(lines).split("\n") if line.strip())


def test_a_manifest_names_only_what_it_may(folder: Path, tmp_path: Path, s3: str) -> None:
    inside, outside = folder / "a.wav", write_wav(tmp_path / "inside-not" / "b.wav", tone(0.1))
    (folder / "link.wav").symlink_to(outside)
    names = [str(inside), str(outside), f"{folder}/../inside-not/b.wav", str(folder / "link.wav"), "s3://test/x.wav"]
    lines = "\n".join(json.dumps({"uri": name}) for name in names)
    (tmp_path / "list.jsonl").write_text(lines)

    def codes(source: str, *allow: str) -> list[str | None]:
        found = rows(listing.read(source, "elsewhere", allow=allow))
        return [
            row["failure_code"]
            for row in sorted(found, key=lambda row: names.index(row["uri"]) if row["uri"] in names else 9)
        ]

    refused = str(FailureCode.INVALID_ROW)
    assert codes(str(tmp_path / "list.jsonl"), str(folder)).count(refused) == 4
    assert codes(str(tmp_path / "list.jsonl"), str(folder))[0] is None
    assert codes(str(tmp_path / "list.jsonl")).count(refused) == 0
    store.create("s3://test/manifests/list.jsonl", lines.encode())
    assert codes("s3://test/manifests/list.jsonl").count(refused) == 4
    assert codes("s3://test/manifests/list.jsonl", "s3://test/", str(folder)).count(refused) == 3
