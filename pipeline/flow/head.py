"""Whether the cluster's head is there: without it Ray ends this process, and says nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_EVERY_S = 1.0
AWAY_S = 3.0  # before it is told; Ray waits for a minute at most (RAY_gcs_rpc_server_reconnect_timeout_s)


@contextmanager
def watched(address: str, say: Callable[..., None]) -> Iterator[None]:
    """Meanwhile say once where nothing listens at the head's address, `host:port`, for AWAY_S. What is no such address
    (RAY_ADDRESS may be a word, or empty) is not looked at."""
    over = threading.Event()
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        yield
        return

    def look() -> None:
        since = time.monotonic()
        while not over.wait(LOOK_EVERY_S):
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_EVERY_S).close()
                since = time.monotonic()
            except OSError as error:
                if time.monotonic() - since < AWAY_S:
                    continue
                say(
                    f"attention: the head of the Ray cluster, {address}, does not answer ({error}); if it stays away,"
                    " Ray ends this job, and the same command continues it on another cluster",
                    style="yellow",
                    level="warning",
                )
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        over.set()
