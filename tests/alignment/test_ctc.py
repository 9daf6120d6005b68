from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

from demo.training.speech import DIGITS
from pipeline.alignment import ctc
from pipeline.alignment.ctc import CtcAligner
from pipeline.alignment.protocol import Aligner, Word
from pipeline.audio import media
from pipeline.errors import ConfigurationError
from pipeline.settings import Audio

DEMO = Path(__file__).parents[2] / "demo"
CLIPS = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]


def small(folder: Path, tokens: str | list[str] = "_?|abcdefg") -> str:
    """A wav2vec 2.0 with random weights, whose outputs depend on a few frames only."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=0,
        num_attention_heads=2,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 8, 8),
        conv_stride=(5, 8, 8),
        feat_extract_norm="layer",
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(tokens)}))
    Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"),
        bos_token=None,  # pyright: ignore[reportArgumentType]
        eos_token=None,  # pyright: ignore[reportArgumentType]
        unk_token=tokens[1],
        pad_token=tokens[0],
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return CtcAligner(str(DEMO / "aligner"))


def clip(at: int) -> tuple[np.ndarray, list[str], str]:
    one = CLIPS[at]
    samples = np.concatenate(list(media.decode(DEMO / "held_out" / one["path"], Audio())))
    return samples, one["reference"].split(), one["language"]


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 3000, int(seconds * 16_000)).astype(np.int16)


def scores(found: list[Word]) -> list[float]:
    return [word.score for word in found if word.score is not None]


def check(found: list[Word], words: list[str], duration_s: float) -> None:
    """One for each, in order and within the samples."""
    assert [word.word for word in found] == words
    times = [time_s for word in found for time_s in (word.start_s, word.end_s) if time_s is not None]
    assert [0.0, *times, duration_s] == sorted([0.0, *times, duration_s])
    assert all(0 <= score <= 1 for score in scores(found))


@pytest.mark.parametrize("at", [3, 24, 45, 66])
def test_it_finds_the_words_of_held_out_clips(aligner: Aligner, at: int) -> None:
    samples, words, language = clip(at)
    found = aligner.align(samples, words)
    check(found, words, len(samples) / 16_000)
    assert all(
        word.end_s - word.start_s > 0.05 for word in found if word.start_s is not None and word.end_s is not None
    )
    assert len(scores(found)) == len(words)
    assert np.mean(scores(found)) > 0.5
    digits: list[str] = [*DIGITS[language]]
    wrong = aligner.align(samples, [digits[(digits.index(word) + 5) % 10] for word in words])
    assert np.mean(scores(wrong)) < 0.5 * np.mean(scores(found))


def test_case_accents_and_punctuation_do_not_matter(aligner: Aligner) -> None:
    samples, words, _ = clip(3)
    written = [word.capitalize() + "," for word in words]
    plain, found = (aligner.align(samples, given) for given in (words, written))
    assert [(a.start_s, a.end_s, a.score) for a in plain] == [(b.start_s, b.end_s, b.score) for b in found]


def test_words_without_known_letters_have_the_time_that_the_others_leave(aligner: Aligner) -> None:
    samples, words, _ = clip(3)
    plain = aligner.align(samples, words)
    changed = [*words]
    changed[1] = "7"
    found = aligner.align(samples, [*changed, "–"])
    assert found[1].score is None
    for own_s, known_s in ((found[1].start_s, plain[1].start_s), (found[1].end_s, plain[1].end_s)):
        assert own_s is not None and known_s is not None and abs(own_s - known_s) < 0.15  # what the others leave
    assert found[-1] == Word("–")
    for at in (0, *range(2, len(words))):
        start_s, known_s = found[at].start_s, plain[at].start_s
        assert start_s is not None and known_s is not None
        assert abs(start_s - known_s) < 0.1


def test_another_script_has_no_times(aligner: Aligner) -> None:
    samples, _, _ = clip(3)
    assert aligner.align(samples, ["один", "два"]) == [Word("один"), Word("два")]


@pytest.mark.parametrize("samples", [np.zeros(0, dtype=np.int16), np.zeros(100, dtype=np.int16), noise(0.05)])
def test_samples_too_short_for_the_words_have_no_times(aligner: Aligner, samples: np.ndarray) -> None:
    assert aligner.align(samples, ["seven", "eight"]) == [Word("seven"), Word("eight")]


def test_no_words(aligner: Aligner) -> None:
    assert aligner.align(noise(1), []) == []


def test_silence_has_no_high_scores(aligner: Aligner) -> None:
    found = aligner.align(np.zeros(32_000, dtype=np.int16), ["seven", "eight"])
    check(found, ["seven", "eight"], 2.0)
    assert max(scores(found)) < 0.3


def test_long_audio_in_chunks_is_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aligner, words = CtcAligner(small(tmp_path)), ["abc", "d", "gab", "fee"] * 10
    samples = noise(21.37)
    whole = aligner.align(samples, words)
    check(whole, words, len(samples) / 16_000)
    monkeypatch.setattr(ctc, "CHUNK_S", 5)
    monkeypatch.setattr(ctc, "CONTEXT_S", 1)
    for a, b in zip(whole, aligner.align(samples, words), strict=True):
        assert (a.start_s, a.end_s) == (b.start_s, b.end_s)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_a_vocabulary_of_word_pieces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not spell"):
        CtcAligner(small(tmp_path, ["<pad>", "<unk>", "|", "a", "the", "ing", "ed"]))


@pytest.mark.parametrize("at", [3, 24, 66])
def test_open_ends_may_hold_other_words(aligner: Aligner, at: int) -> None:
    """Words that are said and not among those given move no others; and where all are given, nothing changes much."""
    samples, words, _ = clip(at)
    every = aligner.align(samples, words)
    assert every[0].end_s and every[-1].start_s
    ends_s = every[0].end_s, len(samples) / 16_000 - every[-1].start_s
    inner = aligner.align(samples, words[1:-1], open_s=ends_s)
    check(inner, words[1:-1], len(samples) / 16_000)
    for found, wanted in zip(
        [*inner, *aligner.align(samples, words, open_s=ends_s)], [*every[1:-1], *every], strict=True
    ):
        assert found.start_s == pytest.approx(wanted.start_s, abs=0.05)
        assert found.end_s == pytest.approx(wanted.end_s, abs=0.05)
