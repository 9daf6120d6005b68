from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.models.protocol import Hypothesis
from pipeline.schema import Flag
from pipeline.settings import Guards
from pipeline.tasks.transcribe import guards
from pipeline.tasks.transcribe.guards import Attempt

TEXT = "the quick brown fox jumps over the lazy dog while nobody looks"
GOOD = Hypothesis(TEXT, "stop", 14, -0.2, 0.05, 30.0)


@pytest.mark.parametrize(
    ("changes", "speech_s", "no_speech", "flags"),
    [
        ({}, 4.0, None, []),
        ({}, 4.0, 0.99, []),
        ({"text": ""}, 4.0, None, [Flag.NO_TEXT]),
        ({"text": ""}, 0.5, None, []),
        ({"text": ""}, 4.0, 0.9, []),
        ({"finish_reason": "length"}, 4.0, None, [Flag.LENGTH_LIMIT]),
        ({"finish_reason": "repetition"}, 4.0, None, [Flag.REPETITION]),
        ({"text": "no no no " * 12}, 6.0, None, [Flag.REPETITION]),
        ({}, 20.0, None, [Flag.LITTLE_TEXT]),
        ({"text": "ok"}, 0.5, None, []),
        ({}, 1.0, None, [Flag.MUCH_TEXT]),
        ({"mean_logprob": -1.4}, 4.0, None, [Flag.LOW_CONFIDENCE]),
        ({"mean_logprob": -1.4}, 4.0, 0.9, [Flag.LOW_CONFIDENCE, Flag.NO_SPEECH]),
        ({"text": "спасибо за просмотр этого видео"}, 3.0, None, [Flag.OTHER_SCRIPT]),
    ],
)
def test_each_guard_sees_what_it_is_for(
    changes: dict[str, object], speech_s: float, no_speech: float | None, flags: list[Flag]
) -> None:
    assert guards.suspicions(replace(GOOD, **changes), speech_s, no_speech, ["en", "fr"], Guards()) == flags  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "languages", "share"),
    [
        ("नमस्ते दोस्तों", ["hi"], 0.0),
        ("नमस्ते दोस्तों", ["en"], 1.0),
        ("नमस्ते friends", ["hi"], 0.0),
        ("été, naïve, Größe 123!", ["en"], 0.0),
        ("مرحبا", ["ar"], 0.0),
        ("", ["en"], 0.0),
        ("12:30", ["en"], 0.0),
        ("1.º 2.ª", ["pt"], 0.0),
    ],
)
def test_scripts_follow_the_languages(text: str, languages: list[str], share: float) -> None:
    assert guards.other_script_share(text, languages) == share


def test_the_better_attempt_has_fewer_flags_then_more_confidence() -> None:
    first = Attempt("whole", GOOD, [Flag.LITTLE_TEXT])
    clean = Attempt("split", replace(GOOD, mean_logprob=-0.9), [])
    surer = Attempt("temperature 0.4", replace(GOOD, mean_logprob=-0.1), [Flag.REPETITION])
    nothing = Attempt("temperature 0.8", replace(GOOD, text="", mean_logprob=-0.01), [Flag.NO_TEXT])
    assert guards.best([first, clean, surer]) is clean
    assert guards.best([surer, nothing, first]) is first, "a loop and a silence are sure of themselves"
    assert guards.best([nothing, surer]) is surer
    assert guards.best([first, first]) is first


def test_loops_compress_and_speech_does_not() -> None:
    assert guards.compression_ratio(TEXT) < 1.5
    assert guards.compression_ratio("thank you " * 40) > 10
    assert guards.compression_ratio("") == 0.0
