from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.sources import groups, listing
from pipeline.sources.columns import plain


def listed(folder: Path, values: list[Any], name: str) -> listing.Listing:
    lines = []
    for at, value in enumerate(values):
        (folder / f"f{at}").write_bytes(b"x")
        lines.append({"path": str(folder / f"f{at}"), name: value})
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return listing.read(str(folder / "list.jsonl"), "out")


@pytest.mark.parametrize("last", [5.5, "seven", [1], True, None, 9])
def test_a_row_does_not_change_the_values_of_others(last: Any, tmp_path: Path) -> None:
    """Whatever type the column gets for its sake."""
    found = listed(tmp_path, [5, 7, last], "customer")
    assert json.dumps(plain(found.extra, "customer")) == json.dumps([5, 7, last])
    taken = plain(found.take(pa.array([0, 2]).to_numpy()).extra, "customer")
    assert json.dumps(taken) == json.dumps([5, last])


@pytest.mark.parametrize(
    ("value", "last"), [([1, 2], [1.5]), ({"a": 1}, {"b": 2}), ({"a": [1]}, {"a": [0.5]}), ({"a": 1}, "x")]
)
def test_nor_those_of_lists_and_objects(value: Any, last: Any, tmp_path: Path) -> None:
    assert json.dumps(plain(listed(tmp_path, [value, last], "c").extra, "c")) == json.dumps([value, last])


@pytest.mark.parametrize("last", ["seven", ["x"], 1.5])
def test_texts_stay_texts(last: Any, tmp_path: Path) -> None:
    assert plain(listed(tmp_path, ['"Anna"', "5", last], "customer").extra, "customer") == ['"Anna"', "5", last]


def test_what_is_no_value_is_none_and_bytes_are_text() -> None:
    table = pa.table({"a": [float("nan"), 1.25, 2.0], "b": [b"caf\xc3\xa9", b"\xff", None]})
    assert json.dumps(plain(table, "a")) == "[null, 1.25, 2]"
    assert plain(table, "b") == ["café", "�", None]


def test_a_group_is_called_the_same_beside_groups_of_other_types(tmp_path: Path) -> None:
    places = []
    others = {8: "8", 8.5: "8.5", "c1": "c1", "g\ud800": "g\\ud800"}
    for last in others:
        found = groups.collapse(listed(tmp_path, [7, 7, last], "group_id"), 5)
        places.append(found.recordings["place"].to_pylist())
    assert places == [["group:7", f"group:{name}"] for name in others.values()]
