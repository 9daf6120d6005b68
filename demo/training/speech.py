"""Spoken digit strings from espeak-ng: what the demo checkpoint is trained and measured on.

Everything here is seeded: the same call makes the same waveforms on the same espeak-ng version (1.51 was used).
"""

from __future__ import annotations

import io
import subprocess
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 16_000

DIGITS = {
    "en": "zero one two three four five six seven eight nine".split(),
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve".split(),
    "fr": "zéro un deux trois quatre cinq six sept huit neuf".split(),
    "de": "null eins zwei drei vier fünf sechs sieben acht neun".split(),
}
ACCENTS = {
    "en": ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc"),
    "es": ("es", "es-419"),
    "fr": ("fr-fr", "fr-be", "fr-ch"),
    "de": ("de",),
}
# espeak-ng voice variants. The two lists share nothing: error rates are measured on the second alone.
TRAINING_VOICES = (
    "adam Alex Alicia Andy antonio aunty belinda benjamin caleb david Denis Diogo edward edward2 Gene Gene2 Gustave "
    "Henrique Hugo iven iven2 iven3 Jacky john kaukovalta Lee marcelo Marco Mario michael michel miguel mike Mr "
    "Nguyen pablo paul quincy RicishayMax RicishayMax2 rob robert steph steph2 steph3 travis victor Storm "
    "anika f1 f3 f4 f5 m1 m2 m4 m5 m6 m8 klatt2 klatt3 klatt4 grandma grandpa norbert sandro shelby Tweaky"
).split()
HELD_OUT_VOICES = "f2 m3 m7 Annie linda Andrea max ed pedro zac".split()


@dataclass(frozen=True)
class Phrase:
    """One spoken digit string. `samples` is int16, mono, 16 kHz, cut close to the speech."""

    language: str
    voice: str
    words: tuple[str, ...]
    samples: np.ndarray


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Band-limited resampling of a short float array by cutting or padding its spectrum."""
    length = round(len(samples) * to_hz / from_hz)
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    padded = np.pad(spectrum, (0, length // 2 + 1 - len(spectrum)))
    return np.fft.irfft(padded, length) * (length / len(samples))


def trim(samples: np.ndarray, keep_s: float = 0.03) -> np.ndarray:
    """Cut leading and trailing silence (below 1% of the peak), keeping `keep_s` on both sides."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    keep = int(keep_s * SAMPLE_RATE_HZ)
    return samples[max(0, loud[0] - keep) : loud[-1] + keep]


@dataclass(frozen=True)
class Utterance:
    """What espeak-ng is to say, and how."""

    language: str
    words: tuple[str, ...]
    text: str  # the words, some with a comma behind them
    accent: str
    voice: str
    words_per_minute: int
    pitch: int
    gap_10ms: int


def speak(one: Utterance) -> np.ndarray:
    """Let espeak-ng say it. Returns int16 mono samples at 16 kHz."""
    command = ["espeak-ng", "-v", f"{one.accent}+{one.voice}", "-s", str(one.words_per_minute), "-p", str(one.pitch)]
    command += ["-g", str(one.gap_10ms), "--stdout", one.text]
    riff = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(riff)) as spoken:
        rate_hz = spoken.getframerate()
        samples = np.frombuffer(spoken.readframes(spoken.getnframes()), dtype="<i2").astype(np.float64)
    samples = trim(resample(samples, rate_hz, SAMPLE_RATE_HZ))
    return np.clip(samples, -32768, 32767).astype(np.int16)


def draw(
    rng: np.random.Generator, voices: Sequence[str], language: str | None = None, digits: Sequence[int] | None = None
) -> Utterance:
    """Draw one: language, accent, voice, one to seven digits, speed, pitch and word gaps."""
    language = language or str(rng.choice(list(DIGITS)))
    if digits is None:
        words = [str(w) for w in rng.choice(DIGITS[language], size=rng.integers(1, 8))]
    else:
        words = [DIGITS[language][digit] for digit in digits]
    text = "".join(w + (", " if rng.random() < 0.08 else " ") for w in words)
    return Utterance(
        language,
        tuple(words),
        text.strip(", "),
        accent=str(rng.choice(ACCENTS[language])),
        voice=str(rng.choice(list(voices))),
        words_per_minute=int(rng.integers(110, 200)),
        pitch=int(rng.integers(20, 80)),
        gap_10ms=int(rng.choice([0, 0, 0, 2, 5, 10])),
    )


def phrase(
    rng: np.random.Generator, voices: Sequence[str], language: str | None = None, digits: Sequence[int] | None = None
) -> Phrase:
    """Draw one phrase, and let espeak-ng say it."""
    one = draw(rng, voices, language, digits)
    return Phrase(one.language, one.voice, one.words, speak(one))


def phrases(count: int, voices: Sequence[str], seed: int) -> list[Phrase]:
    """`count` phrases, each from its own seeded generator, made on all cores."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda i: phrase(np.random.default_rng([seed, i]), voices), range(count)))


@dataclass(frozen=True)
class Twins:
    """One number spoken several times, in any languages and voices; and numbers that are nearly the same."""

    same: tuple[Phrase, ...]
    near: tuple[Phrase, ...]


def nearly(rng: np.random.Generator, digits: Sequence[int]) -> list[int]:
    """The digits with one of them changed, or left out, or one more, or two neighbours exchanged."""
    near, at = list(digits), int(rng.integers(len(digits)))
    way = rng.random()
    if way < 0.15 and len(near) > 1:
        del near[at]
    elif way < 0.3 and len(near) < 7:
        near.insert(at, int(rng.integers(10)))
    elif way < 0.45 and at and near[at] != near[at - 1]:
        near[at - 1 : at + 1] = near[at], near[at - 1]
    else:
        near[at] = (near[at] + int(rng.integers(1, 10))) % 10
    return near


def twins(count: int, voices: Sequence[str], seed: int) -> list[Twins]:
    """`count` numbers of one to seven digits, each spoken three times, and two that are nearly the same."""

    def one(i: int) -> Twins:
        rng = np.random.default_rng([seed, 5, i])
        digits = [int(d) for d in rng.integers(0, 10, size=rng.integers(1, 8))]
        same = tuple(phrase(rng, voices, digits=digits) for _ in range(3))
        return Twins(same, tuple(phrase(rng, voices, digits=nearly(rng, digits)) for _ in range(2)))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, range(count)))
