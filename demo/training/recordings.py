"""Make demo/recordings (what `make demo` transcribes) and demo/held_out (what the error rate is measured on).

All speech is by espeak-ng, in voices that are not in the training data of the demo's checkpoint. Random numbers are
seeded: `make demo-recordings` makes the same files again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from demo.training import speech

RATE = speech.SAMPLE_RATE_HZ
HERE = Path(__file__).parents[1]

Row = dict[str, Any]


def conversation(
    rng: np.random.Generator, language: str, phrases: int, pauses_s: tuple[float, float]
) -> tuple[np.ndarray, str]:
    """Phrases of one voice with pauses between and around them: int16 samples and their words."""
    voice = str(rng.choice(speech.HELD_OUT_VOICES))
    parts, words = [silence(0.4)], []
    for _ in range(phrases):
        spoken = speech.phrase(rng, [voice], language)
        parts += [spoken.samples, silence(rng.uniform(*pauses_s))]
        words += spoken.words
    samples = np.concatenate(parts)
    return samples, " ".join(words)


def dialogue(rng: np.random.Generator, language: str, phrases: int) -> tuple[np.ndarray, str, list[Row]]:
    """Two voices in turn: int16 samples, their words, and the turns: start_s, end_s, speaker."""
    speakers = {"Annie": {"accent": "en-us", "pitch": 70}, "pedro": {"accent": "en-gb", "pitch": 35}}
    parts, words, turns = [silence(0.4)], [], []
    for number in range(phrases):
        voice, own = list(speakers.items())[number % len(speakers)]
        one = replace(speech.draw(rng, [voice], language), words_per_minute=150, **own)
        samples, start_s = speech.speak(one), sum(map(len, parts)) / RATE
        turns.append({"start_s": round(start_s, 3), "end_s": round(start_s + len(samples) / RATE, 3), "speaker": voice})
        parts += [samples, silence(rng.uniform(0.3, 0.8))]
        words += one.words
    return np.concatenate(parts), " ".join(words), turns


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), dtype=np.int16)


def encode(channels: Sequence[np.ndarray], path: Path, *options: str) -> None:
    """Write 16 kHz channels through ffmpeg in whatever format `path` and `options` say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = np.stack(channels, axis=1).astype("<i2").tobytes()
    command = ["ffmpeg", "-v", "error", "-y", "-f", "s16le", "-ar", str(RATE), "-ac", str(len(channels)), "-i", "pipe:"]
    subprocess.run([*command, *options, str(path)], input=raw, check=True)


def recordings(folder: Path) -> None:
    """The demo's bucket: formats, names and damages as people have them. References go beside it, not into it."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(2507)
    references: dict[str, Row] = {}

    def add(
        name: str, language: str, *options: str, phrases: int = 2, pauses_s: tuple[float, float] = (0.3, 0.8)
    ) -> np.ndarray:
        samples, text = conversation(rng, language, phrases, pauses_s)
        encode([samples], folder / name, *options)
        references[name] = {"language": language, "reference": text}
        return samples

    add("calls/0001.wav", "en")
    add("calls/0002 telephone.wav", "de", "-ar", "8000", "-c:a", "pcm_mulaw", phrases=3)
    caller, spoken = conversation(rng, "en", 2, (0.3, 0.6))
    encode([caller, np.roll(caller // 3, 400)], folder / "calls/0003 stereo.wav", "-ar", "8000")
    references["calls/0003 stereo.wav"] = {"language": "en", "reference": spoken}
    add("interviews/entrevista número 1.mp3", "es", "-b:a", "64k", phrases=3)
    add("interviews/Gespräch (Köln).m4a", "de", "-c:a", "aac", "-b:a", "64k")
    add("interviews/café à Montréal.ogg", "fr", "-c:a", "libopus", "-b:a", "32k", phrases=3)
    add("interviews/会議.flac", "en", "-ar", "44100")
    add("interviews/podcast.webm", "es", "-c:a", "libopus", "-b:a", "32k")
    add("lectures/cours magistral.mp3", "fr", "-b:a", "48k", phrases=46, pauses_s=(0.3, 4.0))
    add("lectures/studio 96 kHz.flac", "fr", "-ar", "96000", "-sample_fmt", "s32", phrases=1)
    add("lectures/old archive 11 kHz.wav", "es", "-ar", "11025", "-c:a", "pcm_u8")
    samples, text = conversation(rng, "en", 3, (0.3, 0.8))
    encode([samples], folder / "spoken.wav")
    picture = [
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x48:rate=5",
        "-shortest",
        "-c:v",
        "libx264",
        "-crf",
        "40",
        "-c:a",
        "aac",
    ]
    video = folder / "lectures/screen capture.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", folder / "spoken.wav", *picture, video], check=True)
    (folder / "spoken.wav").unlink()
    references["lectures/screen capture.mp4"] = {"language": "en", "reference": text}
    encode([silence(20)], folder / "odd/silence.flac")
    references["odd/silence.flac"] = {"language": None, "reference": ""}

    whole, text = conversation(rng, "de", 4, (0.6, 0.8))
    encode([whole], folder / "odd/truncated.wav")
    kept = (folder / "odd/truncated.wav").read_bytes()
    (folder / "odd/truncated.wav").write_bytes(kept[: len(kept) * 6 // 10])
    references["odd/truncated.wav"] = {"language": "de", "reference": None}
    (folder / "odd/not a recording.mp3").write_text("This is no media file, whatever its name says.\n" * 20)
    (folder / "odd/empty.wav").touch()
    (folder / "odd/notes.txt").write_text("Notes beside the recordings are no recordings.\n")
    references |= {name: {"language": None, "reference": None} for name in ("odd/not a recording.mp3", "odd/empty.wav")}
    samples, text, turns = dialogue(rng, "en", 8)
    encode([samples], folder / "interviews/dialogue.ogg", "-c:a", "libopus", "-b:a", "32k")
    references["interviews/dialogue.ogg"] = {"language": "en", "reference": text, "turns": turns}
    lines = [json.dumps({"path": name} | facts, ensure_ascii=False) for name, facts in sorted(references.items())]
    (HERE / "references.jsonl").write_text("\n".join(lines) + "\n")


def held_out(folder: Path, per_language: int = 20) -> None:
    """Clips of at most 6 s in voices that are not in the training data, as a manifest: path, language, reference."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(96)
    lines = []
    for language in speech.DIGITS:
        made = 0
        while made < per_language:
            samples, text = conversation(rng, language, int(rng.integers(1, 4)), (0.2, 0.8))
            noisy = samples * 10 ** rng.uniform(-1, 0) + rng.standard_normal(len(samples)) * 10 ** rng.uniform(0.5, 2)
            if len(samples) > 5.5 * RATE:
                continue
            name = f"{language}-{made:02d}.ogg"
            encode([np.clip(noisy, -32768, 32767)], folder / name, "-c:a", "libopus", "-b:a", "48k")
            lines.append(json.dumps({"path": name, "language": language, "reference": text}, ensure_ascii=False))
            made += 1
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def main() -> None:
    recordings(HERE / "recordings")
    held_out(HERE / "held_out")


if __name__ == "__main__":
    main()
