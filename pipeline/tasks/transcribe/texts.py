"""Texts that the runs of an output have published: where each recording's is, and what it says of today's windows."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.digests import DigestTable, digests
from pipeline.ledger import keys, parts
from pipeline.registry import TRANSCRIBE
from pipeline.schema import TRANSIENT, Outcome
from pipeline.sources.listing import Listing
from pipeline.tasks.transcribe.answers import Answer
from pipeline.tasks.transcribe.schema import HYPOTHESIS

TEXTS_FINGERPRINT = "texts_fingerprint"  # in reports: the fingerprint without what is found beside texts
# Columns beside RECORDING: the part with the segments of a recording, relative to the output, and what made its text.
PROVENANCE_OF_TEXT = ("model", "runtime", "runtime_version")
PART = "texts_part"
PASSES = ("words", "speakers")  # what is found beside texts, by the setting
# Why a text does not belong to a window.
OTHER_WINDOWS, OTHER_CONTENT = "windows cut otherwise", "content changed"

ANSWER = [field.name for field in fields(Answer) if field.name != "words"]
_PLACE = ["channel", "start_s", "end_s", "overlap_s"]
# Columns beside WINDOW: the text of a window, and, in place of the text, why it has none. `next_overlap_s`: so much of
# its end is in the next window, too.
KEPT = pa.field(
    "kept", pa.struct([*(HYPOTHESIS.field(name) for name in ANSWER), pa.field("next_overlap_s", pa.float64())])
)
LEFT = pa.field("left", pa.string())

Row = dict[str, Any]
Texts = Mapping[str, Mapping[int, Row]]  # by recording_id and segment_index


class Published:
    """Where the texts with one fingerprint are: of every recording its newest one that nothing would make again. 36
    bytes for each."""

    def __init__(self, output: str, fingerprint: str) -> None:
        """Read what is published below an output; `fingerprint` is that of texts alone.

        Raises:
            storage_errors.READ_ERRORS: it cannot be read.
        """
        reports = parts.of_task(parts.reports(output), TRANSCRIBE)
        found = [report for report in reports if _of_texts(report) == fingerprint]
        self._passes: dict[str, list[str]] = {}  # what there is beside the texts of a part of segments
        for report in found:
            own = [name for name in PASSES if report.get("settings", {}).get(name)]
            self._passes |= dict.fromkeys(report["segments"], own)
        segments = parts.beside(found, "segments")
        sources: dict[tuple[str | None, ...], int] = {}
        self._rows = DigestTable(np.uint64, np.uint64, np.int32)  # its content, and a position among the sources
        for name, every in parts.published(output, found, ["outcome", *PROVENANCE_OF_TEXT]):
            rows = _usable(every)
            made_by = zip(*(rows[column].to_pylist() for column in PROVENANCE_OF_TEXT), strict=True)
            own = [sources.setdefault((segments[name], *one), len(sources)) for one in made_by]
            content = digests(keys.contents(rows))
            self._rows.add(digests(rows["place"]), content[:, 0], content[:, 1], np.array(own, np.int32))
        self._rows.merge()
        self._sources = list(sources)

    def has(self, recordings: pa.Table) -> np.ndarray:
        """Which of N RECORDING rows have a text as they are now: bool (N,)."""
        return self._find(recordings) >= 0

    def beside(self, listing: Listing) -> Listing:
        """A listing of recordings that have a text, in the order of the parts, with PART and PROVENANCE_OF_TEXT."""
        found = self._find(listing.recordings)
        order = np.argsort(found, kind="stable")
        listing, at = listing.take(order), pa.array(found[order])
        recordings = listing.recordings
        for number, name in enumerate((PART, *PROVENANCE_OF_TEXT)):
            values = pa.array([source[number] for source in self._sources], pa.string())
            recordings = recordings.append_column(name, values.take(at).dictionary_encode())
        return replace(listing, recordings=recordings)

    def passes(self, listing: Listing) -> list[str]:
        """Of PASSES those that made something beside the texts of some of the rows that `beside` gives."""
        used = [self._passes[part] for part in pc.unique(listing.recordings[PART]).to_pylist()]
        return [name for name in PASSES if any(name in own for own in used)]

    def _find(self, recordings: pa.Table) -> np.ndarray:
        known, high, low, source = self._rows.find(digests(recordings["place"]))
        content = digests(keys.contents(recordings))
        return np.where(known & (high == content[:, 0]) & (low == content[:, 1]), source, -1)


def _of_texts(report: Row) -> str:
    """The fingerprint of a report's texts. Reports without one are of runs that could find words alone beside them."""
    own = "" if report.get("settings", {}).get("words") else report["fingerprint"]
    return report.get(TEXTS_FINGERPRINT, own)


def _usable(rows: pa.Table) -> pa.Table:
    """The rows that are about whole recordings that have a text, and that no run with these settings would do again."""
    passing = pc.is_in(rows["failure_code"], value_set=pa.array([code.value for code in TRANSIENT]))
    failed = pc.equal(rows["outcome"], Outcome.FAILED.value)
    return rows.filter(pc.and_(pc.is_null(rows["channel"]), pc.invert(pc.or_(passing, failed))))


def read(output: str, recordings: pa.Table) -> Texts:
    """The segments of rows of `Published.beside`.

    Raises:
        storage_errors.READ_ERRORS: they cannot be read.
    """
    found: dict[str, dict[int, Row]] = defaultdict(dict)
    for part in pc.unique(recordings[PART]).to_pylist():
        own = recordings.filter(pc.equal(recordings[PART], part))["recording_id"]
        rows = _part(output, part)
        ids = keys.whole_ids(rows)
        wanted = pc.is_in(ids, value_set=own)
        for name, row in zip(ids.filter(wanted).to_pylist(), rows.filter(wanted).to_pylist(), strict=True):
            found[name][row["segment_index"]] = row
    return found


@lru_cache(maxsize=1)  # a decode task has few of a part's recordings, and the next one has others of them
def _part(output: str, name: str) -> pa.Table:
    return parts.read_part(output, name, ["recording_id", "segment_index", *_PLACE, *ANSWER])


def beside(windows: pa.Table, texts: Texts, versions: Mapping[str, str | None]) -> pa.Table:
    """WINDOW rows with KEPT and LEFT. `versions` are the recordings' content versions, as they are listed."""
    kept: list[Row | None] = []
    left: list[str | None] = []
    for window in windows.drop_columns(["samples"]).to_pylist():
        own, index = texts.get(window["recording_id"], {}), window["segment_index"]
        why = _difference(window, own, versions.get(window["recording_id"]))
        left.append(why)
        if why:
            kept.append(None)
            continue
        following = own.get(index + 1, {})
        is_next = following.get("channel") == window["channel"]
        next_overlap_s = following.get("overlap_s", 0.0) if is_next else 0.0
        kept.append({name: own[index].get(name) for name in ANSWER} | {"next_overlap_s": next_overlap_s})
    table = windows.append_column(KEPT, pa.array(kept, KEPT.type))
    return table.append_column(LEFT, pa.array(left, LEFT.type))


def _difference(window: Row, segments: Mapping[int, Row], version: str | None) -> str | None:
    """Why the segments are not of the recording that a window is of; None where nothing says so."""
    own = segments.get(window["segment_index"])
    same_failure = own and window["failure_code"] in (None, own["failure_code"])
    if not own or not same_failure or any(window[name] != own[name] for name in _PLACE):
        return window["failure_code"] or OTHER_WINDOWS
    if window["segment_count"] is None:
        return None
    if window["content_version"] != version:
        return OTHER_CONTENT
    return None if window["segment_count"] == len(segments) else OTHER_WINDOWS
