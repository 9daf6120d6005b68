"""Word errors, speed and memory of those that one would use instead, with the same weights on real speech.

    pip install --no-deps --target build/peers faster-whisper==1.2.1 ctranslate2==4.8.5  # for its contenders
    [SPEECH_CORPUS=folder WHISPER_MODEL=folder] python -m bench.peers [--seconds 300] [--languages en,de,es,fr,pt]

For each language one recording of real clips, with 0.2 to 3 s of faint noise between them. All are told the language,
and compute in float32 on all CPUs. Each contender is a process of its own, in turn:

ours              jobs.transcribe with its defaults: files in, Parquet out
ours, 5 beams     the same in transformers, with --engine.beams 5
faster-whisper    its sequential mode with voice activity detection, and its batched one; each with its default beam of
                  five, and greedy
server            vLLM's server, which gets each recording as a whole and cuts it itself
server, 30 s      the same, and a client that cuts at 30 s
ray.llm, 30 s     ray.data.llm's processor over the same pieces

Speed is the recordings' length by the seconds from the model's readiness to the last text; ray.llm does not tell when
it is ready, so its start is in them. Memory is the highest sum over the contender's processes, pages that several share
counted once (PSS).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from bench import contenders, speech
from bench.harness import fitted, in_own_process
from bench.quality import WORDS
from pipeline import planning, run
from pipeline.ledger import parts
from pipeline.log import Log
from pipeline.models.families.whisper import Whisper
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Language, Settings

PACKAGES = Path("build/peers")  # faster-whisper, which is no part of the product
LOOK_EVERY_S = 1.0
CUT_S = 30
MOST_TOKENS = 440  # that Whisper's decoder has room for beside its prompt


@dataclass(frozen=True)
class Heard:
    """What a contender wrote of each language's recording, the seconds from its readiness to its end, and those
    before: None where it does not tell them apart."""

    texts: dict[str, str]
    seconds: float
    start_s: float | None


Contender = Callable[[Path, Sequence[str]], Heard]


def settings_for(folder: Path, languages: Sequence[str], **more: Any) -> Settings:
    """The job's, for a folder that has a recording of each language; `more` of its engine."""
    engine = Engine(model=speech.WHISPER, device="cpu", max_num_seqs=16, **more)
    expected = Language.model_validate({"expected": list(languages)})
    return fitted(engine, expected, str(folder), str(folder.parent / f"out-{time.time_ns()}"))


def ours(folder: Path, languages: Sequence[str], **engine: Any) -> Heard:
    """A manifest names each recording's language."""
    manifest = folder.parent / f"manifest-{time.time_ns()}.jsonl"
    rows = [{"uri": str(folder / f"{one}.wav"), "language": one} for one in languages]
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    settings = settings_for(folder, languages, **engine).model_copy(update={"input": str(manifest)})
    began = time.monotonic()
    report = run.execute(planning.plan(settings), Log())
    whole = time.monotonic() - began
    tables = [parts.read_part(settings.output, name, ["uri", "text"]) for name in report["transcripts"]]
    texts = {Path(row["uri"]).stem: row["text"] or "" for row in pa.concat_tables(tables).to_pylist()}
    return Heard(texts, report["engine_s"], whole - report["engine_s"])


def faster_whisper(folder: Path, languages: Sequence[str], batched: bool, beam: int) -> Heard:
    """Its own defaults but for what is named."""
    sys.path.append(str(PACKAGES.resolve()))
    weights = _converted(folder.parent / "ctranslate2")
    began = time.monotonic()
    library = importlib.import_module("faster_whisper")
    model = library.WhisperModel(weights, device="cpu", compute_type="float32", cpu_threads=os.cpu_count())
    asking = library.BatchedInferencePipeline(model) if batched else model
    more = {"batch_size": 16} if batched else {"vad_filter": True}
    ready = time.monotonic()
    texts = dict[str, str]()
    for language in languages:
        found, _ = asking.transcribe(str(folder / f"{language}.wav"), language=language, beam_size=beam, **more)
        texts[language] = " ".join(segment.text.strip() for segment in found)
    return Heard(texts, time.monotonic() - ready, ready - began)


def server(folder: Path, languages: Sequence[str], cut: bool) -> Heard:
    """All requests at once."""
    import aiohttp

    settings, began = settings_for(folder, languages), time.monotonic()
    pieces = [(language, contenders.wav(samples)) for language, samples in _pieces(folder, languages, cut)]

    async def all_of_them(address: str) -> list[str]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:

            async def one(language: str, file: bytes) -> str:
                form = aiohttp.FormData({"model": settings.engine.model, "temperature": "0", "language": language})
                form.add_field("file", file, filename="piece.wav")
                async with session.post(f"{address}/v1/audio/transcriptions", data=form) as answer:
                    answer.raise_for_status()
                    return (await answer.json())["text"]

            return await asyncio.gather(*(one(*piece) for piece in pieces))

    with contenders.served(settings) as address:
        ready = time.monotonic()
        said = asyncio.run(all_of_them(address))
    return Heard(_joined([one for one, _ in pieces], said), time.monotonic() - ready, ready - began)


def ray_llm(folder: Path, languages: Sequence[str]) -> Heard:
    """Prompts are tokens already."""
    from transformers import AutoTokenizer

    settings, began = settings_for(folder, languages), time.monotonic()
    prompts = Whisper(AutoTokenizer.from_pretrained(settings.engine.model))
    ids = {language: prompts.transcription(np.zeros(1), language) for language in languages}
    pieces = _pieces(folder, languages, cut=True)
    rows = [
        {"samples": samples.tobytes(), "language": language, "at": at} for at, (language, samples) in enumerate(pieces)
    ]

    def request(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "tokenized_prompt": ids[row["language"]],
            "multimodal_data": {"audio": np.frombuffer(row["samples"], dtype="<i2") / np.float32(32768.0)},
            "sampling_params": {"temperature": 0.0, "max_tokens": MOST_TOKENS},
        }

    batches = contenders.processed(settings, pa.Table.from_pylist(rows), request)
    found = [row for batch in batches for row in batch]
    seconds = time.monotonic() - began
    found.sort(key=lambda row: row["at"])
    texts = _joined([row["language"] for row in found], [row["generated_text"] for row in found])
    return Heard(texts, seconds, None)


def _pieces(folder: Path, languages: Sequence[str], cut: bool) -> list[tuple[str, np.ndarray]]:
    """Each recording as a whole, or its pieces of 30 s."""
    found = list[tuple[str, np.ndarray]]()
    for language in languages:
        with wave.open(str(folder / f"{language}.wav")) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        step = CUT_S * SAMPLE_RATE_HZ if cut else len(samples)
        found += [(language, samples[at : at + step]) for at in range(0, len(samples), step)]
    return found


def _joined(languages: Sequence[str], texts: Sequence[str]) -> dict[str, str]:
    pairs = list(zip(languages, texts, strict=True))
    return {one: " ".join(text.strip() for language, text in pairs if language == one) for one in languages}


CONTENDERS: dict[str, Contender] = {
    "ours": ours,
    "ours, 5 beams": partial(ours, runtime="transformers", beams=5),
    "faster-whisper": partial(faster_whisper, batched=False, beam=5),
    "faster-whisper, greedy": partial(faster_whisper, batched=False, beam=1),
    "faster-whisper, batched": partial(faster_whisper, batched=True, beam=5),
    "faster-whisper, batched, greedy": partial(faster_whisper, batched=True, beam=1),
    "server": partial(server, cut=False),
    "server, 30 s": partial(server, cut=True),
    "ray.llm, 30 s": ray_llm,
}


def _converted(folder: Path) -> str:
    """The checkpoint in faster-whisper's format, with the same weights; made once."""
    if not folder.exists():
        converters = importlib.import_module("ctranslate2.converters")
        files = ["tokenizer.json", "preprocessor_config.json"]
        converters.TransformersConverter(speech.WHISPER, copy_files=files).convert(str(folder), quantization="float32")
    return str(folder)


def measure(name: str, folder: Path, languages: Sequence[str]) -> tuple[Heard, float]:
    """A contender in a process of its own, and the peak of its memory in bytes."""
    peak, over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(LOOK_EVERY_S):
            peak = max(peak, _bytes())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        return in_own_process(CONTENDERS[name], folder, languages), peak
    finally:
        over.set()
        watching.join()


def _bytes() -> int:
    """Of all that descends from this process."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="length of each recording")
    parser.add_argument("--languages", default="en,de,es,fr,pt")
    parser.add_argument("--only", default=";".join(CONTENDERS), help="contenders, with ; between them")
    wanted = parser.parse_args()
    if missing := speech.missing():
        sys.exit(f"bench.peers: {missing}")
    languages = wanted.languages.split(",")
    clips = speech.clips(speech.REAL)
    title = f"{Path(speech.WHISPER).name}, float32, {os.cpu_count()} cores"
    table = Table("", "WER", *languages, "x real time", "seconds", "start, s", "MB", title=title)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "recordings")
        folder.mkdir()
        references, length_s = dict[str, str](), 0.0
        for language in languages:
            own = [clip for clip in clips if clip.language == language]
            recording = speech.joined(own, wanted.seconds, folder / f"{language}.wav", seed=1)
            references[language], length_s = recording.reference, length_s + recording.clips[-1][2]
        for name in wanted.only.split(";"):
            try:
                heard, peak = measure(name, folder, languages)
            except Exception as error:  # the others go on
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                table.add_row(name, "failed")
                continue
            rates = [jiwer.wer(references[one], heard.texts[one], WORDS, WORDS) for one in languages]
            cells = [f"{sum(rates) / len(rates):.1%}", *(f"{rate:.1%}" for rate in rates)]
            cells += [f"{length_s / heard.seconds:.1f}", f"{heard.seconds:.0f}"]
            cells += ["" if heard.start_s is None else f"{heard.start_s:.0f}", f"{peak / 1e6:,.0f}"]
            table.add_row(name, *cells)
            print(name, *cells, file=sys.stderr, flush=True)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
