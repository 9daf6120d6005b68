"""Manifests: JSONL, CSV or Parquet rows, each of which names a recording. No storage here: a file in, entries out."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigurationError
from pipeline.settings import primary_language

FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")
ROWS_OF_A_BATCH = 10_000
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


class Manifest:
    """A file of rows, read as a stream, and again from its start as often as it is asked for."""

    def __init__(self, file: BinaryIO, name: str, limit: int | None = None) -> None:
        """A seekable file of the format that `name` ends in; of its rows the first `limit`.

        Raises:
            ConfigurationError: it is no such file, or has no column `uri` or `path`.
        """
        self._file, self._name, self._limit = file, name, limit
        self.types: dict[str, pa.DataType] = {}
        """The column types, where the format has any."""
        with self._readable():
            columns = self._columns()
        if columns is None:
            return
        if not {"uri", "path"} & set(columns):
            listed = ", ".join(columns) or "none"
            raise ConfigurationError(f"--input {name}: a manifest needs a column `uri` or `path`; it has {listed}")
        if twice := {column for column in columns if column and columns.count(column) > 1}:
            raise ConfigurationError(f"--input {name}: more than one column is called {', '.join(sorted(twice))}")

    def entries(self, at_once: int) -> Iterator[list[Entry]]:
        """All entries, so many at once. A bad row raises nothing: it is an entry with an error.

        Raises:
            ConfigurationError: the file cannot be read to its end, or has no rows.
        """
        numbered, count = islice(enumerate(self._rows(), 1), self._limit), 0
        with self._readable():
            while some := [_checked(row, number) for number, row in islice(numbered, at_once)]:
                count += len(some)
                yield some
        if not count:
            raise ConfigurationError(f"--input {self._name}: the manifest has no rows")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, ValueError, OverflowError, csv.Error) as error:
            raise ConfigurationError(f"--input {self._name}: not a readable manifest ({error})") from error

    def _is(self, ending: str) -> bool:
        return self._name.lower().endswith(ending)

    def _columns(self) -> list[str] | None:
        if self._is(".parquet"):
            self._file.seek(0)
            schema = pq.ParquetFile(self._file).schema_arrow
            self.types = {column.name: column.type for column in schema}
            return schema.names
        if self._is(".csv"):
            with self._text("") as text:
                columns = next(csv.reader(text), [])
            self.types = {column: pa.string() for column in columns}
            return columns
        return None

    def _rows(self) -> Iterator[Row]:
        self._file.seek(0)
        if self._is(".parquet"):
            for batch in pq.ParquetFile(self._file).iter_batches(ROWS_OF_A_BATCH):
                yield from batch.to_pylist()
        elif self._is(".csv"):
            with self._text("") as text:
                lines = csv.reader(text)
                yield from _csv_rows(next(lines, []), lines)
        else:
            with self._text("\n") as text:  # no other line ends: U+2028 and others may stand in a JSON string
                yield from _json_rows(text)

    @contextmanager
    def _text(self, newline: str) -> Iterator[io.TextIOWrapper]:
        self._file.seek(0, os.SEEK_END)
        csv.field_size_limit(max(csv.field_size_limit(), self._file.tell() + 1))  # of the whole process
        self._file.seek(0)
        text = io.TextIOWrapper(self._file, encoding="utf-8-sig", newline=newline)
        try:
            yield text
        finally:
            text.detach()


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


def _json_rows(lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
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
