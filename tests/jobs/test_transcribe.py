"""The main job with every part real, on the recordings that the repository carries."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import jiwer
import numpy as np
import polars as pl
import pytest

from bench.diarization import diarization_error
from demo.training.check import training_code_texts
from jobs import transcribe
from pipeline import store
from pipeline.alignment.words import words_of
from pipeline.audio import media
from pipeline.settings import Audio
from pipeline.tasks.transcribe.schema import SEGMENT, TRANSCRIPT
from tests.conftest import CANARY, DEMO, DEMO_ENGINE, JobRun, run_job

HELD_OUT = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]
REFERENCES = [json.loads(line) for line in (DEMO / "references.jsonl").read_text("utf-8").splitlines()]


def test_every_recording_has_one_outcome(demo_run: JobRun) -> None:
    assert len({row["recording_id"] for row in demo_run.transcripts}) == len(demo_run.transcripts)
    assert len(demo_run.transcripts) == len(HELD_OUT) + len(REFERENCES) + 3
    numbers = demo_run.report["numbers"]
    assert numbers["recordings"] == len(demo_run.transcripts) == numbers["ok"] + numbers["partial"] + numbers["failed"]
    assert Counter(row["outcome"] for row in demo_run.transcripts) == {
        "ok": len(HELD_OUT) + 14,
        "partial": 1,
        "failed": 5,
    }
    for row in demo_run.transcripts:
        assert (row["text"] is None) == (row["outcome"] == "failed")
        assert (row["failure_code"] is None) == (row["outcome"] == "ok")


def test_segments_are_those_of_the_transcripts(demo_run: JobRun) -> None:
    segments = defaultdict(list)
    for row in demo_run.segments:
        segments[row["recording_id"]].append(row)
    for row in demo_run.transcripts:
        own = sorted(segments.pop(row["recording_id"]), key=lambda s: s["segment_index"])
        assert [s["text"] for s in own] == [s["text"] for s in row["segments"]]
        times = [time for s in own for time in (s["start_s"], s["end_s"])]
        assert times == sorted(times)
        heard = [s["end_s"] for s in own if not s["failure_code"]]
        assert max(heard, default=0.0) <= (row["duration_s"] or 0.0) + 1e-6
    assert not segments


def test_the_words_are_right_on_voices_never_heard(demo_run: JobRun) -> None:
    texts = {row["uri"].rsplit("/", 1)[1]: row["text"] for row in demo_run.transcripts if "/held_out/" in row["uri"]}
    wer = jiwer.wer([clip["reference"] for clip in HELD_OUT], [texts[clip["path"]] for clip in HELD_OUT])
    assert wer <= 0.04


def test_the_words_are_right_in_every_format(demo_run: JobRun) -> None:
    for reference in REFERENCES:
        if reference["reference"]:
            row = demo_run.of(reference["path"])
            assert jiwer.wer(reference["reference"], row["text"]) <= 0.25, (reference["path"], row["text"])


def test_languages_are_tagged(demo_run: JobRun) -> None:
    wanted = {clip["path"]: clip["language"] for clip in HELD_OUT}
    rows = [row for row in demo_run.transcripts if "/held_out/" in row["uri"]]
    right = [row["language"] == wanted[row["uri"].rsplit("/", 1)[1]] for row in rows]
    assert np.mean(right) >= 0.95
    assert all(0.25 <= row["language_probability"] <= 1 and row["language_source"] == "identified" for row in rows)


def test_silence_gives_no_words_and_no_failure(demo_run: JobRun) -> None:
    row = demo_run.of("odd/silence.flac")
    assert (row["outcome"], row["text"], row["language"]) == ("ok", "", None)


def test_damage_is_named(demo_run: JobRun) -> None:
    assert demo_run.of("odd/empty.wav")["failure_code"] == "empty_file"
    assert demo_run.of("odd/not a recording.mp3")["failure_code"] == "not_media"
    row = demo_run.of("odd/truncated.wav")
    assert (row["outcome"], row["failure_code"]) == ("partial", "truncated")
    assert len(row["text"].split()) >= 3


def test_hostile_files_open_nothing(demo_run: JobRun) -> None:
    for name in ("playlist.mp3", "script.wav", "odd $(touch pwned).mp3"):
        assert demo_run.of(name)["failure_code"] == "not_media"
    assert not Path("pwned").exists()
    s3 = store.filesystem("s3")
    for name in s3.find("test/out"):
        assert CANARY.encode() not in store.read(f"s3://{name}")


def test_each_word_has_its_time(demo_run: JobRun) -> None:
    """By the demo's aligner: within its segment, in order, and with scores of words that are there."""
    for row in demo_run.transcripts:
        if row["text"]:
            assert [word["word"] for word in row["words"]] == words_of(row["text"])
            assert "not_aligned" not in row["flags"]
        elif row["outcome"] != "failed":
            assert not row["words"]
    scores = []
    for segment in demo_run.segments:
        timed = [time_s for word in segment["words"] or () for time_s in (word["start_s"], word["end_s"])]
        times = [time_s for time_s in timed if time_s is not None]
        assert times == sorted(times) and len(times) == len(timed)
        if times:
            edge_s = segment["start_s"] - segment["overlap_s"]
            assert edge_s <= times[0] and times[-1] <= segment["end_s"] + 0.01
        scores += [word["score"] for word in segment["words"] or ()]
    assert np.median(scores) > 0.7


def test_who_says_each_word_is_found(demo_run: JobRun) -> None:
    """In a dialogue of two voices: turns as they were made, and words that lie in them."""
    (truth,) = [line["turns"] for line in REFERENCES if "turns" in line]
    (row,) = [row for row in demo_run.transcripts if row["uri"].endswith("interviews/dialogue.ogg")]
    spoken, found = ([tuple(turn.values()) for turn in turns] for turns in (truth, row["turns"]))
    assert {turn["speaker"] for turn in row["turns"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert diarization_error(spoken, found).rate < 0.2  # what the voice activity detector adds is most of it
    assert diarization_error(spoken, found).confusion_s < 0.5
    speakers = [word["speaker"] for word in row["words"]]
    changes = [one for one, before in zip(speakers, [None, *speakers], strict=False) if one != before]
    assert changes == ["SPEAKER_00", "SPEAKER_01"] * 4
    for other in demo_run.transcripts:
        if other["outcome"] != "failed":
            assert other["turns"] is not None
            assert {word["speaker"] for word in other["words"] or ()} <= {turn["speaker"] for turn in other["turns"]}


@pytest.mark.slow
def test_the_engine_says_what_the_training_code_says(demo_run: JobRun) -> None:
    """Export, mel, RoPE, prompt and vLLM's kernels agree with demo/training on the same audio."""
    rows = [row for row in demo_run.segments if "/held_out/" in row["uri"]]
    utterances = []
    for row in rows:
        samples = np.concatenate(list(media.decode(DEMO / "held_out" / row["uri"].rsplit("/", 1)[1], Audio())))
        utterances.append(samples[round(row["start_s"] * 16_000) : round(row["end_s"] * 16_000)])
    expected = training_code_texts(utterances)
    differing = [(row["text"], text) for row, text in zip(rows, expected, strict=True) if row["text"] != text]
    # Sums in another order may tip a draw between two words; nothing else may differ.
    assert len(differing) <= len(rows) // 50, differing


def test_the_tables_open_in_duckdb_and_polars(demo_run: JobRun, tmp_path: Path) -> None:
    files = []
    for name in demo_run.report["transcripts"]:
        files.append(tmp_path / Path(name).name)
        files[-1].write_bytes(store.read(f"{demo_run.output}/{name}"))
    query = f"select count(*), count(text), sum(len(segments)) from read_parquet({[str(f) for f in files]})"
    total, with_text, segments = duckdb.connect().execute(query).fetchone() or (0, 0, 0)
    assert (total, with_text, segments) == (
        len(demo_run.transcripts),
        len(demo_run.transcripts) - 5,
        len(demo_run.segments),
    )
    frame = pl.read_parquet(files)
    assert set(TRANSCRIPT.names) <= set(frame.columns)
    assert set(SEGMENT.names) <= set(demo_run.segments[0])
    assert frame["model_revision"].n_unique() == frame["fingerprint"].n_unique() == frame["run_id"].n_unique() == 1


def test_the_same_command_again_does_nothing(demo_run: JobRun, capsys: pytest.CaptureFixture[str]) -> None:
    before = store.filesystem("s3").find("test/out")
    assert transcribe.main([*demo_run.arguments, "--output", demo_run.output]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert store.filesystem("s3").find("test/out") == before


@pytest.mark.slow
def test_tensor_parallel_engines_say_the_same(no_ray: None, demo_run: JobRun, tmp_path: Path) -> None:
    arguments = ["--input", str(DEMO / "held_out"), *DEMO_ENGINE, "--engine.tensor-parallel-size", "2"]
    done = run_job(arguments, str(tmp_path / "out"))
    one = {Path(row["uri"]).name: row["text"] for row in demo_run.transcripts if "/held_out/" in row["uri"]}
    two = {Path(row["uri"]).name: row["text"] for row in done.transcripts}
    assert one.keys() == two.keys()
    assert sum(one[name] != two[name] for name in one) <= len(one) // 50
