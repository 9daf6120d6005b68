"""Recordings to measure with: clips of one language joined with natural gaps, each clip's reference beside it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.audio import media
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Audio

DEMO = Path(__file__).parents[1] / "demo"
# Real clips with references (manifest.jsonl: path, reference, language) and a Whisper checkpoint, where this machine
# has them: not part of the product.
REAL = Path(os.environ.get("SPEECH_CORPUS", "../shared/data/speech"))
WHISPER = os.environ.get("WHISPER_MODEL", "build/whisper-base")
LECTURE = DEMO / "recordings/lectures/cours magistral.mp3"
CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "m4a": "aac", "ogg": "libopus"}
NOTES_HZ = (262, 294, 330, 349, 392, 440, 494, 523)  # C major


@dataclass(frozen=True)
class Clip:
    """One clip: int16 samples at 16 kHz, what is said in it, and the language."""

    samples: np.ndarray
    reference: str
    language: str


@dataclass(frozen=True)
class Recording:
    """A file, the words of its clips in order, and for each clip its language and its time in the file."""

    path: Path
    reference: str
    clips: list[tuple[str, float, float]]


def missing() -> str:
    """What is not here of that; empty where all is."""
    lacks = [f"SPEECH_CORPUS={REAL}"] * (not REAL.is_dir()) + [f"WHISPER_MODEL={WHISPER}"] * (
        not Path(WHISPER).is_dir()
    )
    return f"no {' and no '.join(lacks)}" if lacks else ""


def clips(folder: Path) -> list[Clip]:
    """The clips that a folder's manifest.jsonl gives a reference and a language, but for the odd formats."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    return [
        Clip(np.concatenate(list(media.decode(folder / row["path"], Audio()))), row["reference"], row["language"])
        for row in rows
        if row.get("reference") and row.get("language") and not row["path"].startswith("formats/")
    ]


def single(clip: Clip, path: Path) -> Recording:
    """One clip as a file."""
    write(path, clip.samples)
    return Recording(path, clip.reference, [(clip.language, 0.0, len(clip.samples) / SAMPLE_RATE_HZ)])


def joined(chosen: list[Clip], seconds: float, path: Path, seed: int) -> Recording:
    """Clips in random order, each as often as the others, `seconds` at least; 0.2 to 3 s of faint noise between."""
    return _chain(chosen, seconds, path, seed, lambda rng: noise(rng, _samples(rng.uniform(0.2, 3.0)), level=3.0))


def mixed(chosen: list[Clip], seconds: float, path: Path, seed: int) -> Recording:
    """Clips of any language in random order, with 0.1 to 5 s of silence, noise or music between them."""

    def between(rng: np.random.Generator) -> np.ndarray:
        return (noise, music, silence)[rng.integers(3)](rng, _samples(rng.uniform(0.1, 5.0)))

    return _chain(chosen, seconds, path, seed, between)


def continuous(chosen: list[Clip], seconds: float, path: Path, seed: int) -> Recording:
    """Clips without their leading and trailing silence, 0.15 s apart: someone who never stops talking."""
    trimmed = [Clip(clip.samples[_loud(clip.samples)], clip.reference, clip.language) for clip in chosen]
    return _chain(trimmed, seconds, path, seed, lambda rng: silence(rng, _samples(0.15)))


def _chain(
    chosen: list[Clip], seconds: float, path: Path, seed: int, between: Callable[[np.random.Generator], np.ndarray]
) -> Recording:
    """Clips in random order with something between; none comes again before all have come, and all come."""
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    words: list[str] = []
    times: list[tuple[str, float, float]] = []
    length, order = 0, []
    while order or length < seconds * SAMPLE_RATE_HZ:
        order = order or rng.permutation(len(chosen)).tolist()
        clip, gap = chosen[order.pop()], between(rng).astype(np.int16)
        begin = length + len(gap)
        parts += [gap, clip.samples]
        length = begin + len(clip.samples)
        words.append(clip.reference)
        times.append((clip.language, begin / SAMPLE_RATE_HZ, length / SAMPLE_RATE_HZ))
    write(path, np.concatenate(parts))
    return Recording(path, " ".join(words), times)


def _samples(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE_HZ)


def _loud(samples: np.ndarray) -> slice:
    """From the first to the last tenth of a second that is less than 30 dB below the loudest."""
    step = SAMPLE_RATE_HZ // 10
    power = np.square(samples[: len(samples) // step * step].reshape(-1, step), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max() / 1000)
    return slice(int(loud[0]) * step, (int(loud[-1]) + 1) * step)


def cut(folder: Path, count: int, seconds: float) -> list[Path]:
    """The demo's held-out clips as one stretch of speech, and its pieces of that length as wav files, again from its
    beginning where it is used up."""
    speech, length = np.concatenate([clip.samples for clip in clips(DEMO / "held_out")]), _samples(seconds)
    paths = [folder / f"{at:06d}.wav" for at in range(count)]
    for at, path in enumerate(paths):
        begin = at * length % (len(speech) - length)
        write(path, speech[begin : begin + length])
    return paths


def silence(_: np.random.Generator, count: int) -> np.ndarray:
    """Digital silence."""
    return np.zeros(count)


def noise(rng: np.random.Generator, count: int, level: float = 300.0) -> np.ndarray:
    """White noise; `level` is its standard deviation."""
    return rng.standard_normal(count) * level


def music(rng: np.random.Generator, count: int) -> np.ndarray:
    """A melody of decaying notes with one overtone, two a second."""
    note = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    tune = [
        np.sin(2 * np.pi * hertz * note) * np.exp(-4 * note) + np.sin(4 * np.pi * hertz * note) * np.exp(-5 * note) / 2
        for hertz in rng.choice(NOTES_HZ, count // len(note) + 1)
    ]
    return np.concatenate(tune)[:count] * 8_000


def long_recording(folder: Path, seconds: float, extension: str) -> Path:
    """The demo's lecture, over and over, in a container of choice."""
    path = folder / f"long.{extension}"
    command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "-1", "-i", LECTURE, "-t", str(seconds)]
    counted = "asetpts=N/SR/TB"  # each repetition leaves a gap of 0.1 s in the timestamps, which Ogg would keep
    subprocess.run([*command, "-af", counted, "-c:a", CODECS[extension], path], check=True)
    return path


def write(path: Path | io.BytesIO, samples: np.ndarray) -> None:
    """int16 samples at 16 kHz into a wav file."""
    with wave.open(str(path) if isinstance(path, Path) else path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
