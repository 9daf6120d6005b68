from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.protocol import Word
from pipeline.alignment.words import words_of
from pipeline.audio import segment
from pipeline.schema import Flag
from pipeline.tasks.transcribe import words
from pipeline.tasks.transcribe.answers import TimedWord
from pipeline.tasks.transcribe.overlaps import join
from pipeline.tasks.transcribe.segments import Segment


class Scripted:
    """Each word takes a second, and has the score that its text is."""

    def align(
        self,
        samples: np.ndarray,
        words: Sequence[str],
        language: str | None = None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> list[Word]:
        if "broken" in words:
            raise MemoryError("too long")
        return [
            Word(word) if word == "?" else Word(word, float(at), at + 1.0, float(word)) for at, word in enumerate(words)
        ]


def found(text: str) -> tuple[list[TimedWord] | None, list[Flag]]:
    window = segment.Window(10.0, 20.0, 5.0, (), 1.5, np.zeros(16_000, np.int16))
    return asyncio.run(words.WordTimes(Scripted(), 0.1).of(window, text, "en"))


def test_times_are_of_the_recordings_clock() -> None:
    """The window's samples begin with its overlap."""
    timed, flags = found("0.9 ? 0.8")
    assert timed == [
        {"word": "0.9", "start_s": 8.5, "end_s": 9.5, "score": 0.9, "speaker": None},
        {"word": "?", "start_s": None, "end_s": None, "score": None, "speaker": None},
        {"word": "0.8", "start_s": 10.5, "end_s": 11.5, "score": 0.8, "speaker": None},
    ]
    assert not flags
    assert found("") == ([], [])


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("0.9 0.01 0.9 0.01 0.9", []),
        ("0.9 0.9 0.9 0.9 0.01 ? 0.01 0.01", [Flag.UNSUPPORTED_WORDS]),
        ("0.01 0.9", [Flag.UNSUPPORTED_WORDS]),
        ("? ?", [Flag.NOT_ALIGNED]),
        ("0.9 broken", [Flag.NOT_ALIGNED]),
    ],
)
def test_what_is_suspicious_is_flagged(text: str, flags: list[Flag]) -> None:
    assert found(text)[1] == flags
    assert (found(text)[0] is None) == ("broken" in text)


@given(st.lists(st.sampled_from(["one", "two", "three,", "四", "五。", "six"]), min_size=1, max_size=8), st.data())
def test_an_overlap_that_is_joined_leaves_each_word_its_time(said: list[str], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(said)))
    before, after = " ".join(said[:cut]), " ".join(said[max(0, cut - 2) :])

    def timed(text: str) -> list[TimedWord]:
        return [
            {"word": w, "start_s": float(i), "end_s": i + 1.0, "score": 1.0, "speaker": None}
            for i, w in enumerate(words_of(text))
        ]

    kept, rest = join(before, after, 1.0)
    first, last = words.first(timed(before), kept), words.last(timed(after), rest)
    assert first is not None and last is not None
    assert [word["word"] for word in first] == words_of(kept)
    assert [word["word"] for word in last] == words_of(rest)
    assert [word["start_s"] for word in first] == list(range(len(first)))
    assert [word["start_s"] for word in last] == list(range(len(words_of(after)) - len(last), len(words_of(after))))


def test_later_words_of_an_overlap_begin_behind_the_earlier_ones() -> None:
    one: list[TimedWord] = [{"word": "one", "start_s": 1.0, "end_s": 2.0, "score": 0.9, "speaker": None}]
    two: list[TimedWord] = [
        {"word": "two", "start_s": 1.5, "end_s": 1.9, "score": 0.9, "speaker": None},
        {"word": "?", "start_s": None, "end_s": None, "score": None, "speaker": None},
        {"word": "three", "start_s": 1.9, "end_s": 3.0, "score": 0.9, "speaker": None},
    ]
    found = words.behind(one, two)
    assert found and [(word["start_s"], word["end_s"]) for word in found] == [(2.0, 2.0), (None, None), (2.0, 3.0)]
    assert words.behind(None, two) is two and words.behind(one, None) is None


def test_all_words_of_a_transcript_are_there_with_times_or_without() -> None:
    timed: list[TimedWord] = [{"word": "one", "start_s": 1.0, "end_s": 2.0, "score": 0.9, "speaker": None}]

    def of(text: str | None, own: list[TimedWord] | None) -> Segment:
        return Segment(start_s=0.0, end_s=1.0, text=text, language="en", words=own)

    assert words.of_all([of("one", None), of(None, None)]) is None
    found = words.of_all([of("one", timed), of("two three", None), of(None, None), of("", [])])
    assert found is not None
    assert [(word["word"], word["start_s"]) for word in found] == [("one", 1.0), ("two", None), ("three", None)]
