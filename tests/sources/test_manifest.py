from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError
from pipeline.sources import columns, manifest
from pipeline.tasks.transcribe.schema import TRANSCRIPT


class Parsed:
    """All of a manifest, read so many rows at once."""

    def __init__(self, data: bytes, name: str, at_once: int = 100) -> None:
        found = manifest.Manifest(io.BytesIO(data), name)
        types = columns.ColumnTypes(found, TRANSCRIPT.names)
        for entries in found.entries(at_once):
            types.add(entries)
        self.columns = types.columns(at_once)
        self.entries = [entry for entries in found.entries(at_once) for entry in entries]
        self.extra = self.columns.table(self.entries)


def jsonl(*rows: Any, at_once: int = 100) -> Parsed:
    return Parsed("\n".join(json.dumps(row) for row in rows).encode(), "list.jsonl", at_once)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"uri": "a", "language": "jp"}, "jp is not a language code: use ISO 639-1, such as en"),
        ({"uri": "a", "language": 7}, "7 is not a language code"),
        ({"uri": "a\0b"}, "characters that no name can have"),
        ({"uri": "\ud800"}, "characters that no name can have"),
        ({"uri": ["a"]}, "no uri or path"),
        ({}, "no uri or path, but None"),
        ({"uri": "a", "start_s": -1}, "start_s -1 is not a number of seconds"),
        ({"uri": "a", "end_s": "nan"}, "end_s 'nan'"),
        ({"uri": "a", "start_s": 10**400}, "start_s"),
        ([1], "not a JSON object"),
    ],
)
def test_a_bad_row_says_what_is_wrong(row: Any, words: str) -> None:
    (entry,) = jsonl(row).entries
    assert entry.error
    assert entry.error.startswith("row 1: ")
    assert words in entry.error


def test_a_bad_row_keeps_its_id() -> None:
    (entry,) = jsonl({"uri": "a", "language": "English", "recording_id": 7}).entries
    assert (entry.recording_id, entry.error is None) == ("7", False)


@pytest.mark.parametrize(
    ("tag", "code"),
    [("en-US", "en"), ("pt_BR", "pt"), ("zh-Hans-CN", "zh"), ("DE", "de"), ("eng", "en"), ("nld", "nl")],
)
def test_a_language_tag_counts_by_its_primary_language(tag: str, code: str) -> None:
    (entry,) = jsonl({"uri": "a", "language": tag}).entries
    assert (entry.language, entry.error) == (code, None)


def test_empty_fields_are_none() -> None:
    (entry,) = jsonl({"uri": "a", "language": "", "start_s": "", "recording_id": ""}).entries
    assert (entry.language, entry.start_s, entry.recording_id, entry.error) == (None, None, None, None)


def test_csv_as_spreadsheets_write_it() -> None:
    text = '\ufeffuri,note,,\r\na b.wav,"one, two\nthree",,\r\nc.wav,,,\r\n\r\nd.wav,x,,,too many\r\n'
    parsed = Parsed(text.encode(), "list.csv")
    assert [entry.name for entry in parsed.entries] == ["a b.wav", "c.wav", None]
    assert parsed.entries[2].error == "row 3: 5 fields, but the header has 4"
    extra = parsed.columns.table(parsed.entries[:2])
    assert extra.to_pylist() == [{"note": "one, two\nthree"}, {"note": None}]
    long = Parsed(f"uri,note\na,{'x' * 200_000}\n".encode(), "list.csv")
    assert len(long.entries[0].values["note"]) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"name,size\nx,1\n", "needs a column `uri` or `path`; it has name, size"),
        ("a.csv", b"uri,note,note\nx,1,2\n", "more than one column is called note"),
        ("a.csv", b"", "it has none"),
        ("a.jsonl", b"", "no rows"),
        ("a.jsonl", b"\xff", "not a readable manifest"),
        ("a.parquet", b"PAR1", "not a readable manifest"),
    ],
)
def test_an_unusable_manifest_stops_the_job(name: str, content: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Parsed(content, name)
    assert name in str(caught.value)


def test_columns_of_any_type_are_carried() -> None:
    rows = [
        {"uri": "a", "n": 1, "mixed": 1, "deep": {"x": [1]}, "empty": {}, "big": 2**70, "half": "\ud800", "text": "t"},
        {"uri": "b", "n": 2, "mixed": "x", "deep": None, "empty": {}, "big": -1, "half": "ok", "manifest_text": "u"},
    ]
    parsed = jsonl(*rows)
    extra = parsed.extra
    first, second = extra.to_pylist()
    assert (first["n"], first["mixed"], second["mixed"]) == (1, "1", '"x"')
    assert (first["deep"], first["empty"], first["big"]) == ({"x": [1]}, "{}", str(2**70))
    assert (first["manifest_manifest_text"], second["manifest_text"]) == ("t", "u")
    pq.write_table(extra, pa.BufferOutputStream())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(
    ["uri", "path", "language", "start_s", "end_s", "recording_id", "x", "text", "manifest_text", ""]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON), min_size=1, max_size=6))
def test_every_row_is_an_entry_and_every_column_can_be_written(rows: list[dict[str, Any]]) -> None:
    parsed = jsonl(*rows)
    assert [entry.number for entry in parsed.entries] == list(range(1, len(rows) + 1))
    assert all(entry.error or entry.name for entry in parsed.entries)
    extra = parsed.extra
    assert len(extra) == len(rows)
    assert not set(extra.column_names) & set(TRANSCRIPT.names)
    pq.write_table(extra, pa.BufferOutputStream())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON), min_size=2, max_size=8), st.integers(1, 3))
def test_a_manifest_is_the_same_in_pieces(rows: list[dict[str, Any]], at_once: int) -> None:
    whole, pieces = jsonl(*rows), jsonl(*rows, at_once=at_once)
    assert repr(pieces.entries) == repr(whole.entries)  # nan is not equal to itself
    assert pieces.extra.equals(whole.extra) or repr(pieces.extra.to_pylist()) == repr(whole.extra.to_pylist())
    assert pieces.extra.schema == whole.extra.schema


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([None, 1, "x"], [None, "1", '"x"']),
        ([0.5, False], ["0.5", "false"]),
        ([[1], [True]], ["[1]", "[true]"]),
        ([{"a": True, "b": 1}], [{"a": True, "b": 1}]),
        ([2**60 + 1, 0.5], [str(2**60 + 1), "0.5"]),
        ([{"a": 1}, {"b": "x"}], [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        ([[], [1]], [[], [1]]),
        ([True, 1], ["true", "1"]),
    ],
)
def test_columns_have_one_type_however_far_apart_their_values(values: list[Any], kept: list[Any]) -> None:
    rows = [{"uri": "a", "x": value} for value in values]
    for at_once in (1, 2, 100):
        assert jsonl(*rows, at_once=at_once).extra["x"].to_pylist() == kept


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from(manifest.FORMATS))
def test_no_bytes_break_the_reader(data: bytes, ending: str) -> None:
    try:
        parsed = Parsed(data, f"list{ending}")
    except ConfigurationError:
        return
    assert parsed.entries
