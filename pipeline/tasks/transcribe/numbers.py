"""What a report says of transcripts: languages, speech, coverage, and what the engines computed for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.log import duration

Row = dict[str, Any]


@dataclass
class Numbers:
    """Sums over the finished recordings of a run. `is_computed`: an engine made their texts in this run."""

    is_computed: bool = True
    languages: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    speech_s: float = 0.0  # that the voice activity detector found
    windowed_s: float = 0.0  # of it, what went to an engine
    transcribed_s: float = 0.0  # of it, what is in windows that returned text
    window_s: float = 0.0  # length of the windows that went to an engine
    padded_s: float = 0.0  # audio seconds that the engine computed for them, second attempts included
    tokens: int = 0
    segments: int = 0
    retried: int = 0

    def add(self, rows: Mapping[str, Iterable[Row]]) -> None:
        """Count segments, and the transcripts of whole recordings."""
        for transcript in rows["transcripts"]:
            if transcript["channel"] is None:
                self._add_transcript(transcript)
        for segment in rows["segments"]:
            self._add_segment(segment)

    def _add_transcript(self, transcript: Row) -> None:
        if transcript["language"]:
            self.languages[transcript["language"]] += 1
        self.flags.update(transcript["flags"])
        self.speech_s += transcript["speech_s"]
        self.windowed_s += transcript["windowed_s"]
        self.transcribed_s += transcript["transcribed_s"]

    def _add_segment(self, segment: Row) -> None:
        self.segments += 1
        if segment["padded_s"] and self.is_computed:
            self.padded_s += segment["padded_s"]
            self.window_s += segment["end_s"] - segment["start_s"] + segment["overlap_s"]
            self.tokens += segment["token_count"] or 0
            self.retried += len(segment["attempts"]) > 1

    def facts(self) -> Row:
        """The report's numbers. Slot fill is the windows' length over the padded seconds that engines computed;
        coverage is the speech in windows that returned text over all speech that was found."""
        return {
            "languages": dict(self.languages.most_common()),
            "flags": dict(self.flags.most_common()),
            "segments": self.segments,
            "retried": self.retried,
            "speech_s": round(self.speech_s, 3),
            "windowed_s": round(self.windowed_s, 3),
            "transcribed_s": round(self.transcribed_s, 3),
            "coverage": round(self.transcribed_s / self.speech_s, 4) if self.speech_s else None,
            "padded_s": round(self.padded_s, 3),
            "slot_fill": round(self.window_s / self.padded_s, 4) if self.padded_s else None,
            "tokens": self.tokens,
        }


def summary(facts: Row) -> list[tuple[str, str]]:
    """Lines for people from the report's numbers, each with its title."""
    lines = [("speech", duration(facts["speech_s"]))]
    if facts["languages"]:
        lines.append(("languages", ", ".join(f"{count} {name}" for name, count in facts["languages"].items())))
    if facts["speech_s"]:
        lines.append(("coverage", f"{facts['coverage']:.1%} of the speech is in windows that returned text"))
    if facts["flags"]:
        lines.append(("flags", ", ".join(f"{count} {name}" for name, count in facts["flags"].items())))
    if facts["padded_s"]:
        again = f"; {facts['retried']} of {facts['segments']} segments took a second attempt"
        lines.append(("slot fill", f"{facts['slot_fill']:.0%} of the audio computed was in windows{again}"))
    return lines
