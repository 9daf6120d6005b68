"""Train demo/aligner, a CTC model of the demo's words that finds where each is said: `make demo-aligner`.

Cross entropy of the character at each frame, of speech whose word times espeak-ng tells: a word's letters share its
frames evenly. A quarter of an hour of one core. `--measure` tells the errors on voices that training did not have.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC, Wav2Vec2CTCTokenizer

from demo.training import speech, word_times
from demo.training.train import WINDOW_SAMPLES, change_speed, narrow_band, noise
from demo.training.vocabulary import WORDS
from demo.training.word_times import TimedPhrase
from pipeline.alignment.ctc import CtcAligner
from pipeline.alignment.protocol import Aligner

HERE = Path(__file__).parents[1]
BLANK, UNKNOWN, DELIMITER = "<pad>", "<unk>", "|"
TOKENS = [BLANK, UNKNOWN, DELIMITER, *sorted(set("".join(WORDS)))]
FRAME_S = 0.02  # two of the extractor's mel frames
JOINED = (1, 2, 5)  # windows in a row, in the end: the model must know 6 s to 30 s
CONFIG = Wav2Vec2BertConfig(
    vocab_size=len(TOKENS),
    hidden_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=192,
    feature_projection_input_dim=160,
    position_embeddings_type="rotary",
    conv_depthwise_kernel_size=15,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
    conformer_conv_dropout=0.0,
    layerdrop=0.0,
    apply_spec_augment=False,
    add_adapter=False,
    use_intermediate_ffn_before_adapter=False,
    pad_token_id=0,
    bos_token_id=None,
    eos_token_id=None,
)


class Features:
    """What SeamlessM4TFeatureExtractor makes of a batch of windows, at once and in torch."""

    def __init__(self) -> None:
        own = SeamlessM4TFeatureExtractor()
        self._window = torch.from_numpy(own.window).float()
        self._mels = torch.from_numpy(own.mel_filters).float()

    def __call__(self, waveforms: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] -> (batch, frames, 160)."""
        frames = (waveforms * 2**15).unfold(1, 400, 160)
        frames = frames - frames.mean(-1, keepdim=True)
        frames = torch.cat([frames[..., :1] * 0.03, frames[..., 1:] - 0.97 * frames[..., :-1]], -1)
        power = torch.fft.rfft(frames * self._window, 512).abs() ** 2
        mel = (power @ self._mels).clamp(min=2.0**-23).log()
        mel = (mel - mel.mean(1, keepdim=True)) / (mel.var(1, keepdim=True) + 1e-7).sqrt()
        return mel[:, : mel.shape[1] // 2 * 2].unflatten(1, (-1, 2)).flatten(2)


def letters(word: str, frames: int) -> list[int]:
    """The token at each of a word's frames; a blank parts letters that are the same."""
    shares = [at * len(word) // frames for at in range(frames)]
    found = [TOKENS.index(word[share]) for share in shares]
    for at in range(frames - 1):
        if shares[at] != shares[at + 1] and found[at] == found[at + 1]:
            found[at] = 0
    return found


@dataclass(frozen=True)
class Window:
    """6 s, or several of them. `samples` is float32 in [-1, 1]; `words` are with their start and end in seconds."""

    language: str
    samples: np.ndarray
    words: list[tuple[str, float, float]]


def window(rng: np.random.Generator, by_language: dict[str, list[TimedPhrase]], augment: bool = True) -> Window:
    """One to four phrases with pauses, in noise; augmented ones at other speeds and bandwidths too."""
    samples = np.zeros(WINDOW_SAMPLES)
    language = str(rng.choice(list(by_language)))
    words: list[tuple[str, float, float]] = []
    at = int(rng.uniform(0.0, 0.7) ** 2 * speech.SAMPLE_RATE_HZ)
    for _ in range(rng.integers(1, 5)):
        phrase = by_language[language][rng.integers(len(by_language[language]))]
        spoken = change_speed(rng, phrase.samples / 32768.0) if augment else phrase.samples / 32768.0
        if at + len(spoken) > WINDOW_SAMPLES - 800:
            break
        samples[at : at + len(spoken)] = spoken / (np.abs(spoken).max() + 1e-6) * rng.uniform(0.5, 1.0)
        factor, begin_s = len(spoken) / len(phrase.samples), at / speech.SAMPLE_RATE_HZ
        words += [
            (word, begin_s + start_s * factor, begin_s + end_s * factor)
            for word, (start_s, end_s) in zip(phrase.words, phrase.spans_s, strict=True)
        ]
        at += len(spoken) + int(rng.uniform(0.1, 1.0) * speech.SAMPLE_RATE_HZ)
    if augment and rng.random() < 0.25:
        samples = narrow_band(rng, samples)
    samples = samples * 10 ** rng.uniform(-1.3, 0.0) + noise(rng) * 10 ** rng.uniform(-4.5, -2.2)
    return Window(language, samples.astype(np.float32), words)


def joined(windows: Sequence[Window]) -> Window:
    """One after the other; the language is that of the first."""
    length_s = WINDOW_SAMPLES / speech.SAMPLE_RATE_HZ
    words = [(w, a + at * length_s, b + at * length_s) for at, one in enumerate(windows) for w, a, b in one.words]
    return Window(windows[0].language, np.concatenate([one.samples for one in windows]), words)


def targets(words: Sequence[tuple[str, float, float]], frames: int) -> np.ndarray:
    """Words with their start and end in seconds -> (frames,) tokens. The frame before a word is the delimiter."""
    found = np.zeros(frames, dtype=np.int64)
    for word, start_s, end_s in words:
        first, last = round(start_s / FRAME_S), min(round(end_s / FRAME_S), frames)
        found[first:last] = letters(word, last - first)
        if first:
            found[first - 1] = TOKENS.index(DELIMITER)
    return found


def by_language(phrases: Sequence[TimedPhrase]) -> dict[str, list[TimedPhrase]]:
    return {language: [one for one in phrases if one.language == language] for language in speech.DIGITS}


def train(folder: Path, *, phrase_count: int, steps: int, long_steps: int, batch: int, rate: float, seed: int) -> None:
    """Write the model, its vocabulary and its feature extractor in the form of Hugging Face's transformers."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    spoken = by_language(word_times.phrases(phrase_count, speech.TRAINING_VOICES, seed))
    rng, model = np.random.default_rng(seed), Wav2Vec2BertForCTC(CONFIG).train()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    fit(model, spoken, rng, steps=steps, batch=batch, rate=rate, counts=(1,))
    fit(model, spoken, rng, steps=long_steps, batch=batch, rate=rate / 3, counts=JOINED)
    save(model, folder)


def fit(
    model: Wav2Vec2BertForCTC,
    spoken: dict[str, list[TimedPhrase]],
    rng: np.random.Generator,
    *,
    steps: int,
    batch: int,
    rate: float,
    counts: Sequence[int],
) -> None:
    """Train on about `batch` windows a step, as many in a row as one of `counts`; the rate falls to zero."""
    features = Features()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    started, losses = time.monotonic(), []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min((step + 1) / 100, (steps - step) / steps)
        count = int(rng.choice(counts))
        made = [joined([window(rng, spoken) for _ in range(count)]) for _ in range(batch // count)]
        logits = model(features(torch.from_numpy(np.stack([one.samples for one in made])))).logits
        wanted = torch.from_numpy(np.stack([targets(one.words, logits.shape[1]) for one in made]))
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            pace = (time.monotonic() - started) / (step + 1)
            print(f"step {step + 1}: loss {np.mean(losses[-50:]):.3f}, {pace:.2f} s a step", flush=True)


def save(model: Wav2Vec2BertForCTC, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, state_dict={name: tensor.half() for name, tensor in model.state_dict().items()})
    SeamlessM4TFeatureExtractor().save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(TOKENS)}, ensure_ascii=False))
    Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"),
        bos_token=None,  # pyright: ignore[reportArgumentType]
        eos_token=None,  # pyright: ignore[reportArgumentType]
        unk_token=UNKNOWN,
        pad_token=BLANK,
    ).save_pretrained(folder)


def measure(aligner: Aligner, count: int = 400) -> None:
    """Print the figures of windows by held-out voices, 6 s and 30 s long."""
    spoken = by_language(word_times.phrases(3 * count, speech.HELD_OUT_VOICES, seed=1))
    made = [window(np.random.default_rng([1, i]), spoken, augment=False) for i in range(count)]
    for length in (1, 5):
        rows: list[Window] = []
        for language in speech.DIGITS:
            own = [one for one in made if one.language == language]
            rows += [joined(own[at : at + length]) for at in range(0, len(own) - length + 1, length)]
        print(f"windows of {length * WINDOW_SAMPLES // speech.SAMPLE_RATE_HZ} s")
        figures(aligner, rows)


def figures(aligner: Aligner, windows: Sequence[Window]) -> None:
    """Print the errors of word times, and how scores part true words from those of the next window's text.

    Words that the next text has in common with the true one, in order, are not invented, and are left out.
    """
    errors_s: list[tuple[float, float]] = []
    true: list[float] = []
    invented: list[float] = []
    for one, other in zip(windows, [*windows[1:], windows[0]], strict=True):
        samples = np.clip(one.samples * 32768, -32768, 32767).astype(np.int16)
        texts = [[word for word, *_ in each.words] for each in (one, other)]
        for found, (_, start_s, end_s) in zip(aligner.align(samples, texts[0], one.language), one.words, strict=True):
            assert found.start_s is not None and found.end_s is not None and found.score is not None
            errors_s.append((abs(found.start_s - start_s), abs(found.end_s - end_s)))
            true.append(found.score)
        matches = SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks()
        said = {block.b + at for block in matches for at in range(block.size)}
        others = aligner.align(samples, texts[1], one.language)
        invented += [found.score or 0.0 for at, found in enumerate(others) if at not in said]
    for name, errors in zip(("start", "end"), np.array(errors_s).T * 1000, strict=True):
        median, tail = np.percentile(errors, (50, 95))
        print(f"{name}: median {median:.0f} ms, 95th percentile {tail:.0f} ms, of {len(errors)} words")
    threshold = np.percentile(true, 1)
    share = np.mean(np.array(invented) < threshold)
    print(f"1% of the true words and {share:.1%} of {len(invented)} invented ones score below {threshold:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "aligner")
    parser.add_argument("--phrases", type=int, default=12_000)
    parser.add_argument("--steps", type=int, default=1_200)
    parser.add_argument("--long-steps", type=int, default=250, help="more of them, with windows up to 30 s")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--measure", action="store_true", help="measure what --output has, and train nothing")
    args = parser.parse_args()
    if args.measure:
        return measure(CtcAligner(str(args.output)))
    train(
        args.output,
        phrase_count=args.phrases,
        steps=args.steps,
        long_steps=args.long_steps,
        batch=args.batch,
        rate=args.rate,
        seed=args.seed,
    )


if __name__ == "__main__":
    main()
