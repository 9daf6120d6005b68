"""What a night does: of all that is to do the newest, within a budget; and one night at a time."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (pyarrow's stubs know no numpy arrays.)

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from pipeline import estimate, store
from pipeline.errors import ConfigurationError
from pipeline.planning import Plan
from pipeline.settings import Settings

LEASE = "started/nightly.lock"
LEASE_S, RENEWED_S = 600.0, 120.0  # a night whose driver was killed is over after LEASE_S

Row = dict[str, Any]


class Nightly(Settings):
    """Do what needs doing: new recordings, changed ones, those that failed in a way that may pass by itself, and those
    that an older model or older settings did. The newest come first, within a budget; nothing else is touched.

    It is the job of jobs.transcribe, with all its settings. Put it on a schedule; a second one at the same time stops.

    Examples:

        python -m jobs.nightly --input s3://bucket/calls/ --output s3://bucket/transcripts --dry-run
        python -m jobs.nightly --input s3://bucket/calls/ --output s3://bucket/transcripts \\
            --max-engine-hours 16 --max-hours 8
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m jobs.nightly")

    max_engine_hours: float | None = Field(default=None, gt=0)
    """Plan no more than so many engine hours; the oldest recordings wait for the next night. It needs a known speed:
    see --engine-speed. --max-hours stops by the clock. [hours]"""


@dataclass(frozen=True)
class Night:
    """What is planned: `plan` is what fits the budget, `waiting` counts what does not."""

    plan: Plan
    estimate: estimate.Estimate | None
    audio_s: float
    waiting: int
    waiting_audio_s: float


def choose(plan: Plan, max_engine_hours: float | None) -> Night:
    """The newest recordings of a plan that fit the budget, one at least, the newest first; those of unknown age come
    last.

    Raises:
        ConfigurationError: there is a budget, and the speed of an engine is not known.
    """
    if max_engine_hours and not plan.speed:
        raise ConfigurationError(
            f"--max-engine-hours {max_engine_hours:g}: how fast an engine is, is not known: no run of this model in"
            " --output; --engine-speed says it, or --limit runs a few"
        )
    recordings = plan.listing.recordings
    modified = pc.fill_null(pc.cast(recordings["modified_at"], pa.int64()), np.iinfo(np.int64).min).to_numpy()
    positions = np.argsort(modified, kind="stable")[::-1]
    seconds = estimate.seconds_each(recordings, plan.settings.audio)[positions]
    fits = np.ones(len(positions), dtype=bool)
    if max_engine_hours and plan.speed:
        starts_s = (plan.settings.engine.count or 1) * plan.speed.start_s
        fits = np.cumsum(seconds) <= (max_engine_hours * 3600 - starts_s) * plan.speed.value
        fits[:1] = True  # else one that is longer than any night would stop them all
    kept = positions[fits]
    about = plan.about | {"night": {"to_do": len(positions), "chosen": len(kept)}}
    chosen = replace(plan, listing=plan.listing.take(kept), about=about)  # in the order in which they are to be done
    audio_s = float(seconds[fits].sum())
    return Night(chosen, plan.estimate_of(audio_s), audio_s, len(positions) - len(kept), float(seconds[~fits].sum()))


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
        (store.create if first else store.replace)(uri, json.dumps(facts).encode())

    def is_ours() -> bool:
        return json.loads(store.read(uri))["name"] == name

    def is_over(holder: Row) -> bool:
        gone = holder["host"] == host and not psutil.pid_exists(holder["pid"])
        again = job is not None and holder.get("job") == job
        return gone or again or datetime.fromisoformat(holder["until"]) <= datetime.now(UTC)

    def renew() -> None:
        while not over.wait(RENEWED_S):
            with suppress(*store.READ_ERRORS):  # there is time for more tries
                if not is_ours():
                    return  # it ran out, and another night took it over
                write(first=False)

    try:
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
    except store.READ_ERRORS as error:
        raise ConfigurationError(f"--output {output}: {store.explain(error)}") from error
    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(*store.READ_ERRORS):  # it runs out by itself
            if is_ours():
                store.remove(uri)
