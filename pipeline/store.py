"""Object storage and local folders: looking, fetching, and writing whole objects.

Every file is written in one atomic step from bytes that are complete beforehand, and never over another one.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from pipeline.errors import ConfigurationError, RecordingError
from pipeline.schema import FailureCode

SCHEMES = ("s3", "file")
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


def walk(uri: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and info (as fsspec has it) of every object below a prefix that ends at a folder's border, page by page:
    a bucket of millions need not fit into memory."""
    scheme, path = split(uri)
    if scheme != "s3":
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                found = os.path.join(folder, name)
                yield found, filesystem(scheme).info(found)
        return
    bucket, _, prefix = path.rstrip("/").partition("/")
    page: dict[str, Any] = {}
    while not page or page.get("IsTruncated"):
        following = {"ContinuationToken": page["NextContinuationToken"]} if page else {}
        page = filesystem(scheme).call_s3(  # pyright: ignore[reportAttributeAccessIssue]
            "list_objects_v2", Bucket=bucket, Prefix=prefix and f"{prefix}/", **following
        )
        for info in page.get("Contents", []):
            if not info["Key"].endswith("/"):  # the mark of a folder
                yield f"{bucket}/{info['Key']}", info | {"type": "file", "size": info["Size"]}


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
        except OSError as error:
            # s3fs knows the refusal by a word of AWS's; other servers say the status alone.
            if not isinstance(error, FileExistsError) and _status(error) not in (409, 412):
                raise
            if read(uri) != data:  # else it is ours: the first try succeeded and its answer was lost
                raise FileExistsError(f"{uri} exists") from error
        return
    with _written_beside(Path(path), data) as beside:
        os.link(beside, path)  # fails where the name is taken, unlike rename


def _status(error: OSError) -> int | None:
    answer = getattr(error.__cause__, "response", None) or {}
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")


def replace(uri: str, data: bytes) -> None:
    """Write an object in one atomic step, over an earlier one of that name."""
    scheme, path = split(uri)
    if scheme != "file":
        filesystem(scheme).pipe_file(path, data)
        return
    with _written_beside(Path(path), data) as beside:
        beside.replace(path)


def remove(uri: str) -> None:
    """Remove an object, if it is there."""
    scheme, path = split(uri)
    with suppress(FileNotFoundError):
        filesystem(scheme).rm_file(path)


@contextmanager
def _written_beside(target: Path, data: bytes) -> Iterator[Path]:
    """The data in a hidden file in the target's folder, gone afterwards unless it was moved."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{secrets.token_hex(8)}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a name must not survive a crash that its content does not
        yield beside
    finally:
        beside.unlink(missing_ok=True)
