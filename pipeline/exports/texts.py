"""Transcripts as plain text and as JSON."""

from __future__ import annotations

import itertools
import json
from typing import Any

from pipeline.exports.spoken import Row, Utterance, channel_alone, is_conversation, label, utterances, with_words
from pipeline.tasks.transcribe.overlaps import concatenate

# Columns that the JSON has under their own names.
FACTS = (
    *("recording_id", "uri", "channel", "outcome", "failure_code", "failure_detail", "flags"),
    *("language_probability", "languages", "model", "model_revision", "run_id"),
)


def txt(row: Row) -> str:
    """A line for each turn where several speak and words have speakers, else for each segment with text; it begins with
    its speaker where several speak, or its channel."""
    several = is_conversation(row)
    said = enumerate(utterances(row["segments"], row.get("words") if several else None))
    named = label if several else channel_alone
    lines = [
        named(speaker, channel) + concatenate(one.text for _, one in turn)
        for (speaker, channel, _), turn in itertools.groupby(said, key=_turn)
    ]
    return "".join(line + "\n" for line in lines)


def _turn(numbered: tuple[int, Utterance]) -> tuple[str | None, int | None, int | None]:
    """What is the same for consecutive utterances of one turn."""
    number, one = numbered
    return one.speaker, one.channel, None if one.by_words else number


def as_json(row: Row) -> str:
    """The names of Whisper's verbose_json, and of WhisperX for words, speakers and turns, where there are any, ours for
    the rest; failed recordings too."""
    words, turns = row.get("words"), row.get("turns")  # these columns are younger than others
    facts: dict[str, Any] = {
        "task": "transcribe",
        "language": row["language"],
        "duration": row["duration_s"],
        "text": row["text"],
        "segments": [],
        **{name: row[name] for name in FACTS},
    }
    for number, (segment, own) in enumerate(with_words(row["segments"], words)):
        timed = [{"word": word["word"], **_times(word), "score": word["score"], **_speaker(word)} for word in own]
        facts["segments"].append(
            {
                "id": number,
                **_times(segment),
                "text": segment["text"],
                "avg_logprob": segment["mean_logprob"],
                **{name: segment[name] for name in ("channel", "language", "flags", "failure_code")},
                **_speaker(segment),
                **({} if words is None else {"words": timed}),
            }
        )
    if turns is not None:
        facts["turns"] = [{**_times(turn), **_speaker(turn)} for turn in turns]
    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n"


def _times(row: Row) -> dict[str, float | None]:
    return {"start": row["start_s"], "end": row["end_s"]}


def _speaker(row: Row) -> dict[str, str]:
    speaker = row.get("speaker")
    return {"speaker": speaker} if speaker else {}
