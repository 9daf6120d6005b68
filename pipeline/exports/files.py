"""The tables of an output as files: one for each recording and format, in the folders of the input."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, Literal

from pathvalidate import sanitize_filename
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from pipeline import store
from pipeline.errors import ConfigurationError, JobError
from pipeline.exports import captions
from pipeline.ledger import parts
from pipeline.schema import Outcome
from pipeline.settings import JobSettings
from pipeline.tasks.transcribe.task import Transcription

WRITES_AT_ONCE = 16
MAX_NAME_BYTES = 200  # of the 255 that file systems take
# Columns that say what a row is the transcript of, and whether it is the newest.
KEYS = ["recording_id", "place", "uri", "channel", "run_id"]

Row = dict[str, Any]
Place = tuple[str, int | None]  # of a recording, and its channel


class Export(JobSettings):
    """Write transcripts as subtitles, text and JSON: one file for each recording, in the folders of the input.

    The newest published transcript of each recording counts. Failed recordings have a JSON file alone.

    Examples:

        python -m jobs.export --input s3://bucket/transcripts --output s3://bucket/captions
        python -m jobs.export --input transcripts/ --output captions/ --formats srt,vtt
    """

    model_config = SettingsConfigDict(env_prefix="VOXTRAL_EXPORT_", cli_prog_name="python -m jobs.export")

    input: str
    """What a transcription job wrote: its --output."""
    output: str
    """Where the files go: a bucket prefix or a directory. Files of the same name are replaced."""
    formats: tuple[Literal["srt", "vtt", "txt", "json", "ctm"], ...] = Field(default=("srt", "vtt", "txt", "json"))
    """Which files to write. `ctm` has the words of `jobs.transcribe --words` with their times."""
    run_id: str | None = None
    """Take this run alone."""


def export(settings: Export) -> Counter[str]:
    """Write the files; returns how many of each format, and how many recordings "failed".

    Raises:
        ConfigurationError: there are no published transcripts, or they cannot be read.
        JobError: a file cannot be written.
    """
    try:
        found = parts.of_task(parts.reports(settings.input), Transcription.name)
        reports = [report for report in found if settings.run_id in (None, report["run_id"])]
        newest = _newest(settings.input, reports)
    except store.READ_ERRORS as error:
        raise ConfigurationError(f"--input {settings.input}: {store.explain(error)}") from error
    if not newest:
        run = f" of a run {settings.run_id}" if settings.run_id else ""
        raise ConfigurationError(f"--input {settings.input}: no published transcripts{run}")
    names = file_names(list(newest.values()), [report["input"] for report in reports])

    def write(row: Row) -> list[str]:
        failed = row["outcome"] == Outcome.FAILED
        kinds = [kind for kind in dict.fromkeys(settings.formats) if not failed or kind == "json"]
        if row.get("words") is None:
            kinds = [kind for kind in kinds if kind != "ctm"]
        for kind in kinds:
            uri = f"{settings.output.rstrip('/')}/{names[_place(row)]}.{kind}"
            store.replace(uri, captions.FORMATS[kind](row).encode())
        return [*kinds, "failed"] if failed and row["channel"] is None else kinds

    written: Counter[str] = Counter()
    try:
        with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
            for report in reports:
                for name in report["transcripts"]:
                    rows = parts.read_recordings(settings.input, name).to_pylist()
                    for kinds in pool.map(write, [row for row in rows if newest.get(_place(row)) == _key(row)]):
                        written.update(kinds)
    except store.STORAGE_ERRORS as error:
        raise JobError(f"--output {settings.output}: {store.explain(error)}") from error
    return written


def _place(row: Row) -> Place:
    """What a row is the transcript of, whatever the content was at the time."""
    return row["place"], row["channel"]


def _key(row: Row) -> Row:
    return {name: row[name] for name in KEYS}


def _newest(source: str, reports: Sequence[Row]) -> dict[Place, Row]:
    """For each place the KEYS of its newest row. A recording's channels count only if its newest run split them."""
    newest: dict[Place, Row] = {}
    runs: dict[Place, str] = {}  # of the recordings as wholes
    for report in reports:
        for _, table in parts.published(source, [report]):
            for key in table.select(KEYS[:-1]).to_pylist():
                row = key | {"run_id": report["run_id"]}
                newest[_place(row)] = row
                if row["channel"] is None:
                    runs[_place(row)] = row["run_id"]
    return {place: row for place, row in newest.items() if runs.get((place[0], None)) == row["run_id"]}


def file_names(rows: Sequence[Row], inputs: Sequence[str]) -> dict[Place, str]:
    """For each row the path of its files without extension: no two alike whatever the case, safe on any file system.

    It is the recording's path below the input that holds it, or below the manifest's folder, else bucket and key. Where
    two recordings would share one, it keeps their extensions; where that is not enough, it ends with a hash.
    """
    roots = [store.join(*store.split(source)).rstrip("/") for source in inputs]
    roots = sorted({root + "/" for one in roots for root in (one, one.rpartition("/")[0])}, key=len, reverse=True)

    def candidates(row: Row) -> Iterator[str]:
        root = next((root for root in roots if row["uri"].startswith(root) and root not in ("/", "s3://")), "s3://")
        parts = [part for part in row["uri"].removeprefix(root).split("/") if part not in ("", ".", "..")]
        path = PurePosixPath(*(_safe(part) for part in parts)) if parts else PurePosixPath("_")
        channel = "" if row["channel"] is None else f".channel-{row['channel']}"
        yield f"{path.with_suffix('') if path.stem.strip('.') else path}{channel}"
        yield f"{path}{channel}"
        yield f"{path}{channel}.{hashlib.sha256(repr(_place(row)).encode()).hexdigest()[:8]}"

    options = {_place(row): list(candidates(row)) for row in rows}
    folders = {str(folder).casefold() for names in options.values() for folder in PurePosixPath(names[0]).parents}
    names: dict[Place, str] = {}
    taken: set[str] = set()
    for level in range(3):
        waiting = [place for place in options if place not in names]
        wanted = Counter(options[place][level].casefold() for place in waiting)
        for place in waiting:
            name = options[place][level]
            folded = name.casefold()
            is_folder = any(f"{folded}.{kind}" in folders for kind in captions.FORMATS)
            if level == 2 or (wanted[folded] == 1 and folded not in taken and not is_folder):
                names[place] = name
        taken = {name.casefold() for name in names.values()}
    return names


def _safe(part: str) -> str:
    """A name for one folder or file on any file system, with room for what comes behind it."""
    name = sanitize_filename(part, platform="universal", replacement_text="_") or "_"
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    room = MAX_NAME_BYTES - len(suffix.encode())
    return name if len(name.encode()) <= MAX_NAME_BYTES else stem.encode()[:room].decode(errors="ignore") + suffix
