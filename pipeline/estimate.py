"""What a run will take, before anything is decoded: audio, engine hours, wall time, price."""

# pyright: reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.audio import fetch, media
from pipeline.errors import RecordingError
from pipeline.settings import Audio
from pipeline.sources.groups import MEMBERS

SAMPLE = 64  # recordings that are looked into at most
# Where none of them tells: 64 kbit/s, what speech is often compressed to. Larger rates are estimated too long, so that
# a budget is kept.
USUAL_BYTES_PER_S = 8_000.0
LOOKS_AT_ONCE = 4
LONG_ENOUGH_S = 60.0  # of wall time: shorter runs are mostly the start of the engines

Row = dict[str, Any]


@dataclass(frozen=True)
class Speed:
    """Audio seconds per second of one engine that is ready, as some run measured it, and how long it took to start."""

    value: float
    report: Row | None = None  # of that run; None: somebody said so
    start_s: float = 0.0

    @property
    def spent(self) -> list[str]:
        """What the engines of that run did beside hearing speech once, the largest share first, and what changes it."""
        if not self.report:
            return []
        numbers, shares = self.report["numbers"], {}
        if numbers.get("slot_fill") is not None:  # a task may not count it
            empty, again = 1 - numbers["slot_fill"], numbers["retried"] / numbers["segments"]
            shares[
                f"{empty:.0%} of the audio computed was padding and second attempts ({again:.0%} of the windows took"
                " one): --segmentation.max-pause-s, --guards"
            ] = empty
        return sorted(shares, key=lambda words: -shares[words])


@dataclass(frozen=True)
class Estimate:
    """What so much audio takes."""

    audio_s: float
    speed: Speed
    engines: int
    price_per_engine_hour: float | None

    @property
    def engine_hours(self) -> float:
        return self.audio_s / self.speed.value / 3600 + self.engines * self.start_hours

    @property
    def wall_hours(self) -> float:
        return self.engine_hours / self.engines

    @property
    def start_hours(self) -> float:
        return self.speed.start_s / 3600 if self.audio_s else 0.0

    @property
    def price(self) -> float | None:
        return None if self.price_per_engine_hour is None else self.engine_hours * self.price_per_engine_hour


def measured(reports: Sequence[Row], about: Row) -> Speed | None:
    """The speed of the last published run of the model that a run is `about`. If there is any, it is of a run that
    computed alike, of one with the same revision, and of a long one, in this order. A model that has moved is known by
    its revision."""
    model, revision = about["model"], about["model_revision"]
    found = [r for r in reports if r["numbers"]["speed"] and (r["model"] == model or r["model_revision"] == revision)]
    for is_closer in (
        lambda report: _computed(report) == _computed(about),
        lambda report: report["model_revision"] == revision,
        lambda report: report["numbers"]["wall_s"] >= LONG_ENOUGH_S,
    ):
        found = list(filter(is_closer, found)) or found
    for report in reversed(found):
        if speed := mean_speed([report]):
            return Speed(speed, report, report["engine_start_s"] if report.get("engine_s") else 0.0)
    return None


def _computed(about: Row) -> tuple[Any, ...]:
    """What runs of a model differ in that makes them several times as fast."""
    engine = about.get("settings", {}).get("engine", {})
    return about.get("runtime"), engine.get("device"), engine.get("beams", 1)


def mean_speed(reports: Sequence[Row]) -> float | None:
    """Audio seconds per second of one engine in all these runs; None where no engine did anything."""
    audio_s = engine_s = 0.0
    for report in reports:
        numbers = report["numbers"]
        audio_s += (numbers["speed"] or 0.0) * numbers["wall_s"]  # of the last driver alone
        # Of all engines that ran, however many, from when each was ready.
        engine_s += report.get("engine_s") or numbers["wall_s"] * report["engines"]
    return audio_s / engine_s if audio_s and engine_s else None


def seconds_each(recordings: pa.Table, limits: Audio, go_on: Callable[[], bool] = lambda: True) -> np.ndarray:
    """Seconds of audio in each of N RECORDING rows, about: float64 (N,). Where it shall not `go_on`, it looks into no
    more recordings.

    A fixed random sample, which for small inputs is all of them, is asked what its containers state; the others follow
    from their size and the sample's seconds per byte, by file extension. Where no container states anything,
    USUAL_BYTES_PER_S decides. Transcripts to ask about have their length beside them.
    """
    if "duration_s" in recordings.column_names:
        return pc.fill_null(recordings["duration_s"], 0.0).to_numpy()
    usable = pc.is_null(recordings["failure_code"]).to_numpy()
    if MEMBERS.name in recordings.column_names:
        return usable * _of_groups(recordings, lambda rows: seconds_each(rows, limits, go_on))
    sizes = pc.fill_null(recordings["size_bytes"], 0).to_numpy() * usable.astype(float)
    numbers: dict[str, int] = {}  # of the extensions
    kinds = np.array([numbers.setdefault(kind, len(numbers)) for kind in _extensions(recordings["uri"])], np.int32)
    filled = np.flatnonzero(sizes > 0)
    sample = [int(filled[at]) for at in random.Random(0).sample(range(len(filled)), min(len(filled), SAMPLE))]
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        lengths = list(pool.map(lambda at: _whole_s(str(recordings["uri"][at]), limits) if go_on() else None, sample))
    known = {at: length for at, length in zip(sample, lengths, strict=True) if length is not None}
    seconds, size = np.zeros(len(numbers)), np.zeros(len(numbers))
    for at, length in known.items():
        seconds[kinds[at]] += length
        size[kinds[at]] += sizes[at]
    usual = seconds.sum() / size.sum() if known else 1 / USUAL_BYTES_PER_S  # of extensions that the sample misses
    rates = np.divide(seconds, size, out=np.full(len(numbers), usual), where=size > 0)
    found = sizes * rates[kinds]
    found[list(known)] = list(known.values())
    starts, ends = (
        pc.fill_null(recordings[name], value).to_numpy()
        for name, value in (("range_start_s", 0.0), ("range_end_s", np.inf))
    )
    return np.maximum(0.0, np.minimum(found, ends) - starts)


def _of_groups(recordings: pa.Table, seconds: Callable[[pa.Table], np.ndarray]) -> np.ndarray:
    """What `seconds` says of rows of which some are groups of recordings, summed for each."""
    members = recordings[MEMBERS.name].combine_chunks()
    alone, found = pc.is_null(members), np.zeros(len(recordings))
    found[alone.to_numpy(zero_copy_only=False)] = seconds(recordings.drop_columns([MEMBERS.name]).filter(alone))
    together = pa.Table.from_struct_array(pc.list_flatten(members))
    return found + np.bincount(pc.list_parent_indices(members), seconds(together), len(recordings))


def _extensions(uris: pa.ChunkedArray) -> Iterator[str]:
    for chunk in uris.chunks:
        yield from (os.path.splitext(str(uri))[1].lower() for uri in chunk.to_pylist())


def _whole_s(uri: str, limits: Audio) -> float | None:
    """Seconds of a recording, as its container states or lets estimate; None where it does not."""
    complete = False
    try:
        with fetch.ends_of(uri) as (path, complete):
            return media.probe(path, limits).duration_s
    except RecordingError as error:
        return 0.0 if complete and not error.transient else None
