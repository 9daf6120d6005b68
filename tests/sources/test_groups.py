from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema import RECORDING
from pipeline.sources import groups, listing
from pipeline.sources.listing import Listing

Row = dict[str, Any]
GROUP_IDS = st.one_of(st.none(), st.just(""), st.integers(0, 4), st.sampled_from(["a", "b", "é 1"]))


def listed(folder: Path, rows: list[Row]) -> Listing:
    """A manifest of files, which are made but for those called missing."""
    for row in rows:
        if "missing" not in row["path"]:
            (folder / row["path"]).write_bytes(row["path"].encode())
    (folder / "list.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return listing.read(str(folder / "list.jsonl"), str(folder / "out"))


def collapsed(folder: Path, rows: list[Row], most: int = 5) -> list[Row]:
    found = groups.collapse(listed(folder, rows), most)
    assert len(found.extra) == len(found.recordings)
    return found.recordings.to_pylist()


def paths(members: list[Row] | None) -> list[str] | None:
    return None if members is None else [Path(member["uri"]).name for member in members]


def test_rows_of_a_group_become_one_where_the_first_stood(tmp_path: Path) -> None:
    rows = [
        {"path": "a1", "group_id": "a", "customer": "Ann", "language": "de"},
        {"path": "alone", "group_id": None, "customer": "Bob"},
        {"path": "b1", "group_id": "b", "customer": "Cid"},
        {"path": "a2", "group_id": "a", "customer": "Dan", "start_s": 1.0, "end_s": 3.0},
        {"path": "empty", "group_id": "", "customer": "Eve"},
    ]
    found = groups.collapse(listed(tmp_path, rows), 5)
    first, alone, b, empty = found.recordings.to_pylist()
    assert [paths(row["members"]) for row in (first, alone, b, empty)] == [["a1", "a2"], None, ["b1"], None]
    assert found.extra["customer"].to_pylist() == ["Ann", "Bob", "Cid", "Eve"]
    assert (first["place"], first["language"], first["failure_code"]) == ("group:a", "de", None)
    assert (first["range_start_s"], first["range_end_s"], first["size_bytes"]) == (None, None, 4)
    assert (first["members"][1]["range_start_s"], first["members"][1]["range_end_s"]) == (1.0, 3.0)
    assert groups.largest(found) == 2


def test_without_a_column_group_id_nothing_changes(tmp_path: Path) -> None:
    found = listed(tmp_path, [{"path": "a", "customer": 1}])
    assert groups.collapse(found, 5) is found
    assert groups.largest(found) == 1


def test_a_group_changes_with_its_recordings_and_their_order(tmp_path: Path) -> None:
    rows = [{"path": name, "group_id": 7} for name in "abc"]
    every = [rows, rows[::-1], rows[:2], [{**row, "group_id": 8} for row in rows], [*rows[:2], {**rows[2], "end_s": 5}]]
    found = [collapsed(tmp_path, each)[0] for each in every]
    assert len({row["content_version"] for row in found}) == len({row["recording_id"] for row in found}) == len(every)
    assert [row["place"] for row in found] == ["group:7"] * 3 + ["group:8", "group:7"]
    (tmp_path / "c").unlink()
    (tmp_path / "c").write_bytes(b"other content")
    again = groups.collapse(listing.read(str(tmp_path / "list.jsonl"), "out"), 5).recordings.to_pylist()
    assert again[0]["content_version"] not in {row["content_version"] for row in found}


def test_a_group_changes_with_the_ranges_of_recordings_that_have_ids(tmp_path: Path) -> None:
    rows = [{"path": name, "group_id": 7, "recording_id": name} for name in "ab"]
    every = [rows] + [[rows[0], rows[1] | {"start_s": start, "end_s": start + 9}] for start in (0.0, 1.0)]
    assert len({collapsed(tmp_path, each)[0]["content_version"] for each in every}) == len(every)


def test_a_group_with_a_row_that_cannot_be_used_fails_as_that_row(tmp_path: Path) -> None:
    rows = [{"path": "a", "group_id": 1}, {"path": "missing", "group_id": 1}, {"path": "b", "group_id": 2}]
    broken, fine = collapsed(tmp_path, rows)
    assert broken["failure_code"] == "not_found"
    assert broken["failure_detail"].startswith(f"{tmp_path}/missing, of group 1: ")
    assert fine["failure_code"] is None


def test_a_recording_of_two_groups_needs_an_id_in_each(tmp_path: Path) -> None:
    rows = [{"path": "a", "group_id": 1}, {"path": "b", "group_id": 1}, {"path": "a", "group_id": 2}]
    one, two = collapsed(tmp_path, rows)
    assert (one["failure_code"], two["failure_code"]) == (None, "duplicate_id")
    assert "a recording_id of its own would tell them apart" in two["failure_detail"]
    own = [row | {"recording_id": str(at)} for at, row in enumerate(rows)]
    assert [row["failure_code"] for row in collapsed(tmp_path, own)] == [None, None]


def test_a_group_that_is_too_large_fails_and_reserves_nothing(tmp_path: Path) -> None:
    rows = [{"path": f"a{n}", "group_id": "x"} for n in range(6)] + [{"path": f"b{n}", "group_id": "y"} for n in "123"]
    found = groups.collapse(listed(tmp_path, rows), 5)
    large, small = found.recordings.to_pylist()
    assert large["failure_code"] == "invalid_row"
    assert large["failure_detail"] == "group x has 6 recordings; the model takes at most 5 in one prompt"
    assert small["failure_code"] is None
    assert groups.largest(found) == 3


def test_group_ids_of_several_types(tmp_path: Path) -> None:
    values = [1, "a", 1, "", None, [2], "", [2], True]
    rows = [{"path": f"f{at}", "group_id": value} for at, value in enumerate(values)]
    found = collapsed(tmp_path, rows)
    assert [paths(row["members"]) for row in found] == [
        ["f0", "f2"],
        ["f1"],
        None,
        None,
        ["f5", "f7"],
        None,
        ["f8"],
    ]


def test_no_number_is_no_group(tmp_path: Path) -> None:
    found = listed(tmp_path, [{"path": name, "group_id": at} for at, name in enumerate("abc")])
    found = replace(found, extra=pa.table({"group_id": [math.nan, 1.5, math.nan]}))
    members = groups.collapse(found, 5).recordings["members"].to_pylist()
    assert [paths(own) for own in members] == [None, ["b"], None]


@given(st.lists(GROUP_IDS, min_size=1, max_size=30))
def test_every_row_is_in_one_place(values: list[Any]) -> None:
    count = len(values)
    plain = {name: [f"{name} {at}" for at in range(count)] for name in ("recording_id", "place", "uri")}
    recordings = pa.table(
        {field.name: pa.array(plain.get(field.name, [None] * count), field.type) for field in RECORDING}
    )
    texts = [None if value is None else str(value) for value in values]
    found = groups.collapse(Listing(recordings, pa.table({"group_id": pa.array(texts, pa.string())})), 5)
    rows = found.recordings.to_pylist()
    assert len({row["recording_id"] for row in rows}) == len({row["place"] for row in rows}) == len(rows)
    own = [[m["uri"] for m in row["members"]] if row["members"] else [row["uri"]] for row in rows]
    assert sorted(uri for uris in own for uri in uris) == sorted(plain["uri"])
    assert all(uris == sorted(uris, key=plain["uri"].index) for uris in own)
    firsts = [plain["uri"].index(uris[0]) for uris in own]
    assert firsts == sorted(firsts)
