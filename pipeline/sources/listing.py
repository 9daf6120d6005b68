"""What to transcribe: a bucket prefix, a directory, one recording, or a manifest becomes a table of recordings."""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import NoCredentialsError

from pipeline import identity, storage_errors, store
from pipeline.digests import DigestTable, digests
from pipeline.errors import ConfigurationError
from pipeline.rows import Recording
from pipeline.schema import KEYS, FailureCode
from pipeline.sources import manifest
from pipeline.sources.columns import ColumnTypes
from pipeline.sources.datasets import CORPORA
from pipeline.sources.datasets.base import UNPACKED
from pipeline.sources.ids import Ids
from pipeline.sources.kept import ROWS_AT_ONCE, Keep, Kept, take
from pipeline.sources.manifest import Entry
from pipeline.sources.walk import walk
from pipeline.text import writable

# What lies beside recordings in a bucket. Names that begin with "." or "_" are left out too; all else is a recording.
NOT_RECORDINGS = (
    ".txt .json .jsonl .ndjson .csv .tsv .parquet .xml .yaml .yml .toml .log .md .html .pdf .srt .vtt .lrc .textgrid "
    ".rttm .ctm .stm .trn .jpg .jpeg .png .gif .webp .svg .zip .gz .tar .py .sh .md5 .sha256 "
    ".safetensors .onnx .pt .npy .ipynb .claim .lock .js .css"
).split()
LOOKUPS_AT_ONCE, LOOKUPS_KEPT = 32, 1_024
UNLISTED_NAMED = 20  # of the files that could not be looked at
NAMED_BY = ("uri", "range_start_s", "range_end_s")
# What jobs write below an output: tables, reports, pages; and the clips that an evaluation has unpacked.
_WRITTEN = re.compile(
    r"[^/]+/run_id=|(started|runs|evaluations|comparisons)/.*\.(json|claim|lock|html|parquet)$|started/probe$"
    rf"|{UNPACKED}/({'|'.join(CORPORA)})/"
)

Info = Mapping[str, Any]  # of an object, as fsspec has it


@dataclass(frozen=True)
class Listing:
    """Recordings and, row by row beside them, the manifest's own columns.

    `skipped` counts files of a folder that were left out, by extension or reason; `unlisted` names the first of those
    that could not be looked at, with the reason. `repeated` counts manifest rows that say exactly what an earlier row
    says, `aliases` those that mean what an earlier row means, under another recording_id. `without_texts` counts
    recordings that are to do, and have no text that could be kept.
    """

    recordings: pa.Table
    extra: pa.Table
    skipped: Counter[str] = field(default_factory=Counter)
    unlisted: list[str] = field(default_factory=list)
    repeated: int = 0
    aliases: int = 0
    without_texts: int = 0

    def take(self, positions: np.ndarray) -> Listing:
        """The rows at these positions, in that order."""
        return replace(self, recordings=take(self.recordings, positions), extra=take(self.extra, positions))


def read(
    source: str,
    output: str,
    limit: int | None = None,
    allow: Sequence[str] = (),
    taken: Collection[str] = (),
    *,
    keep: Keep | None = None,
) -> Listing:
    """List what `source` names; tables that runs wrote to `output` are left out. `allow` is settings.allow; `taken` are
    names that columns of a manifest cannot keep beside those of KEYS, since columns of ours have them. `keep` is asked
    of each ROWS_AT_ONCE RECORDING rows which to keep, as bool (N,): a source of millions need not fit into memory.

    Raises:
        ConfigurationError: there is nothing there, or it may not be read.
    """
    path = store.split(source)[1]
    for prefix in allow:
        store.split(prefix)
    with storage_errors.errors_as(ConfigurationError, f"--input {source}"):
        if path.lower().endswith(manifest.FORMATS):
            return _from_manifest(source, limit, allow, {*taken, *KEYS.names}, Kept(keep))
        return _from_folder(source, output, limit, Kept(keep))


def _from_folder(source: str, output: str, limit: int | None, kept: Kept) -> Listing:
    scheme, path = store.split(source)
    files = store.filesystem(scheme)
    store.look(source)
    if scheme == "file" and not os.path.lexists(path):
        raise FileNotFoundError(path)
    folder = path.rstrip("/")
    # A prefix ends at a folder's border: s3://bucket/call does not mean s3://bucket/callback/.
    single = not source.endswith("/") and files.isfile(path)
    found = iter([(path, files.info(path))]) if single else walk(source)
    beside = f"{store.split(output)[1].rstrip('/')}/" if store.split(output)[0] == scheme else None
    skipped: Counter[str] = Counter()
    unlisted: list[str] = []
    rows: list[Recording] = []
    for name, info in found:
        if beside and name.startswith(beside) and _WRITTEN.match(name.removeprefix(beside)):
            continue
        if isinstance(info, str):
            skipped[info] += 1
            unlisted += [f"{writable(name)} ({info})"][: UNLISTED_NAMED - len(unlisted)]
            continue
        if info["type"] != "file":
            continue
        extension = os.path.splitext(name)[1].lower()
        if is_hidden(name.removeprefix(folder)):
            skipped["hidden"] += 1
        elif extension in NOT_RECORDINGS:
            skipped[extension] += 1
        else:
            rows.append(_found(store.join(scheme, name), info))
            if limit and kept.count + len(rows) == limit:
                break
            if len(rows) == ROWS_AT_ONCE:
                kept.add(rows)
                rows = []
    if rows:
        kept.add(rows)
    if not kept.count:
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        raise ConfigurationError(f"--input {source}: no recordings there ({f'only {kinds}' if kinds else 'nothing'})")
    return Listing(*kept.tables, skipped, unlisted)


def _from_manifest(source: str, limit: int | None, allow: Sequence[str], taken: Collection[str], kept: Kept) -> Listing:
    scheme, path = store.split(source)
    base = store.join(scheme, os.path.dirname(path))
    info_of = lru_cache(LOOKUPS_KEPT)(_info)  # parts of one recording stand together
    look_up = partial(_looked_up, source=source, base=base, allow=allow, info_of=info_of)
    repeated, parts, named = 0, 0, DigestTable()  # usable rows, and what they name, whatever their ids
    with store.open_copy(source) as file, ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        found = manifest.Manifest(file, source, limit)
        given = DigestTable()
        types = ColumnTypes(found, taken)
        for some in found.entries(ROWS_AT_ONCE):
            types.add(some)
            own = [entry.recording_id for entry in some if entry.recording_id]
            given.add(digests(pa.array(own, pa.string())))
        columns, ids = types.columns(ROWS_AT_ONCE), Ids(given)
        for some in found.entries(ROWS_AT_ONCE):
            unique = list(ids.unique(some, list(pool.map(look_up, some))))
            repeated += len(some) - len(unique)
            entries = [entry for entry, _ in unique]
            rows = kept.add([row for _, row in unique], lambda at, own=entries: columns.table([own[x] for x in at]))
            if len(given):  # else one id for what is named twice, which is a repeated row or a failure
                usable = rows.filter(pc.is_null(rows["failure_code"]))
                parts += len(usable)
                named.add(digests(_named(usable)))
    named.merge()
    return Listing(*kept.tables, repeated=repeated, aliases=parts - len(named))


def _named(recordings: pa.Table) -> pa.Array | pa.ChunkedArray:
    """File and time range of RECORDING rows."""
    texts = [pc.fill_null(pc.cast(recordings[name], pa.large_string()), "") for name in NAMED_BY]
    return pc.binary_join_element_wise(*texts, pa.scalar("\x1f", pa.large_string()))


def _found(uri: str, info: Info) -> Recording:
    """The recording behind a file of a folder."""
    if uri != (shown := writable(uri)):
        return _recording(shown, info, failure=(FailureCode.INVALID_ROW, "its name is not UTF-8"))
    return _recording(uri, info)


def is_hidden(path: str) -> bool:
    """Whether a file with this path below its input is no recording, whatever it holds."""
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _info(uri: str) -> Info:
    scheme, path = store.split(uri)
    return store.filesystem(scheme).info(path)


def _looked_up(entry: Entry, source: str, base: str, allow: Sequence[str], info_of: Callable[[str], Info]) -> Recording:
    """The recording behind a manifest entry, with its object's content version."""
    uri = f"row {entry.number} of the manifest"
    try:
        if entry.name:
            uri = _absolute(entry.name, base)
        if uri != (shown := writable(uri)):
            uri = shown
            raise ConfigurationError("its name is not UTF-8")
        if entry.error:
            raise ConfigurationError(entry.error)
        _check_allowed(uri, source, allow)
        info = info_of(uri)
        if info["type"] != "file":
            return _recording(uri, {}, entry, failure=(FailureCode.NOT_FOUND, f"a {info['type']}, not a file"))
        return _recording(uri, info, entry)
    except NoCredentialsError:
        raise  # of the job, not of this recording
    except ConfigurationError as error:
        unusable = FailureCode.INVALID_ROW, str(error)
        return _recording(uri, {}, entry, failure=unusable, marks=(source, entry.number, entry.values))
    except storage_errors.STORAGE_ERRORS as error:
        return _recording(uri, {}, entry, failure=(storage_errors.failure_code(error), storage_errors.explain(error)))


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
    info: Info,
    entry: Entry | None = None,
    failure: tuple[FailureCode, str] | None = None,
    marks: Sequence[Any] = (),
) -> Recording:
    """A recording. Its id is the manifest's, else generated; `marks` are for an entry that cannot be used."""
    entry = entry or Entry(0, {})
    version = store.content_version(info)
    generated = identity.generated_id(uri, version, entry.start_s, entry.end_s, *marks)
    # What cannot be used must not count as an earlier row of what can be: it stands for itself.
    given = entry.recording_id or (generated if marks else None)
    return Recording(
        recording_id=given or generated,
        place=identity.place(uri, entry.start_s, entry.end_s, given),
        uri=uri,
        content_version=version,
        size_bytes=info.get("size"),
        modified_at=store.modified_at(info),
        language=entry.language,
        range_start_s=entry.start_s,
        range_end_s=entry.end_s,
        failure_code=failure[0].value if failure else None,
        failure_detail=failure[1] if failure else None,
    )
