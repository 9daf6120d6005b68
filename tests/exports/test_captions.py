from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.words import words_of
from pipeline.exports import captions
from pipeline.exports.captions import LINE_CHARS, LINES, MAX_S, MIN_S
from tests.exports.rows import segment, talks

WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=60), max_size=60
)


@given(st.lists(st.tuples(WORDS, st.floats(0.3, 20), st.floats(0.0, 8)), max_size=5))
def test_captions_hold_every_word_in_order_within_limits(parts: list[tuple[list[str], float, float]]) -> None:
    segments, clock = [], 0.0
    for words, length, pause in parts:
        middle = clock + length / 2
        segments.append(segment(" ".join(words), (clock, middle), (middle + pause / 2, clock + length + pause)))
        clock += length + pause + 0.1
    found = captions.captions(segments)
    said = "".join("".join(s["text"].split()) for s in segments)
    assert "".join("".join(caption.text.split()) for caption in found) == said
    for caption in found:
        lines = caption.text.split("\n")
        assert len(lines) <= LINES
        assert max(map(len, lines)) <= LINE_CHARS
        assert caption.end_s - caption.start_s <= MAX_S + 1e-6
    for one, following in itertools.pairwise(found):
        assert one.start_s <= one.end_s <= following.start_s + 1e-6


def test_captions_by_words_have_the_spaces_of_the_text() -> None:
    text = "会议在2024年3月举行, 请查看A4纸。"
    names = words_of(text)
    words = [{"word": name, "start_s": at / 4, "end_s": at / 4 + 0.2, "score": 0.9} for at, name in enumerate(names)]
    found = captions.captions([segment(text, (0.0, 9.0))], words)
    assert " ".join(caption.text for caption in found) == text or "".join(caption.text for caption in found) == text


def test_a_long_word_is_shown_in_parts() -> None:
    word = {"word": "x" * 200, "start_s": 1.0, "end_s": 6.0, "score": 0.9}
    found = captions.captions([segment("x" * 200, (0.0, 9.0))], [word])
    assert all(caption.end_s - caption.start_s >= 0.9 for caption in found)


def test_captions_follow_the_times_of_words() -> None:
    """Of those that have any; the others lie between them."""
    text = "This is the first long sentence here. And 7 more."
    names = text.split()
    words = [{"word": name, "start_s": 10.0 + at, "end_s": 10.5 + at, "score": 0.9} for at, name in enumerate(names)]
    words[8] |= {"start_s": None, "end_s": None, "score": None}
    first, second = captions.captions([segment(text, (0.0, 30.0))], words)
    assert (first.start_s, first.end_s) == (10.0, 16.5)
    assert (second.start_s, second.end_s, second.text) == (17.0, 19.5, "And 7 more.")
    unknown = [word | {"start_s": None, "end_s": None} for word in words]
    by_words, by_text = (captions.captions([segment(text, (0.0, 30.0))], words) for words in (unknown, None))
    assert [(one.start_s, one.end_s, one.text) for one in by_words] == [
        (one.start_s, one.end_s, one.text) for one in by_text
    ]


@given(WORDS, WORDS, st.data())
def test_captions_by_words_hold_every_word_in_order(one: list[str], other: list[str], data: st.DataObject) -> None:
    texts = [text for text in (" ".join(one), " ".join(other)) if text]
    segments = [segment(text, (20.0 * at, 20.0 * at + 19.0)) for at, text in enumerate(texts)]
    words = []
    for at, text in enumerate(texts):
        names = words_of(text)
        for number, name in enumerate(names):
            start_s = 20.0 * at + 19.0 * number / len(names)
            timed = data.draw(st.booleans())
            times = (start_s, start_s + 0.01) if timed else (None, None)
            words.append({"word": name, "start_s": times[0], "end_s": times[1], "score": 0.5 if timed else None})
    found = captions.captions(segments, words)
    assert "".join("".join(caption.text.split()) for caption in found) == "".join(
        "".join(text.split()) for text in texts
    )
    for before, following in itertools.pairwise(found):
        assert before.start_s <= before.end_s <= following.start_s + 1e-6


def test_a_short_caption_stays_long_enough_to_be_read() -> None:
    one, other = captions.captions([segment("Yes.", (1.0, 1.2)), segment("No, not at all.", (5.0, 6.5))])
    assert one.end_s - one.start_s == pytest.approx(MIN_S)
    assert (other.start_s, other.end_s) == (5.0, 6.5)


def test_words_follow_the_speech_not_the_pause() -> None:
    text = "This is the first long sentence here. This is the second long sentence here."
    one, other = captions.captions([segment(text, (0.0, 3.0), (20.0, 23.0))])
    assert one.end_s <= 3.5
    assert other.start_s >= 19.9


def test_what_was_not_said_has_no_caption() -> None:
    assert captions.captions([segment("", (0.0, 5.0)), segment(None, (5.0, 6.0))]) == []


@given(talks())
def test_one_speaker_says_a_caption(talk: dict[str, Any]) -> None:
    found = captions.captions(talk["segments"], talk["words"])
    assert "".join(word.text for caption in found for word in caption.words) == "".join(
        word["word"] for word in talk["words"]
    )
    for caption in found:
        assert {word.speaker for word in caption.words} == {caption.speaker}
        assert caption.text.replace("\n", " ").startswith(f"{caption.speaker}: ")


def test_scripts_without_spaces_are_cut_without_times_too() -> None:
    found = captions.captions([segment("世界和平！" * 24, (0.0, 30.0))])
    assert "".join(caption.text for caption in found).replace("\n", "") == "世界和平！" * 24
    assert all(caption.text.endswith("！") for caption in found)
    ends = [0.0, *(caption.end_s for caption in found)]
    assert all(caption.start_s - end < 0.1 for caption, end in zip(found, ends, strict=False)), "no gaps in speech"
