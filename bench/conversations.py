"""Conversations with exact turns, joined from clips of single speakers: WAV and RTTM, to measure diarization on.

    python -m bench.conversations shared/data/speech build/conversations --speakers 2,3,4 --count 4 --overlap 0.1

A folder's manifest.jsonl (or the file itself) has the columns `path`, relative to it, and `speaker`; other rows are
left out. The truth is where the pipeline's own voice activity detector hears speech in each clip by itself, so that
errors of detection hardly count. Clips are brought to one level, some are cut short, a long conversation has them
several times, and faint noise lies under everything; each speaker keeps the sound of their own microphone.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.speech import write
from pipeline.audio import media
from pipeline.audio.segment import Segmenter, Window
from pipeline.audio.vad import Detector
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Audio, Segmentation

WINDOW_S = 30.0  # the windows that the job cuts for Voxtral
LEVEL = 1500.0  # root mean square of speech in 16 bits, about -27 dB
NOISE = 8.0
SHORT = 0.3  # share of turns that are cut short,
SHORT_S = (0.8, 2.5)  # to so much
PAUSE_S = (0.1, 1.5)
OVERLAP = (0.3, 0.7)  # of the shorter of two turns, where they overlap
EDGE_S = 0.15  # kept around the speech of a clip


@dataclass(frozen=True)
class Clip:
    """One speaker's: int16 samples at 16 kHz, and the spans of speech in seconds."""

    samples: np.ndarray
    spans: tuple[tuple[float, float], ...]

    def part(self, end_s: float) -> Clip:
        """What is before `end_s`; the end of a span that this cuts through is the end of the samples."""
        spans = tuple((start, min(end, end_s)) for start, end in self.spans if start < end_s - 0.1)
        return Clip(self.samples[: round(min(end_s, spans[-1][1] + EDGE_S) * SAMPLE_RATE_HZ)], spans)


def windows(blocks: Iterable[np.ndarray]) -> list[Window]:
    """As the job cuts them with its defaults."""
    settings = Segmentation(max_window_s=WINDOW_S, max_pause_s=WINDOW_S)
    return list(Segmenter(Detector(), settings).windows(blocks))


def clip(path: Path) -> Clip | None:
    """A file without the silence around its speech, at LEVEL; None where there is no speech in it."""
    samples = np.concatenate([np.empty(0, np.int16), *media.decode(path, Audio())])
    spans = [span for window in windows([samples]) for span in window.spans]
    if not spans:
        return None
    speech = np.concatenate([samples[slice(*(round(at * SAMPLE_RATE_HZ) for at in span))] for span in spans])
    gain = LEVEL / np.sqrt(np.square(speech, dtype=np.float64).mean() + 1e-9)
    start = max(0, round((spans[0][0] - EDGE_S) * SAMPLE_RATE_HZ))
    samples = samples[start : round((spans[-1][1] + EDGE_S) * SAMPLE_RATE_HZ)]
    offset_s = start / SAMPLE_RATE_HZ
    return Clip(
        np.clip(samples * gain, -32768, 32767).astype(np.int16),
        tuple((begin - offset_s, end - offset_s) for begin, end in spans),
    )


def clips(manifest: Path, least: int) -> dict[str, list[Clip]]:
    """The clips of each speaker who has at least so many."""
    manifest = manifest / "manifest.jsonl" if manifest.is_dir() else manifest
    paths: dict[str, list[Path]] = defaultdict(list)
    for row in map(json.loads, manifest.read_text("utf-8").splitlines()):
        if row.get("speaker"):
            paths[row["speaker"]].append(manifest.parent / row["path"])
    chosen = {speaker: sorted(found) for speaker, found in sorted(paths.items()) if len(found) >= least}
    return {speaker: [found for path in each if (found := clip(path))] for speaker, each in chosen.items()}


def conversation(
    voices: dict[str, list[Clip]], seconds: float, overlap: float, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """int16 samples, and who speaks when. Everybody speaks; nobody twice in a row where there are two or more."""
    sound = rng.normal(0.0, NOISE, int((seconds + 60) * SAMPLE_RATE_HZ))
    spoken: list[tuple[float, float, str]] = []
    left = {speaker: [] for speaker in voices}
    waiting, last, end_s, length_s, speech_s, overlapped_s = [], "", 0.5, 0.0, 0.0, 0.0
    while end_s < seconds or waiting:
        waiting = waiting or [str(each) for each in rng.permutation(sorted(voices))]
        speaker = waiting.pop(1 if len(waiting) > 1 and waiting[0] == last else 0)
        if speaker == last and len(voices) > 1:
            continue
        left[speaker] = left[speaker] or [voices[speaker][at] for at in rng.permutation(len(voices[speaker]))]
        turn = left[speaker].pop()
        if rng.random() < SHORT:
            turn = turn.part(turn.spans[0][0] + rng.uniform(*SHORT_S))
        start_s = end_s + rng.uniform(*PAUSE_S)
        mine_s = turn.spans[-1][1]
        if spoken and overlapped_s < overlap * speech_s:
            both_s = rng.uniform(*OVERLAP) * min(length_s, mine_s)
            start_s, overlapped_s = end_s - both_s, overlapped_s + both_s
        first = int(start_s * SAMPLE_RATE_HZ)
        if first + len(turn.samples) > len(sound):
            break
        sound[first : first + len(turn.samples)] += turn.samples
        exact_s = first / SAMPLE_RATE_HZ
        spoken += [(exact_s + begin, exact_s + end, speaker) for begin, end in turn.spans]
        speech_s += sum(end - begin for begin, end in turn.spans)
        last, length_s, end_s = speaker, mine_s, max(end_s, exact_s + mine_s)
    return np.clip(sound[: int((end_s + 1.0) * SAMPLE_RATE_HZ)], -32768, 32767).astype(np.int16), sorted(spoken)


def rttm(name: str, spoken: Sequence[tuple[float, float, str]]) -> str:
    """NIST's lines of who speaks when."""
    return "".join(
        f"SPEAKER {name} 1 {start:.3f} {end - start:.3f} <NA> <NA> {who} <NA> <NA>\n" for start, end, who in spoken
    )


def main() -> None:
    """Read clips, write conversations and their manifest.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="a folder with manifest.jsonl, or such a file")
    parser.add_argument("output", type=Path)
    parser.add_argument("--speakers", default="2,3,4,5,6", help="how many, for each conversation in turn")
    parser.add_argument("--count", type=int, default=2, help="conversations of each number of speakers")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--overlap", type=float, default=0.0, help="share of speech under other speech, 0 to 0.2")
    parser.add_argument("--clips-each", type=int, default=3, help="least clips that a speaker must have")
    parser.add_argument("--part", default="1/1", help="1/2: only the first, third ... speaker, 2/2: only the others")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    part, parts = map(int, given.part.split("/"))
    every = clips(given.clips, given.clips_each)
    voices = dict(list(every.items())[part - 1 :: parts])
    wanted = [int(number) for number in given.speakers.split(",")]
    if not wanted or max(wanted) > len(voices):
        parser.error(f"--speakers {given.speakers}: {len(voices)} speakers have {given.clips_each} clips or more")
    given.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in wanted:
        for at in range(given.count):
            rng = np.random.default_rng([given.seed, number, at])
            chosen = {str(who): voices[str(who)] for who in rng.choice(sorted(voices), number, replace=False)}
            samples, spoken = conversation(chosen, given.minutes * 60, given.overlap, rng)
            name = f"{number}-speakers-{at}-seed-{given.seed}"
            write(given.output / f"{name}.wav", samples)
            (given.output / f"{name}.rttm").write_text(rttm(name, spoken), "utf-8")
            rows.append({"path": f"{name}.wav", "speakers": number, "duration_s": len(samples) / SAMPLE_RATE_HZ})
    manifest = "".join(json.dumps(row) + "\n" for row in rows)
    (given.output / "manifest.jsonl").write_text(manifest, "utf-8")
    print(f"{given.output}: {len(rows)} conversations of {len(voices)} speakers")


if __name__ == "__main__":
    main()
