from __future__ import annotations

import html
import itertools
import re
from typing import Any

import pysubs2
import pytest
from hypothesis import given

from pipeline.exports import subtitles
from pipeline.exports.captions import captions
from pipeline.exports.formats import PER_RECORDING
from pipeline.exports.spoken import channel_alone, is_conversation, label
from tests.exports.rows import row, said, segment, talks, word

TURNS = row(
    segment("Yes, sir. No!", (1.0, 3.0), speaker="SPEAKER_01"),
    words=[
        word("Yes,", 1.0, 1.25, "SPEAKER_01"),
        word("sir.", 1.5, 1.75, "SPEAKER_01"),
        word("No!", 2.0, 2.5, "SPEAKER_00"),
    ],
)


def cues(made: str) -> list[str]:
    """The text of each cue, the times of which must be where they belong."""
    blocks = made.strip("\n").split("\n\n")
    found: list[str] = []
    for number, block in enumerate([block for block in blocks if block and block != "WEBVTT"], 1):
        name, times, *lines = block.split("\n")
        assert name == str(number)
        assert re.fullmatch(r"\d\d:\d\d:\d\d[.,]\d{3} --> \d\d:\d\d:\d\d[.,]\d{3}", times)
        found.append(" ".join(lines))
    return found


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_read_back(kind: str) -> None:
    text = "He said {\\i1}yes{\\i0} & <b>no</b> --> done."
    made = PER_RECORDING[kind].write(row(segment(text, (1.0, 4.0)), segment("नमस्ते दुनिया", (3661.5, 3663.0))))
    assert "00:00:01" in made
    assert "01:01:01" in made
    assert "नमस्ते दुनिया" in made
    assert len(pysubs2.SSAFile.from_string(made)) == 2
    if kind == "vtt":
        assert made.startswith("WEBVTT")
        assert "{＼i1}yes{＼i0} &amp; &lt;b&gt;no&lt;/b&gt; --&gt; done." in made.replace("\n", " ")
    else:
        assert "{＼i1}yes{＼i0} & <b>no</b> → done." in made.replace("\n", " ")


def test_who_speaks() -> None:
    assert cues(subtitles.srt(TURNS)) == ["SPEAKER_01: Yes, sir.", "SPEAKER_00: No!"]
    assert cues(subtitles.vtt(TURNS)) == ["<v SPEAKER_01>Yes, sir.", "<v SPEAKER_00>No!"]
    assert cues(subtitles.vtt_words(TURNS)) == ["<v SPEAKER_01>Yes, <00:00:01.500>sir.", "<v SPEAKER_00>No!"]
    by_segments = [segment(text, (at, at + 1.0), speaker=f"SPEAKER_0{at}") for at, text in enumerate(["Yes.", "No."])]
    assert cues(subtitles.srt(row(*by_segments))) == ["SPEAKER_00: Yes.", "SPEAKER_01: No."]
    assert cues(subtitles.srt(row(by_segments[0]))) == ["Yes."], "nobody else speaks"
    channels = row(segment("Yes.", (0.0, 1.0), channel=1))
    assert cues(subtitles.srt(channels)) == cues(subtitles.vtt(channels)) == ["[1] Yes."]


def test_a_name_cannot_break_a_cue() -> None:
    odd = row(
        segment("Yes.", (0.0, 1.0), speaker="a\n\nb --> <c> & d"), segment("No.", (2.0, 3.0), speaker="SPEAKER_01")
    )
    assert cues(subtitles.srt(odd))[0] == "a b → <c> & d: Yes."
    assert cues(subtitles.vtt(odd))[0] == "<v a b --&gt; &lt;c&gt; &amp; d>Yes."


@given(talks())
def test_no_text_breaks_subtitles(talk: dict[str, Any]) -> None:
    named = label if is_conversation(talk) else channel_alone
    found = captions(talk["segments"], talk["words"], named)
    plain = cues(subtitles.srt(talk))
    assert len(plain) == len(found)
    labels = [named(one.speaker, one.channel) for one in found]
    texts = [text.removeprefix(own) for text, own in zip(plain, labels, strict=True)]
    assert squeezed("".join(texts)) == said(talk).replace("-->", "→").replace("\\", "＼")
    for kind in ("vtt", "vtt-words"):
        made = PER_RECORDING[kind].write(talk)
        tagged, found = cues(made), captions(talk["segments"], talk["words"], lambda speaker, channel: "")
        assert len(tagged) == len(found)
        assert squeezed("".join(html.unescape(re.sub("<[^>]*>", "", cue)) for cue in tagged)) == said(talk).replace(
            "\\", "＼"
        )
        for cue, one in zip(tagged, found, strict=True):
            assert re.findall("<v [^>]*>", cue) == [f"<v {one.speaker}>"]
            times = [
                pysubs2.make_time(s=int(s), m=int(m), ms=int(ms))
                for m, s, ms in re.findall(r"<00:(\d\d):(\d\d).(\d+)>", cue)
            ]
            times = [round(one.start_s * 1000), *times, round(one.end_s * 1000)]
            assert all(before < after for before, after in itertools.pairwise(times)) or len(times) == 2
            assert kind == "vtt-words" or len(times) == 2
