from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given

from pipeline.exports import texts
from pipeline.exports.spoken import is_conversation
from tests.exports.rows import row, said, segment, talks, word

WORDS = [
    word("Yes.", 1.0, 1.25, "SPEAKER_01"),
    word("Well,", 2.0, 2.25, "SPEAKER_00"),
    word("no.", 3.0, 3.5, "SPEAKER_00"),
]
TURNS = [{"start_s": 1.0, "end_s": 1.5, "speaker": "SPEAKER_01"}]


def test_text_and_json() -> None:
    made = row(segment("Hello.", (0.0, 1.0), channel=0), segment("", (1.0, 2.0)), segment("Hi.", (2.0, 3.0), channel=1))
    assert texts.txt(made) == "[0] Hello.\n[1] Hi.\n"
    facts = json.loads(texts.as_json(made))
    assert (facts["text"], facts["language"], facts["duration"]) == ("Hello. Hi.", "en", 60.0)
    assert [(s["id"], s["start"], s["text"]) for s in facts["segments"]] == [
        (0, 0.0, "Hello."),
        (1, 1.0, ""),
        (2, 2.0, "Hi."),
    ]
    assert "turns" not in facts
    assert not {"words", "speaker"} & facts["segments"][0].keys()


def test_a_line_is_a_turn_where_words_have_speakers() -> None:
    segments = [
        segment("Yes. Well,", (1.0, 2.5), speaker="SPEAKER_01"),
        segment("no.", (3.0, 4.0), speaker="SPEAKER_00"),
    ]
    assert texts.txt(row(*segments, words=WORDS)) == "SPEAKER_01: Yes.\nSPEAKER_00: Well, no.\n"
    assert texts.txt(row(*segments)) == "SPEAKER_01: Yes. Well,\nSPEAKER_00: no.\n"


def test_json_has_words_speakers_and_turns_as_whisperx() -> None:
    made = row(
        segment("Yes. Well,", (1.0, 2.5), speaker="SPEAKER_01"), segment("no.", (3.0, 4.0)), words=WORDS, turns=TURNS
    )
    facts = json.loads(texts.as_json(made))
    assert [one.get("speaker") for one in facts["segments"]] == ["SPEAKER_01", None]
    assert facts["segments"][0]["words"][0] == {
        "word": "Yes.",
        "start": 1.0,
        "end": 1.25,
        "score": 0.9,
        "speaker": "SPEAKER_01",
    }
    assert facts["turns"] == [{"start": 1.0, "end": 1.5, "speaker": "SPEAKER_01"}]
    old = row(
        segment("Yes.", (1.0, 2.0)), words=[{name: WORDS[0][name] for name in ("word", "start_s", "end_s", "score")}]
    )
    assert json.loads(texts.as_json(old))["segments"][0]["words"] == [
        {"word": "Yes.", "start": 1.0, "end": 1.25, "score": 0.9}
    ]


@given(talks())
def test_every_word_is_in_text_and_json(talk: dict[str, Any]) -> None:
    lines = texts.txt(talk).split("\n")
    assert lines.pop() == ""
    texts_alone = (re.sub(r"^SPEAKER_\d\d: ", "", line) if is_conversation(talk) else line for line in lines)
    assert "".join("".join(line.split()) for line in texts_alone) == said(talk)
    found = [one for segment in json.loads(texts.as_json(talk))["segments"] for one in segment["words"]]
    assert [(one["word"], one["speaker"]) for one in found] == [(one["word"], one["speaker"]) for one in talk["words"]]
