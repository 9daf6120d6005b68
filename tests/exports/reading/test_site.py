from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from demo.s3 import upload
from jobs import export
from pipeline import store
from pipeline.exports.reading.answers import Answers
from pipeline.exports.reading.page import asset
from pipeline.schema import Flag
from tests.conftest import tone, wait_for, write_wav
from tests.exports.reading.conftest import Browser
from tests.exports.reading.rows import segment, transcript, write_answers, write_transcripts


def test_pages_in_a_bucket_are_served_as_pages(browser: Browser, s3: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "in/calls/a b.wav", tone(2.0))
    upload(tmp_path / "in", "s3://test/reading/in")
    rows = [
        transcript("s3://test/reading/in/calls/a b.wav", [segment(0, 0.0, 2.0, "hello")]),
        transcript("s3://test/reading/in/lost.wav", []),
    ]
    write_transcripts("s3://test/reading/out", rows, "s3://test/reading/in")
    output = "s3://test/reading/pages"
    assert export.main(["--input", "s3://test/reading/out", "--output", output, "--formats", "html,txt"]) == 0
    files: Any = store.filesystem("s3")
    written = {name.removeprefix("test/reading/pages/"): files.info(name) for name in files.find("test/reading/pages")}
    assert {"calls/a b.txt", "recordings/calls/a b.html", "recordings/lost.html", "index.html"} < written.keys()
    types = {name: info["ContentType"].split(";")[0] for name, info in written.items() if not name.endswith(".txt")}
    assert set(types.values()) == {"text/html", "text/javascript", "text/css", "image/svg+xml"}
    for name in files.find("test/reading"):
        files.chmod(name, "public-read")
    browser.forget()
    browser.open(f"{s3}/test/reading/pages/index.html")
    wait_for(lambda: browser.driver.find_element(By.ID, "status").text == "2 recordings", 20)
    browser.driver.find_element(By.PARTIAL_LINK_TEXT, "a b").click()
    wait_for(lambda: browser.run("return document.getElementById('audio').readyState") > 0, 20)
    assert browser.driver.find_element(By.CSS_SELECTOR, ".text").text == "hello"
    assert browser.complaints() == []
    assert {address for address in browser.requests() if not address.startswith(f"{s3}/test/reading/")} == set()


def test_every_flag_is_explained() -> None:
    explained = asset("shared.js").decode()
    assert [flag for flag in Flag if f'\n  {flag}: "' not in explained] == []


def test_segments_of_split_channels_have_what_the_other_table_says(tmp_path: Path) -> None:
    tried = {"attempts": ["whole", "split"], "kept_attempt": "split"}
    said = [
        segment(0, 0.0, 1.0, "hello", channel=0, words=[("hello", 0.1, 0.5, 0.9)], **tried),
        segment(0, 1.0, 2.0, "yes", channel=1, words=[("yes", 1.1, 1.5, 0.8)]),
    ]
    write_transcripts(tmp_path / "out", [transcript("/in/a.wav", said)], "/in")
    arguments = ["--input", str(tmp_path / "out"), "--output", str(tmp_path / "pages"), "--formats", "html"]
    assert export.main(arguments) == 0
    page = (tmp_path / "pages/recordings/a.html").read_text()
    data = re.search('id="data">(.*?)</script>', page)
    assert data
    shown = json.loads(data[1])["segments"]
    assert [one["words"] for one in shown] == [[["hello", 0.1, 0.5, 0.9, None]], [["yes", 1.1, 1.5, 0.8, None]]]
    assert [one["attempts"] for one in shown] == [["whole", "split"], ["whole"]]


def test_answers_are_found_by_recording_and_by_group(tmp_path: Path) -> None:
    alone = {"recording_id": "1", "place": "a", "uri": "a"}
    members = [{"recording_id": one, "uri": one} for one in ("1", "2")]
    rows = [
        alone | {"question_name": "first", "answer": "old"},
        alone | {"question_name": "second", "answer": "two"},
        alone | {"question_name": "first", "answer": "one"},
        {"recording_id": "g", "place": "group:x", "uri": "a", "members": members, "answer": "both"},
    ]
    write_answers(tmp_path / "out", rows)
    (tmp_path / "database").mkdir()
    answers = Answers(str(tmp_path / "out"), tmp_path / "database")
    assert {one["answer"] for one in answers.of("a", "1")} == {"one", "two", "both"}
    assert [(one["answer"], one["group"]) for one in answers.of("b", "2")] == [("both", 2)]
    assert answers.of("c", "3") == []
    answers.close()


def test_a_group_that_lost_a_recording_answers_for_it_no_more(tmp_path: Path) -> None:
    members = [[{"recording_id": one, "uri": one} for one in ids] for ids in ("12", "13")]
    group = {"recording_id": "g", "place": "group:x", "uri": "a"}
    write_answers(
        tmp_path / "out", [group | {"members": own, "answer": "".join(one["uri"] for one in own)} for own in members]
    )
    (tmp_path / "database").mkdir()
    answers = Answers(str(tmp_path / "out"), tmp_path / "database")
    assert [[one["answer"] for one in answers.of(x, x)] for x in "123"] == [["13"], [], ["13"]]
    answers.close()


def test_copies_are_not_laid_where_recordings_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_transcripts(tmp_path / "out", [transcript(f"{tmp_path}/in/a.wav", [])], f"{tmp_path}/in")
    arguments = ["--input", f"{tmp_path}/out", "--output", f"{tmp_path}/in/pages", "--formats", "html"]
    assert export.main([*arguments, "--copy-audio", "opus"]) == 2
    assert "would take the copies of --copy-audio for recordings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--audio-base", "javascript:alert(1)"], "audio-base"),
        (["--sign-hours", "1000"], "168"),
        (["--copy-audio", "mp3"], "opus"),
        (["--copy-audio", "opus", "--sign-hours", "2"], "--sign-hours 2, --copy-audio opus: pages take"),
        (["--audio-base", "https://a.test", "--sign-hours", "2"], "give one of these"),
        (["--answers", "/no/such/place"], "--answers /no/such/place: no published answers"),
    ],
)
def test_wrong_settings_stop_at_once(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["--input", "x", "--output", "y", "--formats", "html", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
