from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import counting
from pipeline.models import checkpoint, demand
from pipeline.models.protocol import DeadModelError, Request, RequestError
from pipeline.models.runtimes.vllm import CPU_BLOCK_SIZE, VllmModel
from pipeline.settings import Engine, Language, Settings
from tests.conftest import DEMO


@pytest.mark.slow
def test_a_question_computes_no_audio_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where more windows wait than the engine takes, nor where a step has no room for all of one."""
    monkeypatch.setenv(counting.COUNTS, str(tmp_path / "counts"))
    settings = checkpoint.fit(
        Settings(
            input="in",
            output="out",
            engine=Engine(model=str(DEMO / "model"), device="cpu", max_num_seqs=16),
            language=Language.model_validate({"expected": ["en", "de"], "methods": ["score"]}),
        ),
        found := checkpoint.inspect(Engine(model=str(DEMO / "model"))),
    )
    rng = np.random.default_rng(0)
    windows = [Request(rng.integers(-3000, 3000, 96_000, dtype=np.int16)) for _ in range(100)]

    async def ask() -> None:
        own = {"scheduler_cls": counting.SCHEDULER, "max_num_batched_tokens": 512}
        model = VllmModel(settings, found, demand.of_windows(settings, found), **own)
        score = model.language_scorer(settings.language.expected, settings.language.methods)
        try:
            await asyncio.gather(*(x for one in windows for x in (model.transcribe(one), score(one))))
        finally:
            model.shutdown()

    asyncio.run(ask())
    counts = counting.read(tmp_path / "counts")
    assert counts.requests == 2 * len(windows)
    assert len(windows) <= counts.encoder_runs <= 1.05 * len(windows)
    # The audio's 75 tokens and what stands before them lie in two blocks and a part of a third.
    assert 0.9 <= counts.cached_tokens / (len(windows) * 2 * CPU_BLOCK_SIZE) <= 1.0


@pytest.mark.parametrize(("reason", "error"), [("abort", DeadModelError), ("error", RequestError), ("stop", None)])
def test_a_text_that_was_cut_is_no_text(reason: str, error: type[Exception] | None) -> None:
    """vLLM ends such requests with what there is so far, and raises nothing."""
    ended = SimpleNamespace(finished=True, outputs=[SimpleNamespace(finish_reason=reason, text="half a")])

    async def generate(*_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        yield ended

    model: Any = VllmModel.__new__(VllmModel)
    model._llm, model._ids = SimpleNamespace(generate=generate, errored=False), itertools.count()
    model._vllm = SimpleNamespace(sampling_params=SimpleNamespace(RequestOutputKind=SimpleNamespace(FINAL_ONLY=1)))
    answering = model._answer({}, SimpleNamespace(), 0)
    if error:
        with pytest.raises(error):
            asyncio.run(answering)
    else:
        assert asyncio.run(answering) is ended


@pytest.mark.slow
def test_vllm_gives_no_warning_of_our_settings(tmp_path: Path) -> None:
    """It hides below its log level ERROR: so at WARNING, in a process of its own, as vLLM reads that at its import."""
    code = f"""
from pipeline.models import checkpoint
from pipeline.models.demand import of_windows
from pipeline.models.runtimes.vllm import arguments
from pipeline.settings import Engine, Settings
settings = Settings(input="in", output="out", verbose=True, engine=Engine(model={str(DEMO / "model")!r}, device="cpu"))
found = checkpoint.inspect(settings.engine)
given = arguments(settings, found, of_windows(settings, found))
import vllm
vllm.AsyncEngineArgs(**given).create_engine_config()
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    log = said.stdout + said.stderr
    assert "INFO" in log, "vLLM's log is shown with --verbose"
    assert "chunked prefill" not in "".join(line for line in log.splitlines() if "WARNING" in line)
