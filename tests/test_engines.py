from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from mistral_common.protocol.transcription.request import TranscriptionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from pipeline.engines import checkpoint, voxtral
from pipeline.errors import ConfigurationError
from pipeline.settings import Engine
from tests.conftest import DEMO


@pytest.fixture(scope="module")
def tokenizer() -> MistralTokenizer:
    return MistralTokenizer.from_file(str(DEMO / "model" / "tekken.json"))


@pytest.mark.parametrize("language", [None, "en", "nl"])
@pytest.mark.parametrize("seconds", [0.5, 6.0, 7.0])
def test_prompts_are_mistral_commons(tokenizer: MistralTokenizer, language: str | None, seconds: float) -> None:
    prompt = voxtral.VoxtralPrompt(tokenizer, ["en", "de"])
    samples = np.zeros(int(seconds * 16_000), np.int16)
    padded = prompt.padded(samples)
    assert len(padded) == math.ceil(seconds / 6) * 6 * 16_000
    request = TranscriptionRequest(model="x", audio=voxtral._silence(len(samples)), language=language)  # pyright: ignore
    encoded = tokenizer.encode_transcription(request)
    assert prompt.transcription(padded, language) == encoded.tokens
    assert len(encoded.audios[0].audio_array) == len(padded)


def test_padding_keeps_the_samples() -> None:
    prompt = voxtral.VoxtralPrompt(MistralTokenizer.from_file(str(DEMO / "model" / "tekken.json")), ["en"])
    samples = np.array([-32768, 0, 16384], np.int16)
    assert prompt.padded(samples)[:4].tolist() == [-1.0, 0.0, 0.5, 0.0]
    assert prompt.padded(samples).dtype == np.float32


def test_languages_are_scored_as_whole_strings(tokenizer: MistralTokenizer) -> None:
    # en and de are one token each behind `lang`; nl is spelt in bytes: ":", "n", "l".
    prompt = voxtral.VoxtralPrompt(tokenizer, ["en", "de", "nl"])
    questions = {len(question.prefix): question for question in prompt.questions}
    assert sorted(questions) == [1, 2, 3]
    assert len(questions[1].following) == 3
    chances = {"en": 0.2, "de": 0.1, "nl": 0.7 * 0.5 * 0.4}
    en, de, colon = (prompt._language_ids[x][1] for x in ("en", "de", "nl"))
    _, _, n, l_ = prompt._language_ids["nl"]
    answers = {
        questions[1].prefix: {en: math.log(0.2), de: math.log(0.1), colon: math.log(0.7)},
        questions[2].prefix: {n: math.log(0.5)},
        questions[3].prefix: {l_: math.log(0.4)},
    }
    language, probability = prompt.language(answers)
    assert language == "en"
    assert probability == pytest.approx(0.2 / sum(chances.values()))


@pytest.mark.parametrize("languages", [["en"], ["en", "de"]])
def test_one_question_does_where_one_token_tells(tokenizer: MistralTokenizer, languages: list[str]) -> None:
    (question,) = voxtral.VoxtralPrompt(tokenizer, languages).questions
    assert len(question.following) == len(languages)


def test_the_checkpoint_says_what_it_is() -> None:
    found = checkpoint.inspect(Engine(model=str(DEMO / "model")))
    assert (found.model, found.family, found.chunk_s) == (str(DEMO / "model"), "voxtral", 6.0)
    assert found.revision == checkpoint.inspect(Engine(model=str(DEMO / "model"))).revision


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no params.json"),
        ({"params.json": "{"}, "not JSON"),
        ({"params.json": "{}", "tekken.json": "{}"}, "not a Voxtral checkpoint"),
    ],
)
def test_a_wrong_model_is_one_clear_line(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        checkpoint.inspect(Engine(model=str(tmp_path)))
    assert str(tmp_path) in str(caught.value)


def test_a_model_that_no_hub_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("/no/such/folder", "no such name!", "nobody/nothing"):
        with pytest.raises(ConfigurationError, match=name):
            checkpoint.inspect(Engine(model=name))
