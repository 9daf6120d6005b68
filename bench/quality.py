"""What windows cost and buy: word errors, slot fill, coverage and language by the policy that cuts them.

    python -m bench.quality [--whisper FOLDER]

Each policy sees the same joined recordings; "one by one" are their clips, each a recording of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jiwer
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from bench import speech
from pipeline import collate, engines, stages
from pipeline.engines.base import Engine, Heard, Hypothesis, Utterance
from pipeline.engines.checkpoint import fit, inspect
from pipeline.schema import RECORDING
from pipeline.settings import Engine as EngineSettings
from pipeline.settings import Guards, Language, Settings

# What a policy changes in the segmentation and the guards. A second try "off" is one that nothing calls for.
NEVER = {
    "min_chars_per_s": 0.0,
    "max_chars_per_s": 1e9,
    "max_compression_ratio": 1e9,
    "min_mean_logprob": -1e9,
    "min_speech_s": 1e9,
}
PAUSES_S = (0.3, 0.5, 1.0, 2.0, 30.0)
WORDS = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.SubstituteRegexes({r"[-–—'’]": " "}),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


@dataclass
class Score:
    """One policy on one language."""

    errors: int = 0
    words: int = 0
    speech_s: float = 0.0
    windowed_s: float = 0.0
    transcribed_s: float = 0.0
    first_padded_s: float = 0.0  # of the first attempts
    padded_s: float = 0.0
    windows: int = 0
    retried: int = 0
    kept: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    tagged: int = 0
    rightly: int = 0

    @property
    def wer(self) -> float:
        return self.errors / max(1, self.words)


class Remembering:
    """An engine that answers at once what it was asked before: policies share many windows."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._known = engine, {}
        self.needs_language = engine.needs_language

    async def listen(self, utterance: Utterance) -> Heard:
        return await self._once("listen", utterance)

    async def transcribe(self, utterance: Utterance) -> Hypothesis:
        return await self._once("transcribe", utterance)

    def shutdown(self) -> None:
        self._engine.shutdown()

    async def _once(self, way: str, utterance: Utterance) -> Any:
        digest = hashlib.sha1(utterance.samples.tobytes()).hexdigest()
        key = (way, digest, utterance.language, utterance.temperature)
        if key not in self._known:
            self._known[key] = await getattr(self._engine, way)(utterance)
        return self._known[key]


async def transcribe(path: Path, engine: Engine, settings: Settings) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One file through the corridor without Ray; its transcript and its segments."""
    recording = pa.Table.from_pylist([{"recording_id": path.stem, "uri": str(path)}], RECORDING)
    stage = stages.Transcribe(engine, settings)
    tables = await asyncio.gather(*(stage(table) for table in stages.prepare(recording, settings)))
    segments = collate.join_overlaps(pa.concat_tables(tables).to_pylist())
    return collate.transcript(segments, settings.guards), segments


async def measure(recordings: list[speech.Recording], engine: Engine, settings: Settings) -> Score:
    """All recordings of one language through one policy."""
    score = Score()
    for row, segments, recording in [
        (*(await transcribe(recording.path, engine, settings)), recording) for recording in recordings
    ]:
        found = jiwer.process_words(recording.reference, row["text"] or "", WORDS, WORDS)
        score.errors += found.substitutions + found.deletions + found.insertions
        score.words += found.hits + found.substitutions + found.deletions
        score.speech_s += row["speech_s"]
        score.windowed_s += row["windowed_s"]
        score.transcribed_s += row["transcribed_s"]
        for segment in segments:
            if not segment["attempts"]:
                continue
            score.windows += 1
            score.padded_s += segment["padded_s"]
            score.first_padded_s += -(-(segment["end_s"] - segment["start_s"]) // 30) * 30
            score.retried += len(segment["attempts"]) > 1
            score.kept[segment["kept_attempt"]] += 1
            if segment["text"]:
                score.tagged += 1
                score.rightly += segment["language"] == most_spoken(recording, segment)
    return score


def most_spoken(recording: speech.Recording, segment: dict[str, Any]) -> str:
    """The language that holds most of a segment's time."""
    shares: dict[str, float] = defaultdict(float)
    for language, begin, end in recording.clips:
        shares[language] += max(0.0, min(end, segment["end_s"]) - max(begin, segment["start_s"]))
    return max(shares, key=lambda language: shares[language])
