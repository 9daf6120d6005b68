"""Mozilla Common Voice as it is downloaded and unpacked: `{locale}/{split}.tsv` with a header, `{locale}/clips/`."""

from __future__ import annotations

import csv
import io

from pipeline.errors import ConfigurationError
from pipeline.sources.datasets.base import Corpus, Part, Utterance, is_file_name, open_root, uri_of


def read(root: str, config: str, split: str, reference: str) -> Part:
    """One locale's split. The clips are transcribed where they lie.

    Raises:
        ConfigurationError: it is not there, or has no such column.
    """
    files, path = open_root(root)
    table = f"{path}/{config}/{split}.tsv"
    clips = uri_of(root, f"{path}/{config}/clips")
    if clips is None or not files.exists(table):
        raise ConfigurationError(f"--input {root}: no Common Voice {config}/{split}.tsv there")
    part = Part(config, split, config.split("-", maxsplit=1)[0].lower(), [])
    data = files.cat_file(table)
    lines = csv.reader(io.StringIO(data.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = next(lines, [])
    if lacking := {"path", reference} - set(columns):
        raise ConfigurationError(f"--input {root}: {config}/{split}.tsv has no column {', '.join(sorted(lacking))}")
    for line in lines:
        row = dict(zip(columns, line, strict=False))
        name, text = row.get("path") or "", row.get(reference) or ""
        if len(line) != len(columns) or not is_file_name(name) or not text.strip() or "\ufffd" in text:
            place = f"{config}/{split}.tsv line {lines.line_num}"
            part.problems.append(f"{place}: left out, {len(line)} fields of {len(columns)}, clip {name!r:.80}")
            continue
        part.utterances.append(Utterance(name, text, text, f"{clips}/{name}"))
    return part


CORPUS = Corpus(read, "sentence", "common_voice_15.1")
