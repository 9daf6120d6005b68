"""Names of the files of an export: they mirror the input, are safe on any file system, and no two are alike."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
from pathvalidate import sanitize_filename

from pipeline import store
from pipeline.exports.formats import PER_RECORDING
from pipeline.exports.spoken import Row

MAX_NAME_BYTES = 200  # of the 255 that file systems take
MAX_SUFFIX_BYTES = 20  # a longer one is cut like any name
ENDINGS = (*(f".{kind.extension}" for kind in PER_RECORDING.values()), ".html", ".opus")
# ".words": the .vtt of `call.words` would be the .words.vtt of `call`.
AMBIGUOUS = tuple(end.removesuffix(last) for end in ENDINGS for last in ENDINGS if end != last and end.endswith(last))


def roots(inputs: Sequence[str]) -> list[str]:
    """The folders below which recordings have their paths, the longest first: the inputs, and those of manifests."""
    every = {store.join(*store.split(source)).rstrip("/") for source in inputs}
    places = [one for one in every if not any(one.startswith(f"{other}/") for other in every)]  # trials on a part
    found = {root + "/" for one in places for root in (one, one.rpartition("/")[0])} - {"/", "s3://"}
    return sorted(found, key=len, reverse=True)


def below_root(roots: Sequence[str], uri: str) -> str:
    """A recording's path below the input that holds it, or below the manifest's folder; else bucket and key."""
    root = next((root for root in roots if uri.startswith(root)), None)
    return uri.removeprefix(root) if root else uri.removeprefix("s3://").lstrip("/")


class FileNames:
    """The path of each recording's files without extension: no two alike whatever the case, nor any two of their files.

    It is the recording's path below the input that holds it, or below the manifest's folder, else bucket and key. Where
    two recordings would share one, and where it ends like one of AMBIGUOUS, it keeps the recording's extension; where
    that is not enough, it ends with a hash.

    For N recordings it takes 16 bytes each while it is made, and then what the names take that are not to be used.
    """

    def __init__(self, rows: Iterable[Row], inputs: Sequence[str], taken: Iterable[str] = ()) -> None:
        """`rows` are all that get files: `uri`, `channel` and `place` of each are read. `taken` are names that no
        recording may have."""
        self._roots = roots(inputs)
        folders = set(taken)  # and of folders that are named like a file, what comes before its ending
        marks = np.fromiter((mark for row in rows for mark in self._look(row, folders)), np.uint64).reshape(-1, 2)
        first, second = marks[:, 0], marks[:, 1]
        others = np.fromiter(map(_mark, folders), np.uint64)
        waiting = _repeated(first) | np.isin(first, others)
        used = np.concatenate([others, first[~waiting]])
        again = second[waiting]
        self._unfit = (
            set(first[waiting].tolist()),
            set(again[_repeated(again) | np.isin(again, used)].tolist()),
        )

    def of(self, row: Row) -> str:
        """The path for one of the rows."""
        short, long = self._candidates(row)
        if _mark(short) not in self._unfit[0]:
            return short
        if _mark(long) not in self._unfit[1]:
            return long
        return f"{long}.{hashlib.sha256(repr((row['place'], row['channel'])).encode()).hexdigest()[:8]}"

    def _look(self, row: Row, folders: set[str]) -> tuple[int, int]:
        short, long = self._candidates(row)
        for folder in PurePosixPath(short.casefold()).parents:
            folders.update(str(folder).removesuffix(end) for end in ENDINGS if folder.name.endswith(end))
        return _mark(short), _mark(long)

    def _candidates(self, row: Row) -> tuple[str, str]:
        """Its name without and with the recording's extension."""
        parts = [part for part in below_root(self._roots, row["uri"]).split("/") if part not in ("", ".", "..")]
        path = PurePosixPath(*(_safe(part) for part in parts)) if parts else PurePosixPath("_")
        channel = "" if row["channel"] is None else f".channel-{row['channel']}"
        short, long = f"{path.with_suffix('') if path.stem.strip('.') else path}{channel}", f"{path}{channel}"
        long = f"{long}_" if long.casefold().endswith(AMBIGUOUS) else long
        return long if short.casefold().endswith(AMBIGUOUS) else short, long


def _mark(name: str) -> int:
    """64 bits of a name, whatever its case and its form of Unicode, which some file systems take for one. Where two
    names shared them, both would be longer than they need be."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return int.from_bytes(hashlib.blake2b(folded.encode(), digest_size=8).digest())


def _repeated(marks: np.ndarray) -> np.ndarray:
    """Which marks are there more than once: bool (N,)."""
    _, which, counts = np.unique(marks, return_inverse=True, return_counts=True)
    return counts[which] > 1


@lru_cache(2**14)  # recordings share folders, and sanitize_filename takes a tenth of a millisecond
def _safe(part: str) -> str:
    """A name for one folder or file on any file system, with room for what comes behind it."""
    name = sanitize_filename(part, platform="universal", replacement_text="_")
    if len(name.encode()) > MAX_NAME_BYTES:
        suffix = PurePosixPath(name).suffix
        suffix = suffix if len(suffix.encode()) <= MAX_SUFFIX_BYTES else ""
        room = MAX_NAME_BYTES - len(suffix.encode())
        name = name.removesuffix(suffix).encode()[:room].decode(errors="ignore") + suffix
    return name if name.strip(". ") else "_"  # what is left may be "..", which was ".. " before
