from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema import ANSWERED
from pipeline.writer import Assembly


def answer(recording: str, index: int, count: int | None = None) -> dict[str, Any]:
    row = {"recording_id": recording, "segment_index": index, "segment_count": count, "failure_detail": f"{index}"}
    return row | {"start_s": 0.0, "end_s": 1.0, "speech_s": 1.0, "overlap_s": 0.0}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.randoms(use_true_random=False), st.integers(1, 5))
def test_every_recording_is_complete_once_in_order_whatever_the_order_of_its_answers(
    counts: list[int], shuffle: random.Random, batch: int
) -> None:
    rows = []
    for number, count in enumerate(counts):
        rows += [answer(str(number), index, count if index == count - 1 else None) for index in range(count)]
    shuffle.shuffle(rows)
    assembly, found = Assembly(), {}
    for at in range(0, len(rows), batch):
        for recording_id, answers in assembly.add(pa.Table.from_pylist(rows[at : at + batch], ANSWERED)):
            assert recording_id not in found
            found[recording_id] = [row["segment_index"] for row in answers]
    assert found == {str(number): list(range(count)) for number, count in enumerate(counts)}
    assert not list(assembly.unfinished())


def test_a_repeated_answer_is_kept_once_and_a_lost_one_is_noticed() -> None:
    assembly = Assembly()
    rows = [answer("a", 0), answer("a", 0), answer("a", 2, 3)]
    assert not list(assembly.add(pa.Table.from_pylist(rows, ANSWERED)))
    ((recording_id, answers),) = assembly.unfinished()
    assert recording_id == "a"
    assert [row["segment_index"] for row in answers] == [0, 2]
