"""The seam between an evaluation and what it scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from pipeline.evaluation.inputs import Input
from pipeline.log import Log
from pipeline.planning import Plan

Row = dict[str, Any]


class Scored(Protocol):
    """How the answers of one task are scored."""

    table: ClassVar[str]
    """Of the task's tables the one whose rows are scored."""
    lacking: ClassVar[str]
    """Why a recording without such a row is not scored."""
    written: ClassVar[tuple[str, pa.Schema]]
    """The name and the schema of the table with what is said about each row."""
    score_schema: ClassVar[pa.Schema]
    """Of `scores`, with what they are of."""
    what: Input

    def __init__(self, plan: Plan, what: Input) -> None:
        """Look at what can be wrong before anything runs.

        Raises:
            ConfigurationError: there is nothing that could be scored.
        """
        ...

    def reference(self, value: Any) -> str:
        """A value of the manifest's column of references as a text that can be scored.

        Raises:
            ValueError: it cannot; the message says in few words why.
        """
        ...

    def read(self, output: str, name: str, keys: pa.Table, wanted: pa.Array) -> Mapping[str, Row]:
        """From a file of `table` the rows that are scored, by place. `keys` are those of the recordings in that part,
        of which the mask `wanted` says which are asked for; each row has its recording's keys, too."""
        ...

    def score(self, rows: Sequence[Row]) -> tuple[Row, list[Row]]:
        """What the report says of rows of `table`, each with its recording's columns in the manifest, one at least:
        `scores`, `comparison`, `failures` and more; and rows about each, for the table `written`.

        Raises:
            ConfigurationError: the references say nothing, or --baseline cannot be read.
        """
        ...

    def page(self, report: Row, rows: Sequence[Row]) -> str:
        """The page of an evaluation."""
        ...

    def show(self, report: Row, log: Log) -> None:
        """Say what an evaluation found."""
        ...
