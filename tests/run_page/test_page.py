"""The page of a run, from outputs that the ledger wrote."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from jobs import report as job
from pipeline import store
from pipeline.run_page import against, commits, page, tables
from tests.run_page.outputs import BEGAN, Row, asked, failed, segment, transcript, write

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "</title></style></code></td></table><svg/onload=alert(4)>",
    "javascript:alert(5)",
    '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
    "<!-- --><iframe src=https://evil.example></iframe>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "\u202egnp.exe \u2066 \x00 \x1b[31m \ufffe",
    "]]><![CDATA[<script>alert(6)</script>",
    "x" * 5_000,
]
TAGS = set(
    "html head meta title style body main h1 h2 div b section ul li table caption tr th td code br p span pre details"
    " summary figure svg path text g rect circle".split()
)


class Elements(HTMLParser):
    """The elements of a page; raises AssertionError for one that no page of ours has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.count = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count += 1
        assert tag in TAGS, tag
        for name, _ in attrs:
            assert not name.startswith("on") and name not in ("href", "src", "action", "xlink:href"), (tag, name)


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "out"


def usual() -> list[dict[str, list[Row]]]:
    """Two parts: five sound recordings, one partial, one flagged, one with a channel's row, two failures."""
    sound = [f"a{at}.wav" for at in range(5)]
    return [
        {
            "segments": [segment(name, -0.1 * (at + 1)) for at, name in enumerate(sound)],
            "transcripts": [transcript(name, duration_s=4.0) for name in sound]
            + [failed("gone.wav", "not_found", "it does not exist")],
        },
        {
            "segments": [
                segment("cut.wav", -0.1),
                segment("loop.wav", -3.0, 1),
                segment("loop.wav", -0.01, 99, segment_index=1),
                segment("call.wav#0", -0.7, channel=0),
            ],
            "transcripts": [
                transcript("cut.wav", outcome="partial", failure_code="truncated", transcribed_s=3.0, language="de"),
                transcript("loop.wav", flags=["repetition", "much_text"], duration_s=7_200.0),
                transcript("call.wav", transcribed_s=1.0, text="both sides"),
                transcript("call.wav#0", channel=0, place="call.wav"),
                failed("gone too.wav", "not_found", "nor does this"),
            ],
        },
    ]


def test_what_the_tables_say(output: Path) -> None:
    report = write(output, "one", usual())
    found = tables.read(str(output), report)
    assert found.outcomes == {"ok": 7, "partial": 1, "failed": 2} and found.failures == {"not_found": 2, "truncated": 1}
    assert [row["uri"] for row in found.examples["not_found"]] == ["s3://in/gone.wav", "s3://in/gone too.wav"]
    assert found.languages["en"].recordings == 7 and found.languages["en"].flagged == 1
    assert found.languages["de"].audio_s == 10.0 and set(found.languages) == {"en", "de"}
    assert found.counts.tolist() == [5, 2, 0, 0, 0, 0, 1] and found.audio_s.sum() == report["numbers"]["audio_s"]
    first = {row["recording_id"]: row for row in found.first}
    assert [row["recording_id"] for row in found.first[:3]] == ["cut.wav", "loop.wav", "call.wav"]
    assert first["loop.wav"]["mean_logprob"] == pytest.approx((-3.0 - 0.99) / 100), "each token counts alike"
    assert first["call.wav"]["why"] == ["least certain", "speech without text"]
    assert first["call.wav"]["said"] == "both sides" and first["call.wav"]["mean_logprob"] == pytest.approx(-0.7)
    assert not first.keys() & {"gone.wav", "call.wav#0"}


def test_the_page_shows_it_all(output: Path) -> None:
    write(output, "one", usual(), engine_deaths=2, not_reached=4)
    assert job.main(["--output", str(output), "--price-per-engine-hour", "12"]) == 0
    html = (output / "runs/one.html").read_text("utf-8")
    Elements(html)
    for words in (
        "2 engines died",
        "4 recordings were not reached",
        "it does not exist",
        "1 h or more",
        "text of loop.wav",
        "repetition",
        "times real time, of an engine that is ready",
        "1.20",  # 6 minutes at 12 an hour
    ):
        assert words in html, words
    assert "s3://in/gone.wav" not in html and "<code>gone.wav</code>" in html, "below the input"
    assert len(html.encode()) < 40_000


def test_speeds_are_those_of_the_commits_and_unknown_in_a_copy(output: Path, tmp_path: Path) -> None:
    report = write(output, "one", usual())
    found = commits.speeds(str(output), report, [600.0, 60.0])
    assert found == [(120.0, 5.0), (180.0, 1.0)]
    later = BEGAN.timestamp() + 125
    os.utime(output / report["transcripts"][1], (later, later))
    assert commits.speeds(str(output), report, [600.0, 60.0]) == [(125.0, pytest.approx(660 / 125))], (
        "5 s are too short"
    )
    shutil.copytree(output, tmp_path / "copy", copy_function=shutil.copyfile)
    assert commits.speeds(str(tmp_path / "copy"), report, [600.0, 60.0]) is None
    assert commits.speeds(str(output), report | {"transcripts": []}, []) == []
    (output / f"started/{report['run_id']}.json").unlink()
    assert commits.speeds(str(output), report, [600.0, 60.0]) is None
    assert job.main(["--output", str(tmp_path / "copy")]) == 0
    assert "as in a copy" in (tmp_path / "copy/runs/one.html").read_text("utf-8")


def test_answers(output: Path) -> None:
    sound, cut = asked("a.wav", ["yes", "no"]), asked("b.wav", ["maybe", None], outcome="partial", flags=["no_text"])
    rows = {"answers": [*sound[0], *cut[0]], "recordings": [sound[1], cut[1]]}
    report = write(output, "one", [rows])
    found = tables.read(str(output), report)
    assert [(row["recording_id"], row["why"]) for row in found.first] == [("b.wav", ["partial", "flags"])]
    html = page.render(str(output), report)
    Elements(html)
    assert "q0: maybe" in html and "4 of 4" in html and "<h2>Languages</h2>" not in html


def test_two_runs_side_by_side(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(output, "old", usual())
    now = usual()
    now[0]["transcripts"][0]["text"] = "another text"
    now[0]["transcripts"][5] = transcript("gone.wav", text="it is back")
    now[1]["transcripts"][2] |= failed("call.wav", "engine_died", "two engines died of it")
    now[1]["transcripts"].append(transcript("new.wav"))
    settings = {"engine": {"model": "m", "max_num_seqs": 7}, "output": "elsewhere"}
    write(output, "new", now, settings=settings, finished_at="2026-11-27T02:10:00+00:00")
    assert job.main(["--output", str(output), "--against", "old"]) == 0
    html = (output / "runs/new-against-old.html").read_text("utf-8")
    Elements(html)
    said = " ".join(re.sub("<[^>]+>", " ", html).split())
    assert "10 recordings are in both runs, 1 in this one alone" in said
    assert "6 say the same and 1 something else" in said
    assert said.index("it is back") < said.index("another text"), "other outcomes first"
    assert "text of a0.wav another text" in said.replace("ok ", "") and "both sides" in said
    assert "setting engine.max_num_seqs 64 7" in said and "setting output" not in said
    assert job.main(["--output", str(output), "--run-id", "old", "--against", f"{output}/runs/new.json"]) == 0
    assert job.main(["--output", str(output), "--against", "neither"]) == 2
    assert "--against neither: no finished run of this name" in capsys.readouterr().err
    (output / "elsewhere/runs").mkdir(parents=True)
    (output / "elsewhere/runs/x.json").write_text("{")
    assert job.main(["--output", str(output), "--against", f"{output}/elsewhere/runs/x.json"]) == 2
    assert f"error: --against {output}/elsewhere/runs/x.json: " in capsys.readouterr().err


def test_calls_of_functions_are_what_is_said(output: Path) -> None:
    def calling(number: str) -> list[dict[str, list[Row]]]:
        rows, whole = asked("a", [None], outcome="partial")
        calls = [{"name": "dial", "arguments": f'{{"number": "{number}"}}'}]
        return [{"answers": [row | {"tool_calls": calls} for row in rows], "recordings": [whole]}]

    one, two = (write(output, name, calling(number)) for name, number in (("one", "1"), ("two", "2")))
    html = page.render(str(output), two, (str(output), one))
    assert "dial(" in html and "&#34;2&#34;" in html.partition("dial(")[2]
    changed = against.changes(str(output), one, str(output), two)
    assert (changed.same, changed.different) == (0, 1)


def test_hostile_texts_stay_texts(output: Path) -> None:
    rows = {
        "segments": [segment(attack, -0.5) for attack in ATTACKS],
        "transcripts": [
            transcript(attack, uri=attack, text=attack, language=attack, flags=[attack], outcome="partial")
            | {"failure_code": attack, "failure_detail": attack}
            for attack in ATTACKS
        ],
    }
    facts = {"model": ATTACKS[0], "input": ATTACKS[3], "skipped_files": dict.fromkeys(ATTACKS, 1), "resumed": 1}
    facts |= {"engine_start_failures": ATTACKS, "unlisted_files": ATTACKS, "settings": dict.fromkeys(ATTACKS, ATTACKS)}
    report = write(output, "one", [rows], **facts)
    other = [{name: [dict(row) for row in table] for name, table in rows.items()}]
    for row in other[0]["transcripts"]:
        row["text"] += "!"
    html = page.render(str(output), report, (str(output), write(output, "two", other)))
    assert Elements(html).count > 300
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert "49" not in html.partition("{{ 7 * 7 }}")[2][:40] and "{{ 7 * 7 }}" in html
    assert len(html) < 300_000


def test_on_object_storage(s3: str) -> None:
    write("s3://test/run-page", "one", usual())
    assert job.main(["--output", "s3://test/run-page/"]) == 0
    html = store.read("s3://test/run-page/runs/one.html").decode()
    assert "Run one" in html and "as in a copy" in html, "it was written in a moment"
    assert job.main(["--output", "s3://test/run-page/none"]) == 2
