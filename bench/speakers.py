"""How well the pipeline tells who speaks when: diarization error, numbers of speakers, and CPU time.

    python -m bench.speakers build/conversations

For each WAV with an RTTM of the same name in the folder: decoded, cut into windows of speech, embedded window by window
and clustered, as the job does it. DER counts overlapping speech; "collar" leaves out 0.25 s on either side of each
turn's edges. "given" is the DER where the number of speakers is known.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.conversations import windows
from bench.diarization import DiarizationError, Spoken, diarization_error
from pipeline.audio import media
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Audio
from pipeline.speakers.clustering import cluster
from pipeline.speakers.embeddings import Embedder, Voice
from pipeline.speakers.turns import turns

COLLAR_S = 0.25
NOTHING = DiarizationError(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Heard:
    """One recording: its voices and spans of speech on its clock, its length and the CPU time of embedding."""

    voices: list[Voice]
    spans: list[tuple[float, float]]
    duration_s: float
    embedding_s: float

    def turns(self, least: int = 1, most: int | None = None) -> list[Spoken]:
        """Who speaks when."""
        embeddings = np.stack([voice.embedding for voice in self.voices]) if self.voices else np.empty((0, 1))
        labels = cluster(embeddings, least, most)
        times = [(voice.start_s, voice.end_s) for voice in self.voices]
        return [(turn.start_s, turn.end_s, turn.speaker) for turn in turns(times, labels.tolist(), self.spans)]


def hear(path: Path, embedder: Embedder) -> Heard:
    """Decode, find speech, embed."""
    samples = np.concatenate([np.empty(0, np.int16), *media.decode(path, Audio())])
    voices: list[Voice] = []
    spans: list[tuple[float, float]] = []
    cut = windows([samples])
    begin = time.process_time()
    for window in cut:
        offset_s = window.start_s - window.overlap_s
        local = [(start_s - offset_s, end_s - offset_s) for start_s, end_s in window.spans]
        found = embedder(window.samples, local)
        voices += [Voice(each.start_s + offset_s, each.end_s + offset_s, each.embedding) for each in found]
        spans += window.spans
    return Heard(voices, spans, len(samples) / SAMPLE_RATE_HZ, time.process_time() - begin)


def read(path: Path) -> list[Spoken]:
    """The turns of an RTTM file."""
    fields = [line.split() for line in path.read_text("utf-8").splitlines() if line.startswith("SPEAKER")]
    return [(float(each[3]), float(each[3]) + float(each[4]), each[7]) for each in fields]


def speakers(spoken: Sequence[Spoken]) -> int:
    """How many there are."""
    return len({who for _, _, who in spoken})


def main() -> None:
    """A line for each recording, then all together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="another model in ONNX")
    given = parser.parse_args()
    paths = [path for path in sorted(given.folder.glob("*.wav")) if path.with_suffix(".rttm").is_file()]
    if not paths:
        sys.exit(f"no WAV with an RTTM beside it in {given.folder}; bench.conversations makes some")
    embedder = Embedder(given.model)
    plain, collar, known = NOTHING, NOTHING, NOTHING
    right, seconds, embedding_s, cluster_s = 0, 0.0, 0.0, 0.0
    print(f"{'recording':40} speakers found   DER  missed  false  wrong  collar  given")
    for path in paths:
        reference, heard = read(path.with_suffix(".rttm")), hear(path, embedder)
        begin = time.process_time()
        found = heard.turns()
        cluster_s += time.process_time() - begin
        true = speakers(reference)
        error, loose = diarization_error(reference, found), diarization_error(reference, found, COLLAR_S)
        told = diarization_error(reference, heard.turns(true, true))
        plain, collar, known = plain + error, collar + loose, known + told
        right += speakers(found) == true
        seconds, embedding_s = seconds + heard.duration_s, embedding_s + heard.embedding_s
        print(
            f"{path.stem:40} {true:8} {speakers(found):5} {_line(error)} {loose.rate:7.1%} {told.rate:6.1%}", flush=True
        )
    print(f"{'all':40} {right:5} of {len(paths):5} {_line(plain)} {collar.rate:7.1%} {known.rate:6.1%}")
    hours = seconds / 3600
    costs = f"embedding {embedding_s / hours:.0f}, clustering {cluster_s / hours:.1f}"
    print(f"{hours:.2f} h of audio; CPU s per hour: {costs}")


def _line(error: DiarizationError) -> str:
    kinds = (error.missed_s, error.false_alarm_s, error.confusion_s)
    return f"{error.rate:5.1%} " + " ".join(f"{kind / (error.reference_s or 1):6.1%}" for kind in kinds)


if __name__ == "__main__":
    main()
