from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from pipeline.errors import ConfigurationError
from pipeline.models import checkpoint, demand
from pipeline.models.protocol import Request, RequestError
from pipeline.models.runtimes.vllm import VllmModel
from pipeline.models.runtimes.vllm_speech import SpeechToText
from pipeline.settings import Engine, Settings
from tests.conftest import DEMO, run_job
from tests.models import tiny

AUDIO = np.zeros(16_000, np.float32)


class FakeClass:
    """What is asked of vLLM's class for a model: these may be told a language, and put a number around texts."""

    supported_languages: ClassVar = {"de": "German", "en": "English", "gd": "Gaelic", "ga": "Gaelic of Ireland"}
    supports_diarized_transcription = False

    @classmethod
    def validate_language(cls, language: str | None) -> str | None:
        if language and language not in cls.supported_languages:
            raise ValueError(f"Unsupported language: {language!r}.")
        return language

    @staticmethod
    def post_process_output(text: str) -> str:
        return text.strip("0123456789")


class NeedyClass(FakeClass):
    """It has to be told the language."""

    @classmethod
    def validate_language(cls, language: str | None) -> str | None:
        return super().validate_language(language or "en")


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def asking(model: type[FakeClass], ask: Callable[[str | None], Any]) -> SpeechToText:
    return SpeechToText(model, lambda audio, language: ask(language), letters)


@pytest.mark.parametrize(
    "shape",
    [
        lambda text: {"prompt_token_ids": letters(text), "multi_modal_data": {"audio": AUDIO}},
        lambda text: {"prompt": text, "multi_modal_data": {"audio": AUDIO}},
        lambda text: {"encoder_prompt": {"prompt": "", "multi_modal_data": {}}, "decoder_prompt": {"prompt": text}},
        lambda text: {"encoder_prompt": {"prompt": ""}, "decoder_prompt": {"prompt_token_ids": letters(text)}},
        lambda text: {"encoder_prompt": {"prompt": ""}, "decoder_prompt": text},
    ],
)
def test_every_shape_of_prompt_becomes_token_ids(shape: Callable[[str], Any]) -> None:
    prompts = asking(FakeClass, lambda language: shape(f"in {language}"))
    assert prompts.transcription(AUDIO, "de") == letters("in de")
    assert prompts.transcription(AUDIO, None) == letters("in None")
    with pytest.raises(RequestError, match="Unsupported language: 'xx'"):
        prompts.transcription(AUDIO, "xx")


def test_audio_keeps_its_length() -> None:
    prompts = asking(FakeClass, lambda language: {"prompt": ""})
    lengths = [len(prompts.padded(np.full(length, -32_768, np.int16))) for length in (1, 8_000, 20_001)]
    assert lengths == [8_000, 8_000, 20_001]
    assert prompts.padded(np.full(1, -32_768, np.int16))[:2].tolist() == [-1.0, 0.0]
    given = prompts.prompt([1, 2], AUDIO, 7)
    assert given["prompt_token_ids"] == [1, 2]
    assert given["multi_modal_data"]["audio"][1] == 16_000
    assert given["multi_modal_uuids"] == {"audio": ["7"]}


def test_texts_are_cleaned_as_the_class_says() -> None:
    prompts = asking(FakeClass, lambda language: {"prompt": ""})
    assert prompts.text("12a b34") == "a b"

    class Diarizing(FakeClass):
        supports_diarized_transcription = True

        @staticmethod
        def parse_diarized_transcript(text: str) -> Sequence[Any]:
            return [SimpleNamespace(text=said) for said in text.split("|")[1:]]

    diarizing = asking(Diarizing, lambda language: {"prompt": ""})
    assert diarizing.text("S1|a|b") == "a b"
    assert diarizing.text("1a b") == "a b", "not what the class takes for one"


def names(language: str | None) -> str:
    return f"language {FakeClass.supported_languages[language]}." if language else ""


def test_the_language_that_a_model_writes_is_asked_for() -> None:
    prompts = asking(FakeClass, lambda language: {"prompt": f"user audio {names(language)}"})
    question = prompts.language_questions(["en", "de", "gd", "ga"])["token"]
    assert question.ask(AUDIO) == letters("user audio language ")
    questions = {one.prefix: one.following for one in question.candidates.questions}
    assert questions[()] == (ord("E"), ord("G"))
    assert questions[tuple(letters("Gaelic"))] == (ord(" "), ord("."))
    assert len(questions) == 7, "and no question behind what tells the languages apart"
    only = prompts.language_questions(["en"])["token"]
    assert only.ask(AUDIO) == letters("user audio language ")
    assert only.candidates.questions[0].following == (ord("E"),)


def test_a_model_that_needs_the_language_is_asked_for_it() -> None:
    prompts = asking(NeedyClass, lambda language: {"prompt": f"<{language}><{language}>text"})
    question = prompts.language_questions(["de", "en"])["token"]
    assert question.ask(AUDIO) == letters("<")
    (asked,) = question.candidates.questions
    assert asked.following == (ord("d"), ord("e"))


@pytest.mark.parametrize(
    ("model", "prompt"),
    [
        (FakeClass, lambda language: "transcribe"),
        (NeedyClass, lambda language: "transcribe"),
        (FakeClass, lambda language: f"transcribe {language or ''} <audio> answer"),
    ],
)
def test_other_models_tell_no_language(model: type[FakeClass], prompt: Callable[[str | None], str]) -> None:
    """Neither those whose prompts name none, nor those that are told it as a wish."""
    assert asking(model, lambda language: {"prompt": prompt(language)}).language_questions(["de", "en"]) == {}


def test_an_unknown_language_ends_the_job() -> None:
    with pytest.raises(ConfigurationError, match=r"--language.expected: .*Unsupported language: 'xx'"):
        asking(FakeClass, lambda language: {"prompt": ""}).language_questions(["en", "xx"])


needs_torchvision = pytest.mark.skipif(not find_spec("torchvision"), reason="vLLM's Qwen3-ASR imports torchvision")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "family", "arguments"),
    [
        (tiny.glm_asr, "auto", ()),
        (tiny.moss, "auto", ("trust_remote_code=true",)),
        (tiny.whisper, "asr", ()),
        pytest.param(tiny.qwen3_asr, "auto", (), marks=needs_torchvision),
    ],
)
def test_vllm_is_asked_as_its_servers_ask(
    write: Callable[[Path], None], family: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """Token ids, a text, and prompts for an encoder and a decoder; in the end the same tokens."""
    write(tmp_path)
    engine = Engine(model=str(tmp_path), family=family, device="cpu", cpu_kv_cache_gb=1, vllm=arguments)
    found = checkpoint.inspect(engine)
    assert (found.family, found.chunk_s) == ("asr", 30.0)
    settings = checkpoint.fit(Settings(input="in", output="out", engine=engine), found)
    window = Request(np.random.default_rng(0).integers(-3000, 3000, 40_000, dtype=np.int16), "de")

    async def ask() -> None:
        model = VllmModel(settings, found, demand.of_windows(settings, found))
        try:
            prompts, audio = model._prompts, model._padded(window)
            assert isinstance(prompts, SpeechToText)
            params = model._vllm.SamplingParams(temperature=0.0, max_tokens=20)
            theirs = await model._answer(prompts._ask(audio, "de"), params, 0)
            ours = await model._generate(audio, window, prompts.transcription(audio, "de"), params)
            assert theirs.prompt_token_ids == ours.prompt_token_ids
            assert theirs.outputs[0].token_ids == ours.outputs[0].token_ids
            scores = await model.language_scorer(["de", "en"], ["token"])(window)
            told = {"token"} if write in (tiny.whisper, tiny.qwen3_asr) else set()
            assert scores.languages.keys() == told
            for seconds in (0.1, 30.0):
                samples = np.resize(window.samples, int(16_000 * seconds))
                hypothesis = await model.transcribe(Request(samples, "de"))
                assert hypothesis.padded_s == max(0.5, seconds)
                assert hypothesis.token_count and hypothesis.mean_logprob is not None
        finally:
            model.shutdown()

    asyncio.run(ask())


@pytest.mark.slow
def test_a_job_runs_with_such_a_model(no_ray: None, tmp_path: Path) -> None:
    tiny.glm_asr(tmp_path)
    engine = ["--engine.model", str(tmp_path), "--engine.device", "cpu", "--engine.cpu-kv-cache-gb", "1"]
    run = run_job(["--input", str(DEMO / "recordings"), "--limit", "2", *engine], str(tmp_path / "out"))
    assert len(run.transcripts) == 2
    assert {row["runtime"] for row in run.transcripts} == {"vllm"}
    assert all(row["text"] is not None or row["failure_code"] for row in run.transcripts)
    assert run.segments and all(row["padded_s"] > 0 for row in run.segments)
