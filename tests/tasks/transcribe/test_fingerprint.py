from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline import command_line, settings
from pipeline.models.checkpoint import Checkpoint, fit
from pipeline.planning import fingerprint
from pipeline.tasks.transcribe.fingerprint import facts
from pipeline.tasks.transcribe.task import Transcription

MODEL = Checkpoint("m", "voxtral", "r", 30.0, "vllm")


def mark(*arguments: str, model: Checkpoint = MODEL) -> str:
    given = ["--input", "in", "--output", "out", "--engine.device", "gpu", *arguments]
    settings = fit(command_line.load(given), model)
    return fingerprint(Transcription(settings), settings, model)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--engine.model", "the/same/elsewhere", "--engine.count", "3", "--dry-run", "--flush-interval-s", "5"],
        ["--engine.family", "voxtral"],
        ["--engine.dtype", "bfloat16"],
        ["--language.expected", "nl,it,en,es,fr,pt,hi,de"],
        ["--language.methods", "text,score,words,token"],
        ["--segmentation.max-window-s", "30"],
        ["--engine.max-num-seqs", "8", "--engine.tensor-parallel-size", "4", "--audio.workers", "2"],
    ],
)
def test_what_leaves_texts_as_they_are_is_not_in_it(arguments: list[str]) -> None:
    assert mark(*arguments) == mark()


def test_what_changes_texts_is_in_it() -> None:
    different = [
        mark(),
        mark(model=replace(MODEL, revision="s")),
        mark(model=replace(MODEL, family="whisper")),
        mark("--engine.device", "cpu"),
        mark("--engine.dtype", "float16"),
        mark("--engine.max-tokens-per-s", "8"),
        mark("--engine.beams", "5"),
        mark("--audio.max-duration-s", "60"),
        mark("--language.expected", "en"),
        mark("--language.methods", "text"),
        mark("--channels", "split"),
        mark("--guards.min-chars-per-s", "1"),
        mark("--segmentation.max-window-s", "20"),
    ]
    assert len(set(different)) == len(different)
    assert mark("--engine.device", "cpu", "--engine.dtype", "bfloat16") == mark()


def test_of_a_server_its_model_and_the_audio_that_it_is_sent() -> None:
    served = Checkpoint("m", "server", "m (a/b)", 30.0, "server", runtime_version="vllm 1")
    one = mark("--engine.server", "http://a/v1", model=served)
    assert one == mark("--engine.server", "https://b/v1,http://c/v1", model=replace(served, runtime_version=None))
    assert one != mark("--engine.server", "http://a/v1", model=replace(served, revision="m (a/c)"))
    assert one != mark("--engine.server", "http://a/v1", "--engine.server-audio", "opus", model=served)


def names(facts: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for name, value in facts.items():
        found += names(value, f"{before}{name}.") if isinstance(value, dict) else [before + name]
    return found


def test_all_that_is_in_it() -> None:
    given = command_line.load(["--input", "in", "--output", "out", "--engine.device", "cpu"])
    assert names(facts(fit(given, MODEL), MODEL)) == [
        "transcription_version",
        "family",
        "model_revision",
        "dtype",
        "max_duration_s",
        *(f"segmentation.{name}" for name in settings.Segmentation.model_fields),
        "max_tokens_per_s",
        "channels",
        "language.expected",
        "language.methods",
        *(f"guards.{name}" for name in settings.Guards.model_fields),
    ]
    assert list(settings.Segmentation.model_fields) == [
        "max_window_s",
        "max_pause_s",
        "overlap_s",
        "speech_threshold",
        "padding_s",
        "min_speech_s",
    ]
    assert list(settings.Guards.model_fields) == [
        "min_chars_per_s",
        "max_chars_per_s",
        "max_compression_ratio",
        "min_mean_logprob",
        "max_no_speech_probability",
        "min_speech_s",
        "retry_max_pause_s",
        "retry_temperatures",
    ]
