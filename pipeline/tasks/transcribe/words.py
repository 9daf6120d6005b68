"""When each word of a transcript is said. A text is kept, whatever becomes of its times."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.alignment.protocol import Aligner, Word
from pipeline.alignment.words import words_of
from pipeline.audio import segment
from pipeline.schema import Flag
from pipeline.tasks.transcribe.answers import TimedWord
from pipeline.tasks.transcribe.segments import Segment

UNSUPPORTED_RUN = 3  # so many words in a row with low scores are flagged: an aligner misses single ones
UNSUPPORTED_SHARE = 0.5  # or so many of all words, of short texts


class WordTimes:
    """Times of the words of windows, one window after the other, in a thread of its own."""

    def __init__(self, found_by: Aligner, min_score: float) -> None:
        self._aligner, self._min_score = found_by, min_score
        self._thread = ThreadPoolExecutor(1)
        self._has_failed = False

    async def of(
        self,
        window: segment.Window,
        text: str,
        language: str | None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[list[TimedWord] | None, list[Flag]]:
        """The words of a window's text, by the recording's clock, and what is suspicious about them. None where the
        aligner failed. For `open_s` see `Aligner.align`."""
        names = words_of(text)
        if not names:
            return [], []
        loop = asyncio.get_running_loop()
        try:
            given = window.samples, names, language, open_s
            found = await loop.run_in_executor(self._thread, self._aligner.align, *given)
        except Exception:  # whatever it is, the text is worth having
            if not self._has_failed:  # once is enough: the flag says how often
                logging.getLogger(__name__).warning("a window could not be aligned", exc_info=True)
                self._has_failed = True
            return None, [Flag.NOT_ALIGNED]
        flags = [Flag.NOT_ALIGNED] if all(word.start_s is None for word in found) else []
        if unsupported([word.score for word in found], self._min_score):
            flags.append(Flag.UNSUPPORTED_WORDS)
        return [_timed(word, window.start_s - window.overlap_s) for word in found], flags


def _timed(word: Word, from_s: float) -> TimedWord:
    start_s, end_s = (None if time_s is None else round(from_s + time_s, 3) for time_s in (word.start_s, word.end_s))
    return {"word": word.word, "start_s": start_s, "end_s": end_s, "score": word.score, "speaker": None}


def unsupported(scores: Sequence[float | None], least: float) -> bool:
    """Whether words have low scores, several in a row or a large part of a text. Words without one say nothing."""
    low = [score < least for score in scores if score is not None]
    runs = (all(low[at : at + UNSUPPORTED_RUN]) for at in range(len(low) - UNSUPPORTED_RUN + 1))
    return any(runs) or (bool(low) and sum(low) >= UNSUPPORTED_SHARE * len(low))


def first(words: Sequence[TimedWord] | None, text: str) -> list[TimedWord] | None:
    """Words of a text's beginning, which is `text` now."""
    if words is None:
        return None
    names = words_of(text)
    return [{**word, "word": name} for name, word in zip(names, words, strict=False)]


def last(words: Sequence[TimedWord] | None, text: str) -> list[TimedWord] | None:
    """Words of a text's end, which is `text` now."""
    if words is None:
        return None
    names = words_of(text)
    return [{**word, "word": name} for name, word in zip(names, words[len(words) - len(names) :], strict=False)]


def behind(earlier: Sequence[TimedWord] | None, later: list[TimedWord] | None) -> list[TimedWord] | None:
    """The later words of an overlap. None begins before the earlier ones end: both may claim the same sound."""
    ends_s = [word["end_s"] for word in earlier or () if word["end_s"] is not None]
    if not ends_s or later is None:
        return later
    return [
        {
            **word,
            "start_s": None if word["start_s"] is None else max(word["start_s"], ends_s[-1]),
            "end_s": None if word["end_s"] is None else max(word["end_s"], ends_s[-1]),
        }
        for word in later
    ]


def of_all(segments: Sequence[Segment]) -> list[TimedWord] | None:
    """The words of consecutive segments' texts; without times those of segments that have none. None where no segment
    has any."""
    if all(one.words is None for one in segments):
        return None
    found: list[TimedWord] = []
    for one in segments:
        found += _untimed(one.text) if one.words is None else one.words
    return found


def _untimed(text: str | None) -> list[TimedWord]:
    return [
        {"word": name, "start_s": None, "end_s": None, "score": None, "speaker": None} for name in words_of(text or "")
    ]
