"""NIST's formats of timed words, speaker turns and texts: CTM, RTTM, STM. Fields are parted by spaces, and a line that
begins with two semicolons is a comment."""

from __future__ import annotations

import re

from pipeline import identity
from pipeline.exports.spoken import Row, utterances, with_words

UNKNOWN = "unknown"


def ctm(row: Row) -> str:
    """Words: recording, channel (from 1), start and length in seconds, word, score; sorted by channel and start. Words
    without a time are left out."""
    timed = [
        (_channel(segment["channel"]), word)
        for segment, own in with_words(row["segments"], row.get("words"))
        for word in own
        if word["start_s"] is not None
    ]
    timed.sort(key=lambda one: (one[0], one[1]["start_s"]))
    recording = _recording(row)
    return "".join(
        f"{recording} {channel} {word['start_s']:.3f} {word['end_s'] - word['start_s']:.3f} {word['word']}"
        f" {'NA' if word['score'] is None else format(word['score'], '.3f')}\n"
        for channel, word in timed
    )


def rttm(row: Row) -> str:
    """Speaker turns: SPEAKER, recording, channel, start and length in seconds, two fields that do not apply, speaker,
    two more; sorted by start. Turns that are shorter than half a millisecond are left out: tools refuse them."""
    recording, channel = _recording(row), _channel(row["channel"])
    turns = sorted(row["turns"], key=lambda turn: (turn["start_s"], turn["end_s"]))
    return "".join(
        f"SPEAKER {recording} {channel} {turn['start_s']:.3f} {length} <NA> <NA> {_field(turn['speaker'])} <NA> <NA>\n"
        for turn in turns
        if float(length := f"{turn['end_s'] - turn['start_s']:.3f}") > 0
    )


def stm(row: Row) -> str:
    """Texts: recording, channel (from 1), speaker, start and end in seconds, text; sorted by channel and start. A line
    is what one speaker says of a segment.

    There is no label (`<...>`) before the text: it may be left out, and scorers such as meeteval take it for a word.
    """
    recording = _recording(row)
    lines = [
        (_channel(one.channel), one.start_s, one.end_s, one.speaker or _of_channel(one.channel), _plain(one.text))
        for one in utterances(row["segments"], row.get("words"))
    ]
    lines.sort(key=lambda line: line[:2])
    return "".join(
        f"{recording} {channel} {_field(speaker)} {start_s:.3f} {end_s:.3f} {text}\n"
        for channel, start_s, end_s, speaker, text in lines
    )


def _recording(row: Row) -> str:
    return _field(identity.whole_id(row["recording_id"], row["channel"]))


def _channel(channel: int | None) -> int:
    return 1 if channel is None else channel + 1


def _of_channel(channel: int | None) -> str:
    return UNKNOWN if channel is None else f"channel-{channel}"


def _field(name: str) -> str:
    """A name as one field; readers that know quotes, such as pyannote's, take all up to the next one for one field."""
    return re.sub(r'[\s"]|^;;', "_", name)


def _plain(text: str) -> str:
    """A text without what sclite reads as something else: alternatives in braces, and a label at its start."""
    plain = text.translate(
        {ord("{"): "\N{FULLWIDTH LEFT CURLY BRACKET}", ord("}"): "\N{FULLWIDTH RIGHT CURLY BRACKET}"}
    )
    return f"\N{FULLWIDTH LESS-THAN SIGN}{plain[1:]}" if plain.startswith("<") else plain
