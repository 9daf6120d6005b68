"""The index of very many recordings: small enough to be loaded, and found in by a browser."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from pipeline.exports.reading.index import Index
from pipeline.exports.reading.page import asset
from pipeline.exports.reading.site import ASSETS
from tests.conftest import wait_for
from tests.exports.reading.conftest import Browser

NUMBERS = [12_000, pytest.param(100_000, marks=pytest.mark.slow)]
# What a list needs that is usable within two seconds: at 20 MB/s (a slow disk, or 150 Mbit/s) it is loaded in a quarter
# of a second.
MAX_ROW_BYTES = 50
MAX_FILES = 25
MAX_FILE_BYTES = 400_000
VOCABULARY = [f"word{number}" for number in range(300)]


@pytest.fixture(scope="module", params=NUMBERS)
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[set[str]]]:
    """An index alone, and the words of each of its recordings."""
    folder, temporary = tmp_path_factory.mktemp("large"), tmp_path_factory.mktemp("temporary")
    rng = random.Random(0)

    def write(name: str, data: bytes) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    index, said = Index(write, temporary), []
    for number in range(request.param):
        words = rng.choices(VOCABULARY, k=4)
        said.append(set(words))
        name = f"calls/2026-{number % 12 + 1:02}/{rng.randrange(10**8):08}-agent-{number % 300}.wav"
        row = {"recording_id": "", "place": "", "text": " ".join(words), "duration_s": rng.uniform(0, 900)}
        row |= {"language": rng.choice(["en", "de", "fr"]), "outcome": "ok", "failure_code": None, "segments": []}
        row |= {"flags": ["repetition"] if number % 100 == 0 else []}
        index.add(row, name, f"recordings/{name.removesuffix('.wav')}.html", datetime(2026, 1, 2, tzinfo=UTC))
    index.close()
    for name in [*(f"page/{name}" for name in ASSETS), "index.html"]:
        write(name, asset(name.removeprefix("page/")))
    return folder, said


def test_the_list_is_small(large: tuple[Path, list[set[str]]]) -> None:
    files = {path.name: path.stat().st_size for path in large[0].rglob("*.*")}
    of_rows = [size for name, size in files.items() if name.startswith("rows-")]
    assert sum(of_rows) + files["about.js"] < MAX_ROW_BYTES * len(large[1])
    assert len(of_rows) <= MAX_FILES
    assert max(files.values()) < MAX_FILE_BYTES
    assert sum(size for name, size in files.items() if not name.startswith(("rows-", "texts-", "words-"))) < 90_000


def test_very_many_recordings_are_searched(browser: Browser, large: tuple[Path, list[set[str]]]) -> None:
    folder, said = large
    browser.forget()
    browser.open(folder / "index.html")
    shown = lambda: browser.driver.find_element(By.ID, "status").text  # noqa: E731
    wait_for(lambda: shown() == f"{len(said):,} recordings", 20)
    assert browser.run("return document.querySelectorAll('#rows tr').length") == 100
    loaded = Counter(address.rsplit("/", 1)[-1].split("-")[0] for address in browser.requests())
    assert loaded["words"] == 0
    assert loaded["texts"] <= 100

    def search(text: str) -> None:
        browser.run(
            "const field = document.getElementById('query'); field.value = arguments[0];"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            text,
        )

    search("word7 word70")
    count = sum(
        any(word.startswith("word7") for word in words) and any(w.startswith("word70") for w in words) for words in said
    )
    wait_for(lambda: shown() == f"{count:,} of {len(said):,} recordings", 20)
    wait_for(lambda: browser.driver.find_elements(By.CSS_SELECTOR, "mark"), 20)
    loaded = Counter(address.rsplit("/", 1)[-1].split("-")[0] for address in browser.requests())
    assert loaded["words"] < 20
    browser.run("document.querySelector('#last').click()")
    wait_for(lambda: browser.run("return document.querySelectorAll('#rows tr').length") == (count % 100 or 100), 20)
    assert browser.complaints() == []


def test_files_of_another_export_are_not_mixed_in(browser: Browser, tmp_path: Path) -> None:
    """Of one that ended before it was complete: its texts stand under other rows."""
    for number in range(2):

        def write(name: str, data: bytes, is_last: bool = number == 1) -> None:
            if not (is_last and name == "data/about.js"):
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_bytes(data)

        (tmp_path / f"terms-{number}").mkdir()
        index = Index(write, tmp_path / f"terms-{number}")
        row = {"recording_id": "", "place": "", "text": f"text {number}", "duration_s": 1.0, "language": "en"}
        row |= {"outcome": "ok", "failure_code": None, "segments": [], "flags": []}
        index.add(row, "a.wav", "recordings/a.html", datetime(2026, 1, 2, tzinfo=UTC))
        index.close()
        time.sleep(0.002)
    for name in [*(f"page/{name}" for name in ASSETS), "index.html"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(asset(name.removeprefix("page/")))
    browser.open(tmp_path / "index.html")
    said = lambda: browser.driver.find_element(By.TAG_NAME, "body").text  # noqa: E731
    wait_for(lambda: "of another export: reload the page" in said(), 20)
    assert "text 1" not in said()
