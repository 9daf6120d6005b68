"""Hostile and damaged files through the decode stage: each becomes a named outcome, and opens nothing else."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipeline.audio import prepare
from pipeline.schema import RECORDING, FailureCode, Flag
from pipeline.settings import Audio, Segmentation, Settings
from pipeline.tasks.transcribe import assemble
from pipeline.tasks.transcribe.segments import Segment
from tests import hostile
from tests.conftest import CANARY

LIMITS = Audio(max_duration_s=600.0, stall_timeout_s=10.0, cpu_limit_s=20, memory_limit_mb=512)
SETTINGS = Settings(
    input="in", output="out", audio=LIMITS, segmentation=Segmentation(max_window_s=30.0, max_pause_s=1.0)
)
PATIENCE_S = 120.0  # more than all limits together
MEMORY = 400 << 20  # what a decode worker may grow by


def carried(path: Path) -> list[str]:
    """Takes one file through the stage; returns its failure codes."""
    began = time.monotonic()
    recording = pa.Table.from_pylist([{"recording_id": path.name, "uri": str(path)}], RECORDING)
    rows = [row for table in prepare.prepare(recording, SETTINGS) for row in table.to_pylist()]
    assert time.monotonic() - began < PATIENCE_S, path.name
    assert rows[-1]["segment_count"] == len(rows), path.name
    assert CANARY not in str([row | {"samples": None} for row in rows]), path.name
    if path.stem.split("-")[0] in SCRIPTS:
        assert [(row["failure_code"], row["samples"]) for row in rows] == [("not_media", None)], path.name
    codes = [row["failure_code"] for row in rows if row["failure_code"]]
    assert FailureCode.INTERNAL_ERROR not in codes, rows
    return codes or ["none"]


SCRIPTS = {"hls", "ffconcat", "concat", "m3u", "pls", "dash", "smil", "asx", "sdp", "srt", "ass", "avs", "lrc"}


def check(paths: list[Path]) -> Counter[str]:
    before = psutil.Process().memory_info().rss
    codes = Counter(code for path in paths for code in carried(path))
    assert psutil.Process().memory_info().rss - before < MEMORY
    assert not [process for process in psutil.Process().children() if process.name().startswith("ff")]
    return codes


@pytest.fixture
def corpus(tmp_path: Path, speech_wav: Callable[..., Path]) -> list[Path]:
    secret = speech_wav("beside/secret.wav")
    (secret.parent / "secret.txt").write_text(CANARY)
    return list(hostile.files(tmp_path / "corpus", secret))


def test_some_of_them(corpus: list[Path]) -> None:
    codes = check(corpus[::9])
    assert {"none", "not_media", "truncated"} <= codes.keys()


@pytest.mark.slow
def test_all_of_them(corpus: list[Path]) -> None:
    assert len(corpus) >= 300
    codes = check(corpus)
    print(f"{len(corpus)} files: {dict(codes.most_common())}")
    assert {"not_media", "truncated", "decode_error", "too_long"} <= codes.keys()


def test_wrong_timestamps_flag_the_transcript(tmp_path: Path, speech_wav: Callable[..., Path]) -> None:
    flac, jumps = tmp_path / "steady.flac", tmp_path / "jumps.flac"
    subprocess.run(["ffmpeg", "-v", "error", "-i", speech_wav("speech.wav"), flac], check=True)
    jumps.write_bytes(hostile.renumbered(flac, lambda index, _: index * index * 1_000))
    durations = []
    for path in (flac, jumps):
        recording = pa.Table.from_pylist([{"recording_id": path.name, "uri": str(path)}], RECORDING)
        rows = [row for table in prepare.prepare(recording, SETTINGS) for row in table.to_pylist()]
        assert [row["failure_code"] for row in rows] == [None] * len(rows)
        durations.append(rows[-1]["duration_s"])
        segments = [Segment(**(row | {"text": "one", "channel": 0})) for row in rows]
        for transcript in assemble.transcripts(path.name, segments, SETTINGS.guards):
            assert (Flag.TIMESTAMPS_CORRECTED in transcript["flags"]) == (path == jumps), transcript["channel"]
    assert durations[0] == pytest.approx(durations[1], abs=0.01)
