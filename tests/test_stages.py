from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import audio, stages
from pipeline.engines.base import EngineError, Hypothesis, Utterance
from pipeline.errors import RecordingError
from pipeline.schema import HYPOTHESIS, RECORDING, WINDOW, FailureCode
from pipeline.settings import Settings
from tests.conftest import DEMO, tone, write_wav

SETTINGS = Settings(input="in", output="out")


def prepare(settings: Settings = SETTINGS, **recording: Any) -> list[dict[str, Any]]:
    row = {"recording_id": "a", "uri": "none"} | recording
    tables = list(stages.prepare(pa.Table.from_pylist([row], RECORDING), settings, 6.0))
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


def test_a_time_range_keeps_the_recordings_clock() -> None:
    path = str(DEMO / "recordings/lectures/cours magistral.mp3")
    rows = prepare(uri=path, range_start_s=30.0, range_end_s=60.0)
    assert rows[0]["start_s"] >= 30.0
    assert rows[-1]["end_s"] <= 60.0 + 1e-6
    assert rows[-1]["duration_s"] == pytest.approx(30.0)
    (row,) = prepare(uri=str(DEMO / "recordings/calls/0001.wav"), range_start_s=1e6)
    assert row["failure_code"] == FailureCode.INVALID_ROW


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
    assert lacking["duration_s"] == pytest.approx(lacking["end_s"])


def test_a_recording_past_the_limit_is_partly_done(speech_wav: Callable[..., Path], tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"audio": SETTINGS.audio.model_copy(update={"max_duration_s": 1.5})})
    *heard, lacking = prepare(short, uri=str(speech_wav()))
    assert heard[-1]["end_s"] <= 1.5
    assert lacking["failure_code"] == FailureCode.TOO_LONG


def test_what_was_decoded_before_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = audio.decode

    def breaks_off(*arguments: Any, **options: Any) -> Iterator[np.ndarray]:
        yield from decode(*arguments, **options)
        raise RecordingError(FailureCode.DECODE_ERROR, "it broke off")

    monkeypatch.setattr(audio, "decode", breaks_off)
    *heard, broken = prepare(uri=str(DEMO / "held_out/en-00.ogg"))
    assert heard
    assert heard[-1]["samples"]
    assert (broken["failure_code"], broken["start_s"] >= heard[-1]["end_s"]) == (FailureCode.DECODE_ERROR, True)


def test_a_fault_of_ours_is_a_row_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(audio, "probe", fault)
    (row,) = prepare(uri=str(write_wav(tmp_path / "t.wav", tone(1.0))))
    assert (row["failure_code"], row["failure_detail"]) == (FailureCode.INTERNAL_ERROR, "ZeroDivisionError: oops")


class FailsOnTone:
    """Says how long an utterance is; refuses those that begin with a positive sample."""

    async def transcribe(self, utterance: Utterance) -> Hypothesis:
        await asyncio.sleep(0)
        if utterance.samples[0] > 0:
            raise EngineError("refused")
        return Hypothesis(f"{utterance.duration_s}", utterance.language or "es", 0.8, "stop", 1, -0.5, 6.0)

    def shutdown(self) -> None:
        pass


def test_every_window_has_one_hypothesis_or_failure() -> None:
    base = {"recording_id": "a", "start_s": 0.0, "end_s": 1.0, "speech_s": 1.0}
    windows = [
        base | {"segment_index": 0, "samples": np.zeros(16_000, "<i2").tobytes()},
        base | {"segment_index": 1, "samples": np.ones(16_000, "<i2").tobytes()},
        base | {"segment_index": 2, "samples": None},
        base | {"segment_index": 3, "samples": None, "failure_code": "truncated", "failure_detail": "x"},
        base | {"segment_index": 4, "samples": np.zeros(8_000, "<i2").tobytes(), "language": "de", "segment_count": 5},
    ]
    table = asyncio.run(stages.Transcribe(FailsOnTone())(pa.Table.from_pylist(windows, WINDOW)))
    assert table.schema == HYPOTHESIS
    rows = table.to_pylist()
    assert [row["text"] for row in rows] == ["1.0", None, "", None, "0.5"]
    assert [row["failure_code"] for row in rows] == [None, "engine_error", None, "truncated", None]
    assert [row["language"] for row in rows] == ["es", None, None, None, "de"]
    assert [row["language_source"] for row in rows] == ["model", None, None, None, "declared"]
    assert rows[4]["segment_count"] == 5
