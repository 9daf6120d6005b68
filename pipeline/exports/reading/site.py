"""The reading pages of an export, written as transcripts come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from pipeline import identity, store, temporary
from pipeline.exports.names import below_root
from pipeline.exports.reading.answers import Answers
from pipeline.exports.reading.audio import Places
from pipeline.exports.reading.index import Index
from pipeline.exports.reading.page import SegmentKey, asset, page_facts, recording_page
from pipeline.exports.reading.sample import Sample
from pipeline.ledger import parts
from pipeline.settings import Audio

SAMPLE = "sample.json"  # beside the index: the strata, and the segments to review
FOLDER = "recordings"  # of the pages
LIMITS = ("max_object_gb", "max_duration_s", "stall_timeout_s", "cpu_limit_s")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
ASSETS = """shared.js shards.js search.js catalogue.js index.js index.css shared.css player.js transcript.js
    corrections.js recording.js recording.css icon.svg""".split()

Row = dict[str, Any]


class Site:
    """An index, and a page for each recording: add the parts of runs, then leave the context.

    Raises:
        storage_errors.STORAGE_ERRORS: something cannot be written.
    """

    def __init__(self, places: Places, answers: str, pool: Executor, sample: Sample | None = None) -> None:
        """`answers` is where jobs.ask may have written about the recordings; `pool` writes the pages. `sample`: the
        segments to review.

        Raises:
            storage_errors.READ_ERRORS: answers cannot be read.
        """
        self._places, self._pool, self._sample = places, pool, sample
        self._opened = ExitStack()
        folder = self._opened.enter_context(temporary.folder())
        self._answers = Answers(answers, folder)
        self._index = Index(self._write, folder)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._index.close(self._sample and self._sample.size)
                if self._sample:
                    self._write(SAMPLE, parts.to_json(self._sample.facts()))
                for name in ASSETS:
                    self._write(f"page/{name}", asset(name))
                self._write("index.html", asset("index.html"))
        finally:
            self._answers.close()
            self._opened.close()

    def add(self, rows: Sequence[tuple[Row, str]], segments: Sequence[Row], report: Row) -> int:
        """Write the pages of whole recordings, each with the path of its files without extension. `segments` are the
        rows of the other table about the same recordings, and `report` is of their run. Returns how many of the pages
        have no audio."""
        by_recording: dict[str, dict[SegmentKey, Row]] = defaultdict(dict)
        for one in segments:
            whole = identity.whole_id(one["recording_id"], one["channel"])
            by_recording[whole][one["channel"], one["segment_index"]] = one
        date, limits = datetime.fromisoformat(report["finished_at"]), _limits(report)
        for row, name in rows:
            to_review = len(self._drawn(row))
            self._index.add(row, self._title(row), f"{FOLDER}/{name}.html", date, to_review)
        pages = [
            self._pool.submit(self._page, row, name, by_recording.get(row["recording_id"], {}), date, limits)
            for row, name in rows
        ]
        return [page.result() for page in pages].count(False)

    def _page(self, row: Row, name: str, segments: Mapping[SegmentKey, Row], date: datetime, limits: Audio) -> bool:
        path = f"{FOLDER}/{name}.html"
        answers = self._answers.of(row["place"], row["recording_id"])
        facts = page_facts(row, segments, answers, date, self._drawn(row))
        audio = self._places.source(row, path, limits)
        above, beside = "../" * path.count("/"), self._sample.beside(name) if self._sample else (None, None)
        links = [each and above + quote(f"{FOLDER}/{each}.html") for each in beside]
        own = {"review": dict(zip(("previous", "next"), links, strict=True))}
        self._write(path, recording_page(facts | own, audio, self._title(row), above))
        return audio.url is not None

    def _drawn(self, row: Row) -> Mapping[SegmentKey, Row]:
        return self._sample.of(row) if self._sample else {}

    def _title(self, row: Row) -> str:
        """The recording's path below the input, with its time range where it is a part."""
        part = row["place"].removeprefix(row["uri"]) if row["place"].startswith(row["uri"]) else ""
        return below_root(self._places.roots, row["uri"]) + part

    def _write(self, name: str, data: bytes) -> None:
        uri = f"{self._places.output.rstrip('/')}/{name}"
        store.replace(uri, data, TYPES[name[name.rindex(".") :]])


def _limits(report: Row) -> Audio:
    """What a run decoded of a recording at most; of a run that did not say so, the default."""
    try:
        return Audio.model_validate({name: report["settings"]["audio"][name] for name in LIMITS})
    except (KeyError, ValidationError):
        return Audio()
