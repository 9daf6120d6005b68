from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.schema import WINDOW
from pipeline.tasks.transcribe.answers import Answer, hypotheses
from pipeline.tasks.transcribe.schema import HYPOTHESIS

BASE = {"recording_id": "a", "channel": 1, "segment_index": 0, "start_s": 0.5, "end_s": 1.5, "speech_s": 0.75}
SPOKEN = BASE | {
    "overlap_s": 0.25,
    "spans": [{"start_s": 0.5, "end_s": 1.25}],
    "language": "de",
    "channel_speech_s": 7.0,
    "samples": np.array([1, -2, 3], "<i2").tobytes(),
}


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), WINDOW)


def test_a_hypothesis_keeps_the_columns_of_its_window() -> None:
    windows = table(SPOKEN, SPOKEN | {"segment_index": 1, "segment_count": 2, "duration_s": 9.0})
    answers = [
        Answer(text="ja", language="nl", language_probability=0.5, flags=["no_text"], attempts=["whole"]),
        Answer(text=None, language="de", failure_code="engine_died", failure_detail="two"),
    ]
    done = hypotheses(windows, answers)
    assert done.schema == HYPOTHESIS
    first, second = done.to_pylist()
    kept = [name for name in WINDOW.names if name not in ("samples", "language", "failure_code", "failure_detail")]
    assert [first[name] for name in kept] == [windows.slice(0, 1)[name][0].as_py() for name in kept]
    assert (first["text"], first["language"], first["flags"], first["attempts"]) == ("ja", "nl", ["no_text"], ["whole"])
    assert (second["text"], second["language"], second["flags"]) == (None, "de", None)
    assert (second["failure_code"], second["failure_detail"], second["segment_count"]) == ("engine_died", "two", 2)


def test_chunked_windows_stay_in_order() -> None:
    windows = pa.concat_tables([table(SPOKEN | {"segment_index": at}) for at in range(3)])
    answers = [Answer(text=str(at), language=None) for at in range(3)]
    done = hypotheses(windows, answers).to_pylist()
    assert [(row["segment_index"], row["text"]) for row in done] == [(0, "0"), (1, "1"), (2, "2")]
