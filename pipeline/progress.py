"""What a job is at, while it is at it: a live line on a terminal, a line now and then in a log.

The phases of a run: starting Ray, starting engines, processing, writing, stopping. Before it, planning says what it
looks at.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipeline import estimate
from pipeline.flow.tracker import EngineStates
from pipeline.log import Log, duration
from pipeline.planning import Plan
from pipeline.schema import Outcome

INTERVAL_S = 30.0  # between lines of one phase in a log
PLANNING_QUIET_S = 5.0  # a plan that takes no longer says nothing
TICK_S = 0.5
BAR_WIDTH = 24
# Of the pace: what it is taken from, and what must be done before it says anything.
PACE_WINDOW_S, MARK_EVERY_S = 600.0, 5.0
LEAST_S, LEAST_RECORDINGS, LEAST_SHARE = 15.0, 5, 0.05
WEIGHED_AFTER_S = 10.0  # of processing: shorter runs need not know how long their recordings are

STARTING_RAY, STARTING_ENGINES = "starting Ray", "starting engines"
PROCESSING, WRITING, STOPPING = "processing", "writing", "stopping"

Row = dict[str, Any]


@dataclass(frozen=True)
class Now:
    """What a job is at. `share` of the work is done; None where that is not known."""

    phase: str
    detail: str = ""
    share: float | None = None
    facts: Row = field(default_factory=dict)

    @property
    def line(self) -> str:
        return f"{self.phase}: {self.detail}" if self.detail else self.phase


@contextmanager
def shown(log: Log, now: Callable[[], Now], quiet_s: float = 0.0) -> Iterator[None]:
    """Show what a thread finds with `now`: on a terminal at the foot of it, elsewhere as a line for each phase, and
    again every INTERVAL_S. Nothing is logged in the first `quiet_s`, nor of phases that are over at once."""
    began = time.monotonic()
    if log.is_live:
        show = Live(
            get_renderable=lambda: _rendered(now(), time.monotonic() - began),
            console=log.console,
            transient=True,
            redirect_stdout=False,
        )
        with show:
            yield
        return
    over = threading.Event()

    def work() -> None:
        said, at, since = "", began, began
        while not over.wait(TICK_S):
            found, clock = now(), time.monotonic()
            if clock - began < quiet_s:
                continue
            if found.phase != said:
                said, at, since = found.phase, clock, clock
                log.say(found.line, phase=found.phase, **found.facts)
            elif clock - at >= INTERVAL_S:
                at = clock
                log.say(f"{found.line} ({duration(clock - since)} so far)", phase=found.phase, **found.facts)

    saying = threading.Thread(target=work, daemon=True)
    saying.start()
    try:
        yield
    finally:
        over.set()
        saying.join()


def _rendered(now: Now, seconds: float) -> RenderableType:
    first = Table.grid(padding=(0, 1))
    cells: list[RenderableType] = [Spinner("dots"), Text(now.phase, style="bold")]
    if now.share is not None:
        cells += [ProgressBar(total=1.0, completed=now.share, width=BAR_WIDTH), f"{now.share:.0%}"]
    first.add_row(*cells, Text(duration(seconds), style="dim"))
    return Group(first, Text(f"  {now.detail}", style="dim", no_wrap=True, overflow="ellipsis"))


@contextmanager
def planning(log: Log) -> Iterator[Callable[[str], None]]:
    """Show what planning looks at, which it tells the function that this yields."""
    said = ["looking at the settings"]
    with shown(log, lambda: Now("planning", said[-1]), PLANNING_QUIET_S):
        yield said.append


class Pace:
    """How fast a run goes, by what was done in the last PACE_WINDOW_S, and how long the rest takes at that pace."""

    def __init__(self, work: float) -> None:
        """`work` is all that there is to do, in the unit in which `note` counts it."""
        self._all = work
        self._marks: deque[tuple[float, int, float, float]] = deque()

    def note(self, now: float, recordings: int, audio_s: float, work: float) -> None:
        """So many recordings, with so much audio, are done at this moment. Call it first when the work begins."""
        if len(self._marks) > 1 and now - self._marks[-2][0] < MARK_EVERY_S:
            self._marks.pop()
        self._marks.append((now, recordings, audio_s, work))
        while len(self._marks) > 2 and self._marks[1][0] <= now - PACE_WINDOW_S and self._marks[1][3] < work:
            self._marks.popleft()

    @property
    def is_known(self) -> bool:
        """Enough is done to go by."""
        if not self._marks:
            return False
        (began, *_), (now, recordings, _, work) = self._marks[0], self._marks[-1]
        enough = recordings >= LEAST_RECORDINGS or work >= LEAST_SHARE * self._all
        return enough and now - began >= LEAST_S and work > self._marks[0][3]

    @property
    def speed(self) -> float | None:
        """Seconds of audio per second."""
        if not self.is_known:
            return None
        (began, _, before_s, _), (now, _, audio_s, _) = self._marks[0], self._marks[-1]
        return (audio_s - before_s) / (now - began)

    @property
    def left_s(self) -> float | None:
        """Seconds until all is done."""
        if not self.is_known:
            return None
        (began, _, _, before), (now, _, _, work) = self._marks[0], self._marks[-1]
        return max(0.0, self._all - work) * (now - began) / (work - before)


class Progress:
    """Progress of a run. Set `phase` as it goes on, and `engines`, how many are wanted, once that is known."""

    def __init__(self, plan: Plan, left: Callable[[], np.ndarray]) -> None:
        """`left` tells which of the recordings that were to do still are: bool (N,)."""
        self._plan, self._tally, self._left = plan, plan.tally, left
        self._resumed, self._windows = plan.tally.recordings, 0
        self._seconds: np.ndarray | None = None  # of each recording to do, about
        self._weighing: threading.Thread | None = None
        self._is_over = False
        self._began: float | None = None  # to process
        self._noted = float("-inf")
        self._pace: Pace | None = None
        self._states = EngineStates()
        self.phase, self.engines = STARTING_RAY, 0

    @contextmanager
    def shown(self, log: Log) -> Iterator[None]:
        try:
            with shown(log, self.now):
                yield
        finally:
            self._is_over = True

    def _weigh(self) -> None:
        seconds = np.zeros(0)
        with suppress(Exception):  # it only serves the estimate: recordings are counted instead
            # Python ends only when the last look is over.
            recordings, limits = self._plan.listing.recordings, self._plan.settings.audio
            seconds = estimate.seconds_each(recordings, limits, lambda: not self._is_over)
        self._seconds = seconds if seconds.sum() else np.ones(self._plan.count)

    def hear(self, states: EngineStates) -> None:
        """Take in how many engines there are."""
        self._states = states

    def note(self, windows: int = 0) -> None:
        """So many windows more are answered; look at what is done."""
        self._windows += windows
        if self.phase == STARTING_ENGINES and (self._states.up or self._windows):
            self.phase = PROCESSING
        if self.phase != PROCESSING:
            return
        now = time.monotonic()
        self._began = self._began or now
        if self._seconds is None:
            if self._weighing is None and now - self._began >= WEIGHED_AFTER_S:
                self._weighing = threading.Thread(target=self._weigh, daemon=True)
                self._weighing.start()
        elif now - self._noted >= TICK_S:
            self._noted = now
            self._pace = self._pace or Pace(float(self._seconds.sum()))
            work = float(self._seconds[~self._left()].sum())
            audio_s = self._tally.audio_s - self._tally.earlier_audio_s
            self._pace.note(now, int(np.count_nonzero(~self._left())), audio_s, work)

    def now(self) -> Now:
        """For those who watch."""
        if self.phase == STARTING_RAY:
            return Now(self.phase)
        ready = f"{self._states.up} of {self.engines} engines" if self.engines else f"{self._states.up} engines"
        counts = {"engines_up": self._states.up, "engines": self.engines}
        if self.phase == STARTING_ENGINES:
            loading = (
                f"loading {self._plan.about['model']}" if self._states.starting else "waiting for Ray to start them"
            )
            return Now(self.phase, f"{ready} ready, {loading}", facts=counts)
        tally, pace = self._tally, self._pace
        done, failed = tally.recordings + tally.left.total(), tally.outcomes[Outcome.FAILED]
        total = done + int(np.count_nonzero(self._left()))
        speed, left_s = (pace.speed, pace.left_s) if pace else (None, None)
        said = [f"{done}/{total} recordings, {failed} failed"]
        if self.phase == PROCESSING:
            said[0] += f", {_left(left_s)}"
            said += [] if speed is None else [f"{speed:.1f} x real time"]
            said += [f"{self._windows} windows answered"] if done == self._resumed else []
        detail = "; ".join([*said, f"{duration(tally.audio_s)} of audio", ready])
        facts = {
            "recordings": done,
            "total": total,
            "audio_s": round(tally.audio_s, 1),
            "failed": failed,
            "windows": self._windows,
            **counts,
            "speed": None if speed is None else round(speed, 2),
            "left_s": None if left_s is None else round(left_s),
        }
        return Now(self.phase, detail, done / total if total else None, facts)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "time left unknown"
    return "less than a minute left" if seconds < 60 else f"about {duration(seconds)} left"
