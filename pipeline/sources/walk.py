"""Every object below a prefix, or file below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pipeline import store


def walk(uri: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Path and info (as fsspec has it) of every object below a prefix that ends at a folder's border, page by page:
    a bucket of millions need not fit into memory. For what is there and cannot be listed, a word that says why comes
    in place of the info: "unreadable", "linked folder", "dangling link", "vanished"."""
    scheme, path = store.split(uri)
    if scheme != "s3":
        yield from _walk_folder(path)
        return
    bucket, _, prefix = path.rstrip("/").partition("/")
    page: dict[str, Any] = {}
    while not page or page.get("IsTruncated"):
        following = {"ContinuationToken": page["NextContinuationToken"]} if page else {}
        page = store.filesystem(scheme).call_s3(  # pyright: ignore[reportAttributeAccessIssue]
            "list_objects_v2", Bucket=bucket, Prefix=prefix and f"{prefix}/", **following
        )
        for info in page.get("Contents", []):
            if not info["Key"].endswith("/"):  # the mark of a folder
                yield f"{bucket}/{info['Key']}", info | {"type": "file", "size": info["Size"]}


def _walk_folder(path: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    unreadable: list[str] = []
    for folder, folders, names in os.walk(path, onerror=lambda error: unreadable.append(str(error.filename))):
        yield from ((name, "unreadable") for name in unreadable)
        unreadable.clear()
        folders.sort()
        yield from ((found, "linked folder") for name in folders if os.path.islink(found := os.path.join(folder, name)))
        for name in sorted(names):
            found = os.path.join(folder, name)
            try:
                yield found, store.filesystem("file").info(found)
            except PermissionError:
                yield found, "unreadable"
            except OSError:
                yield found, "dangling link" if os.path.islink(found) else "vanished"
    yield from ((name, "unreadable") for name in unreadable)
