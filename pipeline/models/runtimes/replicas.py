"""Servers that run one model: which of them is asked, and what happens when they fail. No HTTP here."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.models.protocol import DeadModelError, RequestError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # for which a server that failed is left alone: doubled each time
TRIES = 4  # of a request that servers fail at while they answer others
BROKEN_IN_A_ROW = 3  # such failures after which it is the server

Client = TypeVar("Client")
Answer = TypeVar("Answer")


class UnavailableError(Exception):
    """A server cannot answer now: it is gone, busy, or limits the rate. `retry_after_s`: when it wants to be asked
    again, in seconds, None where it does not say. `timed_out`: it took too long for this request."""

    def __init__(self, reason: str, retry_after_s: float | None = None, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s, self.timed_out = retry_after_s, timed_out


class BrokenError(Exception):
    """A server failed at this request, or what it said is no answer: the request or the server may be the cause."""


@dataclass
class _Replica(Generic[Client]):
    client: Client
    inside: int = 0
    failures: int = 0  # pauses in a row
    broken: int = 0  # in a row
    paused_until: float = 0.0


class Replicas(Generic[Client]):
    """Passes requests to the server that has the fewest.

    A server that fails is left alone for a while, and then gets one request, until it answers one. A request that
    found a server unavailable is tried again for as long as any server answers something.
    """

    def __init__(self, clients: Sequence[Client], most_inside: int, stall_timeout_s: float) -> None:
        """At most so many requests are inside each server. The model is dead when none of them has answered any request
        for `stall_timeout_s`."""
        self._replicas = [_Replica(client) for client in clients]
        self._most, self._stall_s = most_inside, stall_timeout_s
        self._waiting, self._since, self._last = 0, 0.0, "they do not answer"
        self._changed = asyncio.Event()

    async def ask(self, send: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """The answer to a request. `send` raises UnavailableError, BrokenError, RequestError where the server refuses
        the request, or DeadModelError.

        Raises:
            RequestError: it was refused, or servers failed at it TRIES times; or it timed out as often while others
                were answered.
            DeadModelError: no server answers any more, or the only one refuses all requests.
        """
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += 1
        try:
            return await self._ask(send)
        finally:
            self._waiting -= 1

    async def _ask(self, send: Callable[[Client], Awaitable[Answer]]) -> Answer:
        failed: list[_Replica[Client]] = []
        pause_s, timeouts = 0.0, 0
        while True:
            await asyncio.sleep(pause_s)  # outside of any server: one that is tried again takes one request
            replica, pause_s = await self._free(failed), 0.0
            replica.inside += 1
            began = time.monotonic()
            try:
                answer = await send(replica.client)
            except UnavailableError as error:
                timeouts += error.timed_out and self._since > began  # others were answered meanwhile
                self._pause(replica, began, error.retry_after_s)
                self._note(str(error))
                if timeouts == TRIES:
                    raise RequestError(f"timed out {TRIES} times: {error}") from error
            except DeadModelError as error:
                if len(self._replicas) == 1:
                    raise
                self._pause(replica, began, None)
                self._note(str(error))
            except BrokenError as error:
                self._note(str(error))
                failed.append(replica)
                replica.broken += 1
                if replica.broken >= BROKEN_IN_A_ROW:
                    self._pause(replica, began, None)
                if len(failed) == TRIES:
                    raise RequestError(f"failed {TRIES} times: {error}") from error
                pause_s = _jitter(FIRST_PAUSE_S * 2 ** (len(failed) - 1))
            except RequestError:
                self._answered(replica)
                raise
            else:
                self._answered(replica)
                return answer
            finally:
                replica.inside -= 1
                self._changed.set()

    async def _free(self, failed: Sequence[_Replica[Client]]) -> _Replica[Client]:
        """The server to ask: one that has not failed at this request, if there is any."""
        while True:
            self._check()
            now = time.monotonic()
            ready = [
                replica
                for replica in self._replicas
                if replica.paused_until <= now and replica.inside < (1 if replica.failures else self._most)
            ]
            if ready:
                return min(ready, key=lambda replica: (failed.count(replica), replica.inside, random.random()))
            ends = [replica.paused_until for replica in self._replicas if replica.paused_until > now]
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, min([self._since + self._stall_s, *ends]) - now)):
                    await self._changed.wait()

    def _pause(self, replica: _Replica[Client], began: float, retry_after_s: float | None) -> None:
        """Leave a server alone. Requests that were inside together fail together: that is one failure."""
        now = time.monotonic()
        if began >= replica.paused_until:
            pause_s = _jitter(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**replica.failures))
            replica.failures = min(replica.failures + 1, 16)
            replica.paused_until = now + pause_s
        if retry_after_s is not None:
            replica.paused_until = max(replica.paused_until, now + retry_after_s)

    def _answered(self, replica: _Replica[Client]) -> None:
        self._since = time.monotonic()
        replica.failures = replica.broken = 0

    def _note(self, reason: str) -> None:
        self._last = reason
        self._check()

    def _check(self) -> None:
        if time.monotonic() - self._since >= self._stall_s:
            limit = f"--engine.stall-timeout-s {self._stall_s:g}"
            raise DeadModelError(f"no server has answered anything for {limit} seconds; the last said: {self._last}")


def _jitter(seconds: float) -> float:
    """Between half of it and all: what failed together does not come again together."""
    return seconds * random.uniform(0.5, 1.0)
