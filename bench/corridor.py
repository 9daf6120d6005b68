"""The whole job beside bare vLLM and beside what else one would use, on the same windows with the same settings.

    python -m bench.corridor [--minutes 60] [--repeats 2] [--only bare,job]

bare     `vllm.LLM.generate` over the windows, decoded beforehand
engine   our engine on the same windows, without Ray
job      jobs.transcribe without the question for the language: files in; decoding, finding speech, Ray, Parquet out
asking   jobs.transcribe as it is by default: each window is asked for its language, too
ray.llm  ray.data.llm's vLLM processor over the windows
server   vLLM's server, and an asynchronous client with as many requests open as the engine takes

Each runs in a process of its own, in turn, so often; speed is audio seconds of windows per second between the first
and the last tenth of them, and start-up is apart. All with the demo's checkpoint on a CPU of its own, as an engine has
a GPU of its own elsewhere: what a contender does beside it happens on the others.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from bench import speech
from pipeline import planning, run
from pipeline.audio.prepare import prepare as prepared
from pipeline.flow.actors import EngineActor
from pipeline.log import Log
from pipeline.models.checkpoint import fit, inspect
from pipeline.models.families.voxtral import Voxtral
from pipeline.models.protocol import Utterance
from pipeline.models.runtimes.vllm import VllmEngine, arguments, max_tokens
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Language, Settings
from pipeline.sources import listing

MINUTES_EACH = 10.0
BARE = "bare"
NOTES = "BENCH_NOTES"

Times = list[float]  # when each window was done, by a clock that only goes forward


def settings_for(folder: Path, *witnesses: str) -> Settings:
    """The job's, with the witnesses of the language named."""
    engine = Engine(model=str(speech.DEMO / "model"), device="cpu")
    language = Language.model_validate({"expected": ["en", "es", "fr", "de"], "witnesses": witnesses})
    settings = Settings(
        input=str(folder / "recordings"), output=str(folder / f"out-{time.time_ns()}"), engine=engine, language=language
    )
    return fit(settings, inspect(engine))


def windows_of(folder: Path) -> list[np.ndarray]:
    """int16 samples of every window."""
    rows = pq.read_table(folder / "windows.parquet", columns=["samples"]).to_pylist()
    return [np.frombuffer(row["samples"], dtype="<i2") for row in rows]


def limit(samples: np.ndarray) -> int:
    """Tokens that a window may have, as ours."""
    return max_tokens(len(samples) / SAMPLE_RATE_HZ, Engine().max_tokens_per_s)


def bare(folder: Path) -> Times:
    """LLM.generate, all windows in one call."""
    import vllm

    settings = settings_for(folder, "text")
    # Its statistics say when each window was done: `generate` hands them over together.
    given = arguments(settings, inspect(settings.engine))
    given["disable_log_stats"] = False
    llm = vllm.LLM(**given)
    family = Voxtral(llm.get_tokenizer(), settings.language.expected)
    prompts, params = [], []
    for at, samples in enumerate(windows_of(folder)):
        audio = family.padded(samples)
        prompts.append(family.prompt(family.transcription(audio, None), audio, at))
        params.append(vllm.SamplingParams(temperature=0.0, max_tokens=limit(samples)))
    try:
        answers = llm.generate(prompts, params, use_tqdm=False)
    finally:
        llm.llm_engine.engine_core.shutdown()
    return [answer.metrics.last_token_ts for answer in answers if answer.metrics]  # pyright: ignore[reportAttributeAccessIssue]


def engine(folder: Path) -> Times:
    """VllmEngine, with twice its batch of windows inside."""
    settings = settings_for(folder, "text")

    async def all_of_them() -> Times:
        ours, times = VllmEngine(settings, inspect(settings.engine)), Times()
        room = asyncio.Semaphore(2 * settings.engine.max_num_seqs)

        async def one(samples: np.ndarray) -> None:
            async with room:
                await ours.transcribe(Utterance(samples))
            times.append(time.monotonic())

        try:
            await asyncio.gather(*map(one, windows_of(folder)))
        finally:
            ours.shutdown()
        return times

    return asyncio.run(all_of_them())


class _Timed(EngineActor):
    """Notes when windows were done: rows leave the stream in larger pieces."""

    async def _compute(self, windows: pa.Table, names: Sequence[str]) -> pa.Table:
        done = await super()._compute(windows, names)
        with Path(os.environ[NOTES]).open("a") as notes:
            notes.writelines(f"{time.monotonic()}\n" for _ in range(len(windows)))
        return done


def job(folder: Path, *witnesses: str) -> Times:
    """The whole job."""
    notes = folder / f"notes-{time.time_ns()}"
    os.environ[NOTES] = str(notes)  # the cluster that it starts inherits it
    with patch("pipeline.flow.stream.EngineActor", _Timed):
        report = run.execute(planning.plan(settings_for(folder, *(witnesses or ["text"]))), Log())
    assert not report["numbers"]["failed"], report["numbers"]
    return [float(line) for line in notes.read_text().split()]


def asking(folder: Path) -> Times:
    """The job with the question that the demo's model was taught."""
    return job(folder, "score", "text")


def ray_llm(folder: Path) -> Times:
    """ray.data.llm with prompts that are tokens already, as it has no template for Voxtral's transcription."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    settings = settings_for(folder, "text")
    given = arguments(settings, inspect(settings.engine))
    model = given.pop("model")
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    class _Tokenizer:
        mistral = MistralTokenizer.from_file(str(Path(model, "tekken.json")))

    family = Voxtral(_Tokenizer(), settings.language.expected)
    length = len(family.padded(np.zeros(1, dtype=np.int16)))
    ids, chunk = family.transcription(np.zeros(length, dtype=np.float32), None), length

    def request(row: dict[str, Any]) -> dict[str, Any]:
        samples = np.frombuffer(row["samples"], dtype="<i2")
        audio = np.zeros(chunk, dtype=np.float32)
        audio[: len(samples)] = samples / np.float32(32768.0)
        return {
            "tokenized_prompt": ids,
            "multimodal_data": {"audio": audio},
            "sampling_params": {"temperature": 0.0, "max_tokens": limit(samples)},
        }

    off = {"enabled": False}
    config = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs={name: value for name, value in given.items() if value is not None},
        batch_size=settings.engine.max_num_seqs // 4,
        max_concurrent_batches=8,
        concurrency=1,
        log_engine_metrics=False,
        accelerator_type=None,
        placement_group_config={"bundles": [{"CPU": 1}]},
        prepare_multimodal_stage=off,
        chat_template_stage=off,
        tokenize_stage=off,
        detokenize_stage=off,
    )
    ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    processor = build_processor(config, preprocess=request, postprocess=lambda row: {"text": row["generated_text"]})
    windows = ray.data.from_arrow(pq.read_table(folder / "windows.parquet", columns=["samples"])).repartition(64)
    times: Times = []
    for batch in processor(windows).iter_batches(batch_size=None):
        times += [time.monotonic()] * len(batch["text"])
    ray.shutdown()
    return times


def server(folder: Path) -> Times:
    """The transcriptions endpoint."""
    settings = settings_for(folder, "text")
    given, flags = arguments(settings, inspect(settings.engine)), []
    for name, value in given.items():
        if isinstance(value, bool):
            flags.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        elif name == "limit_mm_per_prompt":
            flags += ["--limit-mm-per-prompt", '{"audio": 1}']
        elif value is not None:
            flags += [f"--{name.replace('_', '-')}", str(value)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port), *flags]
    with _quiet(command) as process:
        return asyncio.run(_ask(f"http://127.0.0.1:{port}", settings, windows_of(folder), process))


@contextmanager
def _quiet(command: list[str]) -> Generator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            yield process
        finally:
            process.terminate()


async def _ask(
    address: str, settings: Settings, windows: Sequence[np.ndarray], process: subprocess.Popen[bytes]
) -> Times:
    import aiohttp

    times: Times = []
    room = asyncio.Semaphore(2 * settings.engine.max_num_seqs)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        while True:  # until it answers
            assert process.poll() is None, "the server did not start"
            try:
                async with session.get(f"{address}/health"):
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.5)

        async def one(samples: np.ndarray) -> None:
            form = aiohttp.FormData({"model": settings.engine.model, "temperature": "0"})
            form.add_field("file", _wav(samples), filename="window.wav")
            async with room, session.post(f"{address}/v1/audio/transcriptions", data=form) as answer:
                answer.raise_for_status()
                await answer.json()
            times.append(time.monotonic())

        await asyncio.gather(*map(one, windows))
    return times


def _wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    speech.write(buffer, samples)
    return buffer.getvalue()


CONTENDERS: dict[str, Callable[[Path], Times]] = {
    BARE: bare,
    "engine": engine,
    "job": job,
    "asking": asking,
    "ray.llm": ray_llm,
    "server": server,
}


def measure(name: str, folder: Path) -> tuple[float, float, int]:
    """Windows per second in the steady state, seconds from the start of the process to the first, and how many."""
    started = time.monotonic()
    times = sorted(CONTENDERS[name](folder))
    low, high = len(times) // 10, len(times) * 9 // 10
    return (high - low) / (times[high] - times[low]), times[0] - started, len(times)


def prepare(folder: Path, minutes: float) -> float:
    """Write the recordings and their windows; mean seconds of a window."""
    (folder / "recordings").mkdir()
    clips = speech.clips(speech.DEMO / "held_out")
    for at in range(math.ceil(minutes / MINUTES_EACH)):
        speech.joined(clips, MINUTES_EACH * 60, folder / f"recordings/{at:03d}.wav", seed=at)
    settings = settings_for(folder, "text")
    found = listing.read(settings.input, settings.output).recordings
    windows = pa.concat_tables(list(prepared(found, settings)))
    pq.write_table(windows, folder / "windows.parquet")
    return sum(map(len, windows_of(folder))) / len(windows) / SAMPLE_RATE_HZ


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of recordings")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, bare among them")
    wanted = parser.parse_args()
    names = wanted.only.split(",")
    console = Console(width=110)
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = str(min(os.sched_getaffinity(0)))
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # all alike
    speeds: dict[str, list[float]] = {name: [] for name in names}
    starts: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        window_s, counts = prepare(folder, wanted.minutes), set[int]()
        for _ in range(wanted.repeats):
            for name in names:
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    try:
                        speed, starts[name], count = pool.submit(measure, name, folder).result()
                    except Exception as error:  # the others go on
                        print(f"{name}: {error}", file=sys.stderr, flush=True)
                        continue
                speeds[name].append(speed * window_s)
                counts.add(count)
                print(f"{name}: {speed * window_s:.1f} x real time", file=sys.stderr, flush=True)
        assert len(counts) == 1, f"not the same windows: {counts}"
    columns = "", "audio s per s", "to bare", "first window, s", "each try"
    table = Table(*columns, title=f"{counts.pop()} windows of {window_s:.1f} s on average, demo checkpoint")
    reference = float(np.median(speeds[BARE]))
    for name, values in speeds.items():
        if not values:
            table.add_row(name, "failed")
            continue
        middle = float(np.median(values))
        tries = ", ".join(f"{value:.1f}" for value in values)
        table.add_row(name, f"{middle:.1f}", f"{middle / reference:.2f}", f"{starts[name]:.0f}", tries)
    console.print(table)
    console.print(f"{os.cpu_count()} cores", highlight=False)


if __name__ == "__main__":
    from bench import corridor  # noqa: PLW0406  # so that Ray's workers find what is defined here

    corridor.main()
