"""Recordings that questions are asked about: spoken phrases in whole chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo.training import speech
from demo.training.train import WINDOW_SAMPLES, change_speed, narrow_band, noise


@dataclass
class Recording:
    """One recording: float32 samples of whole chunks, and the words in it."""

    samples: np.ndarray
    chunks: int
    words: tuple[str, ...]
    language: str | None


def recording(rng: np.random.Generator, phrases: Sequence[speech.Phrase], augment: bool) -> Recording:
    """The phrases one after another, with pauses, in whole chunks; noise ends with them, or with the chunk."""
    parts = [np.zeros(int(rng.uniform(0.0, 0.8) ** 2 * speech.SAMPLE_RATE_HZ))]
    for phrase in phrases:
        spoken = phrase.samples / 32768.0
        spoken = change_speed(rng, spoken) if augment else spoken
        parts.append(spoken / (np.abs(spoken).max() + 1e-6) * rng.uniform(0.5, 1.0))
        parts.append(np.zeros(int(rng.uniform(0.1, 1.0) * speech.SAMPLE_RATE_HZ)))
    samples = np.concatenate(parts)
    chunks = -(-len(samples) // WINDOW_SAMPLES)
    if augment and rng.random() < 0.25:
        samples = narrow_band(rng, samples)
    if rng.random() < 0.5:
        samples = np.pad(samples, (0, chunks * WINDOW_SAMPLES - len(samples)))
    background = np.concatenate([noise(rng) for _ in range(chunks)])[: len(samples)]
    samples = samples * 10 ** rng.uniform(-1.3, 0.0) + background * 10 ** rng.uniform(-4.5, -2.2)
    whole = np.zeros(chunks * WINDOW_SAMPLES, dtype=np.float32)
    whole[: len(samples)] = samples
    words = tuple(word for phrase in phrases for word in phrase.words)
    languages = {phrase.language for phrase in phrases}
    return Recording(whole, chunks, words, languages.pop() if len(languages) == 1 else None)
