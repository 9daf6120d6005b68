from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs import show
from pipeline import store
from pipeline.ledger.lease import LEASE
from pipeline.ledger.parts import Output
from pipeline.tasks.ask.schema import ASKED, answer_schema
from pipeline.tasks.transcribe.schema import SEGMENT, TRANSCRIPT

Row = dict[str, Any]
DAY = "2026-11-{:02d}T01:00:00+00:00"


def row(name: str, run_id: str, **facts: Any) -> Row:
    uri = f"s3://calls/{name}.mp3"
    own = {"recording_id": f"id-{name}", "place": uri, "uri": uri, "outcome": "ok", "duration_s": 60.0}
    made = {"model": "m", "model_revision": "r", "fingerprint": "f", "pipeline_version": "0", "run_id": run_id}
    return own | made | facts


def segment(start_s: float, text: str | None, **facts: Any) -> Row:
    return {"segment_index": 0, "start_s": start_s, "end_s": start_s + 5, "text": text, "language": "en", **facts}


def write(place: str, day: int, parts: list[list[Row]], publish: bool = True, **about: Any) -> None:
    """A run of transcriptions that began on a day, with these parts."""
    run_id = f"run-{day}"
    output = Output(place, run_id, ["segments", "transcripts"])
    facts = {"run_id": run_id, "task": "transcribe", "model": "m", "started_at": DAY.format(day), **about}
    output.start(facts)
    for rows in parts:
        whole = pa.Table.from_pylist([one | {"run_id": run_id} for one in rows], TRANSCRIPT)
        output.write({"segments": SEGMENT.empty_table(), "transcripts": whole})
    found = [one for rows in parts for one in rows if one.get("channel") is None]
    numbers = {name: sum(one["outcome"] == name for one in found) for name in ("ok", "partial", "failed")}
    numbers |= {"recordings": len(found), "audio_s": 60.0 * len(found), "speed": 12.5}
    if publish:
        tables = {"tables": ["segments", "transcripts"], **output.files}
        output.publish(facts | {"finished_at": DAY.format(day + 1), "numbers": numbers, "not_reached": 0, **tables})


def ask(place: str, day: int, name: str, **of_manifest: Any) -> None:
    """A run with an answer about a recording."""
    answers, run_id = answer_schema(pa.string()), f"asked-{day}"
    output = Output(place, run_id, ["answers", "recordings"])
    facts = {"run_id": run_id, "task": "ask", "model": "m", "started_at": DAY.format(day)}
    output.start(facts)
    said = row(name, run_id, question_name="topic", question="Which?", answer="the invoice")
    about = row(name, run_id, part_count=1, questions=1, answered=1)
    asked = pa.Table.from_pylist([about], ASKED)
    for column, value in of_manifest.items():
        asked = asked.append_column(column, pa.array([value]))
    output.write({"answers": pa.Table.from_pylist([said], answers), "recordings": asked})
    numbers = {"recordings": 1, "ok": 1, "partial": 0, "failed": 0, "audio_s": 60.0, "speed": 3.0}
    tables = {"tables": ["answers", "recordings"], **output.files}
    output.publish(facts | {"finished_at": DAY.format(day), "numbers": numbers, "not_reached": 0, **tables})


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "out")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the job prints; with `status` 2, the line of its error."""

    def call(*arguments: str, status: int = 0) -> str:
        assert show.main(list(arguments)) == status
        found = capsys.readouterr()
        return found.err if status else found.out

    return call


def test_the_runs_of_an_output(place: str, said: Callable[..., str]) -> None:
    write(place, 1, [[row("a", ""), row("b", "", outcome="failed", failure_code="not_media", duration_s=None)]])
    split = [row("c", ""), row("c", "", channel=0), row("c", "", channel=1)]
    write(place, 3, [split, [row("d", "")]], publish=False)
    heading, unfinished, published = said(place).splitlines()
    assert heading.split()[:2] == ["run", "began"]
    assert unfinished.split() == "run-3 2026-11-03 01:00 transcribe m 2 0 0 2 min 00 s unfinished, 2 done".split()
    assert published.split() == "run-1 2026-11-01 01:00 transcribe m 1 0 1 2 min 00 s 12.5x published".split()
    assert said(place, "--last", "1").splitlines()[-1] == "and 1 earlier runs: --last 2"
    runs = json.loads(said(place, "--json"))["runs"]
    assert [(run["run_id"], run["state"], run["recordings"]) for run in runs] == [
        ("run-3", "unfinished", 2),
        ("run-1", "published", 2),
    ]
    assert [run["run_id"] for run in json.loads(said(place, "--json", "--run-id", "run-1"))["runs"]] == ["run-1"]


def test_a_recording_of_which_each_channel_has_a_row_is_one(folder: str, said: Callable[..., str]) -> None:
    ids = [("id-c", None), ("id-c#0", 0), ("id-c#1", 1)]
    write(folder, 1, [[row("c", "", channel=at) | {"recording_id": name} for name, at in ids]])
    for wanted in ("c.mp3", "id-c"):
        assert said(folder, wanted).splitlines()[1].split() == ["recording_id", "id-c"]
    assert said(folder, "id-c#1").splitlines()[1].split() == ["recording_id", "id-c#1"]
    assert "no recording c#" in said(folder, "c#", status=2)


def test_a_run_that_holds_the_lease_is_running(folder: str, said: Callable[..., str]) -> None:
    write(folder, 1, [[row("a", "")]], publish=False, night={"to_do": 1, "chosen": 1})
    write(folder, 3, [[row("a", "")]], publish=False)
    until = datetime.now(UTC) + timedelta(minutes=5)
    store.create(f"{folder}/{LEASE}", json.dumps({"until": until.isoformat()}).encode())
    text = said(folder)
    assert f"running, 1 done, lease until {until:%H:%M} UTC" in text and "unfinished, 1 done" in text
    assert "no run here is published" in text
    store.replace(f"{folder}/{LEASE}", json.dumps({"until": DAY.format(1)}).encode())
    assert said(folder).count("unfinished, 1 done") == 2


def test_a_recording_by_its_newest_row(place: str, said: Callable[..., str]) -> None:
    old = row("a", "", text="old", segments=[segment(0.0, "old")])
    flagged = segment(3_661.25, "Hello.", flags=["low_confidence"])
    lost = segment(3_670.0, None, failure_code="engine_error", channel=1)
    new = row("a", "", text="Hello.", language="en", language_probability=0.91, flags=["low_confidence"])
    new |= {"outcome": "partial", "failure_code": "truncated", "failure_detail": "it ends early"}
    write(place, 1, [[old]])
    new |= {"turns": [{"start_s": 3_661.5, "end_s": 3_664.0, "speaker": "SPEAKER_01"}]}
    write(place, 3, [[row("b", "")], [new | {"segments": [flagged, lost]}]])
    ask(place, 5, "a")
    text = said(place, "id-a")
    assert "  language      en (0.91)\n" in text and "  failure       truncated: it ends early\n" in text
    assert "  1:01:01.2 - 1:01:06.2  SPEAKER_01 en  Hello.  [low_confidence]\n" in text
    assert "  1:01:10.0 - 1:01:15.0  channel 1 en  failed: engine_error\n" in text
    turns = [{"start_s": at, "end_s": at + 2.0, "speaker": f"SPEAKER_0{at:.0f}"} for at in (0.0, 2.0)]
    said_by = [
        {"word": name, "start_s": at, "end_s": at + 1.0, "score": 0.9, "speaker": f"SPEAKER_0{at:.0f}"}
        for name, at in (("Hi.", 0.0), ("Hello.", 2.0))
    ]
    both = row("c", "", text="Hi. Hello.", segments=[segment(0.0, "Hi. Hello.")], turns=turns, words=said_by)
    write(place, 7, [[both]])
    assert [line.split()[3:] for line in said(place, "id-c").splitlines() if "SPEAKER" in line] == [
        ["SPEAKER_00", "en", "Hi."],
        ["SPEAKER_02", "en", "Hello."],
    ]
    assert "run-3 (transcribe, published)" in text and "  topic\n    the invoice" in text and "old" not in text
    assert said(place, "s3://calls/a.mp3") == said(place, "calls/a") == text
    assert "old" in said(place, "a.mp3", "--run-id", "run-1")
    found = json.loads(said(place, "id-a", "--json"))["found"]
    assert {one["run"]["task"]: one.get("answers", [{}])[0].get("answer") for one in found} == {
        "transcribe": None,
        "ask": "the invoice",
    }


def test_rows_of_a_run_that_is_not_published_are_shown_where_there_are_no_others(
    folder: str, said: Callable[..., str]
) -> None:
    write(folder, 1, [[row("a", "", text="published")]])
    write(folder, 3, [[row("a", ""), row("b", "")]], publish=False)
    assert "run-1 (transcribe, published)" in said(folder, "id-a")
    assert "run-3 (transcribe, unfinished, 2 done)" in said(folder, "id-b")


def test_a_file_that_has_changed_is_one_recording(folder: str, said: Callable[..., str]) -> None:
    write(folder, 1, [[row("a", "")]])
    write(folder, 3, [[row("a", "", recording_id="id-a2")]])
    assert "id-a2" in said(folder, "calls/a.mp3")


def test_what_is_not_there_is_said_with_what_is_like_it(folder: str, tmp_path: Path, said: Callable[..., str]) -> None:
    write(folder, 1, [[row(name, "") for name in ("invoice-0017", "invoice-0018", "other")]])
    assert (
        said(folder, "invoise-0017.mp3", status=2)
        .strip()
        .startswith(f"error: {folder} has no recording invoise-0017.mp3; similar: s3://calls/invoice-0017.mp3")
    )
    assert "has no recording zzz\n" in said(folder, "zzz", status=2)
    assert "invoice may be any of 2 recordings: id-invoice-0017 (s3://calls/" in said(folder, "invoice", status=2)
    twice = [row("x", "", recording_id=f"x{n}", range_start_s=60.0 * n, range_end_s=60.0 * (n + 1)) for n in range(2)]
    write(folder, 3, [twice])
    assert "may be any of 2 recordings" in said(folder, "s3://calls/x.mp3", status=2)
    assert "  range         0:01:00.0 to 0:02:00.0\n" in said(folder, "x1")
    assert "no such run; the last is run-3" in said(folder, "--run-id", "run-9", status=2)
    assert "has no runs" in said(str(tmp_path / "nothing"), status=2)
    assert "has no runs" in said(f"{folder}/transcripts", status=2)


def test_nothing_is_told_to_the_terminal(folder: str, said: Callable[..., str]) -> None:
    """Details, texts and names of others' files may hold what terminals obey."""
    odd = row("a\x1b[31m", "", text="\x1b]0;title\x07 \u202eyes", segments=[segment(0.0, "\x1b[2J")])
    write(folder, 1, [[odd | {"outcome": "partial", "failure_code": "truncated", "failure_detail": "\x9b31m"}]])
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", said(folder) + said(folder, "a"))


def test_the_number_of_runs_is_one_or_more(folder: str) -> None:
    with pytest.raises(SystemExit):
        show.main([folder, "--last", "0"])


def test_columns_of_a_manifest_are_no_transcript(folder: str, said: Callable[..., str]) -> None:
    ask(folder, 1, "a", segments=12, language="en", language_probability="high", text="")
    found = said(folder, "a.mp3")
    assert "topic" in found and "silence" not in found
