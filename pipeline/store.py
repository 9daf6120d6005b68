"""Object storage and local folders: looking, fetching, and writing whole objects.

Every file is written in one atomic step from bytes that are complete beforehand, and never over another one.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec
import pyarrow as pa
from s3fs import S3FileSystem

from pipeline import storage_errors
from pipeline.errors import ConfigurationError
from pipeline.redaction import is_signed

T = TypeVar("T")
SCHEMES = ("s3", "file")
COPIED_BYTES = 2**24  # at once
PATIENCE_S = 900.0  # with credentials that have expired: time enough to renew them


def split(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` -> ("s3", "bucket/key"); a local path, with or without file://, -> ("file", absolute path).

    Raises:
        ConfigurationError: another scheme, or none of ours; or credentials in it.
    """
    scheme, separator, path = uri.partition("://")
    if not separator:
        return "file", os.path.abspath(os.path.expanduser(uri))
    if scheme not in SCHEMES:
        raise ConfigurationError(f"{uri}: {scheme}:// is not supported; use s3:// or a local path")
    if scheme == "file":
        return scheme, os.path.abspath(path)
    if is_signed(uri):  # it would be in every row and report
        raise ConfigurationError(f"{uri}: leave the credentials out; they come from the usual AWS settings")
    if "?versionId=" in path:  # s3fs would read the current one
        raise ConfigurationError(f"{uri}: versions of objects are not supported; leave ?versionId= out")
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


def look(uri: str) -> None:
    """Raise what storage has to say against looking at a prefix: no such bucket, no permission, no credentials."""
    scheme, path = split(uri)
    bucket, _, prefix = path.partition("/")
    if scheme == "s3":
        listing = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": 1}
        filesystem(scheme).call_s3("list_objects_v2", **listing)  # pyright: ignore[reportAttributeAccessIssue]


def names(scheme: str, folder: str) -> Iterator[str]:
    """The paths of what lies in a folder or below a prefix, without what lies deeper. (Of an empty prefix s3fs's `ls`
    lists all that lies beside it.)"""
    files = filesystem(scheme)
    if scheme == "file":
        yield from files.ls(folder, detail=False)
        return
    bucket, _, key = folder.partition("/")
    listing = {"Bucket": bucket, "Prefix": f"{key.rstrip('/')}/", "Delimiter": "/"}
    while True:
        page = files.call_s3("list_objects_v2", **listing)  # pyright: ignore[reportAttributeAccessIssue]
        yield from (f"{bucket}/{each['Key']}" for each in page.get("Contents", []))
        if not page.get("IsTruncated"):
            return
        listing["ContinuationToken"] = page["NextContinuationToken"]


def content_version(info: dict[str, Any]) -> str | None:
    """What tells an object's content from an earlier one, of its info as fsspec has it: the etag, else size and
    modification time."""
    if etag := info.get("ETag"):
        return etag.strip('"')
    return f"{info['size']}-{info.get('mtime') or info.get('LastModified')}" if info else None


def modified_at(info: dict[str, Any]) -> datetime | None:
    """When an object was last modified, of its info as fsspec has it: seconds of a disk, a time of object storage."""
    modified = info.get("mtime") or info.get("LastModified")
    return datetime.fromtimestamp(modified, UTC) if isinstance(modified, float) else modified


def read(uri: str) -> bytes:
    """The whole of a small object."""
    scheme, path = split(uri)
    return bytes(filesystem(scheme).cat_file(path))  # pyright: ignore[reportArgumentType]


@contextmanager
def open_copy(uri: str) -> Iterator[BinaryIO]:
    """An object as a file to read more than once; of object storage a temporary copy."""
    scheme, path = split(uri)
    if scheme == "file":
        with Path(path).open("rb") as file:
            yield file
        return
    opened: Any = filesystem(scheme).open(path, "rb", block_size=COPIED_BYTES)
    with tempfile.TemporaryFile() as copy, opened as remote:
        shutil.copyfileobj(remote, copy, COPIED_BYTES)
        copy.seek(0)
        yield copy


def open_ranges(uri: str) -> pa.NativeFile:
    """An object for pyarrow, whose bytes are read where they are asked for, and no others. Close it."""
    scheme, path = split(uri)
    opened: Any = pa.OSFile(path, "rb") if scheme == "file" else filesystem(scheme).open(path, cache_type="none")
    return opened


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
            if not isinstance(error, FileExistsError) and storage_errors.status(error) not in (409, 412):
                raise
            if read(uri) != data:  # else it is ours: the first try succeeded and its answer was lost
                raise FileExistsError(f"{uri} exists") from error
        return
    with _written_beside(Path(path), data) as beside:
        os.link(beside, path)  # fails where the name is taken, unlike rename


def patiently(
    call: Callable[[], T], passes: Callable[[BaseException], bool], warn: Callable[[BaseException], None] | None = None
) -> T:
    """What a call returns, which is made again, with the credentials read anew, while it raises an error that `passes`
    says may pass; for PATIENCE_S at most. `warn` is told of the first one."""
    deadline, delay_s = time.monotonic() + PATIENCE_S, 1.0
    while True:
        try:
            return call()
        except storage_errors.STORAGE_ERRORS as error:
            if not passes(error) or time.monotonic() + delay_s > deadline:
                raise
            if warn and delay_s == 1.0:
                warn(error)
        time.sleep(delay_s)
        delay_s = min(30.0, 2 * delay_s)
        forget_clients()


def forget_clients() -> None:
    """Make new clients: those that there are keep the settings and credentials that they were made with."""
    filesystem.cache_clear()
    S3FileSystem.clear_instance_cache()


def refuses_overwriting(uri: str) -> bool:
    """Whether storage refuses to create an object that is there, as `create` relies on. It is asked to create it once
    more, with the same content: not every server knows If-None-Match, and such a one writes over what is there."""
    scheme, path = split(uri)
    if scheme == "file":
        return True
    data = read(uri)
    try:
        filesystem(scheme).pipe_file(path, data, mode="create")
    except OSError as error:
        if not isinstance(error, FileExistsError) and storage_errors.status(error) not in (409, 412):
            raise
        return True
    return False


def endpoint() -> str:
    """The S3 server that is in use."""
    client = filesystem("s3").s3  # pyright: ignore[reportAttributeAccessIssue]
    return str(client.meta.endpoint_url)


def replace(uri: str, data: bytes, content_type: str | None = None) -> None:
    """Write an object in one atomic step, over an earlier one of that name. Object storage gives it out to browsers as
    `content_type`, a media type; pages need none."""
    scheme, path = split(uri)
    if scheme != "file":
        if not content_type and path.endswith(".html"):
            content_type = "text/html; charset=utf-8"
        filesystem(scheme).pipe_file(path, data, **({"ContentType": content_type} if content_type else {}))
        return
    with _written_beside(Path(path), data) as beside:
        beside.replace(path)


def remove(uri: str) -> None:
    """Remove an object, if it is there."""
    scheme, path = split(uri)
    with suppress(FileNotFoundError):
        filesystem(scheme).rm_file(path)


def replace_from(uri: str, source: Path) -> None:
    """Write a local file as an object, in one step as `replace`, without reading it into memory."""
    scheme, path = split(uri)
    if scheme != "file":
        filesystem(scheme).put_file(str(source), path)
        return
    with source.open("rb") as data, _written_beside(Path(path), data) as beside:
        beside.replace(path)


@contextmanager
def _written_beside(target: Path, data: bytes | BinaryIO) -> Iterator[Path]:
    """The data in a hidden file in the target's folder, gone afterwards unless it was moved."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{secrets.token_hex(8)}")
    try:
        with beside.open("wb") as file:
            shutil.copyfileobj(io.BytesIO(data) if isinstance(data, bytes) else data, file, COPIED_BYTES)
            file.flush()
            os.fsync(file.fileno())  # a name must not survive a crash that its content does not
        yield beside
    finally:
        beside.unlink(missing_ok=True)
