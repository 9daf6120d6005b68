from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.diarization import DiarizationError, Spoken, diarization_error

REFERENCE: list[Spoken] = [(0.0, 4.0, "ann"), (3.0, 6.0, "ben"), (8.0, 9.0, "ann"), (9.0, 12.0, "cat")]
HYPOTHESIS: list[Spoken] = [(0.2, 3.5, 0), (3.5, 7.0, 1), (8.1, 10.0, 2), (10.0, 11.5, 0)]


@pytest.mark.parametrize(
    ("collar_s", "expected"),
    [  # what pyannote.metrics 4.2 finds with a collar of twice as much
        (0.0, DiarizationError(11.0, 1.8, 1.0, 2.4)),
        (0.25, DiarizationError(8.0, 0.75, 0.75, 2.0)),
    ],
)
def test_errors_are_those_of_pyannote_metrics(collar_s: float, expected: DiarizationError) -> None:
    found = diarization_error(REFERENCE, HYPOTHESIS, collar_s)
    for name in ("reference_s", "missed_s", "false_alarm_s", "confusion_s"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


turns = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 40), st.sampled_from("abc")), max_size=8).map(
    lambda found: [(start / 4, (start + length) / 4, who) for start, length, who in found]
)
shifted = turns.map(lambda found: [(start, end, ord(who)) for start, end, who in found])


@given(turns, st.sampled_from([0.0, 0.25]))
def test_the_same_turns_under_other_names_have_no_error(spoken: list[Spoken], collar_s: float) -> None:
    found = diarization_error(spoken, [(start, end, f"speaker {who}") for start, end, who in spoken], collar_s)
    assert found.missed_s + found.false_alarm_s + found.confusion_s == pytest.approx(0)


@given(turns, shifted)
def test_missed_and_invented_speech_change_places_with_the_tables(one: list[Spoken], other: list[Spoken]) -> None:
    there, back = diarization_error(one, other), diarization_error(other, one)
    assert there.missed_s == pytest.approx(back.false_alarm_s)
    assert there.confusion_s == pytest.approx(back.confusion_s)
    assert there.missed_s + there.confusion_s <= there.reference_s + 1e-9


def test_recordings_add_up_and_nothing_has_no_rate() -> None:
    found = diarization_error(REFERENCE, HYPOTHESIS)
    assert (found + found).rate == pytest.approx(found.rate)
    assert math.isnan(diarization_error([], []).rate)
