"""Disturbs jobs at random until they are done."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import psutil

from bench.chaos.clock import Clock
from bench.chaos.job import Job
from bench.chaos.machines import IMPATIENT, Machines
from bench.chaos.proxy import Mode, Proxy

PACE_S = 0.1, 1.8  # between two disturbances
PATIENCE_S = 300.0  # without a disturbance, and where nothing moves on, a job that takes longer has hung
STARTS = 30  # of one command, beyond those that were killed
# How Ray names the processes of our stages.
ENGINE, DECODER = "EngineActor", "prepare"
JUMPS_S = 3600.0  # what the clock goes wrong by, at most
ROOM_BYTES = 1 << 30  # of TMPDIR: more than what the fetching of recordings leaves free (audio.fetch.SPARE_BYTES)
# How often each kind is chosen, beside the others.
KINDS = {
    "driver": 2,
    "decoder": 8,
    "engine": 6,
    "raylet": 1,
    "head": 0.5,
    "storage": 4,
    "network": 2,
    "clock": 4,
    "disk": 2,
}


class Diary:
    """One line of JSON for each thing that happened."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self.kills: Counter[str] = Counter()
        self.findings: list[str] = []
        self.starts = self.runs = 0

    def note(self, event: str, **facts: object) -> None:
        line = json.dumps({"time": datetime.now(UTC).isoformat(), "event": event, "run": self.runs} | facts)
        if self._file:
            print(line, file=self._file, flush=True)

    def kill(self, kind: str, **facts: object) -> None:
        self.kills[kind] += 1
        self.note("kill", number=self.kills.total(), kind=kind, **facts)

    def finding(self, what: str) -> None:
        self.findings.append(f"run {self.runs}: {what}")
        self.note("finding", what=what)


@dataclass
class Monkey:
    """Starts commands until they are done, and disturbs what it is told to in the meantime.

    `temporary` is the TMPDIR of drivers and nodes, a file system of its own where "disk" is among the kinds.
    """

    machines: Machines
    proxy: Proxy
    temporary: Path
    clock: Clock | None
    rng: random.Random
    diary: Diary
    _ends: dict[str, tuple[threading.Timer, Callable[[], None]]] = field(default_factory=dict)

    def run(self, commands: Sequence[tuple[str, Sequence[str]]], kinds: Sequence[str], at_most: int) -> int:
        """Returns how often a command was started. They are done at the end, and nothing is disturbed any more."""
        left, starts = at_most, Counter[int]()
        environment = IMPATIENT | {"RAY_ADDRESS": self.machines.address, "TMPDIR": str(self.temporary)}
        if self.clock:
            self.clock.set(0.0)
            environment |= self.clock.environment
        jobs = {number: self._start(command, environment) for number, command in enumerate(commands)}
        starts.update(jobs.keys())
        deadline = time.monotonic() + PATIENCE_S
        while jobs:
            time.sleep(self.rng.uniform(*PACE_S) if left else 0.1)
            self.machines.replace_lost()
            if left:
                kind = self.rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]
                number, job = self.rng.choice(list(jobs.items()))
                phase = job.phase
                detail = None if kind in self._ends else self._disturb(kind, job)  # some are still going on
                if detail is not None:
                    self.diary.kill(kind, command=job.name, phase=phase, detail=detail)
                    left, deadline = left - 1, time.monotonic() + PATIENCE_S
            else:
                self.calm()
            for number, job in list(jobs.items()):
                if job.status is None and time.monotonic() > max(deadline, job.moved + PATIENCE_S):
                    self._hung(job)
                    deadline = time.monotonic() + PATIENCE_S
                if job.status is None:
                    continue
                self._ended(job)
                del jobs[number]
                if job.status != 0 and starts[number] < at_most + STARTS:
                    environment["RAY_ADDRESS"] = self.machines.address
                    jobs[number] = self._start(commands[number], environment)
                    starts[number] += 1
                elif job.status != 0:
                    self.diary.finding(f"{job.name} is not done after {starts[number]} starts: {job.reason()}")
        self.calm()
        return starts.total()

    def _start(self, command: tuple[str, Sequence[str]], environment: Mapping[str, str]) -> Job:
        self.diary.starts += 1
        return Job(*command, environment)

    def _ended(self, job: Job) -> None:
        self.diary.note("end", command=job.name, status=job.status, phase=job.phase, reason=job.reason())
        if wrong := job.end():
            self.diary.finding(f"{job.name} ended with {wrong}")
        elif odd := job.odd_lines():
            self.diary.finding(f"{job.name} said something that is not JSON: {odd[0]}")

    def _hung(self, job: Job) -> None:
        """A finding, with where its threads are; its end."""
        stacks = subprocess.run(["py-spy", "dump", "--pid", str(job.pid)], check=False, capture_output=True, text=True)
        self.diary.note("stacks", stacks=stacks.stdout[-8000:], said=list(job.said)[-10:])
        self.diary.finding(f"{job.name} did nothing for {PATIENCE_S:.0f} s, in phase {job.phase!r}")
        job.kill()

    def _disturb(self, kind: str, job: Job) -> str | None:
        """What was done; None where there is nothing to do it to."""
        match kind:
            case "driver":
                return "" if job.kill() else None
            case "decoder" | "engine":
                return self._kill(self.machines.processes(DECODER if kind == "decoder" else ENGINE))
            case "raylet":
                detail = self.machines.lose_worker(self.rng)
            case "head":
                detail = self.machines.lose_head()
            case "clock":
                detail = self._jump()
            case "storage":
                detail = self._storage()
            case "network":
                detail = self._cut()
            case _:
                detail = self._fill()
        return detail

    def _jump(self) -> str:
        assert self.clock
        jump = self.rng.uniform(-JUMPS_S, JUMPS_S)
        self.clock.set(jump)
        return f"{jump:+.0f} s"

    def _cut(self) -> str:
        seconds = self.rng.uniform(0.5, 3.0) if self.rng.random() < 0.7 else self.rng.uniform(10.0, 20.0)
        name = self.machines.cut(self.rng)
        self._until("network", seconds, lambda: self.machines.join(name))
        return f"{name} for {seconds:.1f} s"

    def _fill(self) -> str:
        seconds = self.rng.uniform(0.5, 4.0)
        self._resize(full=True)
        self._until("disk", seconds, lambda: self._resize(full=False))
        return f"for {seconds:.1f} s"

    def _kill(self, found: Sequence[psutil.Process]) -> str | None:
        if not found:
            return None
        victim = self.rng.choice(found)
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
            return f"process {victim.pid}"
        return None

    def _storage(self) -> str:
        mode: Mode = self.rng.choice(["refuse", "slow", "cut"])
        seconds = self.rng.uniform(0.5, 4.0)
        self.proxy.behave(mode)
        self._until("storage", seconds, lambda: self.proxy.behave("calm"))
        return f"{mode} for {seconds:.1f} s"

    def _resize(self, full: bool) -> None:
        """Leave the file system no room, or room again."""
        used = psutil.disk_usage(str(self.temporary)).used
        size = used + 8192 if full else ROOM_BYTES
        command = ["mount", "-o", f"remount,size={size}", str(self.temporary)]
        subprocess.run(command, check=False, capture_output=True)

    def _until(self, kind: str, seconds: float, end: Callable[[], None]) -> None:
        def over() -> None:
            end()
            self._ends.pop(kind, None)

        timer = threading.Timer(seconds, over)
        timer.daemon = True
        self._ends[kind] = timer, end
        timer.start()

    def calm(self) -> None:
        """End what is going on."""
        for kind, (timer, end) in list(self._ends.items()):
            timer.cancel()
            end()
            self._ends.pop(kind, None)
