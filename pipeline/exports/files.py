"""The tables of an output as files: for each recording, in the folders of the input, or one for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.exports import manifests
from pipeline.exports.formats import PER_EXPORT, PER_RECORDING, FormatName
from pipeline.exports.names import FileNames, roots
from pipeline.exports.reading.audio import Places
from pipeline.exports.reading.sample import Sample
from pipeline.exports.reading.site import SAMPLE, Site
from pipeline.ledger import keys, parts
from pipeline.ledger.newest import Newest
from pipeline.registry import ASK, TRANSCRIBE
from pipeline.schema import Outcome
from pipeline.settings import JobSettings
from pipeline.sources.listing import is_hidden
from pipeline.tasks.transcribe import speakers

WRITES_AT_ONCE = 16

Row = dict[str, Any]


class Export(JobSettings):
    """Write transcripts as subtitles, text, JSON, pages, and the formats of scoring and training tools: one file for
    each recording, in the folders of the input, or one for all.

    The newest published transcript of each recording counts. Failed recordings get only a JSON file, and a page with
    html.

    Examples:

        python -m jobs.export --input s3://bucket/transcripts --output s3://bucket/captions
        python -m jobs.export --input transcripts/ --output captions/ --formats srt,vtt
        python -m jobs.export --input transcripts/ --output training/ --formats nemo
        python -m jobs.export --input transcripts/ --output pages/ --formats html --copy-audio opus
    """

    model_config = SettingsConfigDict(env_prefix="VOXTRAL_EXPORT_", cli_prog_name="python -m jobs.export")

    input: str
    """What a transcription job wrote: its --output."""
    output: str
    """Where the files go: a bucket prefix or a directory. Files of the same name are replaced."""
    formats: tuple[FormatName, ...] = Field(default=("srt", "vtt", "txt", "json"))
    """Which files to write. `ctm` and `vtt-words` need the words of `jobs.transcribe --words`, `rttm` the turns of
    speakers. `nemo` is one manifest.jsonl for all, `audiofolder` one metadata.jsonl, which belongs beside the audio.
    `html` is a folder of pages to search, hear and correct transcripts in: open its index.html."""
    run_id: str | None = None
    """Take this run alone."""
    answers: str | None = None
    """html: what jobs.ask wrote, to show beside the texts. Default: --input, if there are answers."""
    audio_base: str | None = Field(default=None, pattern="^https?://")
    """html: the URL below which the recordings are, by their paths below the input. Default: their own place, by a
    relative path, where that is on the same disk or in the same bucket as --output."""
    sign_hours: float | None = Field(default=None, gt=0, le=168)
    """html: link recordings in object storage with signed URLs that are valid for so long; anyone who has the page can
    open them. Temporary credentials end them earlier. [hours]"""
    copy_audio: Literal["opus"] | None = None
    """html: write a compressed copy of each recording beside the pages, 8 to 15 MB per hour. It plays what the model
    heard, whatever the recording's format."""
    sample_for_review: int | None = Field(default=None, ge=2)
    """html: draw so many segments at random, in proportion to languages and flags, and lead people through these; with
    their corrections jobs.evaluate --corrections estimates the error rates of all segments."""


@dataclass(frozen=True)
class Exported:
    """What was written: how many files of each format per recording, how many lines of each per export; how many
    recordings failed; the folder that the paths of `audiofolder` are relative to; how many pages have no audio; of how
    many segments how many are to be reviewed, as Sample.size has it."""

    files: Counter[str]
    lines: Counter[str]
    failed: int
    audio_root: str
    silent: int
    sample: Row | None


def export(settings: Export) -> Exported:
    """Write the files.

    Raises:
        ConfigurationError: there are no published transcripts, or they cannot be read; `audiofolder` was asked for, and
            the recordings have no folder in common; an option would have no effect.
        JobError: a file cannot be written.
    """
    _check_options(settings)
    with storage_errors.errors_as(ConfigurationError, f"--input {settings.input}", storage_errors.READ_ERRORS):
        found = parts.of_task(parts.reports(settings.input), TRANSCRIBE)
        reports = [report for report in found if settings.run_id in (None, report["run_id"])]
        newest = Newest(settings.input, reports)
    if not newest.parts:
        run = f" of a run {settings.run_id}" if settings.run_id else ""
        raise ConfigurationError(f"--input {settings.input}: no published transcripts{run}")
    inputs = [report["input"] for report in reports]
    _check_place_of_copies(settings, inputs)
    kinds = list(dict.fromkeys(settings.formats))
    per_recording = [kind for kind in kinds if kind in PER_RECORDING]
    per_export = [kind for kind in kinds if kind in PER_EXPORT]
    root = (
        manifests.audio_root(inputs, *newest.first_and_last_uri())
        if any(PER_EXPORT[kind].below_root for kind in per_export)
        else ""
    )
    output = settings.output.rstrip("/")
    taken = [SAMPLE.removesuffix(".json")] if settings.sample_for_review else []
    names = FileNames(newest.rows() if len(kinds) > len(per_export) else (), inputs, taken)

    def write(row: Row) -> list[str]:
        written = [kind for kind in per_recording if _has_file(row, kind)]
        for kind in written:
            made = PER_RECORDING[kind]
            store.replace(f"{output}/{names.of(row)}.{made.extension}", made.write(row).encode())
        return written

    sample = _sample(settings, newest, names)
    files, lines, failed, silent = Counter[str](), Counter[str](), 0, 0
    of_part = {name: report for report in reports for name in report["transcripts"]}
    with (
        storage_errors.errors_as(JobError, f"--output {settings.output}"),
        ThreadPoolExecutor(WRITES_AT_ONCE) as pool,
        ExitStack() as opened,
    ):
        # Object storage takes a file when it is complete.
        all_in_one = {kind: opened.enter_context(NamedTemporaryFile()) for kind in per_export}
        site = opened.enter_context(_site(settings, inputs, pool, sample)) if "html" in kinds else None
        for name, counts in newest.parts.items():
            with storage_errors.errors_as(ConfigurationError, f"--input {settings.input}", storage_errors.READ_ERRORS):
                table = parts.read_recordings(settings.input, name)
                segments = _segments(settings.input, table) if site else []
            rows = table.filter(pa.array(counts)).to_pylist()
            rows = [row | {"segments": speakers.of_segments(row["segments"], row.get("turns"))} for row in rows]
            for written in pool.map(write, rows):
                files.update(written)
            whole = [row for row in rows if row["channel"] is None]
            failed += sum(row["outcome"] == Outcome.FAILED for row in whole)
            if site:
                named = [(row, names.of(row)) for row in whole]
                silent += site.add(named, segments, of_part[name])
                files["html"] += len(whole)
            for kind, file in all_in_one.items():
                made = [line for row in whole for line in PER_EXPORT[kind].lines(row, root)]
                file.writelines(line.encode() for line in made)
                lines[kind] += len(made)
        for kind, file in all_in_one.items():
            file.flush()
            store.replace_from(f"{output}/{PER_EXPORT[kind].name}", Path(file.name))
    return Exported(files, lines, failed, root, silent, sample and sample.size)


def _sample(settings: Export, newest: Newest, names: FileNames) -> Sample | None:
    if not settings.sample_for_review:
        return None
    with storage_errors.errors_as(ConfigurationError, f"--input {settings.input}", storage_errors.READ_ERRORS):
        return Sample(_whole(settings.input, newest), names.of, settings.sample_for_review)


def _whole(source: str, newest: Newest) -> Iterator[Row]:
    """What a sample is drawn from: of the rows that count those about whole recordings, with their segments."""
    columns = ["run_id", "segments"]
    for name, counts in newest.parts.items():
        rows = parts.read_recordings(source, name, columns).filter(pa.array(counts))
        yield from keys.whole(rows).to_pylist()


def _site(settings: Export, inputs: Sequence[str], pool: ThreadPoolExecutor, sample: Sample | None) -> Site:
    audio = (settings.audio_base, settings.sign_hours, settings.copy_audio)
    answers = settings.answers or settings.input
    with storage_errors.errors_as(ConfigurationError, f"--answers {answers}", storage_errors.READ_ERRORS):
        return Site(Places(settings.output, roots(inputs), *audio), answers, pool, sample)


def _segments(source: str, transcripts: pa.Table) -> list[Row]:
    """The rows of segments about the same recordings as a part of the transcripts, which names their file."""
    name = (transcripts.schema.metadata or {}).get(b"segments")
    return parts.read_part(source, name.decode()).to_pylist() if name else []


def _has_file(row: Row, kind: str) -> bool:
    made = PER_RECORDING[kind]
    if row["outcome"] == Outcome.FAILED:
        return made.of_failed
    return made.column is None or row.get(made.column) is not None  # columns that are younger than others


def _check_place_of_copies(settings: Export, inputs: Sequence[str]) -> None:
    """Raise ConfigurationError where the next job would take copies of recordings for recordings."""

    def folder(place: str) -> str:
        return store.join(*store.split(place)).rstrip("/") + "/"

    for place in sorted(set(inputs)) if settings.copy_audio else ():
        output, root = folder(settings.output), folder(place)
        if output.startswith(root) and not is_hidden(output.removeprefix(root)):
            raise ConfigurationError(
                f"--output {settings.output}: is below {place}, whose next transcription would take the copies of"
                " --copy-audio for recordings: choose another place"
            )


def _check_options(settings: Export) -> None:
    """Raise ConfigurationError where an option would have no effect."""
    audio = {
        "--audio-base": settings.audio_base,
        "--sign-hours": settings.sign_hours and f"{settings.sign_hours:g}",
        "--copy-audio": settings.copy_audio,
    }
    given = [f"{flag} {value}" for flag, value in audio.items() if value is not None]
    others = {"--answers": settings.answers, "--sample-for-review": settings.sample_for_review}
    of_pages = [*given, *(f"{flag} {value}" for flag, value in others.items() if value is not None)]
    if of_pages and "html" not in settings.formats:
        raise ConfigurationError(
            f"{', '.join(of_pages)}: only pages use this, and --formats is {','.join(settings.formats)}; add html to"
            " --formats, or leave it out"
        )
    if len(given) > 1:
        raise ConfigurationError(f"{', '.join(given)}: pages take their audio from one place; give one of these")
    if settings.answers is not None:
        with storage_errors.errors_as(ConfigurationError, f"--answers {settings.answers}", storage_errors.READ_ERRORS):
            found = parts.of_task(parts.reports(settings.answers), ASK)
        if not found:
            raise ConfigurationError(
                f"--answers {settings.answers}: no published answers; name the --output of jobs.ask, or leave it out"
            )
