"""From segments to transcripts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pipeline import identity
from pipeline.rows import Turn
from pipeline.schema import TRANSIENT, FailureCode, Flag, Outcome
from pipeline.settings import Guards
from pipeline.tasks.transcribe import language, speakers, words
from pipeline.tasks.transcribe.guards import letters
from pipeline.tasks.transcribe.language import MIXED_SHARE
from pipeline.tasks.transcribe.overlaps import concatenate, join
from pipeline.tasks.transcribe.schema import DECLARED, TRANSCRIPT
from pipeline.tasks.transcribe.segments import Segment

SEGMENT_NAMES = [field.name for field in TRANSCRIPT.field("segments").type.value_type]

Row = dict[str, Any]


def settle(segments: Sequence[Segment]) -> list[Segment]:
    """What a recording's segments, in order, know of each other: their overlaps, and the language around them."""
    return language.in_context(join_overlaps(segments))


def join_overlaps(segments: Sequence[Segment]) -> list[Segment]:
    """The same segments of a recording, in order; words that two of them have of an overlap are kept in one."""
    joined: list[Segment] = []
    last: dict[int | None, int] = {}  # by channel: where in `joined` its last segment is
    for segment in segments:
        at = last.get(segment.channel)
        earlier = None if at is None else joined[at]
        if at is not None and earlier and segment.overlap_s and earlier.text and segment.text:
            before, after = join(earlier.text, segment.text, segment.overlap_s)
            kept = words.first(earlier.words, before)
            joined[at] = replace(earlier, text=before, words=kept)
            joined.append(replace(segment, text=after, words=words.behind(kept, words.last(segment.words, after))))
        else:
            joined.append(segment)
        last[segment.channel] = len(joined) - 1
    return joined


def order_words(segments: Sequence[Segment]) -> list[Segment]:
    """The same segments of a recording, whose overlaps are joined already; the times of their words in order."""
    ordered: list[Segment] = []
    last: dict[int | None, Segment] = {}  # by channel
    for segment in segments:
        earlier = last.get(segment.channel)
        if earlier and segment.overlap_s and earlier.text and segment.text and segment.words:
            timed = words.behind(earlier.words, list(segment.words))
            ordered.append(replace(segment, words=timed))
        else:
            ordered.append(segment)
        last[segment.channel] = ordered[-1]
    return ordered


def transcripts(
    recording_id: str,
    segments: Sequence[Segment],
    guards: Guards,
    complete: bool = True,
    turns: Sequence[Turn] | None = None,
) -> Iterator[Row]:
    """The recording's transcript; where its channels were split, each channel's too. The recording's own is then the
    conversation: all segments, by the time at which they start; and `turns` are those of channels."""
    ordered = sorted(segments, key=lambda segment: segment.start_s)  # stable: by segment_index where they tie
    yield {"recording_id": recording_id, "channel": None} | transcript(ordered, guards, complete) | {"turns": turns}
    for channel in sorted({segment.channel for segment in segments if segment.channel is not None}):
        own = [segment for segment in segments if segment.channel == channel]
        row = transcript(own, guards, complete) | {"duration_s": segments[-1].duration_s}
        own_turns = None if turns is None else [turn for turn in turns if turn["speaker"] == speakers.name(channel)]
        about = {"recording_id": identity.channel_id(recording_id, channel), "channel": channel}
        yield about | row | {"turns": own_turns}


def transcript(segments: Sequence[Segment], guards: Guards, complete: bool = True) -> Row:
    """Join segments, in order, into the TRANSCRIPT columns that follow from them.

    A recording is ok when every segment has text, failed when none has, else partial; `text` is null only when it
    failed. Its language is the one that holds most speech, each second counted by its probability; the probability is
    that of its segments, weighted by their speech, times that language's share of all speech.
    """
    texts = [segment.text for segment in segments if segment.text is not None]
    failed = [segment for segment in segments if segment.failure_code]
    # One that may pass has the recording done again.
    failure = next((segment for segment in failed if segment.failure_code in TRANSIENT), failed[0] if failed else None)
    code = failure.failure_code if failure else None
    detail = failure.failure_detail if failure else None
    if not complete:
        code, detail = FailureCode.INCOMPLETE.value, f"only {len(segments)} of its segments came back"
    outcome = Outcome.OK if code is None else Outcome.PARTIAL if texts else Outcome.FAILED
    text = None if outcome is Outcome.FAILED else concatenate(texts)
    languages, declared = language.mix(segments), any(s.language_source == DECLARED for s in segments)
    windowed_s = sum(segment.speech_s for segment in segments)
    total_s = sum(one["speech_s"] for one in languages)
    return {
        "duration_s": max((s.duration_s for s in segments if s.duration_s is not None), default=None),
        "speech_s": round(sum(segment.channel_speech_s or 0.0 for segment in segments), 3),
        "windowed_s": round(windowed_s, 3),
        "transcribed_s": round(sum(segment.speech_s for segment in segments if segment.text), 3),
        "text": text,
        "language": languages[0]["language"] if languages else None,
        "language_probability": None
        if declared or not languages or not total_s
        else languages[0]["probability"] * languages[0]["speech_s"] / total_s,
        "language_source": next((s.language_source for s in segments if s.language_source), None),
        "unexpected_language": _unexpected(segments),
        "languages": languages,
        "flags": _flags(segments, text, windowed_s, languages, guards),
        "outcome": outcome.value,
        "failure_code": code,
        "failure_detail": detail,
        "words": words.of_all(segments),
        "segments": [{name: getattr(segment, name) for name in SEGMENT_NAMES} for segment in segments],
    }


def _unexpected(segments: Sequence[Segment]) -> str | None:
    """Of the languages that were not expected, the one that holds most speech."""
    speech_s: dict[str, float] = defaultdict(float)
    for segment in segments:
        if other := segment.unexpected_language:
            speech_s[other] += segment.speech_s
    return max(speech_s, key=lambda x: speech_s[x], default=None)


def _flags(
    segments: Sequence[Segment], text: str | None, windowed_s: float, languages: Sequence[Row], guards: Guards
) -> list[str]:
    """The flags of any segment, and those of the recording as a whole: does its text cover its speech?"""
    flags = {flag for row in segments for flag in [*(row.flags or []), *(row.recording_flags or [])]}
    flags -= {Flag.NO_TEXT, Flag.LITTLE_TEXT}  # of a whole recording they mean more
    if text is not None and windowed_s >= guards.min_speech_s:
        if not text:
            flags.add(Flag.NO_TEXT)
        elif letters(text) < guards.min_chars_per_s * windowed_s:
            flags.add(Flag.LITTLE_TEXT)
    spoken_s = sum(one["speech_s"] for one in languages)
    if any(one["speech_s"] >= MIXED_SHARE * spoken_s for one in languages[1:]):
        flags.add(Flag.MIXED_LANGUAGES)
    return sorted(flags)
