from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.flow import metrics
from pipeline.schema import ANSWERED, RECORDING
from pipeline.sources.columns import no_columns
from pipeline.writer import Assembly, Writer


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


ROW = pa.schema([("recording_id", pa.string()), ("uri", pa.string()), ("complete", pa.bool_())])


CHANNELS = pa.schema([("recording_id", pa.string()), ("channel", pa.int32())])


class Shared:
    """An output that another driver of the run writes to; `theirs` is what it commits before our next part."""

    def __init__(self, *theirs: str) -> None:
        self.theirs, self.rows = list(theirs), list[dict[str, Any]]()
        self.counted: list[Mapping[str, pa.Table]] = []  # of theirs

    def write(self, tables: Mapping[str, pa.Table]) -> None:
        if self.theirs:
            raise FileExistsError
        self.rows += tables["recordings"].to_pylist()

    def catch_up(self) -> Iterator[dict[str, pa.Table]]:
        theirs, self.theirs = self.theirs, []
        recordings = pa.Table.from_pylist([{"recording_id": name} for name in theirs], ROW)
        segments = [{"recording_id": name, "channel": at} for name in theirs for at in (None, 0)]
        segments = [
            row | {"recording_id": f"{row['recording_id']}#0"} if row["channel"] == 0 else row for row in segments
        ]
        yield {"segments": pa.Table.from_pylist(segments, CHANNELS), "recordings": recordings}


def writer(output: Shared, *chunks: str) -> Writer:
    """For recordings named by letters, listed in chunks."""

    def rows(recording: dict[str, Any], *_: object) -> dict[str, Sequence[dict[str, Any]]]:
        return {"recordings": [{"complete": _[-1]} | {name: recording[name] for name in ("recording_id", "uri")}]}

    listed = [[{"recording_id": x, "place": x, "uri": f"of {x}"} for x in chunk] for chunk in chunks]
    recordings = pa.concat_tables([pa.Table.from_pylist(chunk, RECORDING) for chunk in listed])
    whole = {"outcome": "ok", "failure_code": None, "duration_s": 0.0}
    plan: Any = SimpleNamespace(
        listing=SimpleNamespace(recordings=recordings, extra=no_columns(len(recordings))),
        task=SimpleNamespace(tables={"recordings": ROW}, carrying=["recordings"], rows=rows),
        tally=SimpleNamespace(add=lambda _: whole, add_part=output.counted.append),
        settings=SimpleNamespace(flush_interval_s=0.0),
        about={},
        output=output,
    )
    return Writer(plan)


def test_every_recording_is_written_once_with_its_own_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "count_recording", lambda *_: None)
    output = Shared()
    own = writer(output, "ab", "c", "de")
    for name in ("d", "a", "d", "unknown"):  # a stage that Ray ran twice
        own.add(pa.Table.from_pylist([answer(name, 0, 1)], ANSWERED))
    own.finish()
    assert [(row["recording_id"], row["uri"], row["complete"]) for row in output.rows] == [
        ("d", "of d", True),
        ("a", "of a", True),
        ("b", "of b", False),
        ("c", "of c", False),
        ("e", "of e", False),
    ]


def test_what_another_driver_has_committed_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "count_recording", lambda *_: None)
    output = Shared("a", "c", "z")
    own = writer(output, "ab", "cd")
    own.add(pa.Table.from_pylist([answer("a", 0, 1), answer("b", 0, 1)], ANSWERED))
    own.flush()
    own.add(pa.Table.from_pylist([answer("c", 0, 1)], ANSWERED))
    own.finish()
    assert [row["recording_id"] for row in output.rows] == ["b", "d"]
    (counted,) = output.counted
    assert counted["recordings"]["recording_id"].to_pylist() == ["c", "z"], "ours are counted already"
    assert counted["segments"]["recording_id"].to_pylist() == ["c", "c#0", "z", "z#0"]


def test_what_is_left_is_the_plans_own_whatever_another_driver_has_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have found recordings since that ours has not."""
    monkeypatch.setattr(metrics, "count_recording", lambda *_: None)
    output = Shared()
    own = writer(output, "ab", "cd")
    own.add(pa.Table.from_pylist([answer("a", 0, 1)], ANSWERED))
    assert own.unsaved == 4
    own.flush()
    output.theirs = ["b", "x", "y", "z"]
    own.catch_up()
    assert own.unsaved == int(own.left.sum()) == 2
