"""Long and awkward recordings through real engines, measured as `python -m bench.quality` does. Slow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import jiwer
import numpy as np
import pytest

from bench import quality, speech
from bench.harness import demo_language, fitted
from bench.quality import Score
from pipeline import models
from pipeline.models.checkpoint import inspect
from pipeline.models.demand import of_windows
from pipeline.settings import Engine, Language, Settings
from tests.conftest import run_job

DEMO_LANGUAGES = ["en", "es", "fr", "de"]


async def scores(settings: Settings, *measured: list[speech.Recording]) -> list[Score]:
    checkpoint = inspect(settings.engine)
    model = models.start(settings, checkpoint, of_windows(settings, checkpoint))
    try:
        return [await quality.measure(recordings, model, settings) for recordings in measured]
    finally:
        model.shutdown()


@pytest.mark.slow
def test_long_recordings_lose_nothing_against_their_clips(tmp_path: Path) -> None:
    clips = speech.clips(speech.DEMO / "held_out")
    alone = [speech.single(clip, tmp_path / f"{at}.wav") for at, clip in enumerate(clips)]
    joined = [
        speech.joined(
            [clip for clip in clips if clip.language == language], 300.0, tmp_path / f"{language}.wav", seed=1
        )
        for language in DEMO_LANGUAGES
    ]
    mixed = [speech.mixed(clips, 600.0, tmp_path / "mixed.wav", seed=2)]
    settings = fitted(Engine(model=str(speech.DEMO / "model"), device="cpu"), demo_language("score", "text"))
    one_by_one, long, changing = asyncio.run(scores(settings, alone, joined, mixed))
    assert long.wer <= one_by_one.wer + 0.005
    assert long.rightly / long.tagged >= 0.98
    assert long.transcribed_s >= 0.99 * long.speech_s
    # Music, noise, and another language every few seconds: docs/quality.md has what they cost.
    assert changing.wer <= one_by_one.wer + 0.02
    assert changing.rightly / changing.tagged >= 0.98
    assert changing.transcribed_s >= 0.98 * changing.speech_s


@pytest.mark.slow
@pytest.mark.skipif(bool(speech.missing()), reason=f"no real speech to measure with: {speech.missing()}")
def test_whisper_transcribes_a_long_recording_as_well_as_its_clips(tmp_path: Path) -> None:
    clips = [clip for clip in speech.clips(speech.REAL) if clip.language == "en"]
    alone = [speech.single(clip, tmp_path / f"{at}.wav") for at, clip in enumerate(clips)]
    joined = [speech.joined(clips, 100.0, tmp_path / "joined.wav", seed=1)]
    rng = np.random.default_rng(0)
    quiet = []
    for name, samples in {
        "silence": np.zeros(60 * 16_000),
        "noise": speech.noise(rng, 60 * 16_000),
        "music": speech.music(rng, 60 * 16_000),
    }.items():
        speech.write(tmp_path / f"{name}.wav", samples.astype(np.int16))
        quiet.append(speech.Recording(tmp_path / f"{name}.wav", "", []))
    engine = Engine(model=speech.WHISPER, device="cpu", max_num_seqs=16)
    settings = fitted(engine, Language.model_validate({"expected": DEMO_LANGUAGES}))
    one_by_one, long, nothing = asyncio.run(scores(settings, alone, joined, quiet))
    assert one_by_one.wer < 0.25
    assert long.wer <= one_by_one.wer + 0.05  # one language and 300 words: the bench has the mean of five
    assert long.rightly / long.tagged >= 0.97
    assert nothing.errors == 0, "words where nobody speaks"


@pytest.mark.slow
@pytest.mark.skipif(bool(speech.missing()), reason=f"no real speech to measure with: {speech.missing()}")
def test_the_job_runs_whisper(tmp_path: Path) -> None:
    clips = [clip for clip in speech.clips(speech.REAL) if clip.language == "de"][:6]
    for at, clip in enumerate(clips):
        speech.write(tmp_path / f"in-{at}.wav", clip.samples)
    arguments = ["--engine.model", speech.WHISPER, "--engine.device", "cpu", "--language.expected", "de,en"]
    done = run_job(["--input", str(tmp_path), *arguments], str(tmp_path / "out"))
    texts = {Path(row["uri"]).stem: row["text"] for row in done.transcripts}
    said, found = [clip.reference for clip in clips], [texts[f"in-{at}"] for at in range(len(clips))]
    assert jiwer.wer(said, found, quality.WORDS, quality.WORDS) < 0.4
    assert {row["language"] for row in done.transcripts} == {"de"}
