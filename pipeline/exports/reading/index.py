"""The index of all recordings, cut into files of a bounded size that page/shards.js loads: rows, all at once; texts,
where a row is looked at; and the rows of terms, where one is searched for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.exports.reading.page import inline_json
from pipeline.exports.reading.search_terms import SearchTerms

ROWS = 5_000  # of one file
TEXT_BYTES = 64 << 10  # about, of one file; a longer text has a file of its own
TERM_BYTES = 64 << 10  # likewise
LISTS = (
    "folder",
    "date",
    "language",
    "outcome",
    "flags",
    "speakers",
    "review",
)  # columns whose values come again and again

Row = Mapping[str, Any]
Write = Callable[[str, bytes], None]


class Index:
    """Takes in recordings one by one, and writes files as they are full. Rows are numbered as they come."""

    def __init__(self, write: Write, folder: Path) -> None:
        """`write` gets a file's name and content; `folder` holds temporary files."""
        self._write, self._terms = write, SearchTerms(folder)
        self._rows: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._count, self._text_bytes = 0, 0
        self._made_at = datetime.now(UTC).isoformat(timespec="milliseconds")  # tells the files of exports apart
        self._first_rows: list[int] = []  # of the files of texts

    def add(self, row: Row, name: str, page: str, date: datetime, to_review: int = 0) -> None:
        """Take in a recording's transcript; `page` is the path of its page, `to_review` how many of its segments are in
        the sample."""
        text = row["text"] or ""
        size = len(text.encode())
        if self._texts and self._text_bytes + size > TEXT_BYTES:
            self._flush_texts()
        self._texts.append(text)
        self._text_bytes += size
        folder, _, file = name.rpartition("/")
        given_id = [row["recording_id"]] if row["place"].startswith("id:") else []  # others are hashes
        self._terms.add(self._count, [text, name, *given_id])
        voices = [*(row["segments"] or []), *(row.get("turns") or [])]
        self._rows.append(
            {
                "name": file,
                "page": page,
                "duration": None if row["duration_s"] is None else round(row["duration_s"] * 10),
                "folder": folder,
                "date": date.date().isoformat(),
                "language": row["language"] or "",
                "outcome": row["outcome"] + (f": {row['failure_code']}" if row["failure_code"] else ""),
                "flags": " ".join(sorted(row["flags"] or [])),
                "speakers": "\n".join(sorted({one["speaker"] for one in voices if one.get("speaker")})),
                "review": str(to_review or ""),
            }
        )
        self._count += 1
        if len(self._rows) == ROWS:
            self._flush_rows()

    def close(self, sample: Mapping[str, Any] | None = None) -> None:
        """Write what is left, and data/about.js, which says what there is; `sample`: of what segments are to be
        reviewed."""
        self._flush_rows()
        self._flush_texts()
        words = self._write_terms()
        about = {
            "rows": self._count,
            "rows_per_file": ROWS,
            "texts": self._first_rows,
            "words": words,
            "sample": sample,
            "made_at": self._made_at,
        }
        self._data("about", 0, about)

    def _data(self, kind: str, number: int, value: Any) -> None:
        name = "data/about.js" if kind == "about" else f"data/{kind}-{number}.js"
        self._write(name, f'receive("{kind}",{number},{inline_json(value)},"{self._made_at}")\n'.encode())

    def _flush_rows(self) -> None:
        if not self._rows:
            return
        columns: dict[str, Any] = {"name": [], "duration": [], "pages": []}
        for at, row in enumerate(self._rows):
            columns["name"].append(row["name"])
            columns["duration"].append(row["duration"])
            if row["page"] != usual_page(row["folder"], row["name"]):
                columns["pages"].append([at, row["page"]])
        for name in LISTS:
            values = [value for value, _ in Counter(row[name] for row in self._rows).most_common()]
            numbers = {value: number for number, value in enumerate(values)}
            columns[name] = {"values": values, "rows": _runs([numbers[row[name]] for row in self._rows])}
        self._data("rows", (self._count - 1) // ROWS, columns)
        self._rows = []

    def _flush_texts(self) -> None:
        if self._texts:
            self._data("texts", len(self._first_rows), self._texts)
            self._first_rows.append(self._count - len(self._texts))
        self._texts, self._text_bytes = [], 0

    def _write_terms(self) -> list[list[Any]]:
        """The files of terms; returns the first term of each, and its size."""
        found: list[list[Any]] = []
        lines: list[str] = []
        size = 0

        def flush() -> None:
            self._data("words", len(found), "\n".join(lines))
            found.append([lines[0].split(" ")[0], size])

        for term, rows in self._terms.all():
            line = f"{term} {rows}"
            if lines and size + len(line) > TERM_BYTES:
                flush()
                lines, size = [], 0
            lines.append(line)
            size += len(line) + 1
        if lines:
            flush()
        return found


def usual_page(folder: str, name: str) -> str:
    """The page of most recordings, which the index need not name; page/catalogue.js knows the rule, too."""
    stem = name[: name.rfind(".")] if name.rfind(".") > 0 else name
    return f"recordings/{folder}{folder and '/'}{stem}.html"


def _runs(numbers: Sequence[int]) -> list[int]:
    """Runs of one number as pairs: the number, and how often it comes; where that is shorter than the numbers."""
    pairs: list[int] = []
    for number in numbers:
        if pairs and pairs[-2] == number:
            pairs[-1] += 1
        else:
            pairs += (number, 1)
    return [-1, *pairs] if len(pairs) < len(numbers) else list(numbers)
