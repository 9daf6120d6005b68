"""A model that computes nothing and does what a script says: it forces a model's behaviour in tests and simulations.

The text of a window names its length, is long enough to be plausible, and follows from its samples.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline import __version__
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand
from pipeline.models.families.scripted import FAMILY, NO_SCRIPT
from pipeline.models.protocol import Chat, Hypothesis, LanguageScorer, LanguageScores, Reply, Request, RequestError
from pipeline.models.runtime import Runtime
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Settings

NUMBERS = np.random.default_rng(0).integers(1 << 44, 1 << 48, 2_000).tolist()  # 12 letters a second, none a loop


def text_of(request: Request) -> str:
    """What is said in a window."""
    first = zlib.crc32(request.samples.tobytes()) % (len(NUMBERS) // 2)
    numbers = NUMBERS[first : first + int(request.duration_s)]
    return " ".join([f"{request.duration_s:.1f} s", *(f"{number:x}" for number in numbers)])


class ScriptedModel:
    """Its script is a file of words with commas between: `delay=SECONDS`, `slots=NUMBER` (of requests at once), `fail`
    (every request), `broken` (at the start; `broken=FILE`: only the model that makes the file), `stuck` (at the start),
    `gpus` and `clock` (the text says which GPUs it has, and when it was done), `hang=LENGTH` and `die=LENGTH` (at
    windows of so many seconds, as their text says; `die=any`), `answer=FILE` (all answers are its content; without it
    they name the lengths of the clips and repeat the question)."""

    abilities = FAMILY.abilities

    def __init__(self, model: str) -> None:
        """`model` is the path of the file; NO_SCRIPT: it does nothing of the kind."""
        script = "" if model == NO_SCRIPT else Path(model).read_text()
        parts = [part.split("=", 1) for part in script.strip().split(",") if part]
        self._script: dict[str, str] = {part[0]: part[-1] for part in parts}
        self._slots = asyncio.Semaphore(int(self._script.get("slots", 1_000)))
        if "broken" in self._script and self._is_first(self._script["broken"]):
            raise RuntimeError("the script says: broken")
        if "stuck" in self._script:
            time.sleep(3_600)

    @staticmethod
    def _is_first(marker: str) -> bool:
        with suppress(FileExistsError):
            if marker != "broken":
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            return True
        return False

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        async def score(request: Request) -> LanguageScores:
            return LanguageScores({"score": {"en": 1.0}})

        return score

    async def _behave(self, lengths: Sequence[str]) -> None:
        async with self._slots:
            await asyncio.sleep(float(self._script.get("delay", 0)))
        if self._script.get("die") in (*lengths, "any"):
            raise RuntimeError("the script says: die")
        if self._script.get("hang") in lengths:
            await asyncio.sleep(3_600)
        if "fail" in self._script:
            raise RequestError("the script says so")

    async def chat(self, chat: Chat) -> Reply:
        lengths = [f"{len(clip.samples) / SAMPLE_RATE_HZ:.1f}" for clip in chat.clips]
        await self._behave(lengths)
        text = f"{', '.join(lengths)} s: {chat.messages[-1].text}" if lengths else chat.messages[-1].text
        if "answer" in self._script:
            text = Path(self._script["answer"]).read_text("utf-8")
        return Reply(
            text="" if chat.calls_schema else text,
            calls=text if chat.calls_schema else None,
            finish_reason="stop",
            token_count=len(text.split()),
            prompt_tokens=sum(len(message.text.split()) for message in chat.messages),
            padded_s=sum(len(clip.samples) for clip in chat.clips) / SAMPLE_RATE_HZ,
        )

    async def transcribe(self, request: Request) -> Hypothesis:
        await self._behave([f"{request.duration_s:.1f}"])
        text = text_of(request)
        if "gpus" in self._script:
            text = f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')} {text}"
        if "clock" in self._script:
            text = f"{time.time():.3f} {text}"
        return Hypothesis(
            text=text,
            finish_reason="stop",
            token_count=len(text.split()),
            mean_logprob=-0.1,
            low_probability_share=0.0,
            padded_s=request.duration_s,
        )

    def shutdown(self) -> None:
        pass


def start(settings: Settings, checkpoint: Checkpoint, demand: Demand, in_ray: bool) -> ScriptedModel:
    """A model that is ready at once, unless its script says otherwise."""
    return ScriptedModel(settings.engine.model)


RUNTIME = Runtime(version=lambda: __version__, start=start, uses_gpus=False)
