from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.command_line import load
from pipeline.rows import Span, Turn
from pipeline.schema import Flag
from pipeline.tasks.transcribe import speakers
from pipeline.tasks.transcribe.answers import TimedWord
from pipeline.tasks.transcribe.segments import Segment

GIVEN = ["--input", "in", "--output", "out"]
MIX = load([*GIVEN, "--speakers", "auto"])
TURNS: list[Turn] = [
    {"start_s": 0.0, "end_s": 4.0, "speaker": "SPEAKER_00"},
    {"start_s": 4.0, "end_s": 5.0, "speaker": "SPEAKER_01"},
    {"start_s": 9.0, "end_s": 10.0, "speaker": "SPEAKER_01"},
]


def word(start_s: float | None, end_s: float | None) -> TimedWord:
    return {"word": "x", "start_s": start_s, "end_s": end_s, "score": 0.9, "speaker": None}


def test_words_and_segments_are_of_who_speaks_longest() -> None:
    times = [(0.5, 1.0), (3.9, 4.5), (5.1, 5.4), (7.0, 7.5), (8.2, 8.6), (None, None)]
    segments = [
        Segment(start_s=0.0, end_s=4.5, text="x x", language=None, words=[word(*time) for time in times[:2]]),
        Segment(start_s=5.0, end_s=10.0, text="x x x x", language=None, words=[word(*time) for time in times[2:]]),
        Segment(start_s=10.0, end_s=11.0, text=None, language=None, failure_code="engine_error", turns=TURNS),
    ]
    found, turns = speakers.labelled(segments, MIX)
    assert turns == TURNS
    assert [segment.speaker for segment in found] == ["SPEAKER_00", "SPEAKER_01", None]
    first, second = found[0].words or (), found[1].words or ()
    assert [one["speaker"] for one in first] == ["SPEAKER_00", "SPEAKER_01"]
    assert [one["speaker"] for one in second] == ["SPEAKER_01", None, "SPEAKER_01", None]


def test_a_text_without_turns_is_kept_and_flagged() -> None:
    segments = [Segment(start_s=0.0, end_s=4.0, text="one", language="en", recording_flags=["long_gaps"])]
    (found,), turns = speakers.labelled(segments, MIX)
    assert (found.text, found.speaker, turns) == ("one", None, None)
    assert found.recording_flags == ["long_gaps", Flag.NO_SPEAKERS]


def test_each_split_channel_is_a_speaker() -> None:
    settings = load([*GIVEN, "--speakers", "2", "--channels", "split"])

    def segment(channel: int, *spans: tuple[float, float]) -> Segment:
        own: list[Span] = [{"start_s": start, "end_s": end} for start, end in spans]
        return Segment(
            start_s=0.0, end_s=9.0, text="x", language="en", channel=channel, spans=own, words=[word(0.1, 0.2)]
        )

    found, turns = speakers.labelled([segment(0, (0.0, 1.0), (4.0, 5.0)), segment(1, (0.5, 2.0))], settings)
    assert [one["speaker"] for one in turns or ()] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
    assert [one.speaker for one in found] == ["SPEAKER_00", "SPEAKER_01"]
    assert [one["speaker"] for segment in found for one in segment.words or ()] == ["SPEAKER_00", "SPEAKER_01"]


def test_who_is_nearest_may_have_begun_before_another() -> None:
    turns: list[Turn] = [
        {"start_s": 11.0, "end_s": 20.0, "speaker": "SPEAKER_00"},
        {"start_s": 12.0, "end_s": 13.0, "speaker": "SPEAKER_01"},
    ]
    assert speakers.Said(turns).by(20.5, 21.5) == "SPEAKER_00"
    assert speakers.Said(turns).by(21.5, 22.0) is None
    assert speakers.Said(turns).by(9.5, 10.5) == "SPEAKER_00"
    assert speakers.Said([]).by(0.0, 1.0) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9), st.integers(0, 2)), max_size=9), st.data())
def test_the_speaker_of_a_time_shares_most_of_it(drawn: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """Overlapping turns, too, against looking at all of them."""
    turns: list[Turn] = [
        {"start_s": float(start), "end_s": float(start + length), "speaker": speakers.name(number)}
        for start, length, number in sorted(drawn)
    ]
    start_s = data.draw(st.integers(0, 60)) + 0.5
    end_s = start_s + data.draw(st.integers(1, 9))
    shared_s: dict[str, float] = {}
    for turn in turns:
        own_s = min(end_s, turn["end_s"]) - max(start_s, turn["start_s"])
        if own_s > 0:
            shared_s[turn["speaker"]] = shared_s.get(turn["speaker"], 0.0) + own_s
    segment = Segment(start_s=start_s, end_s=end_s, text="x", language=None, turns=turns)
    (found,), _ = speakers.labelled([segment], MIX)
    if shared_s:
        assert found.speaker is not None
        assert shared_s[found.speaker] == max(shared_s.values())
    else:
        nearest = [max(turn["start_s"] - end_s, start_s - turn["end_s"]) for turn in turns]
        assert (found.speaker is not None) == any(away <= speakers.NEAREST_S for away in nearest)
