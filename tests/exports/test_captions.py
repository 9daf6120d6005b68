from __future__ import annotations

import itertools
import json
from typing import Any

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.words import words_of
from pipeline.exports import captions
from pipeline.exports.captions import LINE_CHARS, LINES, MAX_S, MIN_S

WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=60), max_size=60
)


def segment(text: str | None, *spans: tuple[float, float], **more: Any) -> dict[str, Any]:
    times = {"start_s": spans[0][0], "end_s": spans[-1][1]}
    rest = {"channel": None, "language": "en", "mean_logprob": -0.1, "flags": [], "failure_code": None}
    return {"text": text, "spans": [{"start_s": start, "end_s": end} for start, end in spans]} | times | rest | more


def row(*segments: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = "recording_id uri channel outcome failure_code failure_detail flags language_probability languages model"
    facts = dict.fromkeys([*names.split(), "model_revision", "run_id"])
    text = " ".join(s["text"] for s in segments if s["text"])
    return facts | {"language": "en", "duration_s": 60.0, "text": text, "segments": list(segments)} | more


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


TIMED = [
    {"word": "Yes,", "start_s": 1.0, "end_s": 1.25, "score": 0.9},
    {"word": "7", "start_s": 1.5, "end_s": 1.75, "score": None},
    {"word": "–", "start_s": None, "end_s": None, "score": None},
]


def test_words_and_their_times_are_in_json_and_ctm() -> None:
    timed = row(segment("Yes, 7 –", (1.0, 2.0)), words=TIMED, recording_id="a1")
    assert captions.ctm(timed) == "a1 1 1.000 0.250 Yes, 0.900\na1 1 1.500 0.250 7 NA\n"
    split = row(
        segment("Yes, 7 –", (1.0, 2.0), channel=1), segment("Yes,", (0.0, 1.0), channel=0), recording_id="a 1#0"
    )
    split |= {"words": [*TIMED, TIMED[0] | {"start_s": 0.0, "end_s": 0.5}]}
    lines = captions.ctm(split).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["a_1#0", "1", "0.000"],
        ["a_1#0", "2", "1.000"],
        ["a_1#0", "2", "1.500"],
    ]
    assert captions.ctm(split | {"channel": 0}).startswith("a_1 1 ")
    assert json.loads(captions.as_json(timed))["segments"][0]["words"][0] == {
        "word": "Yes,",
        "start": 1.0,
        "end": 1.25,
        "score": 0.9,
    }
    assert (
        captions.ctm(row(recording_id="a1")) == ""
        and "words" not in json.loads(captions.as_json(row(segment("Yes", (1.0, 2.0)))))["segments"][0]
    )


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
    assert captions.captions([segment(text, (0.0, 30.0))], unknown) == captions.captions([segment(text, (0.0, 30.0))])


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


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_read_back(kind: str) -> None:
    text = "He said {\\i1}yes{\\i0} & <b>no</b> --> done."
    made = captions.FORMATS[kind](row(segment(text, (1.0, 4.0)), segment("नमस्ते दुनिया", (3661.5, 3663.0))))
    assert "00:00:01" in made
    assert "01:01:01" in made
    assert "नमस्ते दुनिया" in made
    assert len(pysubs2.SSAFile.from_string(made)) == 2
    if kind == "vtt":
        assert made.startswith("WEBVTT")
        assert "{＼i1}yes{＼i0} &amp; &lt;b&gt;no&lt;/b&gt; --&gt; done." in made.replace("\n", " ")
    else:
        assert "{＼i1}yes{＼i0} & <b>no</b> → done." in made.replace("\n", " ")


def test_text_and_json() -> None:
    made = row(segment("Hello.", (0.0, 1.0), channel=0), segment("", (1.0, 2.0)), segment("Hi.", (2.0, 3.0), channel=1))
    assert captions.txt(made) == "[0] Hello.\n[1] Hi.\n"
    facts = json.loads(captions.as_json(made))
    assert (facts["text"], facts["language"], facts["duration"]) == ("Hello. Hi.", "en", 60.0)
    assert [(s["id"], s["start"], s["text"]) for s in facts["segments"]] == [
        (0, 0.0, "Hello."),
        (1, 1.0, ""),
        (2, 2.0, "Hi."),
    ]
