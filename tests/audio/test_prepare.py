from __future__ import annotations

import itertools
import subprocess
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.audio import media, short
from pipeline.audio import prepare as preparing
from pipeline.errors import RecordingError
from pipeline.schema import RECORDING, WINDOW, FailureCode
from pipeline.settings import Audio, Segmentation, Settings
from tests import hostile
from tests.conftest import DEMO, ffmpeg, tone, write_wav

SETTINGS = Settings(input="in", output="out", segmentation=Segmentation(max_window_s=6.0, max_pause_s=2.0))


def prepare(settings: Settings = SETTINGS, **recording: Any) -> list[dict[str, Any]]:
    row = {"recording_id": "a", "uri": "none"} | recording
    tables = list(preparing.prepare(pa.Table.from_pylist([row], RECORDING), settings))
    assert all(table.schema == WINDOW for table in tables)
    rows = pa.concat_tables(tables).to_pylist()
    assert [row["segment_index"] for row in rows] == list(range(len(rows)))
    assert [row["segment_count"] for row in rows] == [None] * (len(rows) - 1) + [len(rows)]
    return rows


def test_a_recording_becomes_windows() -> None:
    path = DEMO / "recordings/lectures/cours magistral.mp3"
    rows = prepare(uri=str(path), language="fr")
    assert len(rows) > 10
    for row, following in itertools.pairwise(rows):
        assert row["end_s"] <= following["start_s"]
        assert len(row["samples"]) == 2 * round((row["end_s"] - row["start_s"]) * 16_000)
        assert row["language"] == "fr"
    assert rows[-1]["duration_s"] > 120
    assert rows[-1]["end_s"] <= rows[-1]["duration_s"]


@pytest.mark.parametrize(("end_s", "duration_s"), [(None, None), (630.0, 30.0)])
def test_workers_that_die_of_a_part_of_a_file_leave_its_duration(end_s: float | None, duration_s: float | None) -> None:
    row = {"recording_id": "a", "uri": "none", "range_start_s": 600.0}
    given = [pa.table({"end_s": [end_s]})] if end_s else []
    *_, last = preparing.decode_died(given, pa.Table.from_pylist([row], RECORDING), 3)
    assert (last["duration_s"][0].as_py(), last["start_s"][0].as_py()) == (duration_s, end_s or 600.0)


def test_a_time_range_keeps_the_recordings_clock() -> None:
    path = str(DEMO / "recordings/lectures/cours magistral.mp3")
    rows = prepare(uri=path, range_start_s=30.0, range_end_s=60.0)
    assert rows[0]["start_s"] >= 30.0
    assert rows[-1]["end_s"] <= 60.0 + 1e-6
    assert rows[-1]["duration_s"] == pytest.approx(30.0)
    (row,) = prepare(uri=str(DEMO / "recordings/calls/0001.wav"), range_start_s=1e6)
    assert row["failure_code"] == FailureCode.INVALID_ROW


def test_no_more_samples_than_a_few_windows_have_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "BYTES_PER_TABLE", 300_000)
    row = {"recording_id": "a", "uri": str(DEMO / "recordings/lectures/cours magistral.mp3"), "range_end_s": 60.0}
    tables = list(preparing.prepare(pa.Table.from_pylist([row], RECORDING), SETTINGS))
    sizes = [[len(samples or b"") for samples in table["samples"].to_pylist()] for table in tables]
    assert len(sizes) > 3 and max(map(len, sizes)) > 1
    assert all(sum(size[:-1]) < 300_000 <= sum(size) for size in sizes[:-1])


def test_silence_is_one_segment_without_samples(tmp_path: Path) -> None:
    (row,) = prepare(uri=str(write_wav(tmp_path / "s.wav", np.zeros(16_000 * 3, np.int16))))
    assert (row["samples"], row["failure_code"], row["end_s"], row["speech_s"]) == (None, None, 3.0, 0.0)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("odd/empty.wav", FailureCode.EMPTY_FILE),
        ("odd/not a recording.mp3", FailureCode.NOT_MEDIA),
        ("odd/missing.wav", FailureCode.NOT_FOUND),
    ],
)
def test_a_bad_recording_is_one_failed_segment(name: str, code: FailureCode) -> None:
    (row,) = prepare(uri=str(DEMO / "recordings" / name))
    assert (row["failure_code"], row["samples"], row["duration_s"]) == (code, None, None)
    assert row["failure_detail"]


def test_what_a_truncated_recording_lacks_is_a_failed_segment() -> None:
    *heard, lacking = prepare(uri=str(DEMO / "recordings/odd/truncated.wav"))
    assert heard
    assert all(row["failure_code"] is None for row in heard)
    assert lacking["failure_code"] == FailureCode.TRUNCATED
    assert lacking["end_s"] - lacking["start_s"] > 2
    assert lacking["duration_s"] == pytest.approx(lacking["start_s"])  # what was decoded, not what the header states


def test_what_is_wrong_with_timestamps_is_on_the_last_window(tmp_path: Path) -> None:
    flac = tmp_path / "call.flac"
    clip = str(DEMO / "held_out/en-00.ogg")
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-ar", "16000", "-frame_size", "1024", flac], check=True)
    (*others, right) = prepare(uri=str(flac))
    assert not any(row["recording_flags"] for row in [*others, right])
    flac.write_bytes(hostile.renumbered(flac, lambda frame, sample: sample))
    (*others, last) = prepare(uri=str(flac))
    assert last["recording_flags"] == ["timestamps_corrected"]
    assert not any(row["recording_flags"] for row in others)
    assert (last["duration_s"], last["failure_code"], last["samples"]) == (right["duration_s"], None, right["samples"])


def test_a_header_that_lies_makes_no_audio(tmp_path: Path) -> None:
    flac = tmp_path / "lying.flac"
    subprocess.run(["ffmpeg", "-v", "error", "-i", write_wav(tmp_path / "t.wav", tone(4.0)), flac], check=True)
    data = bytearray(flac.read_bytes())
    data[21:26] = bytes([data[21] | 0x0F, 255, 255, 255, 255])  # 2**36 - 1 samples
    flac.write_bytes(data)
    rows = prepare(uri=str(flac))
    assert rows[-1]["failure_code"] == FailureCode.TRUNCATED
    assert rows[-1]["duration_s"] == pytest.approx(4.0)


def test_a_recording_past_the_limit_is_partly_done(speech_wav: Callable[..., Path], tmp_path: Path) -> None:
    brief = SETTINGS.model_copy(update={"audio": SETTINGS.audio.model_copy(update={"max_duration_s": 1.5})})
    *heard, lacking = prepare(brief, uri=str(speech_wav()))
    assert heard[-1]["end_s"] <= 1.5
    assert lacking["failure_code"] == FailureCode.TOO_LONG


def test_a_range_as_long_as_the_limit_is_complete(speech_wav: Callable[..., Path], tmp_path: Path) -> None:
    """Also in a format that does not state its duration."""
    ffmpeg("-stream_loop", "3", "-i", speech_wav(), tmp_path / "a.mp3")
    settings = SETTINGS.model_copy(update={"audio": Audio(max_duration_s=2.0)})
    for end_s, code in ((3.0, None), (3.5, "too_long")):
        found = prepare(settings, uri=f"{tmp_path}/a.mp3", range_start_s=1.0, range_end_s=end_s)
        assert found[-1]["failure_code"] == code


def test_what_was_decoded_before_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = media.decode

    def breaks_off(*arguments: Any, **options: Any) -> Iterator[np.ndarray]:
        yield from decode(*arguments, **options)
        raise RecordingError(FailureCode.DECODE_ERROR, "it broke off")

    monkeypatch.setattr(short, "decode", lambda *_: None)
    monkeypatch.setattr(media, "decode", breaks_off)
    *heard, broken = prepare(uri=str(DEMO / "held_out/en-00.ogg"))
    assert heard
    assert heard[-1]["samples"]
    assert (broken["failure_code"], broken["start_s"] >= heard[-1]["end_s"]) == (FailureCode.DECODE_ERROR, True)


def test_a_fault_of_ours_is_a_row_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(short, "decode", fault)
    (row,) = prepare(uri=str(write_wav(tmp_path / "t.wav", tone(1.0))))
    assert (row["failure_code"], row["failure_detail"]) == (FailureCode.INTERNAL_ERROR, "ZeroDivisionError: oops")


def test_split_channels_are_windows_of_their_own(speech_wav: Callable[..., Path], tmp_path: Path) -> None:
    with wave.open(str(speech_wav())) as file:
        left = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    stereo = np.stack([left, np.zeros_like(left)], axis=1)
    path = tmp_path / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(stereo.tobytes())
    rows = prepare(SETTINGS.model_copy(update={"channels": "split"}), uri=str(path))
    *spoken, silent = rows
    assert {row["channel"] for row in spoken} == {0}
    assert spoken[-1]["channel_speech_s"] == pytest.approx(sum(row["speech_s"] for row in spoken), abs=0.01)
    assert (silent["channel"], silent["samples"], silent["channel_speech_s"]) == (1, None, 0.0)
    assert {row["channel"] for row in prepare(uri=str(path))} == {None}
