from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import export as job
from jobs import transcribe
from pipeline import store
from pipeline.export import file_names
from tests.conftest import DEMO, SCRIPTED, JobRun


def place(uri: str, recording_id: str = "id", channel: int | None = None) -> dict[str, Any]:
    return {"recording_id": recording_id, "uri": uri, "channel": channel}


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://b/in/a/talk.mp3", "a/talk"),
        ("s3://b/in/Gespräch (Köln).m4a", "Gespräch (Köln)"),
        ("s3://other/x/talk.mp3", "other/x/talk"),
        ("s3://b/in/../../etc/passwd.wav", "etc/passwd"),
        ("s3://b/in/what?.wav", "what_"),
        ("s3://b/in/会議.flac", "会議"),
        ("s3://b/in/no extension", "no extension"),
    ],
)
def test_names_mirror_the_input_and_are_safe(uri: str, name: str) -> None:
    assert file_names([place(uri)], ["s3://b/in/"]) == {"id": name}


def test_names_below_a_manifest_or_of_one_file() -> None:
    assert file_names([place("s3://b/m/x/a.wav")], ["s3://b/m/list.jsonl"]) == {"id": "x/a"}
    assert file_names([place("/data/a.wav")], ["/data/a.wav"]) == {"id": "a"}
    assert file_names([place("/data/x/a.wav")], ["/other/list.csv"]) == {"id": "data/x/a"}


def test_names_that_would_meet_part() -> None:
    places = [
        place("s3://b/in/a.mp3", "1"),
        place("s3://b/in/a.wav", "2"),
        place("s3://b/in/A.WAV", "3"),
        place("s3://b/in/call.wav", "4"),
        place("s3://b/in/call.wav", "4-0", 0),
        place("s3://b/in/call.wav", "4-1", 1),
        place("s3://b/in/long.wav", "5"),
        place("s3://b/in/long.wav", "6"),
    ]
    names = file_names(places, ["s3://b/in"])
    assert len({name.casefold() for name in names.values()}) == len(places)
    assert names["1"] == "a.mp3"
    assert (names["4"], names["4-0"]) == ("call", "call.channel-0")
    assert names["5"].startswith("long.wav.")


@given(st.lists(st.one_of(st.text(max_size=20), st.text("./a", min_size=1)), min_size=1, max_size=8))
def test_whatever_the_keys_names_are_apart_and_below_the_output(keys: list[str]) -> None:
    places = [place(f"s3://b/in/{key}", f"id{number}") for number, key in enumerate(keys)]
    names = file_names(places, ["s3://b/in/"])
    assert len({name.casefold() for name in names.values()}) == len(keys)
    for name in names.values():
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert not set(name) & set('\0<>:"\\|?*\n')


def test_a_bucket_of_transcripts_becomes_files(demo_run: JobRun, s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.main(["--input", demo_run.output, "--output", "s3://test/files"]) == 0
    said = capsys.readouterr().err
    good = [row for row in demo_run.transcripts if row["outcome"] != "failed"]
    assert f"{len(good)} srt, {len(good)} vtt, {len(good)} txt, {len(demo_run.transcripts)} json" in said
    assert "5 failed recordings" in said
    lecture = demo_run.of("cours magistral.mp3")
    base = "s3://test/files/recordings/lectures/cours magistral"
    subtitles = pysubs2.SSAFile.from_string(store.read(f"{base}.srt").decode())
    assert "".join(event.plaintext for event in subtitles).replace("\n", "").replace(" ", "") == lecture[
        "text"
    ].replace(" ", "")
    assert subtitles[-1].end <= lecture["duration_s"] * 1000
    facts = json.loads(store.read(f"{base}.json"))
    assert (facts["text"], facts["language"]) == (lecture["text"], "fr")
    assert json.loads(store.read("s3://test/files/recordings/odd/empty.json"))["failure_code"] == "empty_file"
    names = store.filesystem("s3").find("test/files")
    assert not [name for name in names if "empty.srt" in name or "empty.txt" in name]
    assert store.read("s3://test/files/recordings/odd/silence.txt") == b""


def test_split_channels_export_a_conversation(tmp_path: Path) -> None:
    call = DEMO / "recordings/calls/0003 stereo.wav"
    out = tmp_path / "out"
    arguments = ["--input", str(call), "--output", str(out), "--channels", "split", *SCRIPTED]
    assert transcribe.main(arguments) == 0
    assert job.main(["--input", str(out), "--output", str(tmp_path / "files"), "--formats", "txt"]) == 0
    texts = {path.name: path.read_text() for path in (tmp_path / "files").rglob("*.txt")}
    assert len(texts) == 3
    (conversation,) = [text for name, text in texts.items() if "channel" not in name]
    assert conversation.startswith("[")
    assert transcribe.main(arguments) == 0, "and again there is nothing to do"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "/no/such/place", "--output", "x"], "no published transcripts"),
        (["--input", "s3://no-such-bucket/x", "--output", "x"], "no-such-bucket"),
        (["--output", "x"], "--input is missing"),
        (["--input", "x", "--output", "y", "--formats", "docx"], "srt"),
    ],
)
def test_a_wrong_command_stops_at_once(
    arguments: list[str], words: str, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
