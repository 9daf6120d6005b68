"""A recording as a local file, fetched where it lies in object storage: as a whole, of one version, within limits."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import fsspec

from pipeline import storage_errors, store, temporary
from pipeline.audio import confined
from pipeline.errors import RecordingError, TransientError, failure
from pipeline.schema import FailureCode

FETCH_TRIES = 3  # of an object that changes meanwhile
END_BYTES = 2 << 20  # of a recording, in which its container states its duration: headers, indexes and pictures
SPARE_BYTES = 512 << 20  # of disk space, that a fetched object must leave free


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """A recording as a local file, and the content_version of what is in it."""

    path: Path
    content_version: str | None


@contextmanager
def local_copy(
    uri: str, version: str | None = None, size_bytes: int | None = None, max_bytes: float = math.inf
) -> Iterator[LocalCopy]:
    """The recording as a local file: itself where it is local, else a temporary copy of at most `max_bytes`. `version`
    and `size_bytes` are what a listing says of it: the copy may have a later version, but is of one version as a whole.

    Raises:
        RecordingError: not_found, forbidden, too_large or storage_error; also at the end, where a local file has
            changed meanwhile.
    """
    scheme, path = store.split(uri)
    if scheme == "file":
        with _as_recording_error(uri):
            if not Path(path).is_file() and Path(path).exists():
                raise RecordingError(FailureCode.NOT_FOUND, f"{uri}: not a regular file")
            Path(path).open("rb").close()
            before = store.content_version(store.filesystem(scheme).info(path))
        yield LocalCopy(Path(path), before)
        with _as_recording_error(uri):
            if store.content_version(store.filesystem(scheme).info(path)) != before:
                raise TransientError(FailureCode.STORAGE_ERROR, f"{uri}: it changed while it was read")
        return
    with temporary.folder() as folder:
        suffix = PurePosixPath(path).suffix
        copy = folder / ("object" + (suffix if suffix.lower() in confined.NAMED else ""))
        with _as_recording_error(uri):
            fetched = partial(_fetch, uri, copy, version, size_bytes, max_bytes)
            version = store.patiently(fetched, storage_errors.credentials_expired)
        yield LocalCopy(copy, version)


def _fetch(uri: str, copy: Path, version: str | None, size_bytes: int | None, max_bytes: float) -> str | None:
    """Fetch an object as a whole; returns the version that it has. Storage is asked for that afterwards: of an object
    that was replaced meanwhile, the copy may hold pieces of both versions."""
    scheme, path = store.split(uri)
    files = store.filesystem(scheme)
    expected = (version, size_bytes) if version and size_bytes else None
    for _ in range(FETCH_TRIES):
        version, size = expected or _facts(files, path)
        _check_room(uri, size, copy.parent, max_bytes)
        files.get_file(path, str(copy))
        expected = _facts(files, path)
        if expected[0] == version:
            return version
    raise TransientError(FailureCode.STORAGE_ERROR, f"{uri}: it changed {FETCH_TRIES} times while it was fetched")


@contextmanager
def ends_of(uri: str) -> Iterator[tuple[Path, bool]]:
    """As much of a recording as states its duration: itself where it is local, else a sparse file as long as the object
    that holds its first and last END_BYTES. And whether that is all of it.

    Raises:
        RecordingError: not_found, forbidden or storage_error.
    """
    scheme, path = store.split(uri)
    if scheme == "file":
        with local_copy(uri) as copy:
            yield copy.path, True
        return
    with temporary.folder() as folder:
        ends = folder / "object"
        with _as_recording_error(uri):
            files = store.filesystem(scheme)
            _, size = _facts(files, path)
            with ends.open("wb") as file:
                for start in sorted({0, max(0, size - END_BYTES)}):
                    file.seek(start)
                    data = files.cat_file(path, start=start, end=min(size, start + END_BYTES)) if size else b""
                    file.write(data)  # pyright: ignore[reportArgumentType]
        yield ends, size <= 2 * END_BYTES


def _check_room(uri: str, size_bytes: int, folder: Path, max_bytes: float) -> None:
    if size_bytes > max_bytes:
        detail = f"{uri}: {size_bytes / 1e9:,.2f} GB, more than --audio.max-object-gb {max_bytes / 1e9:g}"
        raise RecordingError(FailureCode.TOO_LARGE, detail)
    free = shutil.disk_usage(folder).free
    if size_bytes + SPARE_BYTES > free:
        room = f"where {free / 1e9:,.2f} GB are free (TMPDIR names another place)"
        detail = f"{uri}: {size_bytes / 1e9:,.2f} GB do not fit below {folder.parent}, {room}"
        raise TransientError(FailureCode.STORAGE_ERROR, detail)


def _facts(files: fsspec.AbstractFileSystem, path: str) -> tuple[str | None, int]:
    """Content version and size of an object."""
    try:
        info = files.info(path)
    except FileNotFoundError:
        raise
    except OSError:
        files.cat_file(path, start=0, end=1)  # the answer to HEAD has no body that says why it is refused; this has
        raise
    return store.content_version(info), info["size"]


@contextmanager
def _as_recording_error(uri: str) -> Iterator[None]:
    try:
        yield
    except storage_errors.STORAGE_ERRORS as error:
        raise failure(storage_errors.failure_code(error), f"{uri}: {storage_errors.explain(error)}") from error
