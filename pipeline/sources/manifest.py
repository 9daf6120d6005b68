"""Manifests: JSONL, CSV or Parquet rows, each of which names a recording. No storage here: bytes in, entries out."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigurationError
from pipeline.settings import primary_language

FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")
OURS = ("uri", "path", "recording_id", "language", "start_s", "end_s")

Row = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One row of a manifest: all its values, and ours among them, checked. `error` says why it cannot be used."""

    number: int
    values: Row
    name: str | None = None
    recording_id: str | None = None
    language: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Entries in order. `types` holds the column types where the format has any."""

    entries: list[Entry]
    types: dict[str, pa.DataType] = field(default_factory=dict)


def parse(data: bytes, name: str) -> Manifest:
    """Read a manifest of the format that `name` ends in.

    Raises:
        ConfigurationError: it is no such file, or has no column `uri` or `path`. A bad row raises nothing.
    """
    types: dict[str, pa.DataType] = {}
    try:
        if name.lower().endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(data))
            types = {column.name: column.type for column in table.schema}
            columns, rows = table.column_names, table.to_pylist()
        elif name.lower().endswith(".csv"):
            csv.field_size_limit(max(csv.field_size_limit(), len(data) + 1))  # of the whole process
            lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
            columns = next(lines, [])
            types = {column: pa.string() for column in columns}
            rows = list(_csv_rows(columns, lines))
        else:
            columns, rows = None, list(_json_rows(data.decode("utf-8-sig")))
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"--input {name}: not a readable manifest ({error})") from error
    if columns is not None and not {"uri", "path"} & set(columns):
        listed = ", ".join(columns) or "none"
        raise ConfigurationError(f"--input {name}: a manifest needs a column `uri` or `path`; it has {listed}")
    if columns is not None and (twice := {column for column in columns if column and columns.count(column) > 1}):
        raise ConfigurationError(f"--input {name}: more than one column is called {', '.join(sorted(twice))}")
    if not rows:
        raise ConfigurationError(f"--input {name}: the manifest has no rows")
    return Manifest([_checked(row, number) for number, row in enumerate(rows, 1)], types)


def extra_columns(manifest: Manifest, entries: Sequence[Entry], taken: Collection[str]) -> pa.Table:
    """The manifest's own columns for some of its entries, under names that are not `taken` by columns of ours.

    A column whose values are of more than one type, or of one that Parquet cannot hold, is kept as JSON text.
    """
    names = dict.fromkeys(key for entry in entries for key in entry.values if key and key not in OURS)
    arrays: dict[str, pa.Array] = {}
    for name in names:
        free = name.encode("utf-8", "backslashreplace").decode()
        while free in taken or free in arrays or (free != name and free in names):
            free = f"manifest_{free}"
        arrays[free] = _column([entry.values.get(name) for entry in entries], manifest.types.get(name))
    return pa.table(arrays) if arrays else no_columns(len(entries))


def no_columns(rows: int) -> pa.Table:
    """A table of so many rows and nothing in them."""
    return pa.table({"": pa.nulls(rows)}).select([])


class _Unreadable(dict[str, Any]):
    """A line that gave no row; it holds the reason."""


def _csv_rows(columns: list[str], lines: Iterator[list[str]]) -> Iterator[Row]:
    for line in lines:
        if not line:
            continue
        if any(line[len(columns) :]):
            yield _Unreadable(reason=f"{len(line)} fields, but the header has {len(columns)}")
        else:
            yield {column: value or None for column, value in zip(columns, line, strict=False)}


def _json_rows(text: str) -> Iterator[Row]:
    for line in text.split("\n"):  # not splitlines: U+2028 and others may stand in a JSON string
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield row if isinstance(row, dict) else _Unreadable(reason="not a JSON object")
        except (ValueError, RecursionError) as error:
            yield _Unreadable(reason=f"not JSON ({error})")


def _checked(row: Row, number: int) -> Entry:
    """Find what is ours in a row."""
    if isinstance(row, _Unreadable):
        return Entry(number, {}, error=f"row {number}: {row['reason']}")
    ours: Row = {}
    try:
        if row.get("recording_id") not in (None, ""):
            ours["recording_id"] = _text("recording_id", str(row["recording_id"]))
        ours["name"] = _text("uri or path", row.get("uri") or row.get("path"))
        ours["start_s"], ours["end_s"] = _seconds("start_s", row), _seconds("end_s", row)
        if ours["end_s"] is not None and ours["end_s"] <= (ours["start_s"] or 0.0):
            raise ValueError(f"end_s {ours['end_s']} is not behind start_s {ours['start_s'] or 0.0}")
        if row.get("language") not in (None, ""):
            ours["language"] = str(primary_language(row["language"]))
    except ValueError as error:
        return Entry(number, row, **ours, error=f"row {number}: {error}")
    return Entry(number, row, **ours)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"no {name}, but {value!r:.80}")
    if "\0" in value or (not value.isprintable() and not _encodable(value)):
        raise ValueError(f"{name} {value!r:.80} holds characters that no name can have")
    return value


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _seconds(key: str, row: Row) -> float | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{key} {value!r:.80} is not a number of seconds from 0 on")
    return seconds


def _column(values: list[Any], type_: pa.DataType | None) -> pa.Array:
    try:
        array = pa.array(values, type_)
        if pa.types.is_null(array.type):
            array = array.cast(pa.string())
        pq.write_table(pa.table({"column": array.slice(0, 0)}), pa.BufferOutputStream())
        return array
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        texts = [None if value is None else json.dumps(value, default=str) for value in values]
        return pa.array(texts, pa.string())
