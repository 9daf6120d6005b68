from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import pre_tokenizers
from transformers.modeling_outputs import TokenClassifierOutput

from pipeline.alignment.protocol import Word
from pipeline.alignment.qwen import QwenAligner
from tests.alignment.test_ctc import check, noise

AUDIO = ["<|audio_pad|>", "<|audio_start|>", "<|audio_end|>"]
TIMESTAMP = "<timestamp>"
TEMPLATE = (  # audio, then each word with two marks: the prompt that the model was trained on
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'audio' %}"
    "<|audio_start|><|audio_pad|><|audio_end|>{% else %}{{ part.text }}<timestamp><timestamp>{% endif %}"
    "{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> QwenAligner:
    """Of the real class, with random weights: 40 classes of 80 ms."""
    folder: Path = tmp_path_factory.mktemp("qwen")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    (folder / "vocab.json").write_text(json.dumps({letter: at for at, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.Qwen2Tokenizer.from_pretrained(
        folder,
        extra_special_tokens=dict(zip(("audio_token", "audio_bos_token", "audio_eos_token"), AUDIO, strict=True)),
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [TIMESTAMP]}, replace_extra_special_tokens=False)
    features = transformers.Qwen3ASRFeatureExtractor()
    transformers.Qwen3ASRProcessor(features, tokenizer, chat_template=TEMPLATE).save_pretrained(folder)
    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Qwen3ASRConfig(
        audio_config={
            "d_model": 32,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "downsample_hidden_size": 8,
            "output_dim": 32,
        },
        text_config=layers | {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": len(tokenizer)},
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO[0]),
        timestamp_token_id=tokenizer.convert_tokens_to_ids(TIMESTAMP),
        pad_token_id=tokenizer.convert_tokens_to_ids(TIMESTAMP),
        initializer_range=0.5,
        id2label={at: str(at) for at in range(40)},
    )
    transformers.Qwen3ASRForTokenClassification(config).save_pretrained(folder)
    return QwenAligner(str(folder))


@pytest.mark.parametrize(
    "words",
    [["seven,", "–", "“eight”"], ["it's", "3–4", "$", "o’clock."], ["日", "本。", "ラ", "ー", "Python"]],
)
def test_words_have_times_on_its_grid(aligner: QwenAligner, words: list[str]) -> None:
    found = aligner.align(noise(2.5), words, "zh")
    check(found, words, 2.5)
    spoken = [any(c.isalnum() for c in word) for word in words]
    assert [word.start_s is not None for word in found] == spoken
    times_s = [x for word in found for x in (word.start_s, word.end_s) if x is not None and x < 2.5]
    assert all(round(x / 0.08) * 0.08 == pytest.approx(x, abs=1e-6) for x in times_s)
    assert all(word.score is None for word in found)


def test_times_are_the_classes_at_the_marks(aligner: QwenAligner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two marks behind a word say its start and its end."""

    def forward(input_ids: torch.Tensor, **_: object) -> TokenClassifierOutput:
        marks = input_ids[0] == aligner._model.config.timestamp_token_id
        told = torch.zeros((1, len(marks), 40))
        told[0, marks.nonzero()[:, 0], torch.tensor([2, 5, 5, 9])] = 1.0
        return TokenClassifierOutput(logits=told)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(aligner._model, "forward", forward)
    found = aligner.align(noise(1), ["one,", "–", "two"], "en")
    assert found == [Word("one,", 0.16, 0.4), Word("–"), Word("two", 0.4, 0.72)]


def test_what_it_cannot_take_has_no_times(aligner: QwenAligner) -> None:
    for samples, words, language in [
        (noise(2), ["een", "twee"], "nl"),
        (np.zeros(0, np.int16), ["one"], "en"),
        (np.zeros(301 * 16_000, np.int16), ["one"], "en"),
        (noise(1), ["–", "…"], "en"),
        (noise(1), [], "en"),
    ]:
        assert aligner.align(samples, words, language) == [Word(word) for word in words]
    check(aligner.align(noise(0.05), ["one"], None), ["one"], 0.05)
