"""What planning costs where there is very much to plan: `python -m bench.planning [COUNT [CASE ...]]` (default a
million, and all cases: disk s3 none manifest).

A synthetic bucket of COUNT objects, listed as S3 would list them: with an output on disk, or on an S3 server of this
machine, that holds a row for each but the last thousand; with none. And a manifest of COUNT rows. Nothing is
transcribed. The outputs are as runs write them, in parts of 10,000 rows with texts; a plan is measured in a process of
its own, from its start to the choice of a night, with the bytes that it reads and its requests to S3.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from s3fs import S3FileSystem

from bench.harness import in_own_process
from bench.speech import write
from demo.s3 import embedded_s3
from pipeline import estimate, nightly, planning, store
from pipeline.ledger import parts
from pipeline.nightly import Nightly
from pipeline.settings import Settings
from pipeline.sources import listing
from pipeline.tasks.transcribe.schema import TRANSCRIPT

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
ENGINE = {"family": "scripted", "model": "none"}
NEW = 1_000  # objects without a row
ROWS_OF_A_PART, CHARACTERS = 10_000, 600  # a minute of speech


def bucket(count: int, output: str) -> int:
    """Plan a night over a synthetic bucket; returns how many recordings there are to do."""
    facts = {"input": "s3://bucket/calls/", "output": output, "engine": ENGINE, "engine_speed": 100.0}
    with (
        patch.object(listing, "walk", lambda _: _objects(count)),
        patch.object(store, "look", lambda _: None),
        patch.object(estimate, "_whole_s", lambda *_: 60.0),
    ):
        night = nightly.choose(planning.plan(Nightly.model_validate(facts)), max_engine_hours=50.0)
    return night.plan.count + night.waiting


def manifest(count: int, folder: str) -> int:
    """Plan a run over a manifest whose rows are parts of one recording."""
    Path(folder).mkdir()
    recording, path = Path(folder, "one.wav"), Path(folder, "manifest.parquet")
    write(recording, np.zeros(160, dtype=np.int16))
    schema = pa.schema([("uri", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())])
    with pq.ParquetWriter(path, schema) as file:
        for at in range(0, count, ROWS_OF_A_PART):
            starts = np.arange(at, min(count, at + ROWS_OF_A_PART), dtype=np.float64)
            columns = [pa.array([str(recording)] * len(starts)), pa.array(starts), pa.array(starts + 1.0)]
            file.write_table(pa.Table.from_arrays(columns, schema=schema))
    settings = Settings.model_validate({"input": str(path), "output": f"{folder}/out", "engine": ENGINE})
    return planning.plan(settings).count


def fill(count: int, output: str) -> int:
    """Write an output with a row for each of so many objects; returns its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "one.wav"), np.zeros(160, dtype=np.int16))
        facts = {"input": folder, "output": f"{folder}/out", "engine": ENGINE}
        about = planning.plan(Nightly.model_validate(facts)).about
    words, draw = np.array("the of and to in is that for it was on with".split()), np.random.default_rng(0)
    rows = []
    for _ in range(ROWS_OF_A_PART):
        text = " ".join(draw.choice(words, CHARACTERS // 3))[:CHARACTERS]
        segments = [{"segment_index": 0, "start_s": 0.0, "end_s": 60.0, "text": text}]
        row = dict.fromkeys(("recording_id", "place", "uri", "run_id", "model", "model_revision"), "")
        row |= {"pipeline_version": "", "fingerprint": about["fingerprint"], "outcome": "ok"}
        rows.append(row | {"text": text, "segments": segments, "duration_s": 60.0, "language": "en"})
    part, names, size = pa.Table.from_pylist(rows, TRANSCRIPT), [], 0
    found = _objects(count)
    while keys := list(islice(found, ROWS_OF_A_PART)):
        uris, own = pa.array([f"s3://{name}" for name, _ in keys]), part.slice(0, len(keys))
        versions = pa.array([store.content_version(info) for _, info in keys])
        ids = pc.utf8_slice_codeunits(versions, 0, 24)
        columns = {"recording_id": ids, "place": uris, "uri": uris, "content_version": versions}
        for name, column in columns.items():
            own = own.set_column(own.schema.get_field_index(name), TRANSCRIPT.field(name), column)
        names.append(f"transcripts/run_id=one/part-{len(names):06d}.parquet")
        data = parts.parquet(own)
        size += len(data)
        store.create(f"{output}/{names[-1]}", data)
    report = {"run_id": "one", "task": "transcribe", "finished_at": "2026", "segments": [], "transcripts": names}
    store.create(f"{output}/runs/one.json", parts.to_json(report))
    return size


def _objects(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for at in range(count):
        version = hashlib.blake2b(at.to_bytes(8), digest_size=16).hexdigest()
        info = {"type": "file", "size": 1_000_000 + at % 1_000, "ETag": f'"{version}"'}
        name = f"bucket/calls/{at // 1_000:05d}/recording-{at:08d}.mp3"
        yield name, info | {"LastModified": SINCE + timedelta(seconds=at)}


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Counts requests to S3 and the bytes of their answers; and the bytes that this process reads, of whatever."""
    counts, call = Counter[str](), S3FileSystem._call_s3

    async def counting(files: S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        answer = await call(files, method, *args, **kwargs)
        counts["requests"] += 1
        counts["bytes from S3"] += answer.get("ContentLength", 0) if method == "get_object" else 0
        return answer

    before = _read()
    with patch.object(S3FileSystem, "_call_s3", counting):
        yield counts
    counts["bytes"] = _read() - before


def _read() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def measure(
    what: Callable[[int, str], int], count: int, place: str, todo: int
) -> tuple[float, float, float, float, int]:
    """Seconds; the peak of this process in MB, after and before; MB read; requests to S3."""
    before, started = _peak_mb(), time.monotonic()
    with _counted() as counts:
        assert what(count, place) == todo
    read = counts["bytes from S3"] or counts["bytes"]
    return time.monotonic() - started, _peak_mb(), before, read / 1e6, counts["requests"]


def main() -> None:
    """Run all and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    cases = sys.argv[2:] or ["disk", "s3", "none", "manifest"]
    table = Table("", "seconds", "peak MB", "of it before", "MB read", "requests", title="planning")

    with tempfile.TemporaryDirectory() as folder, embedded_s3("bench"):
        for case in cases:
            name, todo = f"{count:,} objects", NEW
            what, place = bucket, "s3://bench/out" if case == "s3" else f"{folder}/{case}"
            if case in ("disk", "s3"):
                stored = in_own_process(fill, count - NEW, place)
                name += f", {count - NEW:,} done in {stored / 1e6:,.0f} MB ({case})"
            elif case == "none":
                name, todo = f"{name}, none done", count
            else:
                what, name, todo = manifest, f"a manifest of {count:,} rows", count
            table.add_row(name, *(f"{value:,.0f}" for value in in_own_process(measure, what, count, place, todo)))
    Console(width=140).print(table)


def _peak_mb() -> float:
    # Not getrusage: what that says begins with the peak of the process that started this one.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
