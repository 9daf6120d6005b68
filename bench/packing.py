"""What packing windows buys: `python -m bench.packing [MINUTES]` (default 10 of each kind of recording).

The same recordings cut in four ways: fixed cuts every window's length, through speech and silence; a window for every
span of speech that the detector hears; and ours, for short models and for released ones. Counted is the audio that an
engine computes, with each window padded to a whole one: its time in encoder and prefill. Fixed cuts lose words at their
edges; docs/quality.md has the word errors of ours.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import speech
from pipeline.audio import media, segment, vad
from pipeline.models.checkpoint import SHORT_MAX_PAUSE_S
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Audio, Segmentation

CHUNKS_S = (6.0, 30.0)  # the demo's, and that of the released models


def fixed(samples: np.ndarray, chunk_s: float) -> list[np.ndarray]:
    """Every chunk_s."""
    return np.split(samples, range(int(chunk_s * SAMPLE_RATE_HZ), len(samples), int(chunk_s * SAMPLE_RATE_HZ)))


def spans(samples: np.ndarray, chunk_s: float) -> list[np.ndarray]:
    """One for each span of speech, with its edges: any pause ends it."""
    return packed(samples, chunk_s, 0.2)


def packed(samples: np.ndarray, chunk_s: float, max_pause_s: float = SHORT_MAX_PAUSE_S) -> list[np.ndarray]:
    """As the job cuts."""
    settings = Segmentation(max_window_s=chunk_s, max_pause_s=max_pause_s)
    found = segment.Segmenter(vad.Detector(), settings).windows([samples])
    return [window.samples for window in found]


def longest(samples: np.ndarray, chunk_s: float) -> list[np.ndarray]:
    """As the job cuts where the model bears any pause."""
    return packed(samples, chunk_s, chunk_s)


WAYS = {
    "fixed cuts": fixed,
    "a window per span of speech": spans,
    "pauses up to 1 s (short models)": packed,
    "packed full (released models)": longest,
}


def main() -> None:
    """Cut, count, and print."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    clips = speech.clips(speech.DEMO / "held_out")
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kinds = {
            "clips with pauses of 0.2 to 3 s": speech.joined(clips, minutes * 60, folder / "joined.wav", seed=1),
            "with silence, noise, music between": speech.mixed(clips, minutes * 60, folder / "mixed.wav", seed=1),
            "speech without pauses": speech.continuous(clips, minutes * 60, folder / "continuous.wav", seed=1),
        }
        for title, recording in kinds.items():
            samples = np.concatenate(list(media.decode(recording.path, Audio())))
            columns = (
                "cut",
                *(f"{chunk_s:g} s: {what}" for chunk_s in CHUNKS_S for what in ("windows", "fill", "computed")),
            )
            table = Table(*columns, title=f"{title}, {len(samples) / SAMPLE_RATE_HZ / 60:.0f} min")
            for name, way in WAYS.items():
                cells = []
                for chunk_s in CHUNKS_S:
                    windows = way(samples, chunk_s)
                    computed = sum(math.ceil(len(w) / SAMPLE_RATE_HZ / chunk_s - 1e-6) * chunk_s for w in windows)
                    held = sum(map(len, windows)) / SAMPLE_RATE_HZ
                    cells += [f"{len(windows)}", f"{held / computed:.0%}", f"{computed:,.0f} s"]
                table.add_row(name, *cells)
            console.print(table)


if __name__ == "__main__":
    main()
