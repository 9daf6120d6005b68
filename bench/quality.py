"""What windows cost and buy: word errors, slot fill, coverage and language, by the pause that ends a window.

    [SPEECH_CORPUS=folder WHISPER_MODEL=folder] python -m bench.quality [--seconds 300] [--languages en,de,es,fr,pt]

The demo's clips through the demo's checkpoint and, where this machine has them, real clips through Whisper. Each policy
sees the same joined recordings; "one by one" are their clips, each a recording of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jiwer
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from bench import speech
from bench.harness import NO_RETRIES, demo_language, fitted
from pipeline import models
from pipeline.audio import prepare
from pipeline.models.checkpoint import inspect
from pipeline.models.demand import of_windows
from pipeline.models.protocol import Chat, Hypothesis, LanguageScorer, LanguageScores, Model, Reply, Request
from pipeline.schema import RECORDING
from pipeline.settings import Engine, Language, Settings
from pipeline.tasks.transcribe import assemble, worker
from pipeline.tasks.transcribe.segments import Segment, segments

T = TypeVar("T")
PAUSES_S = (0.5, 1.0, 2.0, 30.0)
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
    transcribed_s: float = 0.0
    window_s: float = 0.0
    padded_s: float = 0.0
    first_padded_s: float = 0.0  # of the first attempts alone
    windows: int = 0
    retried: int = 0
    kept_again: int = 0  # windows whose second attempt was the better one
    tagged: int = 0
    rightly: int = 0

    @property
    def wer(self) -> float:
        return self.errors / max(1, self.words)

    def cells(self) -> list[str]:
        """Slot fill, coverage, retries and language as the table shows them."""
        return [
            f"{self.window_s / max(1.0, self.first_padded_s):.0%}",
            f"{self.padded_s / max(1.0, self.first_padded_s) - 1:.0%}",
            f"{self.transcribed_s / max(1.0, self.speech_s):.1%}",
            f"{self.retried} ({self.kept_again})",
            f"{self.rightly / max(1, self.tagged):.1%} of {self.tagged}",
        ]


def total(scores: list[Score]) -> Score:
    """The sums over languages; their word error rates are averaged apart."""
    return Score(**{name: sum(getattr(score, name) for score in scores) for name in Score.__dataclass_fields__})


class Remembering:
    """A model that answers at once what it was asked before: policies share many windows."""

    def __init__(self, model: Model) -> None:
        self._model, self._known = model, {}
        self.abilities = model.abilities

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        score = self._model.language_scorer(expected, methods)

        async def once(request: Request) -> LanguageScores:
            return await self._once("score", score, request)

        return once

    async def transcribe(self, request: Request) -> Hypothesis:
        return await self._once("transcribe", self._model.transcribe, request)

    async def chat(self, chat: Chat) -> Reply:
        return await self._model.chat(chat)

    def shutdown(self) -> None:
        self._model.shutdown()

    async def _once(self, way: str, answer: Callable[[Request], Awaitable[T]], request: Request) -> T:
        digest = hashlib.sha1(request.samples.tobytes()).hexdigest()
        key = (way, digest, request.language, request.temperature)
        if key not in self._known:
            self._known[key] = await answer(request)
        return self._known[key]


async def transcribe(path: Path, model: Model, settings: Settings) -> tuple[dict[str, Any], list[Segment]]:
    """One file through the corridor without Ray; its transcript and its segments."""
    recording = pa.Table.from_pylist([{"recording_id": path.stem, "uri": str(path)}], RECORDING)
    stage = worker.Transcribe(model, settings)
    tables = await asyncio.gather(*(stage(table) for table in prepare.prepare(recording, settings)))
    settled = assemble.settle(segments(pa.concat_tables(tables).to_pylist()))
    return assemble.transcript(settled, settings.guards), settled


async def measure(recordings: list[speech.Recording], model: Model, settings: Settings) -> Score:
    """All recordings of one language through one policy."""
    score, chunk_s = Score(), inspect(settings.engine).chunk_s
    answers = await asyncio.gather(*(transcribe(recording.path, model, settings) for recording in recordings))
    for (row, own), recording in zip(answers, recordings, strict=True):
        found = jiwer.process_words(recording.reference, row["text"] or "", WORDS, WORDS)
        score.errors += found.substitutions + found.deletions + found.insertions
        score.words += found.hits + found.substitutions + found.deletions
        score.speech_s += row["speech_s"]
        score.transcribed_s += row["transcribed_s"]
        for segment in own:
            if not segment.attempts:
                continue
            score.windows += 1
            score.padded_s += segment.padded_s or 0.0
            window_s = segment.end_s - segment.start_s + segment.overlap_s
            score.first_padded_s += math.ceil(window_s / chunk_s - 1e-6) * chunk_s
            score.window_s += window_s
            score.retried += len(segment.attempts) > 1
            score.kept_again += segment.kept_attempt != "whole"
            if segment.text:
                score.tagged += 1
                score.rightly += segment.language == most_spoken(recording, segment)
    return score


def most_spoken(recording: speech.Recording, segment: Segment) -> str:
    """The language that holds most of a segment's time."""
    shares: dict[str, float] = defaultdict(float)
    for language, begin, end in recording.clips:
        shares[language] += max(0.0, min(end, segment.end_s) - max(begin, segment.start_s))
    return max(shares, key=lambda language: shares[language])


async def compare(title: str, settings: Settings, clips: list[speech.Clip], seconds: float) -> Table:
    """One table: every policy, on every language's joined recording."""
    console = Console(width=180)
    checkpoint = inspect(settings.engine)
    model = Remembering(models.start(settings, checkpoint, of_windows(settings, checkpoint)))
    languages = list(dict.fromkeys(clip.language for clip in clips))
    table = Table(title=title)
    columns = ("windows", "WER", *languages, "slot fill", "spent again", "coverage", "retried (kept)", "language right")
    for column in columns:
        table.add_column(column, justify="left" if column == "windows" else "right")
    folder = Path(tempfile.mkdtemp(prefix="quality-"))
    alone: dict[str, list[speech.Recording]] = {}
    joined: dict[str, list[speech.Recording]] = {}
    for language in languages:
        own = [clip for clip in clips if clip.language == language]
        alone[language] = [speech.single(clip, folder / f"{language}-{at}.wav") for at, clip in enumerate(own)]
        joined[language] = [speech.joined(own, seconds, folder / f"{language}.wav", seed=1)]
    off = settings.guards.model_copy(update=NO_RETRIES)
    for pause_s, recordings in [(0.5, alone), *((pause_s, joined) for pause_s in PAUSES_S)]:
        for guards in (off, settings.guards):
            segmentation = settings.segmentation.model_copy(update={"max_pause_s": pause_s})
            policy = settings.model_copy(update={"segmentation": segmentation, "guards": guards})
            scores = [await measure(recordings[language], model, policy) for language in languages]
            name = "one by one" if recordings is alone else f"pauses up to {pause_s:g} s"
            name += "" if guards is off else ", retried"
            mean = sum(score.wer for score in scores) / len(scores)
            cells = [f"{mean:.1%}", *(f"{score.wer:.1%}" for score in scores), *total(scores).cells()]
            table.add_row(name, *cells)
            console.print(name, *cells, highlight=False)
    model.shutdown()
    shutil.rmtree(folder)
    return table


async def main() -> None:
    """Both tables, or the one that can be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the joined recordings")
    parser.add_argument("--languages", default="en,de,es,fr,pt", help="of the real speech")
    wanted = parser.parse_args()
    console = Console(width=180)
    clips = speech.clips(speech.DEMO / "held_out")
    settings = fitted(Engine(model=str(speech.DEMO / "model"), device="cpu"), demo_language("score", "text"))
    console.print(await compare("demo checkpoint, windows of 6 s", settings, clips, wanted.seconds))
    if missing := speech.missing():
        console.print(f"skipped: real speech ({missing})")
        return
    languages = wanted.languages.split(",")
    clips = [clip for clip in speech.clips(speech.REAL) if clip.language in languages]
    clips.sort(key=lambda clip: languages.index(clip.language))
    engine = Engine(model=speech.WHISPER, device="cpu", max_num_seqs=16)
    settings = fitted(engine, Language.model_validate({"expected": languages}))
    console.print(await compare("Whisper, windows of 30 s", settings, clips, wanted.seconds))


if __name__ == "__main__":
    asyncio.run(main())
