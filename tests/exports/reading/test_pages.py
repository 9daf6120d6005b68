"""The reading page in a real browser, opened from disk as users open it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from jobs import export
from tests.conftest import tone, wait_for, write_wav
from tests.exports.reading.conftest import Browser
from tests.exports.reading.rows import segment, transcript, write_answers, write_transcripts

WORDS = [("good", 0.5, 0.9, 0.98), ("morning,", 1.0, 1.5, 0.91), ("Ms", 2.0, 2.2, 0.2), ("Ito", 2.3, 2.6, 0.9)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of five recordings; three of them are there, one with answers."""
    folder = tmp_path_factory.mktemp("site")
    call = write_wav(folder / "in/calls/first call #1.wav", tone(9.0))
    for name in ("c", "d"):
        write_wav(folder / f"in/{name}.wav", tone(2.0))
    meeting = "会議を始めます"
    signs = [(sign, at / 4, (at + 1) / 4, 0.9) for at, sign in enumerate(meeting)]
    tried = {"flags": ["repetition"], "retried_for": ["repetition"], "attempts": ["whole", "split"]}
    segments = [
        segment(0, 0.4, 2.7, "good morning, Ms Ito", words=WORDS),
        segment(1, 3.0, 5.0, "no no no", kept_attempt="split", speaker="A", **tried),
        segment(2, 6.0, 8.0, None, failure_code="engine_error", speaker="B"),
    ]
    place = f"{folder}/in"
    rows = [
        transcript(str(call), segments, outcome="partial", failure_code="engine_error", customer="Müller & Söhne"),
        transcript(f"{place}/b.wav", [segment(0, 0.0, 400.0, "café au lait")], language="fr"),
        transcript(f"{place}/c.wav", [segment(0, 0.0, 2.0, meeting, language="ja", words=signs)], language="ja"),
        transcript(f"{place}/d.wav", [segment(0, 0.0, 2.0, "صباح الخير", language="ar")], language="ar"),
        transcript(f"{place}/e.wav", []),
    ]
    write_transcripts(folder / "out", rows, place)
    call_answer = {"tool_calls": [{"name": "dial", "arguments": '{"number": "12"}'}], "question": "Dial."}
    answer = {"recording_id": "x", "place": str(call), "uri": str(call)}
    write_answers(folder / "out", [answer | {"answer": "a greeting"}, answer | call_answer | {"question_name": "d"}])
    arguments = ["--input", str(folder / "out"), "--output", str(folder / "pages"), "--formats", "html"]
    assert export.main(arguments) == 0
    return folder / "pages"


@pytest.fixture
def clean(browser: Browser, site: Path) -> Iterator[Browser]:
    """A browser without corrections, whose pages ask for nothing but their own files and the recording."""
    browser.open(site / "index.html")
    browser.run("localStorage.clear(); sessionStorage.clear()")
    browser.forget()
    yield browser
    assert browser.complaints() == []
    own = (site.as_uri(), f"{site.parent.as_uri()}/in/")
    assert [address for address in browser.requests() if not address.startswith(own)] == []


def page_of(site: Path) -> Path:
    return site / "recordings/calls/first call #1.html"


def titles(browser: Browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('#rows a')].map((link) => link.textContent)")


def status(browser: Browser) -> str:
    return browser.driver.find_element(By.ID, "status").text


def find(browser: Browser, **values: str) -> None:
    """Fill in the index's form."""
    for name, value in values.items():
        browser.run(
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            name.replace("_", "-"),
            value,
        )


def time_s(browser: Browser) -> float:
    return browser.run("return document.getElementById('audio').currentTime")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, ["b.wav", "c.wav", "calls/first call #1.wav", "d.wav", "e.wav"]),
        ({"query": "CAFE lai"}, ["b.wav"]),
        ({"query": "ito morning"}, ["calls/first call #1.wav"]),
        ({"query": "first"}, ["calls/first call #1.wav"]),
        ({"query": "議を"}, ["c.wav"]),
        ({"query": "す"}, ["c.wav"]),
        ({"query": "صَباح"}, ["d.wav"]),
        ({"query": "evening"}, []),
        ({"language": "fr"}, ["b.wav"]),
        ({"outcome": "failed"}, ["e.wav"]),
        ({"outcome": "partial: engine_error"}, ["calls/first call #1.wav"]),
        ({"flag": "repetition"}, ["calls/first call #1.wav"]),
        ({"speaker": "B"}, ["calls/first call #1.wav"]),
        ({"min_minutes": "0.1", "max_minutes": "1"}, ["calls/first call #1.wav"]),
        ({"from": "2026-03-05"}, []),
        ({"from": "2026-03-04", "to": "2026-03-04", "query": "au"}, ["b.wav"]),
    ],
)
def test_the_index_finds(clean: Browser, site: Path, values: dict[str, str], found: list[str]) -> None:
    clean.open(site / "index.html")
    wait_for(lambda: len(titles(clean)) == 5, 10)
    find(clean, **values)
    count = "5 recordings" if len(found) == 5 else f"{len(found)} of 5 recordings"
    wait_for(lambda: status(clean) == count, 10)
    assert titles(clean) == found


def test_the_index_sorts_marks_and_links_its_rows(clean: Browser, site: Path) -> None:
    clean.open(site / "index.html", "#query=morning&sort=duration&order=down")
    wait_for(lambda: clean.driver.find_elements(By.CSS_SELECTOR, "#rows mark"), 10)
    assert clean.driver.find_element(By.CSS_SELECTOR, "#rows mark").text == "morning"
    find(clean, query="")
    wait_for(lambda: len(titles(clean)) == 5, 10)
    assert titles(clean)[0] == "b.wav"
    clean.driver.find_element(By.PARTIAL_LINK_TEXT, "first call").send_keys(Keys.ENTER)
    wait_for(lambda: clean.driver.title == "calls/first call #1.wav", 10)
    clean.driver.find_element(By.ID, "back").click()
    wait_for(lambda: titles(clean)[:1] == ["b.wav"], 10)
    assert "sort=duration" in clean.driver.current_url


def test_a_page_shows_what_there_is(clean: Browser, site: Path) -> None:
    clean.open(page_of(site))
    wait_for(lambda: clean.driver.find_elements(By.CSS_SELECTOR, ".doubtful"), 10)
    text = clean.driver.find_element(By.TAG_NAME, "body").text
    for words in (
        "good morning, Ms Ito",
        "2 attempts, kept: split",
        "engine error",
        "A\n",
        "a greeting",
        '{"number": "12"}',
    ):
        assert words in text
    assert "Müller & Söhne" in text
    assert [one.text for one in clean.driver.find_elements(By.CSS_SELECTOR, ".doubtful")] == ["Ms"]
    clean.open(site / "recordings/d.html")
    assert clean.run("return getComputedStyle(document.querySelector('.text')).direction") == "rtl"


def test_what_is_looked_for_is_marked_across_words(clean: Browser, site: Path) -> None:
    clean.open(site / "recordings/c.html", "#q=議を始")
    wait_for(lambda: clean.driver.find_elements(By.CSS_SELECTOR, ".word"), 10)
    marked = "return [...document.querySelectorAll('.text mark')].map((one) => one.textContent).join('')"
    assert clean.run(marked) == "議を始"
    assert clean.driver.find_element(By.CSS_SELECTOR, ".text").text == "会議を始めます"


def test_words_segments_and_links_are_heard(clean: Browser, site: Path) -> None:
    clean.open(page_of(site), "#t=6.5")
    wait_for(lambda: time_s(clean) == 6.5, 10)
    assert clean.run("return document.querySelector('.current').dataset.at") == "2"
    wait_for(lambda: clean.driver.find_elements(By.CSS_SELECTOR, ".word"), 10)[1].click()
    wait_for(lambda: 1.0 <= time_s(clean) < 3.0, 10)
    wait_for(lambda: clean.run("return document.querySelector('.spoken')?.textContent") == "Ito", 10)
    clean.driver.find_elements(By.CSS_SELECTOR, "a.time")[1].click()
    wait_for(lambda: time_s(clean) > 3.2, 10)
    assert clean.driver.current_url.endswith("#t=3.00")


def test_the_keyboard(clean: Browser, site: Path) -> None:
    clean.open(page_of(site))
    wait_for(lambda: clean.run("return document.getElementById('audio').readyState") >= 2, 10)

    def press(key: str) -> None:
        clean.driver.switch_to.active_element.send_keys(key)

    for key, expected_s in [
        (Keys.ARROW_DOWN, 0.4),
        (Keys.ARROW_DOWN, 3.0),
        (Keys.ARROW_UP, 0.4),
        ("n", 2.0),  # a doubtful word
        ("n", 3.0),
        ("n", 6.0),
        ("N", 3.0),
        (Keys.ARROW_RIGHT, 8.0),
        (Keys.ARROW_LEFT, 3.0),
    ]:
        press(key)
        wait_for(lambda expected_s=expected_s: abs(time_s(clean) - expected_s) < 0.01, 5)
    press(" ")
    wait_for(lambda: time_s(clean) > 3.2, 10)
    press(" ")
    assert clean.run("return document.getElementById('audio').paused")
    press("e")
    assert clean.driver.switch_to.active_element.tag_name == "textarea"


def test_corrections_are_kept_and_saved(clean: Browser, site: Path, downloads: Path) -> None:
    clean.open(page_of(site))
    corrected = "good morning, Ms <Itoh>"
    clean.driver.find_elements(By.CSS_SELECTOR, ".edit")[0].click()
    area = clean.driver.switch_to.active_element
    area.clear()
    area.send_keys(corrected, Keys.CONTROL, Keys.ENTER)
    clean.driver.find_elements(By.CSS_SELECTOR, ".edit")[1].click()
    clean.driver.find_element(By.XPATH, "//button[text()='Mark as right']").click()

    def text_after_opening() -> str:  # what one process of Chromium stores, the next may not have at once
        clean.open(page_of(site))
        return clean.driver.find_element(By.CSS_SELECTOR, ".text").text

    wait_for(lambda: text_after_opening() == corrected, 10)
    assert clean.driver.find_element(By.ID, "drafts").text == "2 corrected"
    clean.driver.find_element(By.ID, "save").click()
    lines = saved(downloads)
    assert [(line["segment_index"], line["text"], line["corrected_text"]) for line in lines] == [
        (0, "good morning, Ms Ito", corrected),
        (1, "no no no", "no no no"),
    ]
    names = ("channel", "start_s", "end_s", "run_id", "fingerprint", "content_version", "language")
    assert [lines[0][name] for name in names] == [None, 0.4, 2.7, "run", "f", "v1", "en"]
    assert lines[0]["recording_id"].endswith("first call #1.wav")
    clean.open(site / "index.html")
    assert wait_for(lambda: clean.driver.find_element(By.ID, "save").text, 10) == "Save all corrections (2)"
    clean.driver.find_element(By.ID, "save").click()
    assert saved(downloads) == lines


def test_two_pages_of_a_recording_keep_what_the_other_has_corrected(clean: Browser, site: Path) -> None:
    def mark_as_right(at: int) -> None:
        clean.driver.find_elements(By.CSS_SELECTOR, ".edit")[at].click()
        clean.driver.find_element(By.XPATH, "//button[text()='Mark as right']").click()

    def drafts() -> str:
        return clean.driver.find_element(By.ID, "drafts").text

    first = clean.driver.current_window_handle
    clean.open(page_of(site))
    clean.driver.switch_to.new_window("tab")
    clean.open(page_of(site))
    mark_as_right(1)
    clean.driver.switch_to.window(first)
    wait_for(lambda: drafts() == "1 corrected", 10)
    assert clean.driver.find_elements(By.CSS_SELECTOR, ".segment")[1].find_elements(By.CSS_SELECTOR, ".chip.corrected")
    mark_as_right(0)
    assert drafts() == "2 corrected"
    clean.driver.switch_to.window(clean.driver.window_handles[1])
    wait_for(lambda: drafts() == "2 corrected", 10)
    clean.driver.close()
    clean.driver.switch_to.window(first)


def saved(folder: Path) -> list[dict[str, Any]]:
    """The lines of the one file there, which is removed."""
    (path,) = wait_for(lambda: list(folder.glob("*.jsonl")), 10)
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    path.unlink()
    return found


def test_audio_that_is_not_there_is_said(browser: Browser, site: Path) -> None:
    browser.open(site / "recordings/b.html")
    wait_for(lambda: "cannot be played" in browser.driver.find_element(By.ID, "no-audio").text, 10)
    browser.forget()


def test_names_of_pages_lead_to_them(clean: Browser, site: Path) -> None:
    clean.open(site / "index.html")
    wait_for(lambda: titles(clean), 10)
    links = clean.run("return [...document.querySelectorAll('#rows a')].map((link) => link.href)")
    assert all(Path(unquote(link.removeprefix("file://"))).is_file() for link in links)
