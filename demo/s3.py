"""An S3 server inside this process, for the demo and the tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from moto.server import ThreadedMotoServer

from pipeline import store


@contextmanager
def embedded_s3(bucket: str) -> Iterator[str]:
    """Start the server on a free port of the loopback address, point the usual AWS settings at it, make a bucket.

    Yields the endpoint. Settings, and the server with all that is in it, are gone at the end.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"])),
    }
    try:
        with patch.dict(os.environ, settings):
            store.forget_clients()
            store.filesystem("s3").mkdir(bucket)
            yield endpoint
    finally:
        store.forget_clients()
        server.stop()


def upload(folder: Path, prefix: str) -> None:
    """Put every file below `folder` under `s3://bucket/prefix`, names as they are."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.create(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
