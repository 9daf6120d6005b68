from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.rows import Turn
from pipeline.settings import Guards
from pipeline.tasks.transcribe import assemble
from pipeline.tasks.transcribe.answers import TimedWord
from pipeline.tasks.transcribe.segments import Segment


def segment(index: int, text: str | None, **more: Any) -> Segment:
    facts: dict[str, Any] = {"start_s": 5.0 * index, "end_s": 5.0 * index + 4, "speech_s": 3.0, "channel_speech_s": 3.0}
    facts["language"] = None
    if text is None:
        facts |= {"failure_code": "engine_error", "failure_detail": "why"}
    elif text:
        facts |= {"language": "en", "language_probability": 0.9, "language_source": "identified"}
    return Segment(**(facts | {"recording_id": "a", "segment_index": index, "text": text} | more))


def said(index: int, text: str | None, **more: Any) -> Segment:
    """A segment with as much text as its speech asks for."""
    return segment(index, text, speech_s=len(text or "") / 15, **more)


def last(row: Segment) -> Segment:
    return replace(row, segment_count=row.segment_index + 1, duration_s=row.end_s)


@pytest.mark.parametrize(
    ("texts", "outcome", "text", "code"),
    [
        (["one", "two"], "ok", "one two", None),
        (["one", "", "two"], "ok", "one two", None),
        ([""], "ok", "", None),
        (["one", None], "partial", "one", "engine_error"),
        (["", None], "partial", "", "engine_error"),
        ([None, None], "failed", None, "engine_error"),
    ],
)
def test_outcomes(texts: list[str | None], outcome: str, text: str | None, code: str | None) -> None:
    rows = [segment(index, words) for index, words in enumerate(texts)]
    row = assemble.transcript([*rows[:-1], last(rows[-1])], Guards())
    assert (row["outcome"], row["text"], row["failure_code"]) == (outcome, text, code)
    assert row["duration_s"] == rows[-1].end_s
    assert [s["text"] for s in row["segments"]] == texts


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (["今天天气很好。", "我们去公园散步"], "今天天气很好。我们去公园散步"),
        (["今天天气很好", "我们去公园散步"], "今天天气很好我们去公园散步"),
        (["きょうは", "いい天気です"], "きょうはいい天気です"),
        (["วันนี้", "อากาศดี"], "วันนี้อากาศดี"),
        (["오늘은 날씨가", "좋습니다"], "오늘은 날씨가 좋습니다"),
        (["用 iPhone", "the"], "用 iPhone the"),
        (["你好。", "OK"], "你好。OK"),
    ],
)
def test_scripts_without_spaces_are_joined_without(texts: list[str], text: str) -> None:
    rows = [segment(index, words) for index, words in enumerate(texts)]
    assert assemble.transcript([*rows[:-1], last(rows[-1])], Guards())["text"] == text


def test_a_dense_script_is_not_little_text() -> None:
    # 33 characters in 9 s: four syllables a second, which is usual Chinese.
    text = "今天天气很好我们一起去公园散步然后回家吃饭再看一部电影睡觉休息吧"
    row = assemble.transcript([last(segment(0, text, speech_s=9.0, channel_speech_s=9.0))], Guards())
    assert "little_text" not in row["flags"]
    short = assemble.transcript([last(segment(0, text[:9], speech_s=9.0, channel_speech_s=9.0))], Guards())
    assert "little_text" in short["flags"]


def test_the_language_that_nobody_expected_is_that_of_most_speech() -> None:
    rows = [
        segment(0, "a", speech_s=3.0, unexpected_language="cs", flags=["unexpected_language"]),
        segment(1, "b", speech_s=9.0, unexpected_language="pl", flags=["unexpected_language"]),
        last(segment(2, "c", speech_s=20.0)),
    ]
    row = assemble.transcript(rows, Guards())
    assert row["unexpected_language"] == "pl"
    assert "unexpected_language" in row["flags"]


def test_a_recording_that_misses_segments_says_so() -> None:
    row = assemble.transcript([segment(0, "one")], Guards(), complete=False)
    assert (row["outcome"], row["failure_code"], row["text"]) == ("partial", "incomplete", "one")
    row = assemble.transcript([], Guards(), complete=False)
    assert (row["outcome"], row["failure_code"], row["text"], row["duration_s"]) == ("failed", "incomplete", None, None)


def test_language_is_weighed_by_speech_and_probability() -> None:
    rows = [
        segment(0, "x", language="en", speech_s=10.0, language_probability=0.6),
        segment(1, "y", language="fr", speech_s=8.0, language_probability=1.0),
        segment(2, "", speech_s=50.0),
    ]
    row = assemble.transcript(rows, Guards())
    assert (row["language"], row["language_source"]) == ("fr", "identified")
    assert row["language_probability"] == pytest.approx(8 / 18)
    declared = {"language": "de", "language_probability": None, "language_source": "declared"}
    row = assemble.transcript([segment(0, "x", **declared)], Guards())
    assert (row["language"], row["language_probability"], row["language_source"]) == ("de", None, "declared")


def test_a_recording_whose_speech_gave_little_text_is_flagged() -> None:
    rows = [segment(0, "", speech_s=30.0), segment(1, "short", speech_s=10.0)]
    row = assemble.transcript(rows, Guards())
    assert row["flags"] == ["little_text"]
    assert (row["speech_s"], row["windowed_s"], row["transcribed_s"]) == (6.0, 40.0, 10.0)
    assert assemble.transcript(rows[:1], Guards())["flags"] == ["no_text"]
    assert assemble.transcript([segment(0, "", speech_s=0.3)], Guards())["flags"] == []
    assert assemble.transcript([segment(0, None, speech_s=30.0)], Guards())["flags"] == []


def test_mixed_languages_show() -> None:
    rows = [said(0, "one " * 30), said(1, "deux " * 8, language="fr"), said(2, "tre", language="it")]
    row = assemble.transcript(rows, Guards())
    assert [one["language"] for one in row["languages"]] == ["en", "fr", "it"]
    assert row["flags"] == ["mixed_languages"]
    assert assemble.transcript([rows[0], rows[2]], Guards())["flags"] == []


def test_words_of_an_overlap_come_once() -> None:
    rows = [said(0, "we set out at dawn and wal"), said(1, "dawn and walked to the sea", overlap_s=1.0)]
    joined = assemble.join_overlaps(rows)
    assert " ".join(str(row.text) for row in joined) == "we set out at dawn and walked to the sea"
    assert str(rows[0].text).endswith("wal"), "the caller's rows are not touched"


def test_channels_have_transcripts_of_their_own_and_a_conversation() -> None:
    rows = [
        said(0, "hello", channel=0, start_s=1.0, channel_speech_s=2.0),
        said(1, "goodbye", channel=0, start_s=9.0, channel_speech_s=None),
        last(said(2, "hi there", channel=1, start_s=4.0)),
    ]
    conversation, left, right = assemble.transcripts("a", rows, Guards())
    assert (conversation["recording_id"], conversation["channel"]) == ("a", None)
    assert conversation["text"] == "hello hi there goodbye"
    assert [s["channel"] for s in conversation["segments"]] == [0, 1, 0]
    assert [(r["recording_id"], r["channel"], r["text"]) for r in (left, right)] == [
        ("a#0", 0, "hello goodbye"),
        ("a#1", 1, "hi there"),
    ]
    assert left["duration_s"] == right["duration_s"] == conversation["duration_s"]
    assert conversation["turns"] is left["turns"] is None
    turns = [Turn(start_s=at, end_s=at + 1.0, speaker=f"SPEAKER_0{who}") for at, who in ((1.0, 0), (4.0, 1), (9.0, 0))]
    conversation, left, right = assemble.transcripts("a", rows, Guards(), turns=turns)
    assert conversation["turns"] == turns
    assert [[turn["start_s"] for turn in row["turns"]] for row in (left, right)] == [[1.0, 9.0], [4.0]]
    (alone,) = assemble.transcripts("a", [last(said(0, "x"))], Guards())
    assert (alone["recording_id"], alone["channel"]) == ("a", None)


def test_flags_of_the_decoding_are_the_recordings() -> None:
    rows = [said(0, "hello"), last(said(1, "goodbye", recording_flags=["timestamps_corrected"]))]
    row = assemble.transcript(rows, Guards())
    assert row["flags"] == ["timestamps_corrected"]
    assert not any(segment["flags"] for segment in row["segments"])


def test_words_of_joined_texts_stay_in_order() -> None:
    """Texts that are joined already are not joined again: what is said twice stays."""

    def word(name: str, start_s: float) -> TimedWord:
        return {"word": name, "start_s": start_s, "end_s": start_s + 1.0, "score": 0.9, "speaker": None}

    one = segment(0, "four", words=[word("four", 3.0)])
    other = segment(1, "four five", overlap_s=1.0, words=[word("four", 3.5), word("five", 5.0)])
    apart = segment(2, "five", overlap_s=1.0, channel=1, words=[word("five", 5.5)])
    first, second, third = assemble.order_words([one, other, apart])
    assert (first, third) == (one, apart)
    assert second.text == "four five"
    assert [(w["start_s"], w["end_s"]) for w in second.words or ()] == [(4.0, 4.5), (5.0, 6.0)]


def test_a_failure_that_may_pass_is_the_recordings() -> None:
    """So that the next run tries it again."""
    failed = [segment(at, None, failure_code=code) for at, code in enumerate(("engine_died", "engine_error"))]
    row = assemble.transcript([segment(2, "a"), *failed], Guards())
    assert (row["outcome"], row["failure_code"]) == ("partial", "engine_error")
    assert assemble.transcript(failed[:1], Guards())["failure_code"] == "engine_died"
