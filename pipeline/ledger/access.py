"""Whether an output may be written, as the ledger writes: whole objects, none over another."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError

PROBE = b"a dry run looks whether it may write here; you may delete this\n"


def check(output: str) -> None:
    """Raise ConfigurationError unless the place can be reached."""
    scheme, path = store.split(output)
    with storage_errors.errors_as(ConfigurationError, f"--output {output}"):
        if scheme == "file":
            nearest = _nearest(path)
            if not nearest.is_dir() or not os.access(nearest, os.W_OK):
                raise ConfigurationError(f"--output {output}: {nearest} is not a folder that we may write to")
        else:
            store.look(output)


def probe(output: str) -> None:
    """Raise ConfigurationError unless an object can be created there, and would not be written over. It is removed
    again; on disk it lies in the nearest folder that exists.

    A run needs no right to delete. Where there is none the object stays, and the next probe finds it: it has one name.
    """
    check(output)
    scheme, path = store.split(output)
    uri = f"{output.rstrip('/')}/started/probe"
    if scheme == "file":
        uri = str(_nearest(path) / f".probe-{secrets.token_hex(8)}")
    with storage_errors.errors_as(ConfigurationError, f"--output {output}: it may not be written"):
        store.create(uri, PROBE)
        try:
            with suppress(FileNotFoundError):  # another probe has removed it
                refuse_overwriting(output, uri, created=False)
        finally:
            with suppress(*storage_errors.STORAGE_ERRORS):
                store.remove(uri)


def refuse_overwriting(output: str, uri: str, created: bool) -> None:
    """Raise ConfigurationError where one driver could overwrite what another has committed; an object of ours that was
    `created` to see this is removed."""
    if store.refuses_overwriting(uri):
        return
    if created:
        with suppress(*storage_errors.STORAGE_ERRORS):
            store.remove(uri)
    raise ConfigurationError(
        f"--output {output}: the server {store.endpoint()} ignores conditional writes (If-None-Match), so one driver"
        " could overwrite what another has committed; write to AWS S3, another server that honours them, or a folder"
    )


def _nearest(path: str) -> Path:
    return next(folder for folder in (Path(path), *Path(path).parents) if folder.exists())
