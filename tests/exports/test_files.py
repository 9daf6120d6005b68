from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import export as job
from jobs import transcribe
from pipeline import identity, store
from pipeline.exports.files import file_names
from tests.conftest import DEMO, SCRIPTED, JobRun, tone, write_wav


def place(uri: str, channel: int | None = None, start_s: float | None = None) -> dict[str, Any]:
    return {"uri": uri, "channel": channel, "place": identity.place(uri, start_s, None)}


def names_of(rows: list[dict[str, Any]], *inputs: str) -> list[str]:
    names = file_names(rows, inputs)
    return [names[row["place"], row["channel"]] for row in rows]


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
    assert names_of([place(uri)], "s3://b/in/") == [name]


def test_names_below_a_manifest_or_of_one_file() -> None:
    assert names_of([place("s3://b/m/x/a.wav")], "s3://b/m/list.jsonl") == ["x/a"]
    assert names_of([place("/data/a.wav")], "/data/a.wav") == ["a"]
    assert names_of([place("/data/x/a.wav")], "/other/list.csv") == ["data/x/a"]
    assert names_of([place("row 3 of list.csv")], "/other/list.csv") == ["row 3 of list"]


def test_names_that_would_meet_part() -> None:
    rows = [
        place("s3://b/in/a.mp3"),
        place("s3://b/in/a.wav"),
        place("s3://b/in/A.WAV"),
        place("s3://b/in/call.wav"),
        place("s3://b/in/call.wav", 0),
        place("s3://b/in/call.wav", 1),
        place("s3://b/in/long.wav", None, 0.0),
        place("s3://b/in/long.wav", None, 60.0),
        place("s3://b/in/x.wav"),
        place("s3://b/in/x.srt/y.wav"),
        place("s3://b/in/" + "会" * 300 + ".wav"),
        place("s3://b/in/" + "会" * 299 + ".wav"),
    ]
    names = names_of(rows, "s3://b/in")
    assert len({name.casefold() for name in names}) == len(rows)
    assert (names[0], names[3], names[4]) == ("a.mp3", "call", "call.channel-0")
    assert names[6].startswith("long.wav.")
    assert names[8:10] == ["x.wav", "x.srt/y"], "x.srt is a folder"
    assert all(len(part.encode()) < 240 for name in names for part in name.split("/"))


@given(st.sets(st.one_of(st.text(max_size=20), st.text("./a", min_size=1)), min_size=1, max_size=8))
def test_whatever_the_keys_names_are_apart_and_below_the_output(keys: set[str]) -> None:
    names = names_of([place(f"s3://b/in/{key}") for key in keys], "s3://b/in/")
    assert len({name.casefold() for name in names}) == len(keys)
    for name in names:
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


@pytest.mark.slow
def test_split_channels_export_a_conversation(shared_ray: None, tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_the_newest_transcript_counts(shared_ray: None, speech_wav: Callable[..., Path], tmp_path: Path) -> None:
    recording, out, files = speech_wav("in/a.wav"), tmp_path / "out", tmp_path / "files"
    arguments = ["--input", str(recording.parent), "--output", str(out), *SCRIPTED]
    assert transcribe.main([*arguments, "--channels", "split"]) == 0
    write_wav(recording, tone(2.0))  # other content: nothing is said in it
    assert transcribe.main(arguments) == 0
    assert job.main(["--input", str(out), "--output", str(files), "--formats", "txt"]) == 0
    assert {path.name: path.read_text() for path in files.iterdir()} == {"a.txt": ""}


def test_a_damaged_report_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/bad.json").write_text('{"run_id": ')
    assert job.main(["--input", str(tmp_path), "--output", "x"]) == 2
    assert "JSONDecodeError" in capsys.readouterr().err


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
