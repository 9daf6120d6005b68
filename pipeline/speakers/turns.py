"""Labelled windows of speech into turns: who speaks when, without flicker."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

# Nobody else speaks for so short a time in the middle of someone's speech: the window heard two speakers.
SHORTEST_S = 0.5


@dataclass(frozen=True)
class Turn:
    """One speaker speaks, in seconds [start_s, end_s)."""

    start_s: float
    end_s: float
    speaker: int


def turns(
    voices_start_end: Sequence[tuple[float, float]], labels: Iterable[int], spans: Sequence[tuple[float, float]]
) -> list[Turn]:
    """Windows (start and end in seconds, any order) with the speaker of each, and spans of speech -> turns in order.

    The turns are disjoint and together are the spans, which must be ordered and disjoint. Each moment belongs to the
    window whose middle is nearest. Turns that touch are different speakers'. Without windows there are no turns.
    """
    windows = sorted(
        ((start_s + end_s) / 2, int(label)) for (start_s, end_s), label in zip(voices_start_end, labels, strict=True)
    )
    if not windows:
        return []
    found: list[Turn] = []
    for start_s, end_s in spans:
        for turn in _smooth(_pieces(start_s, end_s, windows)):
            if found and found[-1].speaker == turn.speaker and found[-1].end_s >= turn.start_s:
                found[-1] = replace(found[-1], end_s=turn.end_s)
            else:
                found.append(turn)
    return found


def _pieces(start_s: float, end_s: float, windows: list[tuple[float, int]]) -> list[Turn]:
    """One span, cut half way between the middles of windows of different speakers."""
    first = bisect_left(windows, (start_s, -1))
    last = bisect_left(windows, (end_s, -1))
    if first == last:  # none has its middle in the span
        around = windows[max(0, first - 1) : first + 1]
        middle_s = (start_s + end_s) / 2
        return [Turn(start_s, end_s, min(around, key=lambda window: abs(window[0] - middle_s))[1])]
    pieces: list[Turn] = []
    for at in range(first, last):
        middle_s, speaker = windows[at]
        until_s = end_s if at + 1 == last else (middle_s + windows[at + 1][0]) / 2
        if pieces and pieces[-1].speaker == speaker:
            pieces[-1] = replace(pieces[-1], end_s=until_s)
        elif until_s > start_s:
            pieces.append(Turn(pieces[-1].end_s if pieces else start_s, until_s, speaker))
    return pieces


def _smooth(pieces: list[Turn]) -> list[Turn]:
    """Without pieces shorter than SHORTEST_S between two of one speaker."""
    kept: list[Turn] = []
    for piece in pieces:
        if len(kept) > 1 and kept[-1].end_s - kept[-1].start_s < SHORTEST_S and kept[-2].speaker == piece.speaker:
            kept.pop()
        if kept and kept[-1].speaker == piece.speaker:
            kept[-1] = replace(kept[-1], end_s=piece.end_s)
        else:
            kept.append(piece)
    return kept
