"""Prompts that come one by one, gathered into batches for a network that computes a batch at a time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pipeline.models.protocol import RequestError


@dataclass(frozen=True, slots=True)
class Prompt:
    """`ids` with the audio that they are about, float32 samples of whole chunks each; at most `max_tokens` come, the
    likeliest of `beams` that are followed. After the last id, the log-probabilities of `following` are wanted: not with
    several beams."""

    ids: Sequence[int]
    audios: Sequence[np.ndarray]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    beams: int = 1
    following: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Continuation:
    """The token ids that follow a prompt, with the end token if it came, their natural log-probabilities, why they end
    (stop, length, repetition), and the log-probabilities of the ids that may follow."""

    ids: list[int]
    logprobs: list[float]
    finish_reason: str
    following: dict[int, float]


class Batches:
    """Computes one batch at a time, in a thread of its own: at most `largest` of those that wait, all of one key, the
    lowest order first."""

    def __init__(
        self, compute: Callable[[Sequence[Prompt]], Sequence[Continuation | RequestError]], largest: int
    ) -> None:
        self._compute, self._largest = compute, largest
        self._waiting: list[tuple[int, int, Hashable, Prompt, asyncio.Future[Continuation]]] = []  # a heap
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(1)
        self._running: asyncio.Task[None] | None = None

    async def answer(self, prompt: Prompt, key: Hashable, order: int) -> Continuation:
        """The answer from a batch.

        Raises:
            RequestError: `compute` gives it for this prompt. What it raises itself, all of the batch raise.
        """
        future: asyncio.Future[Continuation] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (order, next(self._numbers), key, prompt, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    def close(self) -> None:
        """Wait for the batch that is being computed, and begin no other."""
        for *_, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._thread.shutdown()

    async def _run(self) -> None:
        await asyncio.sleep(0)  # those who ask together are all waiting by then
        while batch := self._next():
            asked, futures = zip(*batch, strict=True)
            try:
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, asked)
            except Exception as error:
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future, answer in zip(futures, answers, strict=True):
                    if future.done():
                        continue
                    if isinstance(answer, RequestError):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        self._running = None

    def _next(self) -> list[tuple[Prompt, asyncio.Future[Continuation]]]:
        """Take a batch of those that wait; those whose caller is gone are dropped."""
        left, taken, wanted = [], [], None
        while self._waiting and len(taken) < self._largest:
            entry = heapq.heappop(self._waiting)
            _, _, key, asked, future = entry
            if future.done():
                continue
            if not taken:
                wanted = key
            if key == wanted:
                taken.append((asked, future))
            else:
                left.append(entry)
        for entry in left:
            heapq.heappush(self._waiting, entry)
        return taken
