"""Segments as captions that a person can read along, and as files: SRT, WebVTT, plain text, JSON, CTM."""

from __future__ import annotations

import html
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pysubs2

from pipeline.alignment.words import words_of

# The usual limits of subtitle guides (BBC, Netflix): two lines of 42 characters, one to seven seconds.
LINE_CHARS = 42
LINES = 2
MIN_S, MAX_S = 1.0, 7.0
SENTENCE_END = (".", "?", "!", "…", "।", "؟", "。")
SNAP_S = 0.4
SHORTEST_SENTENCE_CHARS = 20  # a sentence shorter than this shares its caption with the next

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caption:
    """A text of at most LINES lines on the screen during [start_s, end_s)."""

    start_s: float
    end_s: float
    text: str
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    """What captions are made of: a word, or a part of a long one, and when it is said. `gap` is what stands between it
    and the piece before: a space, or nothing."""

    text: str
    start_s: float
    end_s: float
    gap: str = " "


def captions(segments: Sequence[Row], words: Sequence[Row] | None = None) -> list[Caption]:
    """Captions of a transcript's segments, ordered by time; no two of one channel overlap.

    `words` are those of all segments, in order. Where they have no times, there are none within a segment: its words
    are laid over its spans of speech in proportion to their letters.
    """
    found: list[Caption] = []
    for segment, own in _with_words(segments, words):
        if segment["text"]:
            is_timed = any(word["start_s"] is not None for word in own)
            found += _cut(_spoken(own, segment) if is_timed else _laid_out(segment), segment)
    found.sort(key=lambda caption: caption.start_s)
    done: list[Caption] = []
    following: dict[int | None, float] = {}  # by channel
    for one in reversed(found):
        limit_s = following.get(one.channel, float("inf"))
        following[one.channel] = one.start_s
        done.append(replace(one, end_s=min(max(one.end_s, one.start_s + MIN_S), limit_s)))
    return done[::-1]


def _cut(pieces: Sequence[_Piece], segment: Row) -> Iterator[Caption]:
    speaker = _speaker(segment)
    cue: list[_Piece] = []
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        cue.append(piece)
        text = _together(cue)
        full = following is None or len(_lines(speaker + _together([*cue, following]))) > LINES
        sentence = text.endswith(SENTENCE_END) and len(text) >= SHORTEST_SENTENCE_CHARS
        start_s = cue[0].start_s
        if full or sentence or following is None or following.end_s - start_s > MAX_S:
            end_s = min(piece.end_s, start_s + MAX_S)
            yield Caption(start_s, end_s, "\n".join(_lines(speaker + text)), segment["channel"])
            cue = []


def _spoken(words: Sequence[Row], segment: Row) -> list[_Piece]:
    """Words with their own times; those without lie between their neighbours."""
    found: list[_Piece] = []
    text, place = segment["text"], 0
    for at, word in enumerate(words):
        begin = text.find(word["word"], place)
        gap, place = " " if text[place:begin].isspace() else "", begin + len(word["word"])
        start_s, end_s = word["start_s"], word["end_s"]
        if start_s is None:
            start_s = found[-1].end_s if found else segment["start_s"]
            later = (other["start_s"] for other in words[at + 1 :] if other["start_s"] is not None)
            end_s = max(start_s, next(later, segment["end_s"]))
        parts = textwrap.wrap(word["word"], LINE_CHARS)
        each_s = (end_s - start_s) / max(1, len(parts))
        for number, part in enumerate(parts):
            begin_s = start_s + number * each_s
            found.append(_Piece(part, begin_s, begin_s + each_s, "" if number else gap))
    return found


def _laid_out(segment: Row) -> list[_Piece]:
    spans = [(span["start_s"], span["end_s"]) for span in segment["spans"] or []]
    spans = spans or [(segment["start_s"], segment["end_s"])]
    words = [textwrap.wrap(word, LINE_CHARS) for word in segment["text"].split()]
    total, said = sum(len(part) for parts in words for part in parts), 0
    found: list[_Piece] = []
    for parts in words:
        for number, part in enumerate(parts):
            start_s = _time(spans, said / total, after=True) if found else spans[0][0]
            said += len(part)
            found.append(_Piece(part, start_s, _time(spans, said / total), "" if number else " "))
    return found


def _together(pieces: Sequence[_Piece]) -> str:
    return "".join(piece.gap * bool(at) + piece.text for at, piece in enumerate(pieces))


def _speaker(segment: Row) -> str:
    return "" if segment["channel"] is None else f"[{segment['channel']}] "


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_CHARS)


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


def srt(row: Row) -> str:
    """SubRip."""
    return _subtitles(row).to_string("srt", keep_ssa_tags=True)


def vtt(row: Row) -> str:
    """WebVTT."""
    return _subtitles(row, escape=True).to_string("vtt", keep_ssa_tags=True)


def txt(row: Row) -> str:
    """A line for each segment with text; where channels were split, each begins with its channel."""
    lines = [_speaker(segment) + segment["text"] for segment in row["segments"] if segment["text"]]
    return "".join(line + "\n" for line in lines)


def as_json(row: Row) -> str:
    """The names of Whisper's verbose_json, and of WhisperX for words, where they have any, ours for the rest; failed
    recordings too."""
    facts: dict[str, Any] = {
        "task": "transcribe",
        "language": row["language"],
        "duration": row["duration_s"],
        "text": row["text"],
        "segments": [],
        **{
            name: row[name]
            for name in ("recording_id", "uri", "channel", "outcome", "failure_code", "failure_detail", "flags")
        },
        **{name: row[name] for name in ("language_probability", "languages", "model", "model_revision", "run_id")},
    }
    words = row.get("words")  # the column is younger than others
    for number, (segment, own) in enumerate(_with_words(row["segments"], words)):
        timed = [
            {"word": word["word"], "start": word["start_s"], "end": word["end_s"], "score": word["score"]}
            for word in own
        ]
        facts["segments"].append(
            {
                "id": number,
                "start": segment["start_s"],
                "end": segment["end_s"],
                "text": segment["text"],
                "avg_logprob": segment["mean_logprob"],
                **{name: segment[name] for name in ("channel", "language", "flags", "failure_code")},
                **({} if words is None else {"words": timed}),
            }
        )
    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n"


def _with_words(segments: Sequence[Row], words: Sequence[Row] | None) -> Iterator[tuple[Row, Sequence[Row]]]:
    """Each segment with its own of the words of all; none where no times were asked for."""
    at = 0
    for segment in segments:
        count = len(words_of(segment["text"] or ""))
        yield segment, (words or ())[at : at + count]
        at += count


def ctm(row: Row) -> str:
    """NIST's format of timed words: recording, channel (from 1), start and length in seconds, word, score; sorted by
    channel and start. Words without a time are left out, and all where no times were asked for."""
    recording = row["recording_id"]
    if row["channel"] is not None:
        recording = recording.removesuffix(f"#{row['channel']}")
    recording = re.sub(r"\s|^;;", "_", recording)  # spaces part the fields, and two semicolons begin a comment
    timed = [
        (1 if segment["channel"] is None else segment["channel"] + 1, word)
        for segment, own in _with_words(row["segments"], row.get("words"))
        for word in own
        if word["start_s"] is not None
    ]
    timed.sort(key=lambda one: (one[0], one[1]["start_s"]))
    return "".join(
        f"{recording} {channel} {word['start_s']:.3f} {word['end_s'] - word['start_s']:.3f} {word['word']}"
        f" {'NA' if word['score'] is None else format(word['score'], '.3f')}\n"
        for channel, word in timed
    )


def _subtitles(row: Row, escape: bool = False) -> pysubs2.SSAFile:
    subtitles = pysubs2.SSAFile()
    for caption in captions(row["segments"], row.get("words")):
        text = html.escape(caption.text, quote=False) if escape else caption.text.replace("-->", "→")
        event = pysubs2.SSAEvent(start=round(caption.start_s * 1000), end=round(caption.end_s * 1000))
        event.plaintext = text.replace("\\", "\N{FULLWIDTH REVERSE SOLIDUS}")  # \N and \h mean something here
        subtitles.append(event)
    return subtitles


FORMATS = {"srt": srt, "vtt": vtt, "txt": txt, "json": as_json, "ctm": ctm}
