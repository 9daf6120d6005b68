from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pysubs2
import pytest

from jobs import export as job
from jobs import transcribe
from pipeline import store
from pipeline.ledger import parts
from pipeline.tasks.transcribe.schema import TRANSCRIPT
from tests.conftest import DEMO, SCRIPTED, JobRun, tone, write_wav
from tests.exports.rows import row, segment, word


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


def publish(output: Path, run_id: str, rows: list[dict[str, Any]], dropped: tuple[str, ...] = ()) -> None:
    """A run's transcripts and its report; without some columns, as an older version wrote them."""
    origin = dict.fromkeys(["model", "model_revision", "fingerprint", "pipeline_version"], "x") | {"run_id": run_id}
    made = [{"place": row["uri"]} | row | origin for row in rows]
    table = pa.Table.from_pylist(made, TRANSCRIPT).drop_columns(list(dropped))
    part = f"transcripts/run_id={run_id}/part-00000.parquet"
    store.replace(f"{output}/{part}", parts.parquet(table))
    report = {"run_id": run_id, "finished_at": run_id, "input": "s3://b/in/", "transcripts": [part]}
    store.replace(f"{output}/runs/{run_id}.json", json.dumps(report).encode())


TURNS = [{"start_s": 1.0, "end_s": 2.0, "speaker": "SPEAKER_00"}]
SAID = segment("Yes, Köln.", (1.0, 2.0), segment_index=0, speaker="SPEAKER_00")
TIMED = [word("Yes,", 1.0, 1.25, "SPEAKER_00"), word("Köln.", 1.5, 2.0, "SPEAKER_00")]


def exported(output: Path, kinds: str) -> dict[str, str]:
    files = output / "files"
    assert job.main(["--input", str(output), "--output", str(files), "--formats", kinds]) == 0
    return {str(path.relative_to(files)): path.read_text() for path in files.rglob("*") if path.is_file()}


def test_files_of_words_and_turns_are_of_recordings_that_have_them(tmp_path: Path) -> None:
    with_all = row(SAID, uri="s3://b/in/a b.wav", recording_id="x 1", words=TIMED, turns=TURNS)
    publish(tmp_path, "1", [with_all, row(SAID, uri="s3://b/in/c.wav", recording_id="y")])
    publish(tmp_path, "2", [row(SAID, uri="s3://b/in/d.wav", recording_id="z")], dropped=("words", "turns"))
    found = exported(tmp_path, "ctm,rttm,stm,vtt-words")
    assert sorted(found) == ["a b.ctm", "a b.rttm", "a b.stm", "a b.words.vtt", "c.stm", "d.stm"]
    assert found["a b.rttm"] == "SPEAKER x_1 1 1.000 1.000 <NA> <NA> SPEAKER_00 <NA> <NA>\n"


def test_a_recording_called_sample_does_not_make_room_for_the_sample(tmp_path: Path) -> None:
    publish(tmp_path, "1", [row(SAID, uri=f"s3://b/in/{one}.wav", recording_id=one) for one in ("sample", "other")])
    report = json.loads((tmp_path / "runs/1.json").read_text()) | {"finished_at": "2026-11-01T00:00:00+00:00"}
    (tmp_path / "runs/1.json").write_text(json.dumps(report))
    arguments = ["--input", str(tmp_path), "--output", f"{tmp_path}/files", "--formats", "json,html"]
    assert job.main([*arguments, "--sample-for-review", "2"]) == 0
    assert json.loads((tmp_path / "files/sample.wav.json").read_text())["text"] == "Yes, Köln."
    assert "strata" in json.loads((tmp_path / "files/sample.json").read_text())


def test_no_file_replaces_another(tmp_path: Path) -> None:
    names = ("call.wav", "call.words.wav")
    publish(tmp_path, "1", [row(SAID, uri=f"s3://b/in/{one}", recording_id=one, words=TIMED) for one in names])
    found = exported(tmp_path, "vtt,vtt-words")
    assert sorted(found) == ["call.vtt", "call.words.vtt", "call.words.wav.vtt", "call.words.wav.words.vtt"]


def test_one_file_has_all_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = row(uri="s3://b/in/bad.wav", recording_id="bad", outcome="failed", text=None)
    unusable = row(uri="row 3 of the manifest", recording_id="", outcome="failed", failure_code="invalid_row")
    channel = row(SAID | {"channel": 0}, uri="s3://b/in/x/a.wav", recording_id="a#0", channel=0)
    whole = row(SAID | {"channel": 0}, uri="s3://b/in/x/a.wav", recording_id="a")
    publish(tmp_path, "1", [row(SAID, uri="s3://b/in/b.wav", recording_id="b"), failed, unusable])
    publish(tmp_path, "2", [channel, whole, row(SAID | {"text": "New."}, uri="s3://b/in/b.wav", recording_id="b2")])
    found = exported(tmp_path, "nemo,audiofolder")
    assert sorted(found) == ["manifest.jsonl", "metadata.jsonl"]
    lines = {name: [json.loads(line) for line in text.splitlines()] for name, text in found.items()}
    assert [(one["audio_filepath"], one["text"]) for one in lines["manifest.jsonl"]] == [
        ("s3://b/in/x/a.wav", "Yes, Köln."),
        ("s3://b/in/b.wav", "New."),
    ]
    assert [(one["file_name"], one["text"]) for one in lines["metadata.jsonl"]] == [
        ("x/a.wav", "Yes, Köln."),
        ("b.wav", "New."),
    ]
    said = capsys.readouterr().err
    assert "metadata.jsonl, which belongs into s3://b/in/" in said
    assert "2 failed recordings" in said


def test_a_damaged_report_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/bad.json").write_text('{"run_id": ')
    assert job.main(["--input", str(tmp_path), "--output", "x"]) == 2
    assert "JSONDecodeError" in capsys.readouterr().err


def test_a_damaged_table_is_a_fault_of_the_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, "1", [row(SAID, uri="s3://b/in/b.wav", recording_id="b")])
    (part,) = tmp_path.rglob("transcripts/*/*.parquet")
    columns = pq.ParquetFile(part).metadata.row_group(0)
    (text,) = (c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema == "text")
    data = bytearray(part.read_bytes())
    data[text.data_page_offset : text.data_page_offset + 20] = bytes(20)  # which rows count can still be read
    part.write_bytes(data)
    for formats in ("txt", "nemo"):
        assert job.main(["--input", str(tmp_path), "--output", f"{tmp_path}/files", "--formats", formats]) == 2
        assert f"--input {tmp_path}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "/no/such/place", "--output", "x"], "no published transcripts"),
        (["--input", "s3://no-such-bucket/x", "--output", "x"], "no-such-bucket"),
        (["--output", "x"], "--input is missing"),
        (["--input", "x", "--output", "y", "--formats", "docx"], "srt"),
        (["--input", "x", "--output", "y", "--copy-audio", "opus"], "--copy-audio opus: only pages"),
        (["--input", "x", "--output", "y", "--formats", "txt", "--answers", "a"], "is txt; add html to --formats"),
    ],
)
def test_a_wrong_command_stops_at_once(
    arguments: list[str], words: str, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
