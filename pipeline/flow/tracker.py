"""Small actors beside the workers: which of them crashed, and because of what."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.errors import JobError
from pipeline.flow.metrics import count_deaths

ENGINE_KILLS = 2  # engines that a window may end before the job stops retrying it
DECODE_KILLS = 3  # decode workers that a recording may end: they are cheap, and end for other reasons more often
COMPLETE_KEPT = 10_000  # more recordings than there are parts inside all engines
MAX_DECODE_CRASHES = 20  # of one recording, alone, while none is done: then it is not the recording


class GatheringActor:
    """Implements tasks.protocol.Gather: what is known of recordings of which not everything has come. What comes twice,
    since its engine crashed meanwhile, counts once, and completes the recording again: the last COMPLETE_KEPT that were
    complete are kept for that."""

    def __init__(self) -> None:
        self._held: dict[str, dict[int, Any]] = {}
        self._counts: dict[str, int] = {}
        self._complete: dict[str, None] = {}  # the oldest first

    def add(self, recording_id: str, number: int, count: int | None, value: Any) -> list[Any] | None:
        held = self._held.setdefault(recording_id, {})
        held[number] = value
        if count is not None:
            self._counts[recording_id] = count
        if len(held) != self._counts.get(recording_id):
            return None
        self._complete[recording_id] = self._complete.pop(recording_id, None)
        if len(self._complete) > COMPLETE_KEPT:
            oldest = next(iter(self._complete))
            del self._complete[oldest], self._held[oldest], self._counts[oldest]
        return [held[at] for at in sorted(held)]


class CrashTracker:
    """Keeps which units (windows, recordings) are inside which worker (an engine, a decode task), and so which were
    inside it when it crashed.

    Units that were inside a worker when it crashed are suspects, which go alone from then on. One that was alone inside
    `kills` workers when they crashed is not tried again, if any other unit ever left a worker: else it is not the unit.
    """

    def __init__(self, kills: int) -> None:
        self._inside: dict[str, set[str]] = {}  # by worker
        self._kills: dict[str, int] = {}  # by suspect
        self._limit, self._proven = kills, False

    def suspects(self, worker: str, units: Sequence[str]) -> dict[str, int]:
        """Those of the units, which come to a worker, that are suspects, with the workers that each has ended alone.

        A unit that is inside another worker and comes to this one shows that the other crashed. (Ray may also give one
        engine a window twice at once, when it lost sight of it for a moment.)
        """
        for other in [x for x, inside in self._inside.items() if x != worker and not inside.isdisjoint(units)]:
            inside = self._inside.pop(other)
            self._crashed(other)
            for unit in inside:
                self._kills[unit] = self._kills.get(unit, 0) + (len(inside) == 1)
        limit = self._limit if self._proven else self._limit - 1
        return {unit: min(self._kills[unit], limit) for unit in units if unit in self._kills}

    def enter(self, worker: str, units: Sequence[str]) -> None:
        self._inside.setdefault(worker, set()).update(units)

    def leave(self, worker: str, units: Sequence[str]) -> None:
        if inside := self._inside.get(worker):
            inside.difference_update(units)
            if not inside:
                del self._inside[worker]
        self._proven = True

    def _crashed(self, worker: str) -> None:
        """Called for each worker that crashed."""


class DecodeTracker(CrashTracker):
    """Of decode tasks, which Ray tries again for ever."""

    def __init__(self) -> None:
        super().__init__(DECODE_KILLS)
        self._progress: dict[str, int] = {}
        self._abandoned: dict[str, int] = {}  # with the workers that each had ended by then

    def begin(self, attempt: str, recordings: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Suspects among a task's recordings: the workers that each has ended, and the tables that came before (none,
        where giving them again ended a worker, too). Where there are no suspects, all have entered.

        Raises:
            JobError: workers crash, and nothing is done.
        """
        suspects = self.suspects(attempt, recordings)
        for name, kills in suspects.items():
            if self._kills[name] > MAX_DECODE_CRASHES:
                raise JobError(
                    f"{self._kills[name]} decode workers have crashed, and no recording is done; the last on {name}:"
                    " is there memory for them? (--audio.workers bounds how many there are)"
                )
            if kills >= DECODE_KILLS:
                self._abandoned.setdefault(name, self._kills[name])
        if not suspects:
            self.enter(attempt, recordings)
        return {name: (kills, self._tables(name)) for name, kills in suspects.items()}

    def _tables(self, name: str) -> int:
        kills = self._kills[name]
        return self._progress.get(name, 0) if self._abandoned.get(name, kills) == kills else 0

    def yields(self, recording: str, tables: int) -> None:
        """A suspect has given so many tables."""
        self._progress[recording] = max(tables, self._progress.get(recording, 0))


class EngineStates(NamedTuple):
    """How many engines are up, and how many are loading their model."""

    up: int = 0
    starting: int = 0


class EngineTracker(CrashTracker):
    """Of engines: how they start, too, and how long they serve."""

    def __init__(self, engines: int, elastic: bool, max_deaths: int) -> None:
        super().__init__(ENGINE_KILLS)
        self._engines, self._elastic, self._max_deaths = engines, elastic, max_deaths
        self._deaths, self._reason = 0, "it was killed"
        self._created = time.monotonic()
        self._starting: set[str] = set()
        self._latest: dict[str, str] = {}  # engines by the actor that holds them
        self._served: dict[str, tuple[float, float | None]] = {}  # since when, and until when where it crashed
        self._start_failures: list[str] = []
        self._gone = 0  # of the engines: those whose first start failed, which nobody starts again

    def suspects(self, worker: str, units: Sequence[str]) -> dict[str, int]:
        found = super().suspects(worker, units)
        self._check()
        return found

    def explain(self, reason: str) -> None:
        """Keep why an engine is about to end."""
        self._reason = reason

    def died(self, engine: str, reason: str) -> None:
        """It is about to end, and none of its windows is to blame: they go together again."""
        self._reason = reason
        self._inside.pop(engine, None)
        if engine in self._served:
            self._crashed(engine)

    def starting(self, engine: str, actor: str) -> None:
        """It begins to start, in place of one that this actor held and that was killed, if any.

        Raises:
            JobError: too many have died.
        """
        before = self._latest.get(actor, "")
        self._latest[actor] = engine
        self._starting.discard(before)
        if before in self._served:
            self._crashed(before)
        self._check()
        self._starting.add(engine)

    def ready(self, engine: str) -> None:
        self._starting.discard(engine)
        self._served[engine] = time.monotonic(), None

    def start_failed(self, engine: str, reason: str, again: bool) -> str | None:
        """One did not start; `again`: in place of one that crashed, or it hung. Returns why the job must end, where no
        engine is left to wait for."""
        self._starting.discard(engine)
        self._start_failures.append(reason)
        if again:
            self._crashed(engine)
            self._reason = reason
            return None
        self._gone += 1
        waited_for = self._starting if self._elastic else self._gone < self._engines
        return None if self._served or waited_for else reason

    def states(self) -> EngineStates:
        return EngineStates(sum(until is None for _, until in self._served.values()), len(self._starting))

    def facts(self) -> dict[str, Any]:
        """What a report says of the engines: those that served, their time together, the time until the first one was
        ready, and why others did not start."""
        now = time.monotonic()
        first = min((since for since, _ in self._served.values()), default=None)
        return {
            "engines_served": len(self._served),
            "engine_s": round(sum((until or now) - since for since, until in self._served.values()), 3),
            "engine_start_s": None if first is None else round(first - self._created, 3),
            "engine_deaths": self._deaths,
            "engine_start_failures": self._start_failures,
        }

    def _crashed(self, worker: str) -> None:
        if self._served.get(worker, (0.0, None))[1] is not None:
            return  # this is known
        self._deaths += 1
        count_deaths()
        if worker in self._served:
            self._served[worker] = self._served[worker][0], time.monotonic()

    def _check(self) -> None:
        if self._deaths > self._max_deaths:
            limit = f"--engine.max-deaths {self._max_deaths}"
            raise JobError(f"{self._deaths} engines have died, more than {limit}; the last because {self._reason}")
