"""Rows of the transcripts table, made by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pipeline.alignment.words import words_of

# What means something in one of the formats.
HOSTILE = [
    *(
        "-->",
        "00:00:01.000 --> 00:00:02.000",
        "<v",
        "<v Bob>",
        "</v>",
        "<00:00:00.500>",
        "<b>",
        ">",
        "&",
        "&lt;",
        "&#60;",
    ),
    *(
        "WEBVTT",
        "NOTE",
        "STYLE",
        "1",
        "00:00:01,000",
        ";;",
        ";; x",
        '"',
        '"a',
        "'",
        "{",
        "}",
        "{\\i1}",
        "\\N",
        "\\h",
        "<o,f0>",
    ),
    *("[0]", "SPEAKER_01:", "SPEAKER", "\n\n", "\r\n1\n", "\t", "\u2028", "\x85", "\N{NO-BREAK SPACE}"),
]
PLAIN = ["yes", "no,", "well-known", "Köln", "会议在3月。", "नमस्ते", "x" * 90, "Right.", "–"]
SPEAKERS = ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]


def segment(text: str | None, *spans: tuple[float, float], **more: Any) -> dict[str, Any]:
    times = {"start_s": spans[0][0], "end_s": spans[-1][1]}
    rest = {"channel": None, "language": "en", "mean_logprob": -0.1, "flags": [], "failure_code": None}
    return {"text": text, "spans": [{"start_s": start, "end_s": end} for start, end in spans]} | times | rest | more


def row(*segments: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = "recording_id uri channel failure_code failure_detail flags language_probability languages model"
    facts = dict.fromkeys([*names.split(), "model_revision", "run_id"])
    text = " ".join(s["text"] for s in segments if s["text"])
    known = {"recording_id": "a1", "outcome": "ok", "language": "en", "duration_s": 60.0}
    return facts | known | {"text": text, "segments": list(segments)} | more


def word(text: str, start_s: float | None, end_s: float | None, speaker: str | None = None) -> dict[str, Any]:
    return {
        "word": text,
        "start_s": start_s,
        "end_s": end_s,
        "score": None if start_s is None else 0.9,
        "speaker": speaker,
    }


@st.composite
def talks(draw: st.DrawFn) -> dict[str, Any]:
    """A row of several segments of up to 19 s, of hostile texts, whose words have speakers and, some of them, times."""
    segments, words = [], []
    for at in range(draw(st.integers(1, 3))):
        text = " ".join(draw(st.lists(st.sampled_from(HOSTILE + PLAIN), max_size=12)))
        speaker = draw(st.sampled_from(SPEAKERS))
        segments.append(segment(text, (20.0 * at, 20.0 * at + 19.0), speaker=speaker))
        names = words_of(text)
        for number, name in enumerate(names):
            speaker = speaker if draw(st.booleans()) else draw(st.sampled_from(SPEAKERS))
            start_s = 20.0 * at + 19.0 * number / len(names)
            times = (start_s, start_s + 19.0 / len(names)) if draw(st.booleans()) else (None, None)
            words.append(word(name, *times, speaker))
    return row(*segments, words=words, turns=[])


def said(row: dict[str, Any]) -> str:
    """All that is said, without whitespace."""
    return "".join("".join(segment["text"].split()) for segment in row["segments"] if segment["text"])
