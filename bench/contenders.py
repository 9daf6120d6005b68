"""The contenders of bench.corridor: each transcribes the same windows, and says when each window was done."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import speech
from bench.harness import demo_language, fitted
from pipeline import planning, run
from pipeline.flow.actors import EngineActor
from pipeline.log import Log
from pipeline.models.checkpoint import inspect
from pipeline.models.demand import max_tokens, of_windows
from pipeline.models.families.voxtral import Voxtral
from pipeline.models.protocol import Request
from pipeline.models.runtimes import vllm_cpu
from pipeline.models.runtimes.vllm import VllmModel, arguments
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Settings

BARE = "bare"
NOTES = "BENCH_NOTES"

Times = list[float]  # when each window was done, by a clock that only goes forward


def settings_for(folder: Path, *methods: str) -> Settings:
    """The job's, with these methods of finding the language."""
    engine = Engine(model=str(speech.DEMO / "model"), device="cpu")
    recordings, output = folder / "recordings", folder / f"out-{time.time_ns()}"
    return fitted(engine, demo_language(*methods), str(recordings), str(output))


def windows_of(folder: Path) -> list[np.ndarray]:
    """int16 samples of every window."""
    rows = pq.read_table(folder / "windows.parquet", columns=["samples"]).to_pylist()
    return [np.frombuffer(row["samples"], dtype="<i2") for row in rows]


def limit(samples: np.ndarray) -> int:
    """Tokens that a window may have, as ours."""
    return max_tokens(len(samples) / SAMPLE_RATE_HZ, Engine().max_tokens_per_s)


def bare(folder: Path) -> Times:
    """LLM.generate, all windows in one call."""
    settings = settings_for(folder, "text")
    checkpoint = inspect(settings.engine)
    # Its statistics say when each window was done: `generate` hands them over together.
    given = arguments(settings, checkpoint, of_windows(settings, checkpoint))
    given["disable_log_stats"] = False
    with vllm_cpu.environment(given):
        import vllm

        llm = vllm.LLM(**given)
    prompts = Voxtral(llm.get_tokenizer())
    requests, params = [], []
    for at, samples in enumerate(windows_of(folder)):
        audio = prompts.padded(samples)
        requests.append(prompts.prompt(prompts.transcription(audio, None), audio, at))
        params.append(vllm.SamplingParams(temperature=0.0, max_tokens=limit(samples)))
    try:
        answers = llm.generate(requests, params, use_tqdm=False)
    finally:
        llm.llm_engine.engine_core.shutdown()
    return [answer.metrics.last_token_ts for answer in answers if answer.metrics]  # pyright: ignore[reportAttributeAccessIssue]


def engine(folder: Path) -> Times:
    """VllmModel, with twice its batch of windows inside."""
    settings = settings_for(folder, "text")

    async def all_of_them() -> Times:
        found = inspect(settings.engine)
        model, times = VllmModel(settings, found, of_windows(settings, found)), Times()
        room = asyncio.Semaphore(2 * settings.engine.max_num_seqs)

        async def one(samples: np.ndarray) -> None:
            async with room:
                await model.transcribe(Request(samples))
            times.append(time.monotonic())

        try:
            await asyncio.gather(*map(one, windows_of(folder)))
        finally:
            model.shutdown()
        return times

    return asyncio.run(all_of_them())


class _Timed(EngineActor):
    """Notes when windows were done: rows leave the stream in larger pieces."""

    async def _compute(self, windows: pa.Table, names: Sequence[str]) -> pa.Table:
        done = await super()._compute(windows, names)
        with Path(os.environ[NOTES]).open("a") as notes:
            notes.writelines(f"{time.monotonic()}\n" for _ in range(len(windows)))
        return done


def job(folder: Path, *methods: str) -> Times:
    """The whole job."""
    return _timed(settings_for(folder, *(methods or ["text"])))


def _timed(settings: Settings) -> Times:
    notes = Path(settings.input).parent / f"notes-{time.time_ns()}"
    os.environ[NOTES] = str(notes)  # the cluster that it starts inherits it
    with patch("pipeline.flow.stream.EngineActor", _Timed):
        report = run.execute(planning.plan(settings), Log())
    assert not report["numbers"]["failed"], report["numbers"]
    return [float(line) for line in notes.read_text().split()]


def asking(folder: Path) -> Times:
    """The job with the question that the demo's model was taught."""
    return job(folder, "score", "text")


def ray_llm(folder: Path) -> Times:
    """ray.data.llm with prompts that are tokens already, as it has no template for Voxtral's transcription."""
    settings = settings_for(folder, "text")
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    class _Tokenizer:
        mistral = MistralTokenizer.from_file(str(Path(settings.engine.model, "tekken.json")))

    prompts = Voxtral(_Tokenizer())
    length = len(prompts.padded(np.zeros(1, dtype=np.int16)))
    ids, chunk = prompts.transcription(np.zeros(length, dtype=np.float32), None), length

    def request(row: dict[str, Any]) -> dict[str, Any]:
        samples = np.frombuffer(row["samples"], dtype="<i2")
        audio = np.zeros(chunk, dtype=np.float32)
        audio[: len(samples)] = samples / np.float32(32768.0)
        return {
            "tokenized_prompt": ids,
            "multimodal_data": {"audio": audio},
            "sampling_params": {"temperature": 0.0, "max_tokens": limit(samples)},
        }

    windows = pq.read_table(folder / "windows.parquet", columns=["samples"])
    times: Times = []
    for batch in processed(settings, windows, request):
        times += [time.monotonic()] * len(batch)
    return times


def processed(
    settings: Settings, windows: pa.Table, request: Callable[[dict[str, Any]], dict[str, Any]]
) -> Generator[list[dict[str, Any]]]:
    """What ray.data.llm's processor makes of windows, in batches as they come: their columns, and `generated_text`.
    `request` makes a row into prompt tokens, audio and sampling parameters."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    checkpoint = inspect(settings.engine)
    given = arguments(settings, checkpoint, of_windows(settings, checkpoint))
    off = {"enabled": False}
    config = vLLMEngineProcessorConfig(
        model_source=checkpoint.model,
        engine_kwargs={name: value for name, value in given.items() if name != "model" and value is not None},
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
    with vllm_cpu.environment(given):
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        kept = [name for name in windows.column_names if name != "samples"]
        processor = build_processor(
            config,
            preprocess=request,
            postprocess=lambda row: {name: row[name] for name in ("generated_text", *kept)},
        )
        batches = processor(ray.data.from_arrow(windows).repartition(64)).iter_batches(
            batch_size=None, batch_format="pyarrow"
        )
        for batch in batches:
            yield batch.to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
        ray.shutdown()


def server(folder: Path) -> Times:
    """A plain asynchronous client of the transcriptions endpoint."""
    settings = settings_for(folder, "text")
    with served(settings) as address:
        return asyncio.run(_ask(address, settings, windows_of(folder)))


def serving(folder: Path) -> Times:
    """The whole job, on the same server."""
    own = settings_for(folder, "text")
    with served(own) as address:
        engine = Engine(model=own.engine.model, server=(f"{address}/v1",), max_num_seqs=_at_once(own))
        return _timed(own.model_copy(update={"engine": engine}))


def _at_once(settings: Settings) -> int:
    """Requests that are open: twice what the server's engine computes."""
    return 2 * settings.engine.max_num_seqs


@contextmanager
def served(settings: Settings) -> Generator[str]:
    """vLLM's server with the arguments of our engine; its address."""
    checkpoint, flags = inspect(settings.engine), list[str]()
    given = arguments(settings, checkpoint, of_windows(settings, checkpoint))
    for name, value in given.items():
        if isinstance(value, bool):
            flags.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        elif value is not None:
            flags += [f"--{name.replace('_', '-')}", json.dumps(value) if isinstance(value, dict) else str(value)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", port, *flags]
    with vllm_cpu.environment(given), _quiet(command) as process:
        while not _answers(f"{address}/health"):
            assert process.poll() is None, "the server did not start"
            time.sleep(0.5)
        yield address


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.HTTPError:
        return False


@contextmanager
def _quiet(command: list[str]) -> Generator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            yield process
        finally:
            process.terminate()


async def _ask(address: str, settings: Settings, windows: Sequence[np.ndarray]) -> Times:
    import aiohttp

    times: Times = []
    room = asyncio.Semaphore(_at_once(settings))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(samples: np.ndarray) -> None:
            form = aiohttp.FormData({"model": settings.engine.model, "temperature": "0"})
            form.add_field("file", wav(samples), filename="window.wav")
            async with room, session.post(f"{address}/v1/audio/transcriptions", data=form) as answer:
                answer.raise_for_status()
                await answer.json()
            times.append(time.monotonic())

        await asyncio.gather(*map(one, windows))
    return times


def wav(samples: np.ndarray) -> bytes:
    """int16 samples as a file."""
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
    "serving": serving,
}
