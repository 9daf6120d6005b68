"""What every format is made of: the words of a transcript, when each is said, and by whom."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.alignment.words import words_of

SNAP_S = 0.4  # what a share of the speech may be wrong by

Row = Mapping[str, Any]  # of the transcripts, or a segment or word in one


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it is said, in seconds of the recording's clock. `gap` is what stands between it and the word
    before: a space, or nothing. `is_timed`: the time is its own, not one that its neighbours leave."""

    text: str
    start_s: float
    end_s: float
    gap: str = " "
    speaker: str | None = None
    is_timed: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """A text on one line that one speaker says. `by_words`: its words say who speaks; else it is a whole segment."""

    start_s: float
    end_s: float
    text: str
    speaker: str | None
    channel: int | None
    by_words: bool


def label(speaker: str | None, channel: int | None) -> str:
    """What stands before a text: who says it, else on which channel, where either is known."""
    if speaker:
        return f"{' '.join(speaker.split())}: "
    return "" if channel is None else f"[{channel}] "


def channel_alone(speaker: str | None, channel: int | None) -> str:
    """`label` of what has a channel and no speaker; nothing of others."""
    return label(None, None if speaker else channel)


def is_conversation(row: Row) -> bool:
    """Whether several speakers are known to speak in a transcript: else there is no need to name them."""
    said = (*row["segments"], *(row.get("words") or ()))
    return len({one["speaker"] for one in said if one.get("speaker")}) > 1


def with_words(segments: Sequence[Row], words: Sequence[Row] | None) -> Iterator[tuple[Row, Sequence[Row]]]:
    """Each segment with its own of the words of all; none where no times were asked for."""
    at = 0
    for segment in segments:
        count = len(words_of(segment["text"] or ""))
        yield segment, (words or ())[at : at + count]
        at += count


def utterances(segments: Sequence[Row], words: Sequence[Row] | None) -> list[Utterance]:
    """Who says what, in the order of the segments: where words have speakers, a segment is cut where another speaks."""
    found: list[Utterance] = []
    for segment, own in with_words(segments, words):
        if not (segment["text"] or "").strip():
            continue
        by_words = any(word.get("speaker") for word in own)
        runs = itertools.groupby(spoken(segment, own), key=lambda word: word.speaker)
        for speaker, run in runs if by_words else ():
            said = list(run)
            times = (said[0].start_s, max(word.end_s for word in said))
            found.append(Utterance(*times, together(said), speaker, segment["channel"], by_words))
        if not by_words:
            text = " ".join(segment["text"].split())
            times = (segment["start_s"], segment["end_s"])
            found.append(Utterance(*times, text, segment.get("speaker"), segment["channel"], by_words))
    return found


def spoken(segment: Row, own: Sequence[Row]) -> list[Word]:
    """The words of a segment that has a text, in order. Those without times lie between their neighbours; where none
    has any, they are laid over the segment's spans of speech in proportion to their letters. Words without a speaker
    belong to the word before them."""
    found: list[Word] = []
    text, place = segment["text"], 0
    words = own or [{"word": word, "start_s": None} for word in words_of(text)]
    for word, speaker in zip(words, _speakers(segment, words), strict=True):
        begin = text.find(word["word"], place)
        gap, place = " " if text[place:begin].isspace() else "", begin + len(word["word"])
        found.append(Word(word["word"], 0.0, 0.0, gap, speaker))
    if any(word["start_s"] is not None for word in words):
        return _between_neighbours(found, segment, words)
    return _over_spans(found, segment)


def together(words: Sequence[Word]) -> str:
    """The text that words make."""
    return "".join(word.gap * bool(at) + word.text for at, word in enumerate(words))


def _speakers(segment: Row, own: Sequence[Row]) -> Iterator[str | None]:
    known = [word.get("speaker") for word in own]  # the column is younger than others
    current = next((speaker for speaker in known if speaker), segment.get("speaker"))
    for speaker in known:
        current = speaker or current
        yield current


def _between_neighbours(words: Sequence[Word], segment: Row, own: Sequence[Row]) -> list[Word]:
    found: list[Word] = []
    for at, (word, times) in enumerate(zip(words, own, strict=True)):
        start_s, end_s = times["start_s"], times["end_s"]
        is_timed = start_s is not None
        if start_s is None:
            start_s = found[-1].end_s if found else segment["start_s"]
            later = (other["start_s"] for other in own[at + 1 :] if other["start_s"] is not None)
            end_s = max(start_s, next(later, segment["end_s"]))
        found.append(replace(word, start_s=start_s, end_s=end_s, is_timed=is_timed))
    return found


def _over_spans(words: Sequence[Word], segment: Row) -> list[Word]:
    spans = [(span["start_s"], span["end_s"]) for span in segment["spans"] or []]
    spans = spans or [(segment["start_s"], segment["end_s"])]
    total, said = sum(len(word.text) for word in words), 0
    found: list[Word] = []
    for word in words:
        start_s = _time(spans, said / total, after=True) if found else spans[0][0]
        said += len(word.text)
        found.append(replace(word, start_s=start_s, end_s=_time(spans, said / total)))
    return found


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
