from __future__ import annotations

import math

import numpy as np
import pytest
from mistral_common.protocol.transcription.request import TranscriptionRequest

from pipeline.models.families import voxtral
from tests.models.conftest import VllmTokenizer


@pytest.mark.parametrize("language", [None, "en", "nl"])
@pytest.mark.parametrize("seconds", [0.5, 6.0, 7.0])
def test_prompts_are_mistral_commons(tokenizer: VllmTokenizer, language: str | None, seconds: float) -> None:
    prompts = voxtral.Voxtral(tokenizer)
    samples = np.zeros(int(seconds * 16_000), np.int16)
    padded = prompts.padded(samples)
    assert len(padded) == math.ceil(seconds / 6) * 6 * 16_000
    request = TranscriptionRequest(model="x", audio=voxtral._silence(len(samples)), language=language)  # pyright: ignore
    encoded = tokenizer.mistral.encode_transcription(request)
    assert prompts.transcription(padded, language) == encoded.tokens
    assert len(encoded.audios[0].audio_array) == len(padded)


def test_padding_keeps_the_samples(tokenizer: VllmTokenizer) -> None:
    prompts = voxtral.Voxtral(tokenizer)
    samples = np.array([-32768, 0, 16384], np.int16)
    assert prompts.padded(samples)[:4].tolist() == [-1.0, 0.0, 0.5, 0.0]
    assert prompts.padded(samples).dtype == np.float32


def test_languages_are_scored_as_whole_strings(tokenizer: VllmTokenizer) -> None:
    # en and de are one token each behind `lang`; nl is spelt in bytes: ":", "n", "l".
    prompts = voxtral.Voxtral(tokenizer)
    candidates = prompts.language_questions(["en", "de", "nl"])["score"].candidates
    questions = {len(question.prefix): question for question in candidates.questions}
    assert sorted(questions) == [1, 2, 3]
    assert len(questions[1].following) == 3
    chances = {"en": 0.2, "de": 0.1, "nl": 0.7 * 0.5 * 0.4}
    en, de, colon = (prompts._language_ids(x)[1] for x in ("en", "de", "nl"))
    _, _, n, l_ = prompts._language_ids("nl")
    answers = {
        questions[1].prefix: {en: math.log(0.2), de: math.log(0.1), colon: math.log(0.7)},
        questions[2].prefix: {n: math.log(0.5)},
        questions[3].prefix: {l_: math.log(0.4)},
    }
    scores = {name: math.exp(value) for name, value in candidates.logprobs(answers).items()}
    assert scores == pytest.approx(chances)


@pytest.mark.parametrize("languages", [["en"], ["en", "de"]])
def test_one_question_does_where_one_token_tells(tokenizer: VllmTokenizer, languages: list[str]) -> None:
    (question,) = voxtral.Voxtral(tokenizer).language_questions(languages)["score"].candidates.questions
    assert len(question.following) == len(languages)


def test_voxtral_is_asked_in_words_too(tokenizer: VllmTokenizer) -> None:
    prompts = voxtral.Voxtral(tokenizer)
    ids = prompts.language_questions(["en", "nl"])["words"].ask(prompts.padded(np.zeros(16_000, np.int16)))
    assert ids[: len(ids) // 2] == prompts.transcription(np.zeros(6 * 16_000), None)[: len(ids) // 2], (
        "the audio's prefix"
    )
    assert "Which language is spoken? Answer with one of: en, nl." in tokenizer.mistral.decode(ids)
    assert len(ids) < prompts.context(6.0)
