"""The columns of a manifest that are not ours: their types, found piece by piece, and the tables of their values."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.manifest import OURS, Entry, Manifest
from pipeline.text import writable

RENAMED = "manifest_"  # begins the name of a column that one of ours has
JSON_TEXT = {b"values": b"json"}  # metadata of the field of a column that is kept as JSON text


class ColumnTypes:
    """The types of a manifest's own columns, found entries by entries."""

    def __init__(self, manifest: Manifest, taken: Collection[str]) -> None:
        """`taken` are names that columns cannot have, since columns of ours do."""
        self._manifest, self._taken = manifest, taken
        self._types: dict[str, pa.DataType | None] = {}  # None: JSON text
        self._doubtful: set[str] = set()  # their type holds what was seen last; not surely what came before

    def add(self, entries: Sequence[Entry]) -> None:
        """Look at the next entries."""
        for name in dict.fromkeys(key for entry in entries for key in entry.values if key and key not in OURS):
            before = self._types.setdefault(name, pa.null())
            if before is not None:
                self._types[name] = self._joined(name, before, [entry.values.get(name) for entry in entries])

    def columns(self, at_once: int) -> Columns:
        """The columns of the manifest, all of whose entries were added; reads it again where these disagree."""
        if self._doubtful:
            for entries in self._manifest.entries(at_once):
                for name in self._doubtful:
                    type_ = self._types[name]
                    if type_ is not None and _array([entry.values.get(name) for entry in entries], type_) is None:
                        self._types[name] = None
        return Columns(self._types, self._taken)

    def _joined(self, name: str, before: pa.DataType, values: list[Any]) -> pa.DataType | None:
        array = _array(values, self._manifest.types.get(name))
        if array is None:
            return None
        if array.type == before or pa.types.is_null(array.type):
            return before
        if pa.types.is_null(before):
            return array.type
        self._doubtful.add(name)
        schemas = [pa.schema([("", type_)]) for type_ in (before, array.type)]
        try:
            return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        except pa.ArrowException:
            return None


class Columns:
    """Makes tables of a manifest's own columns.

    A column whose values are of more than one type, or of one that Parquet cannot hold, is kept as JSON text.
    """

    def __init__(self, types: Mapping[str, pa.DataType | None], taken: Collection[str]) -> None:
        self._own: dict[str, tuple[str, pa.DataType | None]] = {}  # by the name in the table
        for name, type_ in types.items():
            free = writable(name)
            while free in taken or free in self._own or (free != name and free in types):
                free = f"{RENAMED}{free}"
            self._own[free] = name, type_ if type_ and _can_be_written(type_) else None

    def table(self, entries: Sequence[Entry]) -> pa.Table:
        """The columns for some of the entries."""
        if not self._own:
            return no_columns(len(entries))
        columns = {own: self._column(entries, *source) for own, source in self._own.items()}
        marks = [JSON_TEXT if type_ is None else None for _, type_ in self._own.values()]
        fields = [pa.field(own, found.type, metadata=m) for (own, found), m in zip(columns.items(), marks, strict=True)]
        return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))

    def _column(self, entries: Sequence[Entry], name: str, type_: pa.DataType | None) -> pa.Array:
        values = [entry.values.get(name) for entry in entries]
        if type_ is not None:
            return pa.array(values, pa.string() if pa.types.is_null(type_) else type_)
        return pa.array([None if value is None else json.dumps(value, default=str) for value in values], pa.string())


def plain(table: pa.Table, name: str) -> list[Any]:
    """The values of a column as the manifest has them, whatever type its other rows gave it: 5 where others made 5.0 or
    JSON text of it. NaN is no value, and bytes are text."""
    values = table[name].to_pylist()
    if (table.schema.field(name).metadata or {}).items() >= JSON_TEXT.items():
        values = [None if value is None else json.loads(value) for value in values]
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):  # a key that others have is null in the column's type
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return value


def no_columns(rows: int) -> pa.Table:
    """A table of so many rows and nothing in them."""
    return pa.table({"": pa.nulls(rows)}).select([])


def _array(values: list[Any], type_: pa.DataType | None) -> pa.Array | None:
    """None where Arrow has no one type for the values, or not this one."""
    try:
        return None if type_ is None and _mixes_booleans(values) else pa.array(values, type_)
    except (pa.ArrowException, OverflowError, ValueError, TypeError, RecursionError):
        return None


def _mixes_booleans(values: list[Any]) -> bool:
    """Whether booleans and numbers stand in one place: Arrow would make numbers of both."""
    kinds: dict[tuple[str, ...], set[bool]] = defaultdict(set)

    def look(value: Any, place: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                look(one, (*place, str(key)))
        elif isinstance(value, list):
            for one in value:
                look(one, (*place, "[]"))
        elif isinstance(value, (bool, int, float)):
            kinds[place].add(isinstance(value, bool))

    look(values, ())
    return any(len(found) > 1 for found in kinds.values())


def _can_be_written(type_: pa.DataType) -> bool:
    try:
        pq.write_table(pa.table({"column": pa.array([], type_)}), pa.BufferOutputStream())
    except pa.ArrowException:
        return False
    return True
