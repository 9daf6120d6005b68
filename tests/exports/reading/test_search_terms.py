from __future__ import annotations

import json
import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exports.reading.page import asset
from pipeline.exports.reading.search_terms import SearchTerms, encoded, terms
from pipeline.unspaced import SCRIPTS
from tests.exports.reading.conftest import Browser

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LETTERS = "aàÀßİıΣς éあがガ会議เก็บ한हिन्दीשָׁלוֹםمُحَمَّدٌ-_'12٣ᄒ\u1e9e𝒜𠮷Ǆ ﬁ\u0345"


def decoded(text: str) -> list[int]:
    """The rows of gaps, as assets/search.js reads them."""
    rows, row, gap, shift = [], -1, 0, 0
    for digit in map(DIGITS.index, text):
        gap += (digit & 31) << shift
        shift += 5
        if not digit & 32:
            row += gap + 1
            rows.append(row)
            gap = shift = 0
    return rows


def test_the_page_knows_the_same_scripts() -> None:
    listed = re.search(r"SCRIPTS = (\[.*?\])", asset("search.js").decode())
    assert listed and "".join(f"\\p{{{name}}}" for name in json.loads(listed[1])) == SCRIPTS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Good morning, Ms. ITO's", {"good", "morning", "ms", "ito", "s"}),
        ("Café à Köln", {"cafe", "a", "koln"}),
        ("会議", {"会議", "議"}),
        ("3月あ", {"3", "月あ", "あ"}),
        ("مُحَمَّد", {"محمد"}),
        ("हिन्दी", {"हिन्दी"}),
        ("... –", set()),
    ],
)
def test_terms(text: str, found: set[str]) -> None:
    assert terms(text) == found


@given(st.lists(st.integers(0, 2**40)))
def test_what_is_encoded_can_be_decoded(gaps: list[int]) -> None:
    rows, last = [], -1
    for gap in gaps:
        last += gap + 1
        rows.append(last)
    assert decoded("".join(map(encoded, gaps))) == rows


def test_files_on_disk_change_nothing(tmp_path: Path) -> None:
    texts = [f"w{row % 7} w{row % 11} all 𠮷 ￮" for row in range(0, 500)]
    found = []
    for name, spill_bytes in (("memory", 1 << 30), ("disk", 3_000)):
        (tmp_path / name).mkdir()
        index = SearchTerms(tmp_path / name, spill_bytes)
        for row, text in enumerate(texts):
            if row % 3:
                index.add(row, [text])
        found.append(list(index.all()))
    assert len(list((tmp_path / "disk").iterdir())) > 5
    assert found[0] == found[1]
    names = [term for term, _ in found[1]]
    assert names == sorted(names, key=lambda term: term.encode("utf-16-be"))
    for term, rows in found[1]:
        assert decoded(rows) == [row for row, text in enumerate(texts) if row % 3 and term in terms(text)], term


def test_the_page_cuts_texts_in_the_same_way(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page/search.js").write_bytes(asset("search.js"))
    (tmp_path / "index.html").write_bytes(asset("index.html"))
    browser.open(tmp_path / "index.html")
    rng = random.Random(0)
    signs = [sign for sign in map(chr, range(0x20, 0x3100)) if unicodedata.category(sign) != "Cn"]
    texts = [*map("".join, (rng.choices([*signs, *LETTERS * 30], k=12) for _ in range(3_000))), *LETTERS, LETTERS * 2]
    found = browser.run("return arguments[0].map((text) => search.terms(text).map((one) => one.term))", texts)
    for text, theirs in zip(texts, found, strict=True):
        assert set(theirs) == terms(text), (text, text.encode("unicode_escape"))
    browser.forget()
