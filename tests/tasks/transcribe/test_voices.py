from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.command_line import load
from pipeline.errors import ConfigurationError
from pipeline.schema import WINDOW
from pipeline.tasks.transcribe import voices

GIVEN = ["--input", "in", "--output", "out"]
MIX = load([*GIVEN, "--speakers", "auto"])


def test_what_is_no_number_of_speakers_is_refused() -> None:
    for wrong in ("two", "0", "4-2", "1-", "-1", "100"):
        with pytest.raises(ConfigurationError, match="2-4"):
            load([*GIVEN, f"--speakers={wrong}"])
    assert load([*GIVEN, "--speakers", "2-4"]).speaker_counts == (2, 4)
    assert load([*GIVEN, "--speakers", "3"]).speaker_counts == (3, 3)
    assert MIX.speaker_counts == (1, None)


def test_a_model_is_looked_at_before_the_run(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.onnx")
    with pytest.raises(ConfigurationError, match="--speakers"):
        voices.check(load([*GIVEN, "--diarization.model", missing]))
    with pytest.raises(ConfigurationError, match=r"none\.onnx"):
        voices.check(load([*GIVEN, "--diarization.model", missing, "--speakers", "auto"]))
    with pytest.raises(ConfigurationError, match="split"):
        voices.check(load([*GIVEN, "--diarization.model", missing, "--speakers", "2", "--channels", "split"]))


def test_what_changes_turns_is_in_the_fingerprint() -> None:
    ways = (["auto"], ["2"], ["1-2"], ["2", "--channels", "split"])
    facts = [voices.facts(load([*GIVEN, "--speakers", *way])) for way in ways]
    assert len({str(one) for one in facts}) == len(ways)
    assert voices.facts(load(GIVEN)) == {}


def test_a_recording_whose_voices_cannot_be_heard_has_no_turns() -> None:
    """Another one, and its own windows, are there all the same."""
    rows = [
        {"recording_id": "a", "segment_index": 0, "start_s": 0.0, "end_s": 1.0, "samples": b"odd"},  # half a sample
        {"recording_id": "a", "segment_index": 1, "start_s": 1.0, "end_s": 2.0, "segment_count": 2},
        {"recording_id": "b", "segment_index": 0, "start_s": 0.0, "end_s": 0.0, "segment_count": 1},
    ]
    table = pa.Table.from_pylist([{"speech_s": 0.0, "overlap_s": 0.0, "spans": []} | row for row in rows], WINDOW)
    (found,) = voices.with_turns([table], MIX)
    assert found.drop_columns("turns") == table.drop_columns("turns")
    assert found["turns"].to_pylist() == [None, None, []]
