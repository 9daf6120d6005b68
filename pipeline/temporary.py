"""Temporary folders that do not pile up: what a killed process has left goes when the next process makes one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

PREFIX = "voxtral-batch-"  # of locked folders alone: those of version 0.1 have no lock, and other names


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder below TMPDIR, gone afterwards.

    It is locked as long as its process lives, so that others know which folders are nobody's any more.

    Raises:
        OSError: there is no room for it.
    """
    parent = tempfile.gettempdir()
    _remove_left(parent)
    path, lock = _locked(parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(parent: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another process took it for left before we had the lock
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # not every file system has locks: there, nothing is taken for left
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


@cache
def _remove_left(parent: str) -> None:
    """Remove the folders of processes that were killed, once in each process."""
    for path in Path(parent).glob(f"{PREFIX}*"):
        with suppress(OSError):  # a file, another user's, in use, or gone
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(lock)
