"""The lease on an output: one nightly run at a time."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError

LEASE = "started/nightly.lock"
LEASE_S, RENEWED_S = 600.0, 120.0  # the lease of a driver that was killed ends after LEASE_S
SAME_START_S = 2.0  # a process's start is computed from the machine's, whose clock is set a little now and then

Row = dict[str, Any]


@contextmanager
def lease(output: str) -> Iterator[None]:
    """Be the only night at work on an output.

    The lease is an object that is renewed as long as we live. One that has run out is taken over, and so is that of a
    process of this machine that is gone, or of an earlier try of this job (VOXTRAL_JOB_ID in the environment says which
    it is). Of two that take a lease over at the same moment both may work: harmless, since two drivers commit each
    recording once.

    Raises:
        ConfigurationError: another one is at work.
    """
    uri, name = f"{output.rstrip('/')}/{LEASE}", secrets.token_hex(8)
    job, host, over = os.environ.get("VOXTRAL_JOB_ID") or None, socket.gethostname(), threading.Event()

    def write(first: bool) -> None:
        until = datetime.now(UTC) + timedelta(seconds=LEASE_S)
        facts = {"name": name, "job": job, "host": host, "pid": os.getpid(), "until": until.isoformat()}
        facts["process_started"] = _started(os.getpid())
        (store.create if first else store.replace)(uri, json.dumps(facts).encode())

    def is_ours() -> bool:
        return json.loads(store.read(uri))["name"] == name

    def is_over(holder: Row) -> bool:
        gone = holder["host"] == host and not _lives(holder)
        again = job is not None and holder.get("job") == job
        return gone or again or datetime.fromisoformat(holder["until"]) <= datetime.now(UTC)

    def renew() -> None:
        while not over.wait(RENEWED_S):
            with suppress(*storage_errors.READ_ERRORS):  # there is time for more tries
                if not is_ours():
                    return  # it ran out, and another night took it over
                write(first=False)

    with storage_errors.errors_as(ConfigurationError, f"--output {output}", storage_errors.READ_ERRORS):
        try:
            write(first=True)
        except FileExistsError:
            holder = json.loads(store.read(uri))
            if not is_over(holder):
                raise ConfigurationError(
                    f"--output {output}: another night is at work on {holder['host']} (process {holder['pid']}); should"
                    f" it be dead, its lease {uri} ends at {holder['until'][:19]}Z"
                ) from None
            write(first=False)
    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(*storage_errors.READ_ERRORS):  # it runs out by itself
            if is_ours():
                store.remove(uri)


def _started(pid: int) -> float | None:
    """When a process of this machine began, in seconds; None where there is none, or none that still runs. It tells
    processes apart that had the same number, as the first one of a container that is started again has."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    return None


def _lives(holder: Row) -> bool:
    started = _started(holder["pid"])
    return started is not None and abs(holder.get("process_started", started) - started) < SAME_START_S
