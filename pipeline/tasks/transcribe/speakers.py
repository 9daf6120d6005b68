"""Who says a word or a segment: it follows from the turns of a recording, or from its split channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.rows import Turn
from pipeline.schema import Flag
from pipeline.settings import Settings
from pipeline.tasks.transcribe.answers import TimedWord
from pipeline.tasks.transcribe.segments import Segment

NEAREST_S = 1.0  # a word so far outside of any turn has no speaker


def name(number: int) -> str:
    """A speaker's label, as pyannote and WhisperX write it."""
    return f"SPEAKER_{number:02d}"


def of_channels(segments: Sequence[Segment]) -> list[Turn]:
    """The turns of split channels, each of which is a speaker."""
    found: list[Turn] = [
        {**span, "speaker": name(segment.channel)}
        for segment in segments
        if segment.channel is not None
        for span in segment.spans or ()
    ]
    return sorted(found, key=lambda turn: turn["start_s"])


def labelled(segments: Sequence[Segment], settings: Settings) -> tuple[list[Segment], list[Turn] | None]:
    """Segments of a recording, in order, and their words, with who says them; and the recording's turns.

    A segment is said by who speaks longest in it, a word by who speaks longest in its time. Where there are no turns,
    though there is text, the recording is flagged.
    """
    if settings.channels == "split":
        return [_by_one(segment) for segment in segments], of_channels(segments)
    turns = next((list(segment.turns) for segment in segments if segment.turns is not None), None)
    if turns is None:
        if not any(segment.text for segment in segments):
            return list(segments), None
        last = segments[-1]
        flagged = replace(last, recording_flags=sorted({*(last.recording_flags or ()), Flag.NO_SPEAKERS.value}))
        return [*segments[:-1], flagged], None
    said = Said(turns)
    return [
        replace(
            segment,
            speaker=said.by(segment.start_s, segment.end_s) if segment.text else None,
            words=None if segment.words is None else [_said_by(word, said) for word in segment.words],
        )
        for segment in segments
    ], turns


def _by_one(segment: Segment) -> Segment:
    speaker = None if segment.channel is None or not segment.text else name(segment.channel)
    words = None if segment.words is None else [TimedWord(**{**word, "speaker": speaker}) for word in segment.words]
    return replace(segment, speaker=speaker, words=words)


def _said_by(word: TimedWord, said: Said) -> TimedWord:
    if word["start_s"] is None or word["end_s"] is None:
        return word
    return {**word, "speaker": said.by(word["start_s"], word["end_s"])}


def of_segments(segments: Sequence[Mapping[str, Any]], turns: Sequence[Turn] | None) -> list[dict[str, Any]]:
    """The segments in a row of transcripts, with the `speaker` that their own table has, where there are turns."""
    if not turns:
        return [{**segment, "speaker": None} for segment in segments]
    said = Said(turns)

    def speaker(segment: Mapping[str, Any]) -> str | None:
        if not segment["text"]:
            return None
        channel = segment["channel"]
        return said.by(segment["start_s"], segment["end_s"]) if channel is None else name(channel)

    return [{**segment, "speaker": speaker(segment)} for segment in segments]


class Said:
    """Looks up who speaks at a time, in turns that are ordered by start."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._speakers = [turn["speaker"] for turn in turns]
        self._starts_s = np.array([turn["start_s"] for turn in turns])
        self._ends_s = np.array([turn["end_s"] for turn in turns])
        self._reached_s = np.maximum.accumulate(self._ends_s) if turns else self._ends_s

    def by(self, start_s: float, end_s: float) -> str | None:
        """Who speaks longest in a time; where nobody does, who is nearest."""
        first = int(np.searchsorted(self._reached_s, start_s, side="right"))
        behind = int(np.searchsorted(self._starts_s, end_s, side="left"))
        if first < behind:
            spoken_s: dict[str, float] = {}
            for at in range(first, behind):
                shared_s = min(end_s, self._ends_s[at]) - max(start_s, self._starts_s[at])
                spoken_s[self._speakers[at]] = spoken_s.get(self._speakers[at], 0.0) + max(0.0, shared_s)
            return max(spoken_s, key=lambda speaker: spoken_s[speaker])
        near = [behind] if behind < len(self._speakers) else []
        if behind:  # of the turns before, the one that ends last
            near.append(int(np.searchsorted(self._reached_s, self._reached_s[behind - 1], side="left")))
        away_s = {at: max(self._starts_s[at] - end_s, start_s - self._ends_s[at]) for at in near}
        nearest = min(near, key=lambda at: away_s[at], default=None)
        return None if nearest is None or away_s[nearest] > NEAREST_S else self._speakers[nearest]
