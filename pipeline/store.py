"""Object storage and local folders: looking, fetching, writing parts, and the report that publishes a run.

Every file is written in one atomic step from bytes that are complete beforehand, and never over another one.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from pipeline.errors import ConfigurationError, RecordingError
from pipeline.schema import PASSING, SEGMENT, TRANSCRIPT, FailureCode

SCHEMES = ("s3", "file")
WRITTEN = ("started", "segments", "transcripts", "runs")  # the folders below an output
# What object storage throws at us, in s3fs's translation or in botocore's own words.
STORAGE_ERRORS = (OSError, BotoCoreError, ClientError)
# What reading reports and tables may raise: storage's troubles, and those with what lies there.
READ_ERRORS = (*STORAGE_ERRORS, ValueError, KeyError, TypeError, pa.ArrowException)


def split(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` -> ("s3", "bucket/key"); a local path, with or without file://, -> ("file", absolute path).

    Raises:
        ConfigurationError: another scheme, or none of ours.
    """
    scheme, separator, path = uri.partition("://")
    if not separator:
        return "file", os.path.abspath(os.path.expanduser(uri))
    if scheme not in SCHEMES:
        raise ConfigurationError(f"{uri}: {scheme}:// is not supported; use s3:// or a local path")
    if scheme == "file":
        return scheme, os.path.abspath(path)
    if not path.strip("/"):
        raise ConfigurationError(f"{uri} names no bucket")
    return scheme, path.lstrip("/")


def join(scheme: str, path: str) -> str:
    """The inverse of `split`: a URI for object storage, a plain path on local disk."""
    return path if scheme == "file" else f"{scheme}://{path}"


@cache
def filesystem(scheme: str) -> fsspec.AbstractFileSystem:
    """The file system of a scheme. s3 takes endpoint, region and credentials from the usual AWS settings, and
    botocore's own retries."""
    if scheme == "s3":
        retries = {"max_attempts": 8, "mode": "standard"}
        # Listings are not cached: a run must see what is there now.
        return fsspec.filesystem("s3", use_listings_cache=False, config_kwargs={"retries": retries})
    return fsspec.filesystem("file", auto_mkdir=True)


def explain(error: BaseException) -> str:
    """One line for a storage error."""
    if isinstance(error, NoCredentialsError):
        return "no AWS credentials found (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role)"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "access denied"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def failure_code(error: BaseException) -> FailureCode:
    """What a storage error means for the recording that met it."""
    if isinstance(error, FileNotFoundError):
        return FailureCode.NOT_FOUND
    if isinstance(error, PermissionError):
        return FailureCode.FORBIDDEN
    return FailureCode.STORAGE_ERROR


def look(uri: str) -> None:
    """Raise what storage has to say against looking at a prefix: no such bucket, no permission, no credentials."""
    scheme, path = split(uri)
    bucket, _, prefix = path.partition("/")
    if scheme == "s3":
        listing = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": 1}
        filesystem(scheme).call_s3("list_objects_v2", **listing)  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """The recording as a local file: itself where it is local, else a temporary copy.

    Raises:
        RecordingError: not_found, forbidden or storage_error.
    """
    scheme, path = split(uri)
    if scheme == "file":
        try:
            if not Path(path).is_file() and Path(path).exists():
                raise RecordingError(FailureCode.NOT_FOUND, f"{uri}: not a regular file")
            Path(path).open("rb").close()
        except OSError as error:
            raise RecordingError(failure_code(error), f"{uri}: {explain(error)}") from error
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="voxtral-") as folder:
        copy = Path(folder, "object")
        try:
            filesystem(scheme).get_file(path, str(copy))
        except STORAGE_ERRORS as error:
            raise RecordingError(failure_code(error), f"{uri}: {explain(error)}") from error
        yield copy


def read(uri: str) -> bytes:
    """The whole of a small object."""
    scheme, path = split(uri)
    return bytes(filesystem(scheme).cat_file(path))  # pyright: ignore[reportArgumentType]


def create(uri: str, data: bytes) -> None:
    """Write a new object in one atomic step.

    Raises:
        FileExistsError: there is another one of that name already; it is left alone.
    """
    scheme, path = split(uri)
    if scheme != "file":
        try:
            filesystem(scheme).pipe_file(path, data, mode="create")  # If-None-Match: *
        except FileExistsError:
            if read(uri) != data:  # else it is ours: the first try succeeded and its answer was lost
                raise
        return
    with _written_beside(Path(path), data) as beside:
        os.link(beside, path)  # fails where the name is taken, unlike rename


def replace(uri: str, data: bytes) -> None:
    """Write an object in one atomic step, over an earlier one of that name."""
    scheme, path = split(uri)
    if scheme != "file":
        filesystem(scheme).pipe_file(path, data)
        return
    with _written_beside(Path(path), data) as beside:
        beside.replace(path)


@contextmanager
def _written_beside(target: Path, data: bytes) -> Iterator[Path]:
    """The data in a hidden file in the target's folder, gone afterwards unless it was moved."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{secrets.token_hex(8)}")
    try:
        beside.write_bytes(data)
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def reports(output: str) -> Iterator[dict[str, Any]]:
    """The reports of the published runs below an output."""
    scheme, path = split(f"{output.rstrip('/')}/runs")
    files = filesystem(scheme)
    with suppress(FileNotFoundError):
        for name in sorted(files.ls(path, detail=False)):
            if name.endswith(".json"):
                yield json.loads(files.cat_file(name))


class Output:
    """The tables below one output prefix.

    segments/run_id=<id>/*.parquet and transcripts/run_id=<id>/*.parquet hold rows of finished recordings only;
    started/<id>.json says that a run began, runs/<id>.json is its report. A run without report is not published.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri = join(*split(uri)).rstrip("/")
        self.run_id = run_id
        self.report_uri = f"{self.uri}/runs/{run_id}.json"
        self.segment_files: list[str] = []
        self.transcript_files: list[str] = []

    def check(self) -> None:
        """Raise ConfigurationError unless the place can be reached."""
        scheme, path = split(self.uri)
        try:
            if scheme == "file":
                nearest = next(folder for folder in (Path(path), *Path(path).parents) if folder.exists())
                if not nearest.is_dir() or not os.access(nearest, os.W_OK):
                    raise ConfigurationError(f"--output {self.uri}: {nearest} is not a folder that we may write to")
            else:
                look(self.uri)
        except STORAGE_ERRORS as error:
            raise ConfigurationError(f"--output {self.uri}: {explain(error)}") from error

    def start(self, facts: dict[str, Any]) -> None:
        """Leave word that the run began; shows at once whether we may write. A run taken up again begins again."""
        try:
            if self.is_published():
                raise ConfigurationError(f"--run-id {self.run_id}: a run of this name is finished; choose another")
            with suppress(FileExistsError):
                create(f"{self.uri}/started/{self.run_id}.json", to_json(facts))
        except STORAGE_ERRORS as error:
            raise ConfigurationError(f"--output {self.uri}: {explain(error)}") from error

    def is_published(self) -> bool:
        scheme, path = split(self.report_uri)
        return filesystem(scheme).exists(path)

    def write(self, segments: Sequence[dict[str, Any]], transcripts: pa.Table) -> None:
        """Write one part of each table, for the same recordings; the transcripts, which count as done, last."""
        part = f"run_id={self.run_id}/part-{len(self.transcript_files):05d}-{secrets.token_hex(4)}.parquet"
        for table, name, files in (
            (pa.Table.from_pylist(list(segments), SEGMENT), "segments", self.segment_files),
            (transcripts, "transcripts", self.transcript_files),
        ):
            create(f"{self.uri}/{name}/{part}", _parquet(table))
            files.append(f"{name}/{part}")

    def publish(self, report: dict[str, Any]) -> None:
        """Write the report: from now on the run's files count."""
        create(self.report_uri, to_json(report))

    def done(self, recordings: pa.Table, fingerprint: str) -> pa.Array:
        """For each RECORDING row, whether a published run with this fingerprint has a row for this content.

        A failure that may pass by itself (schema.PASSING) does not count.
        """
        wanted = _keys(recordings)
        done = pa.array([False] * len(recordings))
        for report in reports(self.uri):
            if report.get("fingerprint") == fingerprint:
                for name in report["transcripts"]:
                    columns = ["recording_id", "content_version", "failure_code"]
                    written = pq.read_table(pa.BufferReader(read(f"{self.uri}/{name}")), columns=columns)
                    passing = pc.is_in(written["failure_code"], value_set=pa.array([code.value for code in PASSING]))
                    written = written.filter(pc.invert(passing))
                    done = pc.or_(done, pc.is_in(wanted, value_set=_keys(written)))
        return done


def transcripts_schema(extra: pa.Schema) -> pa.Schema:
    """TRANSCRIPT followed by the manifest's own columns."""
    return pa.schema([*TRANSCRIPT, *extra])


def to_json(facts: dict[str, Any]) -> bytes:
    """Indented JSON in UTF-8."""
    return (json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n").encode()


def _keys(table: pa.Table) -> pa.ChunkedArray:
    columns = table["recording_id"], pc.fill_null(table["content_version"], pa.scalar(""))
    return pc.binary_join_element_wise(*columns, "\x1f")  # pyright: ignore[reportCallIssue, reportArgumentType]


def _parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue().to_pybytes()
