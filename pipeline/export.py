"""The tables of an output as files: one for each recording and format, in the folders of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pathvalidate import sanitize_filename
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline import captions, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.schema import Outcome

WRITES_AT_ONCE = 16
PLACES = ["recording_id", "uri", "channel"]  # columns that say where a row's file goes

Row = dict[str, Any]


class Export(BaseSettings):
    """Write transcripts as subtitles, text and JSON: one file for each recording, in the folders of the input.

    The newest published transcript of each recording counts. Failed recordings have a JSON file alone.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="VOXTRAL_EXPORT_",
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
        cli_prog_name="python -m jobs.export",
    )

    input: str
    """What a transcription job wrote: its --output."""
    output: str
    """Where the files go: a bucket prefix or a directory. Files of the same name are replaced."""
    formats: tuple[Literal["srt", "vtt", "txt", "json"], ...] = Field(default=("srt", "vtt", "txt", "json"))
    """What to write."""
    run_id: str | None = None
    """Take this run alone."""


def export(settings: Export) -> Counter[str]:
    """Write the files; returns how many of each format, and how many recordings "failed".

    Raises:
        ConfigurationError: there are no published transcripts, or they cannot be read.
        JobError: a file cannot be written.
    """
    try:
        reports = [r for r in store.reports(settings.input) if settings.run_id in (None, r["run_id"])]
        newest = _newest(settings.input, reports)
    except store.STORAGE_ERRORS as error:
        raise ConfigurationError(f"--input {settings.input}: {store.explain(error)}") from error
    if not newest:
        run = f" of a run {settings.run_id}" if settings.run_id else ""
        raise ConfigurationError(f"--input {settings.input}: no published transcripts{run}")
    names = file_names([place for place, _ in newest.values()], [report["input"] for report in reports])
    written: Counter[str] = Counter()

    def write(row: Row) -> None:
        failed = row["outcome"] == Outcome.FAILED
        written["failed"] += failed
        for kind in settings.formats:
            if not failed or kind == "json":
                text = captions.FORMATS[kind](row)
                store.replace(f"{settings.output.rstrip('/')}/{names[row['recording_id']]}.{kind}", text.encode())
                written[kind] += 1

    try:
        with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
            for report in reports:
                for name in report["transcripts"]:
                    rows = _read(settings.input, name).to_pylist()
                    for _ in pool.map(write, (row for row in rows if newest[row["recording_id"]][1] == name)):
                        pass
    except store.STORAGE_ERRORS as error:
        raise JobError(f"--output {settings.output}: {store.explain(error)}") from error
    return written


def _newest(source: str, reports: Sequence[Row]) -> dict[str, tuple[Row, str]]:
    """For each recording_id its place, and the file that holds its newest row."""
    newest: dict[str, tuple[Row, str]] = {}
    for report in sorted(reports, key=lambda report: report["finished_at"]):
        for name in report["transcripts"]:
            for place in _read(source, name, PLACES).to_pylist():
                newest[place["recording_id"]] = place, name
    return newest


def _read(source: str, name: str, columns: list[str] | None = None) -> pa.Table:
    uri = f"{source.rstrip('/')}/{name}"
    return pq.read_table(pa.BufferReader(store.read(uri)), columns=columns)


def file_names(places: Sequence[Row], inputs: Sequence[str]) -> dict[str, str]:
    """recording_id -> a path without extension, no two alike whatever the case, safe on any file system.

    It is the recording's path below the input that holds it, or below the manifest's folder, else bucket and key. Where
    two recordings would share one, it keeps their extensions; where that is not enough, it ends with the recording_id.
    """
    roots = [store.join(*store.split(source)).rstrip("/") for source in inputs]
    roots = sorted({root + "/" for one in roots for root in (one, one.rpartition("/")[0])}, key=len, reverse=True)

    def candidates(place: Row) -> Iterator[str]:
        uri = store.join(*store.split(place["uri"]))
        root = next((root for root in roots if uri.startswith(root) and root not in ("/", "s3://")), "s3://")
        parts = [part for part in uri.removeprefix(root).split("/") if part not in ("", ".", "..")]
        safe = [sanitize_filename(part, platform="universal", replacement_text="_") or "_" for part in parts]
        path = PurePosixPath(*safe) if safe else PurePosixPath("_")
        channel = "" if place["channel"] is None else f".channel-{place['channel']}"
        yield f"{path.with_suffix('')}{channel}"
        yield f"{path}{channel}"
        yield f"{path}.{sanitize_filename(place['recording_id'], platform='universal', replacement_text='_')}"

    options = {place["recording_id"]: list(candidates(place)) for place in places}
    names: dict[str, str] = {}
    for level in range(3):
        open_ids = [recording_id for recording_id in options if recording_id not in names]
        wanted = Counter(options[recording_id][level].casefold() for recording_id in open_ids)
        taken = {name.casefold() for name in names.values()}
        for recording_id in open_ids:
            name = options[recording_id][level]
            if level == 2 or (wanted[name.casefold()] == 1 and name.casefold() not in taken):
                names[recording_id] = name
    return names
