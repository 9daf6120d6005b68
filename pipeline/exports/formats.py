"""The formats that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.exports import manifests, nist, subtitles, texts
from pipeline.exports.spoken import Row

FormatName = Literal["srt", "vtt", "vtt-words", "txt", "json", "ctm", "rttm", "stm", "nemo", "audiofolder", "html"]


@dataclass(frozen=True)
class PerRecording:
    """A file for each recording, unless `column` is named and null in its row of the transcripts."""

    write: Callable[[Row], str]
    extension: str
    column: str | None = None
    of_failed: bool = False


@dataclass(frozen=True)
class PerExport:
    """One file, of lines about each recording as a whole: of its row, and of the folder that all recordings lie below,
    where `below_root`."""

    lines: Callable[[Row, str], Iterator[str]]
    name: str
    below_root: bool = False


PER_RECORDING: dict[str, PerRecording] = {
    "srt": PerRecording(subtitles.srt, "srt"),
    "vtt": PerRecording(subtitles.vtt, "vtt"),
    "vtt-words": PerRecording(subtitles.vtt_words, "words.vtt", column="words"),
    "txt": PerRecording(texts.txt, "txt"),
    "json": PerRecording(texts.as_json, "json", of_failed=True),
    "ctm": PerRecording(nist.ctm, "ctm", column="words"),
    "rttm": PerRecording(nist.rttm, "rttm", column="turns"),
    "stm": PerRecording(nist.stm, "stm"),
}
PER_EXPORT: dict[str, PerExport] = {
    "nemo": PerExport(manifests.nemo, "manifest.jsonl"),
    "audiofolder": PerExport(manifests.audiofolder, "metadata.jsonl", below_root=True),
}
