"""The full-text index: for each term of the texts, the rows that have it. assets/search.js cuts queries into the same
terms, and reads what `encoded` writes.

Texts of a million recordings need not fit into memory: what has been gathered is written to sorted temporary files,
which are merged at the end.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import regex

from pipeline.unspaced import LONG_VOWEL, SCRIPTS

MAX_TERM_CHARS = 40
SPILL_BYTES = 128 << 20
TERM_BYTES = 250  # what a term takes in memory beside its rows
# Signs that people leave out when they search: accents, and the vowel signs of Hebrew and Arabic. Those of other
# scripts tell words apart.
_ACCENTS = regex.compile(
    r"[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670]"
)
_UNSPACED = rf"{SCRIPTS}{LONG_VOWEL}\u3099\u309a"  # the latter: voicing marks, which NFKD sets apart from kana
_RUN = regex.compile(rf"([{_UNSPACED}]+)|[\p{{L}}\p{{M}}\p{{N}}--[{_UNSPACED}]]+", regex.V1)
_ASCII_WORD = re.compile("[a-z0-9]+")  # as _RUN finds them, several times as fast
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def terms(text: str) -> set[str]:
    """The terms of a text: its words, without case and accents; in scripts that are written without spaces, each
    character with the one behind it, and the last character of a run alone. So each character begins a term."""
    if text.isascii():
        return {word[:MAX_TERM_CHARS] for word in _ASCII_WORD.findall(text.lower())}
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).lower())
    found: set[str] = set()
    for run in _RUN.finditer(plain):
        if run[1]:
            found.update(run[1][at : at + 2] for at in range(len(run[1])))
        else:
            found.add(run[0][:MAX_TERM_CHARS])
    return found


def encoded(gap: int) -> str:
    """A number from 0 on as characters of five bits each, the lowest first; all but the last are from the upper half
    of the 64 digits."""
    if gap < 32:
        return _DIGITS[gap]
    found = ""
    while gap > 31:
        found += _DIGITS[32 | gap & 31]
        gap >>= 5
    return found + _DIGITS[gap]


class SearchTerms:
    """Gathers the terms of rows, which come in order."""

    def __init__(self, folder: Path, spill_bytes: int = SPILL_BYTES) -> None:
        """`folder` holds the temporary files. `spill_bytes` is about the memory that this takes."""
        self._folder, self._spill_bytes = folder, spill_bytes
        self._rows: dict[str, tuple[int, int, bytearray]] = {}  # first row, last row, gaps between
        self._bytes, self._files = 0, list[Path]()

    def add(self, row: int, texts: Iterable[str]) -> None:
        """Take in a row, whose number is greater than those before."""
        for term in set().union(*(terms(text) for text in texts)):
            if known := self._rows.get(term):
                first, last, gaps = known
                gap = encoded(row - last - 1).encode()
                gaps += gap
                self._rows[term] = (first, row, gaps)
                self._bytes += len(gap)
            else:
                self._rows[term] = (row, row, bytearray())
                self._bytes += TERM_BYTES
        if self._bytes > self._spill_bytes:
            self._spill()

    def all(self) -> Iterator[tuple[str, str]]:
        """Each term with its rows, in the order in which JavaScript compares strings. The rows are their gaps: how many
        rows lie between one and the one before."""
        self._spill()
        with ExitStack() as stack:
            files = [stack.enter_context(path.open(encoding="utf-8", newline="\n")) for path in self._files]
            lines = heapq.merge(*(map(_line, file) for file in files), key=lambda line: _order(line[0]))
            term, last, pieces = "", -1, list[str]()
            for own, first, own_last, gaps in lines:
                if own != term:
                    if pieces:
                        yield term, "".join(pieces)
                    term, last, pieces = own, -1, []
                pieces += (encoded(first - last - 1), gaps)
                last = own_last
            if pieces:
                yield term, "".join(pieces)

    def _spill(self) -> None:
        path = self._folder / f"terms-{len(self._files)}"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for term in sorted(self._rows, key=_order):
                first, last, gaps = self._rows[term]
                file.write(f"{term}\t{first}\t{last}\t{gaps.decode()}\n")
        self._files.append(path)
        self._rows, self._bytes = {}, 0


def _order(term: str) -> bytes:
    return term.encode("utf-16-be", "surrogatepass")


def _line(line: str) -> tuple[str, int, int, str]:
    term, first, last, gaps = line.rstrip("\n").split("\t")
    return term, int(first), int(last), gaps
