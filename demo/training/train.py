"""Train a checkpoint that transcribes, and tells the language: the first stage of `make demo-checkpoint`.

About two hours of two CPU cores from nothing; progress is kept in --work, and resumed. The second stage is
demo/training/teach.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jiwer
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from demo.training import speech
from demo.training.model import DECODER, SmallVoxtral, export
from demo.training.vocabulary import AUDIO_TOKENS, CHUNK_S, EOS, PAD, WORDS, decode, prompt_ids, text_ids

WINDOW_SAMPLES = CHUNK_S * speech.SAMPLE_RATE_HZ
TUNES = 300
WORD_INDEX = {word: i + 1 for i, word in enumerate(WORDS)}  # 0 is the CTC blank


def change_speed(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    """Change speed and pitch together by up to 12%."""
    factor = rng.uniform(0.88, 1.12)
    return np.interp(np.arange(0, len(samples) - 1, factor), np.arange(len(samples)), samples)


def narrow_band(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    """Cut everything above a telephone's or a cheap codec's bandwidth."""
    spectrum = np.fft.rfft(samples)
    spectrum[int(rng.uniform(3200, 6000) / speech.SAMPLE_RATE_HZ * len(samples)) :] = 0
    return np.fft.irfft(spectrum, len(samples))


def noise(rng: np.random.Generator) -> np.ndarray:
    """White noise, or low rumbling noise, of unit power."""
    samples = rng.standard_normal(WINDOW_SAMPLES, dtype=np.float32)
    if rng.random() < 0.5:
        samples = (samples + np.roll(samples, 1) + np.roll(samples, 2) + np.roll(samples, 3)) / 2
    return samples


@cache
def tune(seed: int) -> np.ndarray:
    """A window of something like music: one or two voices of plucked or held notes with overtones, of unit peak."""
    rng = np.random.default_rng([seed, 4])
    samples = np.zeros(WINDOW_SAMPLES, dtype=np.float32)
    for _ in range(rng.integers(1, 3)):
        length, decay, at = int(rng.uniform(0.15, 0.8) * speech.SAMPLE_RATE_HZ), rng.uniform(0.0, 8.0), 0
        passed = np.arange(length) / speech.SAMPLE_RATE_HZ
        while at < WINDOW_SAMPLES:
            hertz, overtones = 2 ** rng.uniform(6.7, 10.2), rng.integers(1, 7)
            note = sum(
                np.sin(2 * np.pi * hertz * n * passed) * rng.uniform(0.1, 1.0) / n for n in range(1, 1 + overtones)
            )
            samples[at : at + length] += (note * np.exp(-decay * passed))[: WINDOW_SAMPLES - at]
            at += length
    return samples / (np.abs(samples).max() + 1e-6)


def window(
    rng: np.random.Generator, by_language: dict[str, list[speech.Phrase]], augment: bool, awkward: bool = False
) -> tuple[np.ndarray, tuple[str, ...], str | None]:
    """One 6 s training window: float32 samples in [-1, 1], its words, its language (None where mixed or silent).

    In awkward ones the language may change with every phrase, and music may play where nobody speaks.
    """
    samples = np.zeros(WINDOW_SAMPLES)
    changing = 0.04 if not awkward or rng.random() < 0.6 else 0.7
    if awkward and rng.random() < 0.4:
        samples = np.roll(tune(int(rng.integers(TUNES))), rng.integers(WINDOW_SAMPLES)) * rng.uniform(0.1, 1.0)
        for _ in range(rng.integers(0, 3)):  # pauses in the music
            begin = rng.integers(WINDOW_SAMPLES)
            samples[begin : begin + int(rng.uniform(0.3, 3.0) * speech.SAMPLE_RATE_HZ)] = 0
    words: list[str] = []
    languages: set[str] = set()
    language = str(rng.choice(list(by_language)))
    at = int(rng.uniform(0.0, 0.7) ** 2 * speech.SAMPLE_RATE_HZ)
    for _ in range(
        int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15])) if rng.random() > (0.08 if awkward else 0.02) else 0
    ):
        if augment and rng.random() < changing:
            language = str(rng.choice(list(by_language)))
        phrase = by_language[language][rng.integers(len(by_language[language]))]
        spoken = change_speed(rng, phrase.samples / 32768.0) if augment else phrase.samples / 32768.0
        if at + len(spoken) > WINDOW_SAMPLES - 800:
            break
        edge = int(rng.uniform(0.0, 0.3) * speech.SAMPLE_RATE_HZ)
        samples[max(0, at - edge) : at + len(spoken) + edge] = 0
        samples[at : at + len(spoken)] = spoken / (np.abs(spoken).max() + 1e-6) * rng.uniform(0.5, 1.0)
        words += phrase.words
        languages.add(phrase.language)
        at += len(spoken) + int(rng.uniform(0.1, 1.0) * speech.SAMPLE_RATE_HZ)
    if augment and rng.random() < 0.25:
        samples = narrow_band(rng, samples)
    samples = samples * 10 ** rng.uniform(-1.3, 0.0) + noise(rng) * 10 ** rng.uniform(-4.5, -2.2)
    return samples.astype(np.float32), tuple(words), languages.pop() if len(languages) == 1 else None


def batch(
    rng: np.random.Generator, by_language: dict[str, list[speech.Phrase]], size: int, awkward: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[tuple[str, ...]]]:
    """Waveforms, ids, targets (-100 where no loss is taken) and words of `size` windows."""
    waveforms, rows, targets, texts = [], [], [], []
    for _ in range(size):
        samples, words, language = window(rng, by_language, augment=True, awkward=awkward)
        hint = language if rng.random() < 0.5 else None
        prompt = prompt_ids(hint)
        row = [*prompt, *text_ids(words), EOS]
        silent = len(prompt) - 3 if hint else len(prompt)  # lang:xx and the [TRANSCRIBE] behind it are learned too
        waveforms.append(samples)
        rows.append(row)
        targets.append([-100] * silent + row[silent:])
        texts.append(words)
    length = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
    wanted = torch.tensor([row + [-100] * (length - len(row)) for row in targets])
    return torch.from_numpy(np.stack(waveforms)), ids, wanted, texts


def word_error_rate(model: SmallVoxtral, windows: list[tuple[np.ndarray, tuple[str, ...], str | None]]) -> float:
    """Corpus WER of greedy transcripts, without a language in the prompt."""
    model.eval()
    hypotheses: list[str] = []
    for i in range(0, len(windows), 32):
        waveforms = torch.from_numpy(np.stack([w[0] for w in windows[i : i + 32]]))
        hypotheses += [decode(ids) for ids in model.transcribe(waveforms)]
    model.train()
    return float(jiwer.wer([" ".join(w[1]) for w in windows], hypotheses))


def load_phrases(count: int, voices: Sequence[str], seed: int, cache: Path) -> dict[str, list[speech.Phrase]]:
    """Make the phrases, or take them from `cache`; grouped by language."""
    if cache.exists():
        made = torch.load(cache, weights_only=False)
    else:
        made = speech.phrases(count, voices, seed)
        torch.save(made, cache)
    return {language: [p for p in made if p.language == language] for language in speech.DIGITS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/demo-training/listening"))
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo-training"), help="speech and progress are kept here"
    )
    parser.add_argument("--phrases", type=int, default=24_000)
    parser.add_argument("--steps", type=int, default=7_500)
    parser.add_argument("--decay-steps", type=int, default=3_000, help="the last steps, with the rate falling to zero")
    parser.add_argument(
        "--awkward-steps", type=int, default=2_500, help="more of them, with changes of language and music"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    args.work.mkdir(parents=True, exist_ok=True)
    train = load_phrases(args.phrases, speech.TRAINING_VOICES, args.seed, args.work / "train.pt")
    held_out = load_phrases(600, speech.HELD_OUT_VOICES, args.seed + 1, args.work / "held_out.pt")
    rng = np.random.default_rng(args.seed)
    check = [window(np.random.default_rng([args.seed, 2, i]), held_out, augment=False) for i in range(128)]
    check = [w for w in check if w[1]]
    hard = [window(np.random.default_rng([args.seed, 3, i]), held_out, augment=True, awkward=True) for i in range(256)]
    hard = [w for w in hard if w[1]]

    torch.manual_seed(args.seed)
    model = SmallVoxtral()
    # CTC over words on the audio embeddings: teaches the encoder before the decoder has learned where to look.
    ctc_head = nn.Linear(DECODER["dim"], len(WORDS) + 1)
    parameters = [*model.parameters(), *ctc_head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.01)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {args.steps} + {args.awkward_steps} steps",
        flush=True,
    )

    progress, first = args.work / "progress.pt", 0
    if progress.exists():
        state = torch.load(progress, weights_only=False)
        model.load_state_dict(state["model"])
        ctc_head.load_state_dict(state["ctc_head"])
        optimiser.load_state_dict(state["optimiser"])
        rng.bit_generator.state = state["rng"]
        first = state["step"]

    started, losses = time.monotonic(), []
    last = args.steps + args.awkward_steps
    for step in range(first, last):
        share = min(1.0, (step + 1) / 500, (args.steps - step) / args.decay_steps)
        if awkward := step >= args.steps:
            share = 0.5 * min((step - args.steps + 1) / 200, (last - step) / args.awkward_steps)
        for group in optimiser.param_groups:
            group["lr"] = args.rate * share
        waveforms, ids, targets, texts = batch(rng, train, args.batch, awkward)
        audio = model.listen(waveforms)
        logits = model(audio, ids[:, :-1])
        prompt_end = AUDIO_TOKENS + 3
        decoder_loss = F.cross_entropy(logits[:, prompt_end - 1 :].flatten(0, 1), targets[:, prompt_end:].flatten())
        words = [torch.tensor([WORD_INDEX[w] for w in text], dtype=torch.long) for text in texts]
        ctc_loss = F.ctc_loss(
            ctc_head(audio).log_softmax(-1).transpose(0, 1),
            torch.cat(words),
            torch.full((len(words),), AUDIO_TOKENS),
            torch.tensor([len(w) for w in words]),
            zero_infinity=True,
        )
        loss = decoder_loss + 0.5 * ctc_loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append((decoder_loss.item(), ctc_loss.item()))
        if (step + 1) % 50 == 0:
            mean = np.mean(losses[-50:], axis=0)
            pace = (time.monotonic() - started) / (step + 1 - first)
            print(f"step {step + 1}: decoder {mean[0]:.3f} ctc {mean[1]:.3f}, {pace:.2f} s a step", flush=True)
        if (step + 1) % 500 == 0 or step + 1 == last:
            state = {"model": model.state_dict(), "ctc_head": ctc_head.state_dict(), "step": step + 1}
            torch.save(state | {"optimiser": optimiser.state_dict(), "rng": rng.bit_generator.state}, progress)
            export(model, args.output)
            plain, mixed = word_error_rate(model, check), word_error_rate(model, hard)
            print(f"step {step + 1}: WER {plain:.1%} on new voices, {mixed:.1%} in awkward windows", flush=True)


if __name__ == "__main__":
    main()
