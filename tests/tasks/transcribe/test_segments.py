from __future__ import annotations

from dataclasses import fields

from pipeline.tasks.transcribe.schema import HYPOTHESIS
from pipeline.tasks.transcribe.segments import Segment, segments


def test_a_segment_has_the_columns_of_an_answered_window() -> None:
    assert {field.name for field in fields(Segment)} - {"samples", "speaker"} == set(HYPOTHESIS.names)


def test_rows_become_segments() -> None:
    row = dict.fromkeys(HYPOTHESIS.names) | {"start_s": 1.0, "end_s": 2.0, "text": "one"}
    (segment,) = segments([row])
    assert (segment.start_s, segment.text, segment.language) == (1.0, "one", None)
