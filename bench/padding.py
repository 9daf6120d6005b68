"""What short clips would gain if they did not fill a whole chunk with silence each, and what it costs in words.

    [SPEECH_CORPUS=folder WHISPER_MODEL=folder] python -m bench.padding [--longest 9] [--languages en,de,es,fr,pt]

Real clips through Whisper in transformers, greedy, told their language, in four ways: padded to 30 s as the model was
trained and as we compute them; padded to less (the encoder's positions cut off at that length); padded by no more than
a second; and several of one language in a window, with a second of silence between them. Words of the last are counted
over the window as a whole: a text that is taken apart again can only have more errors.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig, GenerationMixin

from bench import speech
from bench.quality import WORDS
from pipeline.models.demand import max_tokens
from pipeline.models.families.whisper import CHUNK_S, Whisper
from pipeline.models.padding import padded
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine

POSITIONS_PER_S = 50  # of Whisper's encoder
PAUSE_S, LONGEST_S = 1.0, 28.0  # of windows that several clips share
AFTER_S = 1.0  # silence after a clip that is padded by no more

Clips = Sequence[speech.Clip]
Length = Callable[[float], float]


@dataclass(frozen=True)
class Way:
    """How clips become windows: those that share one, and the seconds that a window of a length is padded to."""

    windows: Callable[[Clips], Iterator[speech.Clip]]
    length: Length


class Reader:
    """A Whisper checkpoint whose encoder takes less than 30 s, too."""

    def __init__(self, model: str) -> None:
        self._model: Any = transformers.WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
        # Its own would suppress tokens: the runtimes' do not.
        self._model.generation_config = GenerationConfig(
            eos_token_id=(own := self._model.config).eos_token_id,
            pad_token_id=own.eos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
        )
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        self._features = transformers.AutoFeatureExtractor.from_pretrained(model)
        self._prompts = Whisper(self._tokenizer)
        self._positions = self._model.get_encoder().embed_positions.weight.clone()

    @torch.inference_mode()
    def text(self, clip: speech.Clip, length_s: float) -> str:
        """What is said, with the clip padded to that many seconds."""
        audio = padded(clip.samples, length_s)
        count = int(length_s * POSITIONS_PER_S)
        self._model.config.max_source_positions = count
        self._model.get_encoder().embed_positions = torch.nn.Embedding.from_pretrained(self._positions[:count])
        mel = self._features(audio, sampling_rate=SAMPLE_RATE_HZ, padding=False, truncation=False, return_tensors="pt")
        ids = torch.tensor([self._prompts.transcription(audio, clip.language)])
        most = max_tokens(len(clip.samples) / SAMPLE_RATE_HZ, Engine().max_tokens_per_s)
        said = GenerationMixin.generate(  # pyright: ignore[reportAttributeAccessIssue]  # Whisper's own takes 30 s alone
            self._model,
            input_features=mel["input_features"][..., : 2 * count],
            decoder_input_ids=ids,
            generation_config=GenerationConfig(max_new_tokens=most, do_sample=False),
        )
        return self._tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True).strip()


def alone(clips: Clips) -> Iterator[speech.Clip]:
    """A window for each clip."""
    yield from clips


def shared(clips: Clips) -> Iterator[speech.Clip]:
    """Windows of as many clips as fit, one after the other."""
    held, length, pause = list[speech.Clip](), 0, np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ), np.int16)

    def together() -> speech.Clip:
        samples = np.concatenate([part for clip in held for part in (clip.samples, pause)][:-1])
        return speech.Clip(samples, " ".join(clip.reference for clip in held), held[0].language)

    for clip in clips:
        if held and length + len(clip.samples) > LONGEST_S * SAMPLE_RATE_HZ:
            yield together()
            held, length = [], 0
        held.append(clip)
        length += len(clip.samples) + len(pause)
    if held:
        yield together()


WAYS = {
    "30 s": Way(alone, lambda _: CHUNK_S),
    "25 s": Way(alone, lambda _: 25.0),
    "20 s": Way(alone, lambda _: 20.0),
    "15 s": Way(alone, lambda _: 15.0),
    "10 s": Way(alone, lambda _: 10.0),
    "its own length": Way(alone, lambda seconds: -(-(seconds + AFTER_S) // 0.1) * 0.1),
    "several, 30 s": Way(shared, lambda _: CHUNK_S),
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--longest", type=float, default=9.0, help="seconds of the longest clip that is taken")
    parser.add_argument("--languages", default="en,de,es,fr,pt")
    wanted = parser.parse_args()
    if missing := speech.missing():
        sys.exit(f"bench.padding: {missing}")
    languages = wanted.languages.split(",")
    clips = [
        clip
        for clip in speech.clips(speech.REAL)
        if clip.language in languages and len(clip.samples) <= wanted.longest * SAMPLE_RATE_HZ
    ]
    reader = Reader(speech.WHISPER)
    table = Table("padded to", "WER", *languages, "CPU s", title=f"{Path(speech.WHISPER).name}, {len(clips)} clips")
    for name, way in WAYS.items():
        rates, began = list[float](), time.process_time()
        for language in languages:
            windows = list(way.windows([clip for clip in clips if clip.language == language]))
            texts = [reader.text(one, way.length(len(one.samples) / SAMPLE_RATE_HZ)) for one in windows]
            rates.append(jiwer.wer([one.reference for one in windows], texts, WORDS, WORDS))
        mean = sum(rates) / len(rates)
        cells = [f"{mean:.1%}", *(f"{rate:.1%}" for rate in rates), f"{time.process_time() - began:.0f}"]
        table.add_row(name, *cells)
        print(name, *cells, file=sys.stderr, flush=True)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
