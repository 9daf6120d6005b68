"""A sample on the pages, from its drawing to the rates of what people say of it."""

from __future__ import annotations

import json
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from jobs import evaluate, export
from tests.conftest import wait_for
from tests.exports.reading.conftest import Browser
from tests.exports.reading.rows import segment, transcript, write_transcripts
from tests.exports.reading.test_pages import saved, status, titles


def test_a_sample_is_led_through_and_its_weights_are_saved(browser: Browser, downloads: Path, tmp_path: Path) -> None:
    rows = [
        transcript(
            f"{tmp_path}/in/{name} #1.wav", [segment(at, 2.0 * at, 2.0 * at + 1, f"{name} {at}") for at in range(8)]
        )
        for name in "abcdefgh"
    ]
    write_transcripts(tmp_path / "out", rows, f"{tmp_path}/in")
    pages = tmp_path / "pages"
    arguments = ["--input", str(tmp_path / "out"), "--output", str(pages), "--formats", "html"]
    assert export.main([*arguments, "--sample-for-review", "4"]) == 0
    sample = json.loads((pages / "sample.json").read_text())
    of = sorted((Path(one["recording_id"]).name, one["segment_index"]) for one in sample["of"])
    assert len(of) == 4 and {one["weight"] for one in sample["of"]} == {16.0}

    browser.open(pages / "index.html")
    browser.run("localStorage.clear(); sessionStorage.clear()")
    browser.open(pages / "index.html")
    names = sorted({name for name, _ in of})
    wait_for(lambda: titles(browser) == names, 10)
    assert status(browser) == f"{len(names)} of 8 recordings"
    browser.run("document.querySelector('#rows a').click()")
    for name, at in of:
        wait_for(lambda name=name: browser.driver.title == name, 10)
        wait_for(lambda at=at: browser.run("return document.querySelector('.current')?.dataset.at") == str(at), 10)
        keys = browser.driver.switch_to.active_element
        keys.send_keys("e")
        browser.driver.switch_to.active_element.send_keys(" more", Keys.CONTROL, Keys.ENTER)
        browser.driver.find_element(By.TAG_NAME, "body").send_keys("r")
    assert not browser.driver.find_elements(By.CSS_SELECTOR, ".chip.review")
    browser.driver.find_element(By.TAG_NAME, "body").send_keys("R")
    name, at = of[-2]
    wait_for(lambda: browser.driver.title == name, 10)
    wait_for(lambda: browser.run("return document.querySelector('.current')?.dataset.at") == str(at), 10)

    browser.open(pages / "index.html")
    wait_for(lambda: "4 of 4 segments reviewed" in browser.driver.find_element(By.TAG_NAME, "body").text, 10)
    browser.driver.find_element(By.ID, "save").click()
    lines = saved(downloads)
    assert [(Path(line["uri"]).name, line["segment_index"]) for line in lines] == of
    (facts,) = {json.dumps(line["sample"], sort_keys=True) for line in lines}
    size = {"sample_id": sample["sample_id"], "drawn": 4, "segments": 64}
    (stratum,) = sample["strata"]
    assert json.loads(facts) == size | stratum
    assert [one for one in browser.complaints() if ".wav - Failed to load" not in one] == []  # there is no audio

    # The page that is exported without a sample shows all again, and the file is scored as what it is.
    (tmp_path / "corrections.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scored = ["--corrections", str(tmp_path / "corrections.jsonl"), "--input", str(tmp_path / "out")]
    assert evaluate.main([*scored, "--output", str(tmp_path / "out")]) == 0
    (report,) = (tmp_path / "out/evaluations").glob("*/report.json")
    found = json.loads(report.read_text())
    assert (found["sample"], found["problems"]) == (sample["sample_id"], [])
    assert found["scores"][0]["error_rate"] == 1 / 3
    assert export.main(arguments) == 0
    browser.open(pages / "index.html")
    wait_for(lambda: status(browser) == "8 recordings", 10)
