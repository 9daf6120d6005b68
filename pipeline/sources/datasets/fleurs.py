"""FLEURS (Conneau et al., arXiv 2205.12446): 102 configurations such as en_us; in its two layouts.

Original: `{config}/{split}.tsv`, without a header, and `{config}/audio/{split}.tar.gz` (or that folder unpacked).
Parquet: `{config}/{split}-*.parquet` or `{config}/{split}/*.parquet`, with the audio's bytes in the rows.
"""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigurationError
from pipeline.sources.datasets.base import Clips, Corpus, Part, Utterance, examples, is_file_name, open_root, uri_of

COLUMNS = ("id", "file_name", "raw_transcription", "transcription", "characters", "num_samples", "gender")
FOLDERS = ("", "data", "parquet-data")  # of the hub's repository
SPLITS = {"train": ("train",), "dev": ("dev", "validation"), "validation": ("dev", "validation"), "test": ("test",)}
ROWS_AT_ONCE = 16
MAX_CLIP_BYTES = 256 << 20
# The number of utterances, from dataset_info in the card of google/fleurs on the Hugging Face hub.
TEST_COUNTS = {
    "ar_eg": 428,
    "cmn_hans_cn": 945,
    "de_de": 862,
    "en_us": 647,
    "es_419": 908,
    "fr_fr": 676,
    "hi_in": 418,
    "it_it": 865,
    "ja_jp": 650,
    "nl_nl": 364,
    "pt_br": 919,
}
# ISO 639-1 codes where a configuration's name does not begin with one.
CODES = {"cmn": "zh", "fil": "tl"}


def read(root: str, config: str, split: str, reference: str) -> Part:
    """One configuration's split. `id` is the sentence: it comes one to three times; the file name is unique.

    Raises:
        ConfigurationError: it is not there, or has no such column.
    """
    if split not in SPLITS:
        raise ConfigurationError(f"--split {split}: FLEURS has {', '.join(SPLITS)}")
    files, path = open_root(root)
    prefix = config.split("_", maxsplit=1)[0]
    for folder in FOLDERS:
        base = posixpath.join(path, folder, config)
        for name in SPLITS[split]:
            part = Part(config, split, CODES.get(prefix, prefix), [])
            if files.exists(f"{base}/{name}.tsv"):
                return _original(files, root, base, name, reference=reference, part=part)
            if tables := sorted([*files.glob(f"{base}/{name}-*.parquet"), *files.glob(f"{base}/{name}/*.parquet")]):
                return _parquet(files, tables, reference, part)
    raise ConfigurationError(f"--input {root}: no FLEURS configuration {config} with a split {split} there")


def _original(files: Any, root: str, base: str, split: str, *, reference: str, part: Part) -> Part:
    if reference not in COLUMNS:
        raise ConfigurationError(f"--reference {reference}: FLEURS has {', '.join(COLUMNS)}")
    place = f"{part.config}/{split}.tsv"
    archive, folder = f"{base}/audio/{split}.tar.gz", f"{base}/audio/{split}"
    unpacked = uri_of(root, folder) if files.isdir(folder) else None
    seen: set[str] = set()
    for number, line in enumerate(files.cat_file(f"{base}/{split}.tsv").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = dict(zip(COLUMNS, line.decode().rstrip("\r").split("\t"), strict=True))
        except ValueError:
            fields = line.count(b"\t") + 1
            part.problems.append(f"{place} line {number}: left out, {fields} fields in UTF-8 expected to be 7")
            continue
        name = row["file_name"]
        if trouble := _trouble(name, row[reference], seen):
            part.problems.append(f"{place} line {number}: left out, {trouble}")
            continue
        seen.add(name)
        uri = f"{unpacked}/{name}" if unpacked else None
        part.utterances.append(Utterance(name, row[reference], row["id"], uri))

    def unpack(names: set[str]) -> Clips:
        if not files.exists(archive):
            part.problems.append(f"{part.config}/audio/{split}.tar.gz does not exist")
            return
        unknown = []
        try:
            with files.open(archive, "rb") as file, tarfile.open(fileobj=file, mode="r|gz") as members:
                for member in members:
                    name = posixpath.basename(member.name)
                    if member.isfile() and name not in seen:
                        unknown.append(name)
                    elif member.isfile() and name in names and member.size <= MAX_CLIP_BYTES:
                        content = members.extractfile(member)
                        assert content is not None
                        yield name, content.read()
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            part.problems.append(f"{part.config}/audio/{split}.tar.gz is damaged, what follows is lost: {error}")
        if unknown:
            part.problems.append(f"{place} has no line for {len(unknown)} clips: {examples(unknown)}")

    return Part(part.config, part.split, part.language, part.utterances, part.problems, None if unpacked else unpack)


def _parquet(files: Any, tables: Sequence[str], reference: str, part: Part) -> Part:
    seen: set[str] = set()
    for table in tables:
        try:
            with files.open(table, "rb") as file:
                rows = pq.ParquetFile(file).read(columns=["id", "path", "audio.path", reference]).to_pylist()
        except (pa.ArrowException, OSError, KeyError) as error:
            part.problems.append(f"{posixpath.basename(table)} cannot be read: {error}".splitlines()[0])
            continue
        if rows and reference not in rows[0]:
            raise ConfigurationError(f"--reference {reference}: {posixpath.basename(table)} has no such column")
        for number, row in enumerate(rows, 1):
            name = posixpath.basename((row["audio"] or {}).get("path") or row["path"] or "")
            if trouble := _trouble(name, row[reference], seen):
                part.problems.append(f"{posixpath.basename(table)} row {number}: left out, {trouble}")
                continue
            seen.add(name)
            part.utterances.append(Utterance(name, row[reference], str(row["id"])))

    def unpack(names: set[str]) -> Clips:
        for table in tables:
            try:
                with files.open(table, "rb") as file:
                    for batch in pq.ParquetFile(file).iter_batches(ROWS_AT_ONCE, columns=["path", "audio"]):
                        for row in batch.to_pylist():
                            audio = row["audio"] or {}
                            name = posixpath.basename(audio.get("path") or row["path"] or "")
                            if name in names and audio.get("bytes"):
                                yield name, audio["bytes"]
            except (pa.ArrowException, OSError) as error:
                part.problems.append(f"{posixpath.basename(table)} cannot be read: {error}".splitlines()[0])

    return Part(part.config, part.split, part.language, part.utterances, part.problems, unpack)


def _trouble(name: str, reference: str | None, seen: set[str]) -> str | None:
    if not is_file_name(name):
        return f"{name!r:.80} is no file name"
    if name in seen:
        return f"{name} came before"
    return None if reference and reference.strip() else f"no reference for {name}"


CORPUS = Corpus(read, "transcription", "fleurs", {(config, "test"): count for config, count in TEST_COUNTS.items()})
