from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from pipeline.alignment import whisper
from pipeline.alignment.protocol import Word
from pipeline.alignment.whisper import WhisperAligner
from pipeline.alignment.words import words_of
from tests.alignment.test_ctc import check, noise, scores

SPECIAL = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|ja|>", "<|transcribe|>", "<|notimestamps|>"]


def small(folder: Path, heads: Sequence[Sequence[int]] | None = None) -> str:
    """A Whisper with random weights, whose tokens are bytes and a few longer ones."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ((sun, _),) = byte_level.pre_tokenize_str("日")
    merges = ["t h", "th e", "Ġ the", f"{sun[0]} {sun[1]}", f"{sun[:2]} {sun[2]}", f"{sun} {sun}"]
    tokens = [*sorted(byte_level.alphabet()), *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    tokenizer = transformers.WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        init_std=0.5,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokens.index("<|endoftext|>")),
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    if heads:
        transformers.GenerationConfig(alignment_heads=heads).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> WhisperAligner:
    return WhisperAligner(small(tmp_path_factory.mktemp("whisper")))


@settings(max_examples=15, deadline=None)
@given(st.text("the fé,.“” 日本ーกำ7$\u0301", min_size=1, max_size=40), st.integers(2_000, 48_000))
def test_any_words_have_times_in_order(aligner: WhisperAligner, text: str, count: int) -> None:
    words = words_of(text)
    found = aligner.align(noise(3)[:count], words, "en")
    check(found, words, count / 16_000)
    if any(word.start_s is not None for word in found):
        spoken = [any(c.isalnum() for c in word) for word in words]
        assert all(word.score is not None for word, is_spoken in zip(found, spoken, strict=True) if is_spoken)


def test_punctuation_has_no_time_and_no_score_of_its_own(aligner: WhisperAligner) -> None:
    found = aligner.align(noise(2), ["the", "–", "the"], "en")
    assert found[1] == Word("–") and None not in (found[0].start_s, found[2].end_s)


def test_characters_of_one_token_share_its_time(aligner: WhisperAligner) -> None:
    assert len(aligner._tokenizer("日日", add_special_tokens=False)["input_ids"]) == 1
    one, two = aligner.align(noise(2), ["日", "日。"], "ja")
    assert None not in (one.start_s, one.end_s, two.start_s, two.end_s)
    assert one.end_s == two.start_s and one.score == two.score
    assert one.end_s - one.start_s == pytest.approx(two.end_s - two.start_s)  # pyright: ignore[reportOperatorIssue]


def test_the_score_is_what_the_decoder_gives_the_words_tokens(aligner: WhisperAligner) -> None:
    """By the model itself, written out for one word."""
    samples, ids = noise(2), aligner._tokenizer.get_vocab()
    features = aligner._features(samples / 32768, sampling_rate=16_000, return_tensors="pt").input_features.float()
    prompt = [ids[name] for name in ("<|startoftranscript|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>")]
    text = [ids["Ġ"], ids["f"]]
    with torch.inference_mode():
        logits = aligner._model(features, decoder_input_ids=torch.tensor([[*prompt, *text]])).logits[0]
    probabilities = logits.softmax(-1)[[3, 4], text]
    (word,) = aligner.align(samples, ["f"], "de")
    assert word.score == pytest.approx(float(probabilities[1]), rel=1e-3)


@pytest.mark.parametrize(
    ("words", "text"),
    [(["so", "“well”"], " so “well”"), (["日", "本。", "ok", "の"], "日本。 okの"), (["「", "ที่", "นี่"], " 「ที่นี่")],
)
def test_words_are_laid_out_as_whisper_writes_them(words: list[str], text: str) -> None:
    assert whisper._laid_out(words)[0] == text


def test_a_language_that_is_not_known_is_found(aligner: WhisperAligner) -> None:
    samples = noise(2)
    found = [scores(aligner.align(samples, ["the", "f"], language)) for language in ("en", "de", "ja", None, "xx")]
    assert found[3] == found[4] and found[3] in found[:3]
    assert found[0] != found[1] != found[2]


def test_what_it_cannot_take_has_no_times(aligner: WhisperAligner) -> None:
    for samples, words in [
        (noise(30.1), ["the"]),
        (noise(29.0), ["the"] * 449),
        (noise(0.1), ["the"] * 9),
        (np.zeros(0, np.int16), ["the"]),
    ]:
        assert aligner.align(samples, words, "en") == [Word(word) for word in words]
    assert aligner.align(noise(1), [], "en") == []


def test_the_checkpoint_names_the_heads(tmp_path: Path, aligner: WhisperAligner) -> None:
    chosen = WhisperAligner(small(tmp_path, [[0, 1]]))
    assert chosen._heads == [[0, 1]] and aligner._heads == [(1, 0), (1, 1)]
    found, other = (one.align(noise(2), ["the", "f", "7"], "en") for one in (chosen, aligner))
    assert scores(found) == pytest.approx(scores(other)) and found != other
