"""The seam between a run and what is asked of recordings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from pipeline.ledger.report import Numbers
from pipeline.models.abilities import Ability
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand
from pipeline.models.protocol import Model
from pipeline.settings import Settings
from pipeline.sources.kept import Keep
from pipeline.sources.listing import Listing

Row = dict[str, Any]

# Brings together what engines have made of one recording's windows: called with its recording_id, a window's number,
# how many there are (None where only the last one knows), and what was made of it. For one of the windows, the last
# one to come, it returns all of them in order; for the others None.
Gather = Callable[[str, int, int | None, Any], Awaitable[list[Any] | None]]


class Left(Exception):
    """A recording is left as it is, for this reason: a few words that many recordings share."""


class Worker(Protocol):
    """A task at work beside a model, in the engine's process. `finished` counts what the model has done for it: windows
    or replies. An engine that has work and where it does not grow for stall_timeout_s is taken for hung."""

    finished: int

    async def __call__(self, windows: pa.Table) -> pa.Table:
        """Rows of Task.prepare -> rows of Task.answers, at least one for each. A window that fails is a row with its
        failure code; an engine that is dead raises."""
        ...


class Task(Protocol):
    """What is asked of every recording, and the tables that hold the answers.

    A run knows a task by this protocol alone. It does the same for all of them: subtract what is done, spread the work
    over decode workers and engines, commit, resume, report. A task is pickled: it goes to all of them.
    """

    name: ClassVar[str]
    requires: Sequence[Ability]
    """What a model must be able to do. A task that requires nothing asks no model, and no engine starts."""
    tables: Mapping[str, pa.Schema]
    """By name. Each part of a run has one file of every table, and the last one's commits them: it has one row for each
    recording, with the columns KEYS (but for `channel`), `outcome`, `duration_s` and PROVENANCE."""
    carrying: Sequence[str]
    """The tables whose rows repeat the manifest's own columns."""
    answers: pa.Schema
    """The rows that workers make of windows: ANSWERED, and the task's own."""
    facts: Row
    """What a report says of the task itself; JSON."""

    def __init__(self, settings: Settings) -> None: ...

    def fit(self, settings: Settings, checkpoint: Checkpoint) -> Settings:
        """The settings, which say the device, with what they leave open chosen for the checkpoint. All other methods
        are given these.

        Raises:
            ConfigurationError: they do not fit the checkpoint.
        """
        ...

    def demand(self, settings: Settings, checkpoint: Checkpoint) -> Demand:
        """What its largest request takes."""
        ...

    def fingerprint(self, settings: Settings, checkpoint: Checkpoint) -> Mapping[str, Any]:
        """All that changes a row of this task, resolved, and nothing else; JSON."""
        ...

    def recordings(self, settings: Settings, keep: Keep | None = None) -> Listing:
        """What --input names; of it what `keep` says. The rows may have columns beside RECORDING, for `prepare`; those
        with names of PROVENANCE replace what the run says of itself.

        Raises:
            ConfigurationError: there is nothing, or it may not be read.
        """
        ...

    def prepare(self, recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
        """Recordings -> WINDOW rows, with columns of the task's own: at least one for each recording. The same
        recordings give the same tables, in the same order, whether they come together or one by one: no table has
        windows of two."""
        ...

    def decode_died(self, given: Iterable[pa.Table], recording: pa.Table, kills: int) -> Iterator[pa.Table]:
        """The rows of `prepare` for a recording that decode workers died of: what came before, and a failure."""
        ...

    def worker(self, model: Model | None, settings: Settings, gather: Gather) -> Worker:
        """Called once in each engine's process. The model is None where the task requires nothing of one."""
        ...

    def engine_died(self, windows: pa.Table, deaths: int) -> pa.Table:
        """The rows of `answers` for rows of `prepare` that engines died of."""
        ...

    def rows(
        self, recording: Row, answers: Sequence[Row], settings: Settings, complete: bool
    ) -> Mapping[str, Sequence[Row]]:
        """The rows of each table for a recording, from its answers in order; not `complete` where some never came.
        `recording` holds what every row repeats: identity, provenance, the manifest's own columns.

        Raises:
            Left: there are none; what earlier runs have written of the recording stays.
        """
        ...

    def numbers(self) -> Numbers:
        """A new count."""
        ...

    def summary(self, numbers: Row) -> list[tuple[str, str]]:
        """Lines for people, each with its title, from the report's numbers."""
        ...
