from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.speakers.turns import SHORTEST_S, Turn, turns

Times = list[tuple[float, float]]


@st.composite
def spans(draw: st.DrawFn) -> Times:
    """Ordered and disjoint; some touch."""
    steps = draw(st.lists(st.tuples(st.sampled_from([0, 0.2, 3]), st.floats(0.1, 8)), max_size=6))
    found: Times = []
    for pause_s, length_s in steps:
        start_s = (found[-1][1] if found else 0.0) + pause_s
        found.append((start_s, start_s + length_s))
    return found


windows = st.lists(st.tuples(st.floats(0, 60), st.floats(0.1, 2), st.integers(0, 3)), max_size=30)


@given(windows, spans())
def test_turns_are_the_spans_in_order(found: list[tuple[float, float, int]], spoken: Times) -> None:
    times = [(start_s, start_s + length_s) for start_s, length_s, _ in found]
    made = turns(times, [speaker for _, _, speaker in found], spoken)
    if not found:
        assert made == []
        return
    assert all(turn.start_s < turn.end_s for turn in made)
    for before, after in itertools.pairwise(made):
        assert before.end_s <= after.start_s
        assert before.end_s < after.start_s or before.speaker != after.speaker
    assert {turn.speaker for turn in made} <= {speaker for _, _, speaker in found}
    assert _joined([(turn.start_s, turn.end_s) for turn in made]) == _joined(spoken)


@given(spans(), st.integers(0, 5))
def test_one_speaker_has_one_turn_a_span(spoken: Times, speaker: int) -> None:
    made = turns(spoken, [speaker] * len(spoken), spoken)
    assert made == [Turn(start_s, end_s, speaker) for start_s, end_s in _joined(spoken)]


def test_speakers_change_half_way_between_windows() -> None:
    times = [(0.0, 1.5), (0.75, 2.25), (1.5, 3.0), (2.25, 3.75)]
    assert turns(times, [0, 0, 1, 1], [(0.0, 3.75)]) == [Turn(0.0, 1.875, 0), Turn(1.875, 3.75, 1)]


def test_a_short_piece_in_the_midst_of_a_turn_is_no_turn() -> None:
    assert SHORTEST_S > 0.25
    times = [(at / 4, at / 4 + 1.0) for at in range(10)]
    made = turns(times, [0, 0, 0, 0, 1, 0, 0, 2, 2, 2], [(0.0, 3.25)])
    assert made == [Turn(0.0, 2.125, 0), Turn(2.125, 3.25, 2)]


def _joined(times: Times) -> Times:
    """Without the bounds between those that touch."""
    found: Times = []
    for start_s, end_s in times:
        if found and found[-1][1] == start_s:
            found[-1] = found[-1][0], end_s
        else:
            found.append((start_s, end_s))
    return found
