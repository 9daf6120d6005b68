"""Transcripts as one file for the whole export, JSON lines, which tools that train on speech read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline import store
from pipeline.errors import ConfigurationError
from pipeline.exports.spoken import Row
from pipeline.schema import Outcome


def nemo(row: Row, root: str) -> Iterator[str]:
    """NVIDIA NeMo's manifest: a line for each segment with text, since NeMo trains on pieces of less than a minute.

    `audio_filepath` is the recording's URI; `offset` is in seconds of it. NeMo takes the channel from its setting
    `channel_selector`, and ignores `channel`, which is here where channels were split.
    """
    for segment in row["segments"]:
        if text := " ".join((segment["text"] or "").split()):
            yield _line(
                audio_filepath=row["uri"],
                offset=round(segment["start_s"], 3),
                duration=round(segment["end_s"] - segment["start_s"], 3),
                text=text,
                lang=segment["language"] or row["language"],
                **({} if segment["channel"] is None else {"channel": segment["channel"]}),
            )


def audiofolder(row: Row, root: str) -> Iterator[str]:
    """Metadata for Hugging Face's `load_dataset("audiofolder")`: a line for each recording with a text, except those of
    which a manifest names a part, since a line is about a whole file.

    `file_name` is relative to `root`. A column has one type in all lines, as the loader wants it: "" for no language,
    and flags as one text.
    """
    is_part = row.get("range_start_s") is not None or row.get("range_end_s") is not None
    if row["outcome"] != Outcome.FAILED and not is_part:
        yield _line(
            file_name=row["uri"].removeprefix(root),
            text=row["text"],
            language=row["language"] or "",
            duration_s=row["duration_s"],
            recording_id=row["recording_id"],
            outcome=row["outcome"],
            flags=" ".join(row["flags"] or ()),
        )


def audio_root(inputs: Sequence[str], first: str, last: str) -> str:
    """The folder that metadata.jsonl belongs into, with a slash at its end: that of the inputs, or of the manifests;
    where a recording lies elsewhere, the deepest folder with all of them.

    `first` and `last` are the recordings' URIs that sort first and last: what both begin with, all begin with.

    Raises:
        ConfigurationError: they have no folder in common.
    """
    roots = [store.join(*store.split(source)).rstrip("/") for source in inputs]
    for root in (_folder([f"{one}/" for one in roots]), _folder(roots), _folder([first, last])):
        if root not in ("", "s3://") and first.startswith(root) and last.startswith(root):
            return root
    raise ConfigurationError(
        f"--formats audiofolder: {first} and {last} have no folder in common for metadata.jsonl; export the runs one by"
        " one (--run-id), or copy the recordings to one bucket"
    )


def _folder(uris: Sequence[str]) -> str:
    """What all URIs begin with, up to a slash."""
    first, last = min(uris), max(uris)
    shared = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first[:shared].rfind("/") + 1]


def _line(**facts: Any) -> str:
    return json.dumps(facts, ensure_ascii=False) + "\n"
