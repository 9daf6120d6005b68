"""What to transcribe: a bucket prefix, a directory, one recording, or a manifest becomes a table of recordings."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import store
from pipeline.errors import ConfigurationError
from pipeline.schema import RECORDING, TRANSCRIPT, FailureCode

MANIFESTS = (".jsonl", ".ndjson", ".csv", ".parquet")
# What lies beside recordings in a bucket. Everything else is taken for a recording, whatever its name.
NOT_RECORDINGS = (
    ".txt .json .jsonl .ndjson .csv .tsv .parquet .xml .yaml .yml .toml .log .md .html .pdf .srt .vtt .lrc .textgrid "
    ".rttm .ctm .trn .jpg .jpeg .png .gif .webp .svg .zip .gz .tar .py .sh .md5 .sha256"
).split()
OURS = ("uri", "path", "recording_id", "language", "start_s", "end_s")
LOOKUPS_AT_ONCE = 32

Row = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """The recordings to do and, row by row beside them, the manifest's own columns.

    `skipped` counts files of a folder that are not recordings, by extension; `repeated` counts manifest rows that
    name exactly what an earlier row named.
    """

    recordings: pa.Table
    extra: pa.Table
    skipped: Counter[str] = field(default_factory=Counter)
    repeated: int = 0


def read(source: str, output: str, limit: int | None = None) -> Listing:
    """List what `source` names. What lies below `output` is left out.

    Raises:
        ConfigurationError: there is nothing there, or it may not be read.
    """
    scheme, path = store.split(source)
    try:
        if path.lower().endswith(MANIFESTS):
            return _from_manifest(source, limit)
        return _from_listing(scheme, path, output, limit, source)
    except store.STORAGE_ERRORS as error:
        raise ConfigurationError(f"--input {source}: {store.explain(error)}") from error


def _from_listing(scheme: str, path: str, output: str, limit: int | None, source: str) -> Listing:
    files = store.filesystem(scheme)
    bucket = path.split("/", maxsplit=1)[0]
    if scheme != "file" and not files.exists(bucket):
        raise ConfigurationError(f"--input {source}: there is no bucket {bucket}, or it is not ours")
    if files.isfile(path) and not source.endswith("/"):
        found: dict[str, Row] = {path: files.info(path)}
    else:
        # A prefix ends at a folder's border: s3://bucket/call does not mean s3://bucket/callback/.
        found = dict(files.find(path.rstrip("/") + "/", detail=True))
    ours = store.split(output)[1].rstrip("/") + "/" if store.split(output)[0] == scheme else None
    skipped: Counter[str] = Counter()
    rows = []
    for name in sorted(found):
        below = name[len(path.rstrip("/")) :].split("/")
        extension = os.path.splitext(name)[1].lower()
        if name.endswith("/") or (ours and name.startswith(ours)):
            continue
        if extension in NOT_RECORDINGS or any(part.startswith((".", "_")) for part in below):
            skipped[extension or "hidden"] += 1
            continue
        rows.append(_recording(store.join(scheme, name), found[name], {}))
    if not rows:
        found_words = f"only {_counts(skipped)}" if skipped else "nothing"
        raise ConfigurationError(f"--input {source}: no recordings there ({found_words})")
    rows = rows[:limit]
    return Listing(pa.Table.from_pylist(rows, RECORDING), pa.table({"": pa.nulls(len(rows))}).select([]), skipped)


def _counts(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {extension}" for extension, count in skipped.most_common())


def _from_manifest(source: str, limit: int | None) -> Listing:
    scheme, path = store.split(source)
    data = store.read(source)
    try:
        if path.lower().endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(data))
            entries, columns = iter(table.to_pylist()), table.schema
        elif path.lower().endswith(".csv"):
            reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), restval=None)
            entries, columns = _csv_rows(reader), pa.schema([(name, pa.string()) for name in reader.fieldnames or ()])
        else:
            entries, columns = _json_rows(data.decode("utf-8-sig")), None
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"--input {source}: not a readable manifest ({error})") from error
    if columns is not None and not {"uri", "path"} & set(columns.names):
        raise ConfigurationError(
            f"--input {source}: a manifest needs a column `uri` or `path`; it has {', '.join(columns.names) or 'none'}"
        )
    base = store.join(scheme, os.path.dirname(path))
    checked = [_checked(entry, number, base) for number, entry in enumerate(entries, 1)][:limit]
    if not checked:
        raise ConfigurationError(f"--input {source}: the manifest has no rows")
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        rows = list(pool.map(_looked_up, checked))
    kept = list(_unique(rows))
    entries_kept = [checked[at][0] for at in kept]
    listing = pa.Table.from_pylist([rows[at] for at in kept], RECORDING)
    return Listing(listing, _extra(entries_kept, columns), repeated=len(rows) - len(kept))


def _csv_rows(reader: csv.DictReader) -> Iterator[Row]:
    for row in reader:
        extra = row.pop(None, None)  # pyright: ignore
        yield {key: value or None for key, value in row.items()} | ({"_invalid": "too many fields"} if extra else {})


def _json_rows(text: str) -> Iterator[Row]:
    for line in text.split("\n"):  # not splitlines: U+2028 and others may stand in a JSON string
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield row if isinstance(row, dict) else {"_invalid": "not a JSON object"}
        except (ValueError, RecursionError) as error:
            yield {"_invalid": f"not JSON ({error})"}


def _checked(entry: Row, number: int, base: str) -> tuple[Row, Row]:
    """The entry, and what is ours in it: a URI and valid fields, or the reason why not."""
    fields: Row = {"uri": f"row {number} of the manifest"}
    try:
        if "_invalid" in entry:
            raise ValueError(entry.pop("_invalid"))
        name = entry.get("uri") or entry.get("path")
        if not isinstance(name, str):
            raise ValueError(f"no uri or path, but {name!r:.80}")
        fields["uri"] = _absolute(name, base)
        for key in ("start_s", "end_s"):
            fields[key] = _seconds(key, entry.get(key))
        if fields["end_s"] is not None and fields["end_s"] <= (fields["start_s"] or 0.0):
            raise ValueError(f"end_s {fields['end_s']} is not behind start_s {fields['start_s'] or 0.0}")
        language = entry.get("language")
        if language is not None and not (isinstance(language, str) and len(language) == 2 and language.isalpha()):
            raise ValueError(f"language {language!r:.80} is not an ISO 639-1 code such as en")
        fields["language"] = language.lower() if language else None
        if entry.get("recording_id") is not None:
            fields["recording_id"] = str(entry["recording_id"])
    except (ValueError, ConfigurationError) as error:
        fields |= {
            "failure_code": FailureCode.INVALID_ROW.value,
            "failure_detail": f"row {number}: {error}",
            "row": number,
        }
    return entry, fields


def _absolute(name: str, base: str) -> str:
    if "://" not in name and not name.startswith(("/", "~")):
        name = f"{base}/{name}"
    return store.join(*store.split(name))


def _seconds(key: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{key} {value!r:.80} is not a number of seconds from 0 on")
    return seconds


def _looked_up(checked: tuple[Row, Row]) -> Row:
    """The recording behind a manifest entry, with its object's content version."""
    _, fields = checked
    if "failure_code" in fields:
        return _recording(fields["uri"], {}, fields)
    scheme, path = store.split(fields["uri"])
    try:
        info = store.filesystem(scheme).info(path)
        if info["type"] == "directory":
            raise FileNotFoundError(fields["uri"])
        return _recording(fields["uri"], info, fields)
    except store.STORAGE_ERRORS as error:
        code = store.failure_code(error)
        return _recording(
            fields["uri"], {}, fields | {"failure_code": code.value, "failure_detail": store.explain(error)}
        )


def _recording(uri: str, info: Row, fields: Row) -> Row:
    """A RECORDING row. Its id is the manifest's, or the hash of where it is, what is in it, and which part is meant."""
    etag, modified = info.get("ETag"), info.get("mtime") or info.get("LastModified")
    version = etag.strip('"') if etag else f"{info['size']}-{modified}" if info else None
    start_s, end_s = fields.get("start_s"), fields.get("end_s")
    identity = json.dumps([uri, version, start_s, end_s, fields.get("row")])
    return {
        "recording_id": fields.get("recording_id") or hashlib.sha256(identity.encode()).hexdigest()[:24],
        "uri": uri,
        "channel": None,
        "content_version": version,
        "size_bytes": info.get("size"),
        "language": fields.get("language"),
        "range_start_s": start_s,
        "range_end_s": end_s,
        "failure_code": fields.get("failure_code"),
        "failure_detail": fields.get("failure_detail"),
    }


def _unique(rows: list[Row]) -> Iterator[int]:
    """Positions of the rows to keep. Two rows under one id that differ are both kept, the second as a failure."""
    seen: dict[str, Row] = {}
    for at, row in enumerate(rows):
        first = seen.setdefault(row["recording_id"], row)
        if first is row:
            yield at
        elif first != row:
            row["failure_code"] = FailureCode.DUPLICATE_ID.value
            row["failure_detail"] = f"recording_id {row['recording_id']!r} belongs to {first['uri']} already"
            row["recording_id"] = f"{row['recording_id']}#row{at + 1}"
            seen[row["recording_id"]] = row
            yield at


def _extra(entries: Iterable[Row], columns: pa.Schema | None) -> pa.Table:
    """The manifest's own columns, under names that no column of ours has."""
    entries = list(entries)
    names = columns.names if columns is not None else list(dict.fromkeys(key for entry in entries for key in entry))
    arrays: dict[str, pa.Array] = {}
    for name in names:
        if name in OURS:
            continue
        values = [entry.get(name) for entry in entries]
        try:
            array = pa.array(values, columns.field(name).type if columns is not None else None)
        except pa.ArrowException:  # of more than one type: kept as JSON
            array = pa.array([None if value is None else json.dumps(value, ensure_ascii=False) for value in values])
        if pa.types.is_null(array.type):
            array = array.cast(pa.string())
        arrays[f"manifest_{name}" if name in TRANSCRIPT.names else name] = array
    return pa.table(arrays) if arrays else pa.table({"": pa.nulls(len(entries))}).select([])
