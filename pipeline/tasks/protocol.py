"""The seam between a run and what is asked of recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from pipeline.ledger.report import Numbers
from pipeline.models.abilities import Ability
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.protocol import Model
from pipeline.settings import Settings

Row = dict[str, Any]


class Worker(Protocol):
    """A task at work beside a model, in the engine's process. `finished` counts the windows that it has answered."""

    finished: int

    async def __call__(self, windows: pa.Table) -> pa.Table:
        """WINDOW rows -> rows of Task.answers, as many. A window that fails is a row with its failure code; an engine
        that is dead raises."""
        ...


class Task(Protocol):
    """What is asked of every recording, and the tables that hold the answers.

    A run knows a task by this protocol alone. It does the same for all of them: list and subtract what is done, decode
    and cut, call engines, commit, resume, report.
    """

    name: ClassVar[str]
    requires: ClassVar[Sequence[Ability]]
    """What a model must be able to do."""
    tables: ClassVar[Mapping[str, pa.Schema]]
    """By name. Each part of a run has one file of every table, and the last one's commits them: it has one row for each
    recording, with the columns KEYS (but for `channel`), `outcome`, `duration_s` and PROVENANCE."""
    answers: ClassVar[pa.Schema]
    """The rows that workers make of windows: ANSWERED, and the task's own."""

    def fingerprint(self, settings: Settings, checkpoint: Checkpoint) -> Mapping[str, Any]:
        """All that changes a row of this task, resolved, and nothing else; JSON."""
        ...

    def worker(self, model: Model, settings: Settings) -> Worker:
        """Called once in each engine's process."""
        ...

    def engine_died(self, windows: pa.Table, deaths: int) -> pa.Table:
        """The rows of `answers` for WINDOW rows that engines died of."""
        ...

    def rows(
        self, recording: Row, answers: Sequence[Row], settings: Settings, complete: bool
    ) -> Mapping[str, Sequence[Row]]:
        """The rows of each table for a recording, from its answers in order; not `complete` where some never came.
        `recording` holds what every row repeats: identity, provenance, the manifest's own columns."""
        ...

    def numbers(self) -> Numbers:
        """A new count."""
        ...

    def summary(self, numbers: Row) -> list[tuple[str, str]]:
        """Lines for people, each with its title, from the report's numbers."""
        ...
