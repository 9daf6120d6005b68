"""Recordings to measure with: clips of one language joined with natural gaps, each clip's reference beside it."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import audio
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Audio

DEMO = Path(__file__).parents[1] / "demo"
# Real clips with references, where this machine has them: not part of the product.
REAL = Path(__file__).parents[2] / "shared/data/speech"
GAPS_S = (0.2, 3.0)
NOISE = 3.0  # standard deviation of the gaps' samples


@dataclass(frozen=True)
class Clip:
    """One utterance: int16 samples at 16 kHz, what is said in it, and the language."""

    samples: np.ndarray
    reference: str
    language: str


@dataclass(frozen=True)
class Recording:
    """A file, the words of its clips in order, and for each clip its language and its time in the file."""

    path: Path
    reference: str
    clips: list[tuple[str, float, float]]


def clips(folder: Path) -> list[Clip]:
    """The clips that a folder's manifest.jsonl gives a reference and a language, but for the odd formats."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    return [
        Clip(np.concatenate(list(audio.decode(folder / row["path"], Audio()))), row["reference"], row["language"])
        for row in rows
        if row.get("reference") and row.get("language") and not row["path"].startswith("formats/")
    ]


def single(clip: Clip, path: Path) -> Recording:
    """One clip as a file."""
    write(path, clip.samples)
    return Recording(path, clip.reference, [(clip.language, 0.0, len(clip.samples) / SAMPLE_RATE_HZ)])


def joined(chosen: list[Clip], seconds: float, path: Path, seed: int) -> Recording:
    """Clips in random order, each as often as the others, `seconds` at least; faint noise in the gaps."""
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    words: list[str] = []
    times: list[tuple[str, float, float]] = []
    length, order = 0, []

    def silence() -> np.ndarray:
        count = int(rng.uniform(*GAPS_S) * SAMPLE_RATE_HZ)
        return (rng.standard_normal(count) * NOISE).astype(np.int16)

    while order or length < seconds * SAMPLE_RATE_HZ:
        order = order or rng.permutation(len(chosen)).tolist()
        clip = chosen[order.pop()]
        gap = silence()
        begin = length + len(gap)
        parts += [gap, clip.samples]
        length = begin + len(clip.samples)
        words.append(clip.reference)
        times.append((clip.language, begin / SAMPLE_RATE_HZ, length / SAMPLE_RATE_HZ))
    write(path, np.concatenate(parts))
    return Recording(path, " ".join(words), times)


def write(path: Path, samples: np.ndarray) -> None:
    """int16 samples at 16 kHz into a wav file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
