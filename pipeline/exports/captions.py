"""Segments as captions that a person can read along."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.exports.spoken import Row, Word, label, spoken, together, with_words

# The usual limits of subtitle guides (BBC, Netflix): two lines of 42 characters, one to seven seconds.
LINE_CHARS = 42
LINES = 2
MIN_S, MAX_S = 1.0, 7.0
SENTENCE_END = (".", "?", "!", "…", "।", "؟", "。", "？", "！")
SHORTEST_SENTENCE_CHARS = 20  # a sentence shorter than this shares its caption with the next

Label = Callable[[str | None, int | None], str]


@dataclass(frozen=True, slots=True)
class Caption:
    """A text of at most LINES lines on the screen during [start_s, end_s), and the words of it; `text` begins with the
    label of who speaks. One speaker says all of it."""

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...]
    speaker: str | None = None
    channel: int | None = None


def captions(segments: Sequence[Row], words: Sequence[Row] | None = None, label: Label = label) -> list[Caption]:
    """Captions of a transcript's segments, ordered by time; no two of one channel overlap.

    `words` are those of all segments, in order. Where they have no times, there are none within a segment: its words
    are laid over its spans of speech in proportion to their letters. `label` makes what the text begins with, of its
    speaker and its channel.
    """
    found: list[Caption] = []
    for segment, own in with_words(segments, words):
        if (segment["text"] or "").strip():
            found += _cut([part for word in spoken(segment, own) for part in _parts(word)], segment["channel"], label)
    found.sort(key=lambda caption: caption.start_s)
    done: list[Caption] = []
    following: dict[int | None, float] = {}  # by channel
    for one in reversed(found):
        limit_s = following.get(one.channel, float("inf"))
        following[one.channel] = one.start_s
        done.append(replace(one, end_s=min(max(one.end_s, one.start_s + MIN_S), limit_s)))
    return done[::-1]


def _cut(pieces: Sequence[Word], channel: int | None, label: Label) -> Iterator[Caption]:
    cue: list[Word] = []
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        cue.append(piece)
        text, speaker, start_s = together(cue), label(piece.speaker, channel), cue[0].start_s
        if following is not None and following.speaker == piece.speaker:
            full = len(_lines(speaker + together([*cue, following]))) > LINES
            sentence = text.endswith(SENTENCE_END) and len(text) >= SHORTEST_SENTENCE_CHARS
            if not (full or sentence or following.end_s - start_s > MAX_S):
                continue
        end_s = min(piece.end_s, start_s + MAX_S)
        yield Caption(start_s, end_s, "\n".join(_lines(speaker + text)), tuple(cue), piece.speaker, channel)
        cue = []


def _parts(word: Word) -> list[Word]:
    """A word, or the parts of one that is longer than a line."""
    texts = textwrap.wrap(word.text, LINE_CHARS)
    each_s = (word.end_s - word.start_s) / max(1, len(texts))
    return [
        replace(
            word,
            text=text,
            start_s=word.start_s + number * each_s,
            end_s=word.start_s + (number + 1) * each_s,
            gap="" if number else word.gap,
            is_timed=word.is_timed and not number,
        )
        for number, text in enumerate(texts)
    ]


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_CHARS)
