"""Segments as captions that a person can read along, and as files: SRT, WebVTT, plain text, JSON, CTM."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pysubs2

from pipeline.tasks.transcribe.overlaps import concatenate

# The usual limits of subtitle guides (BBC, Netflix): two lines of 42 characters, one to seven seconds.
LINE_CHARS = 42
LINES = 2
MIN_S, MAX_S = 1.0, 7.0
SENTENCE_END = (".", "?", "!", "…", "।", "؟", "。")
SNAP_S = 0.4
SHORTEST_SENTENCE_CHARS = 20  # a sentence shorter than this shares its caption with the next


@dataclass(frozen=True, slots=True)
class Caption:
    """A text of at most LINES lines on the screen during [start_s, end_s)."""

    start_s: float
    end_s: float
    text: str
    channel: int | None = None


def captions(segments: Sequence[Mapping[str, Any]]) -> list[Caption]:
    """Captions of a transcript's segments, ordered by time; no two of one channel overlap.

    The model gives no times within a window: words are laid over its spans of speech in proportion to their letters.
    """
    found = [caption for segment in segments if segment["text"] for caption in _of_segment(segment)]
    found.sort(key=lambda caption: caption.start_s)
    done: list[Caption] = []
    following: dict[int | None, float] = {}  # by channel
    for one in reversed(found):
        limit_s = following.get(one.channel, float("inf"))
        following[one.channel] = one.start_s
        done.append(replace(one, end_s=min(max(one.end_s, one.start_s + MIN_S), limit_s)))
    return done[::-1]


def _of_segment(segment: Mapping[str, Any]) -> Iterator[Caption]:
    spans = [(span["start_s"], span["end_s"]) for span in segment["spans"] or []]
    spans = spans or [(segment["start_s"], segment["end_s"])]
    words = [part for word in segment["text"].split() for part in textwrap.wrap(word, LINE_CHARS)]
    total = sum(map(len, words))
    speaker = _speaker(segment)
    said, cue, start_s = 0, [], spans[0][0]
    for at, word in enumerate(words):
        cue.append(word)
        said += len(word)
        end_s = _time(spans, said / total)
        following = words[at + 1] if at + 1 < len(words) else None
        full = following is None or len(_lines(speaker, [*cue, following])) > LINES
        text = concatenate(cue)
        sentence = text.endswith(SENTENCE_END) and len(text) >= SHORTEST_SENTENCE_CHARS
        if full or sentence or _time(spans, (said + len(following or "")) / total) - start_s > MAX_S:
            end_s = min(end_s, start_s + MAX_S)
            yield Caption(start_s, end_s, "\n".join(_lines(speaker, cue)), segment["channel"])
            cue, start_s = [], _time(spans, said / total, after=True)


def _speaker(segment: Mapping[str, Any]) -> str:
    return "" if segment["channel"] is None else f"[{segment['channel']}] "


def _lines(speaker: str, words: Sequence[str]) -> list[str]:
    return textwrap.wrap(speaker + concatenate(words), LINE_CHARS)


def _time(spans: Sequence[tuple[float, float]], share: float, after: bool = False) -> float:
    """When the given share of all the speech has passed; where that is about between two spans, the end of the first,
    or, with `after`, the start of the second: sentences end in pauses, and shares are not exact."""
    left = share * sum(end - start for start, end in spans)
    for number, (start, end) in enumerate(spans[:-1]):
        if left < end - start - (SNAP_S if after else 0.0):
            return start + left
        if not after and left < end - start + SNAP_S:
            return end
        left = max(0.0, left - (end - start))
        if after and left < SNAP_S:
            return spans[number + 1][0]
    return min(spans[-1][0] + left, spans[-1][1])


def srt(row: Mapping[str, Any]) -> str:
    """SubRip."""
    return _subtitles(row).to_string("srt", keep_ssa_tags=True)


def vtt(row: Mapping[str, Any]) -> str:
    """WebVTT."""
    return _subtitles(row, escape=True).to_string("vtt", keep_ssa_tags=True)


def txt(row: Mapping[str, Any]) -> str:
    """A line for each segment with text; where channels were split, each begins with its channel."""
    lines = [_speaker(segment) + segment["text"] for segment in row["segments"] if segment["text"]]
    return "".join(line + "\n" for line in lines)


def as_json(row: Mapping[str, Any]) -> str:
    """The names of Whisper's verbose_json where it has any, ours for the rest; failed recordings too."""
    facts = {
        "task": "transcribe",
        "language": row["language"],
        "duration": row["duration_s"],
        "text": row["text"],
        "segments": [
            {
                "id": number,
                "start": segment["start_s"],
                "end": segment["end_s"],
                "text": segment["text"],
                "avg_logprob": segment["mean_logprob"],
                **{name: segment[name] for name in ("channel", "language", "flags", "failure_code")},
            }
            for number, segment in enumerate(row["segments"])
        ],
        **{
            name: row[name]
            for name in ("recording_id", "uri", "channel", "outcome", "failure_code", "failure_detail", "flags")
        },
        **{name: row[name] for name in ("language_probability", "languages", "model", "model_revision", "run_id")},
    }
    if (words := row.get("words")) is not None:  # the column is younger than others
        timed = [(word["word"], word["start_s"], word["end_s"], word["score"]) for word in words]
        facts["words"] = [dict(zip(("word", "start", "end", "score"), each, strict=True)) for each in timed]
    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n"


def ctm(row: Mapping[str, Any]) -> str:
    """NIST's format of timed words: recording, channel, start and length in seconds, word, score. Words without a time
    are left out, and so are all where no times were asked for."""
    recording, channel = row["recording_id"], 1 if row["channel"] is None else row["channel"] + 1
    return "".join(
        f"{recording} {channel} {word['start_s']:.3f} {word['end_s'] - word['start_s']:.3f} {word['word']}"
        f" {word['score']:.3f}\n"
        for word in row.get("words") or ()
        if word["start_s"] is not None
    )


def _subtitles(row: Mapping[str, Any], escape: bool = False) -> pysubs2.SSAFile:
    subtitles = pysubs2.SSAFile()
    for caption in captions(row["segments"]):
        text = html.escape(caption.text, quote=False) if escape else caption.text.replace("-->", "→")
        event = pysubs2.SSAEvent(start=round(caption.start_s * 1000), end=round(caption.end_s * 1000))
        event.plaintext = text.replace("\\", "\N{FULLWIDTH REVERSE SOLIDUS}")  # \N and \h mean something here
        subtitles.append(event)
    return subtitles


FORMATS = {"srt": srt, "vtt": vtt, "txt": txt, "json": as_json, "ctm": ctm}
