"""What to transcribe: a bucket prefix, a directory, one recording, or a manifest becomes a table of recordings."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import NoCredentialsError

from pipeline import identity, store
from pipeline.errors import ConfigurationError
from pipeline.schema import RECORDING, FailureCode
from pipeline.sources import manifest
from pipeline.sources.manifest import Entry

# What lies beside recordings in a bucket. Names that begin with "." or "_" are left out too; all else is a recording.
NOT_RECORDINGS = (
    ".txt .json .jsonl .ndjson .csv .tsv .parquet .xml .yaml .yml .toml .log .md .html .pdf .srt .vtt .lrc .textgrid "
    ".rttm .ctm .trn .jpg .jpeg .png .gif .webp .svg .zip .gz .tar .py .sh .md5 .sha256"
).split()
LOOKUPS_AT_ONCE, LOOKUPS_KEPT = 32, 1_024
UNLISTED_NAMED = 20  # of the files that could not be looked at
ROWS_AT_ONCE = 50_000  # that are Python objects before they are a table
WRITTEN = ("started/", "runs/", "datasets/", "evaluations/")  # below an output; and <table>/run_id=<id>/
_TABLE = re.compile(r"[^/]+/run_id=")

Row = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """The recordings to do and, row by row beside them, the manifest's own columns.

    `skipped` counts files of a folder that were left out, by extension or reason; `unlisted` names the first of those
    that could not be looked at, with the reason. `repeated` counts manifest rows that say exactly what an earlier row
    says, `aliases` those that mean what an earlier row means, under another recording_id.
    """

    recordings: pa.Table
    extra: pa.Table
    skipped: Counter[str] = field(default_factory=Counter)
    unlisted: list[str] = field(default_factory=list)
    repeated: int = 0
    aliases: int = 0


def read(
    source: str, output: str, limit: int | None = None, allow: Sequence[str] = (), taken: Collection[str] = ()
) -> Listing:
    """List what `source` names; tables that runs wrote to `output` are left out. `allow` is settings.allow; `taken` are
    names that columns of a manifest cannot keep, since columns of ours have them.

    Raises:
        ConfigurationError: there is nothing there, or it may not be read.
    """
    path = store.split(source)[1]
    for prefix in allow:
        store.split(prefix)
    try:
        if path.lower().endswith(manifest.FORMATS):
            return _from_manifest(source, limit, allow, taken)
        return _from_folder(source, output, limit)
    except store.STORAGE_ERRORS as error:
        raise ConfigurationError(f"--input {source}: {store.explain(error)}") from error


def _from_folder(source: str, output: str, limit: int | None) -> Listing:
    scheme, path = store.split(source)
    files = store.filesystem(scheme)
    store.look(source)
    folder = path.rstrip("/")
    # A prefix ends at a folder's border: s3://bucket/call does not mean s3://bucket/callback/.
    single = not source.endswith("/") and files.isfile(path)
    found = iter([(path, files.info(path))]) if single else store.walk(source)
    beside = f"{store.split(output)[1].rstrip('/')}/" if store.split(output)[0] == scheme else None
    skipped: Counter[str] = Counter()
    unlisted: list[str] = []
    rows: list[Row] = []
    tables: list[pa.Table] = []
    for name, info in found:
        if beside and name.startswith(beside) and _written_by_us(name.removeprefix(beside)):
            continue
        if isinstance(info, str):
            skipped[info] += 1
            unlisted += [f"{name} ({info})"][: UNLISTED_NAMED - len(unlisted)]
            continue
        if info["type"] != "file":
            continue
        extension = os.path.splitext(name)[1].lower()
        if any(part.startswith((".", "_")) for part in name.removeprefix(folder).split("/")):
            skipped["hidden"] += 1
        elif extension in NOT_RECORDINGS:
            skipped[extension] += 1
        else:
            rows.append(_found(store.join(scheme, name), info))
            if len(rows) == ROWS_AT_ONCE:
                tables, rows = [*tables, pa.Table.from_pylist(rows, RECORDING)], []
            if limit and len(tables) * ROWS_AT_ONCE + len(rows) == limit:
                break
    recordings = pa.concat_tables([*tables, pa.Table.from_pylist(rows, RECORDING)])
    if not len(recordings):
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        raise ConfigurationError(f"--input {source}: no recordings there ({f'only {kinds}' if kinds else 'nothing'})")
    return Listing(recordings, manifest.no_columns(len(recordings)), skipped, unlisted)


def _written_by_us(name: str) -> bool:
    """Whether a path below an output is one of a run's or an evaluation's."""
    return name.startswith(WRITTEN) or bool(_TABLE.match(name))


def _from_manifest(source: str, limit: int | None, allow: Sequence[str], taken: Collection[str]) -> Listing:
    scheme, path = store.split(source)
    parsed = manifest.parse(store.read(source), source)
    entries = parsed.entries[:limit]
    base = store.join(scheme, os.path.dirname(path))
    info_of = lru_cache(LOOKUPS_KEPT)(_info)  # parts of one recording stand together
    look_up = partial(_looked_up, source=source, base=base, allow=allow, info_of=info_of)
    ids = _Ids(entries)
    kept: list[Entry] = []
    tables: list[pa.Table] = []
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        for at in range(0, len(entries), ROWS_AT_ONCE):
            some = entries[at : at + ROWS_AT_ONCE]
            own = list(ids.unique(some, pool.map(look_up, some)))
            tables.append(pa.Table.from_pylist([row for _, row in own], RECORDING))
            kept += [entry for entry, _ in own]
    extra = manifest.extra_columns(parsed, kept, taken)
    recordings = pa.concat_tables(tables)
    parts = recordings.select(["uri", "range_start_s", "range_end_s"]).filter(pc.is_null(recordings["failure_code"]))
    aliases = len(parts) - len(parts.group_by(parts.column_names).aggregate([]))
    return Listing(recordings, extra, repeated=len(entries) - len(kept), aliases=aliases)


def _found(uri: str, info: Row) -> Row:
    """The recording behind a file of a folder."""
    try:
        uri.encode()
    except UnicodeEncodeError:  # a file name in another encoding
        shown = uri.encode("utf-8", "backslashreplace").decode()
        return _recording(shown, info, failure=(FailureCode.INVALID_ROW, "its name is not UTF-8"))
    return _recording(uri, info)


def _info(uri: str) -> Row:
    scheme, path = store.split(uri)
    return store.filesystem(scheme).info(path)


def _looked_up(entry: Entry, source: str, base: str, allow: Sequence[str], info_of: Callable[[str], Row]) -> Row:
    """The recording behind a manifest entry, with its object's content version."""
    uri = f"row {entry.number} of the manifest"
    try:
        if entry.name:
            uri = _absolute(entry.name, base)
        if entry.error:
            raise ConfigurationError(entry.error)
        _check_allowed(uri, source, allow)
        info = info_of(uri)
        if info["type"] != "file":
            raise FileNotFoundError(f"a {info['type']}, not a file")
        return _recording(uri, info, entry)
    except NoCredentialsError:
        raise  # of the job, not of this recording
    except ConfigurationError as error:
        unusable = FailureCode.INVALID_ROW, str(error)
        return _recording(uri, {}, entry, failure=unusable, marks=(source, entry.number, entry.values))
    except store.STORAGE_ERRORS as error:
        return _recording(uri, {}, entry, failure=(store.failure_code(error), store.explain(error)))


def _check_allowed(uri: str, source: str, allow: Sequence[str]) -> None:
    """Raise ConfigurationError where a manifest names what it may not: see settings.allow."""
    if allow:
        prefixes = [_real(prefix).rstrip("/") for prefix in allow]
        if not any(_real(uri) == prefix or _real(uri).startswith(prefix + "/") for prefix in prefixes):
            raise ConfigurationError(f"{uri} is not below --allow {','.join(allow)}")
    elif store.split(source)[0] != "file" and store.split(uri)[0] == "file":
        raise ConfigurationError(f"{uri}: a manifest in object storage names no local files, unless --allow does")


def _real(uri: str) -> str:
    """With links resolved, where it is local."""
    scheme, path = store.split(uri)
    return os.path.realpath(path) if scheme == "file" else store.join(scheme, path)


def _absolute(name: str, base: str) -> str:
    if "://" not in name and not name.startswith(("/", "~")):
        name = f"{base}/{name}"
    return store.join(*store.split(name))


def _recording(
    uri: str,
    info: Row,
    entry: Entry | None = None,
    failure: tuple[FailureCode, str] | None = None,
    marks: Sequence[Any] = (),
) -> Row:
    """A RECORDING row. Its id is the manifest's, else generated; `marks` are for an entry that cannot be used."""
    entry = entry or Entry(0, {})
    modified, version = info.get("mtime") or info.get("LastModified"), store.content_version(info)
    generated = identity.generated_id(uri, version, entry.start_s, entry.end_s, *marks)
    # What cannot be used must not count as an earlier row of what can be: it stands for itself.
    given = entry.recording_id or (generated if marks else None)
    return {
        "recording_id": given or generated,
        "place": identity.place(uri, entry.start_s, entry.end_s, given),
        "uri": uri,
        "content_version": version,
        "size_bytes": info.get("size"),
        "modified_at": datetime.fromtimestamp(modified, UTC) if isinstance(modified, float) else modified,
        "language": entry.language,
        "range_start_s": entry.start_s,
        "range_end_s": entry.end_s,
        "failure_code": failure[0].value if failure else None,
        "failure_detail": failure[1] if failure else None,
    }


class _Ids:
    """Sees to it that no two recordings of a manifest have one id."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._given = {entry.recording_id for entry in entries}
        self._seen: dict[str, tuple[Entry, str]] = {}  # the first entry under each id, and its URI

    def unique(self, entries: Iterable[Entry], rows: Iterable[Row]) -> Iterator[tuple[Entry, Row]]:
        """The rows to keep and their entries, the rows' ids made unique.

        Of rows that are the same in every column the first is kept. Another row under an id that is taken is a failure:
        its transcript could not be told from the first one's.
        """
        for entry, row in zip(entries, rows, strict=True):
            before, uri = self._seen.setdefault(row["recording_id"], (entry, row["uri"]))
            if before is not entry:
                if json.dumps(before.values, default=str) == json.dumps(entry.values, default=str):
                    continue
                self._refuse(row, entry, before, uri)
            yield entry, row

    def _refuse(self, row: Row, entry: Entry, before: Entry, uri: str) -> None:
        row["failure_code"] = FailureCode.DUPLICATE_ID.value
        if uri == row["uri"]:
            detail = f"row {entry.number} means the same recording as row {before.number}"
            detail += "; a recording_id of its own would tell them apart"
        else:
            detail = f"row {entry.number} has the recording_id of row {before.number}, {row['recording_id']!r:.80},"
            detail += f" which is of {uri}"
        row["failure_detail"] = detail
        own = f"{row['recording_id']}#row{entry.number}"
        while own in self._given or own in self._seen:
            own += "+"
        row["recording_id"], row["place"] = own, identity.place(row["uri"], None, None, own)
        self._seen[own] = (entry, row["uri"])
