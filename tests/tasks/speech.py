"""A second, tiny task: how much speech there is in each recording. It has a table of its own, and asks no model.

`python -m tests.tasks.speech --input ... --output ...` runs it as a job.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import pyarrow as pa
from pydantic_settings import SettingsConfigDict

from jobs import shell
from pipeline import command_line, planning, registry, run, settings
from pipeline.log import Log
from pipeline.models.abilities import Ability
from pipeline.models.checkpoint import Checkpoint
from pipeline.nightly import Nightly
from pipeline.schema import ANSWERED, KEYS, PROVENANCE, FailureCode, Outcome
from pipeline.tasks.protocol import Gather
from pipeline.tasks.windows import OverWindows

Row = dict[str, Any]
SPEECH = pa.schema(
    [
        *(field for field in KEYS if field.name not in ("channel", "content_version", "fingerprint")),
        pa.field("duration_s", pa.float64()),
        pa.field("seconds", pa.float64()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("failure_detail", pa.string()),
        *PROVENANCE,
    ]
)


class SpeechSettings(Nightly):
    """Measure how much speech there is."""

    model_config = SettingsConfigDict(cli_prog_name="python -m tests.tasks.speech")

    @property
    def task_name(self) -> str:
        return "speech"


class Worker:
    """The seconds of speech of every window; each batch takes as long as --engine.stall-timeout-s says, in hundredths:
    so that a test finds the time to kill it."""

    def __init__(self, pause_s: float) -> None:
        self.finished, self._pause_s = 0, pause_s

    async def __call__(self, windows: pa.Table) -> pa.Table:
        await asyncio.sleep(self._pause_s)
        self.finished += len(windows)
        seconds = windows["speech_s"]
        return windows.drop_columns(["samples"]).append_column("seconds", seconds).cast(SpeechSeconds.answers)


class Numbers:
    """The sum."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def add(self, rows: Mapping[str, Iterable[Row]]) -> None:
        self.seconds += sum(row["seconds"] or 0.0 for row in rows["speech"])

    def facts(self) -> Row:
        return {"speech_seconds": round(self.seconds, 3)}


class SpeechSeconds(OverWindows):
    """Implements tasks.protocol.Task."""

    name: ClassVar[str] = "speech"
    requires: Sequence[Ability] = ()
    tables: Mapping[str, pa.Schema] = MappingProxyType({"speech": SPEECH})
    carrying: Sequence[str] = ("speech",)
    answers: pa.Schema = pa.schema([*ANSWERED, pa.field("seconds", pa.float64())])

    def fingerprint(self, settings: settings.Settings, checkpoint: Checkpoint) -> Mapping[str, Any]:
        return {"segmentation": settings.segmentation.model_dump()}

    def worker(self, engine: object, settings: settings.Settings, gather: Gather) -> Worker:
        return Worker(settings.engine.stall_timeout_s / 100 if settings.engine.stall_timeout_s < 600 else 0.0)

    def engine_died(self, windows: pa.Table, deaths: int) -> pa.Table:
        rows = windows.drop_columns(["samples"]).to_pylist()
        failure = {"failure_code": FailureCode.ENGINE_DIED.value, "failure_detail": f"{deaths} engines died of it"}
        return pa.Table.from_pylist([row | failure for row in rows], self.answers)

    def rows(
        self, recording: Row, answers: Sequence[Row], settings: settings.Settings, complete: bool
    ) -> Mapping[str, Sequence[Row]]:
        failed = next((row for row in answers if row["failure_code"]), None)
        if not complete:
            failed = {"failure_code": FailureCode.INCOMPLETE.value, "failure_detail": None}
        row = recording | {
            "duration_s": next((row["duration_s"] for row in answers if row["segment_count"]), None),
            "seconds": None if failed else sum(row["seconds"] for row in answers),
            "outcome": Outcome.FAILED.value if failed else Outcome.OK.value,
            "failure_code": failed["failure_code"] if failed else None,
            "failure_detail": failed["failure_detail"] if failed else None,
        }
        return {"speech": [row]}

    def numbers(self) -> Numbers:
        return Numbers()

    def summary(self, numbers: Row) -> list[tuple[str, str]]:
        return [("speech", f"{numbers['speech_seconds']} s")]


registry.TASKS["speech"] = "tests.tasks.speech:SpeechSeconds"


def main(arguments: list[str]) -> int:
    def job(log: Log) -> int:
        run.execute(planning.plan(command_line.load(arguments, SpeechSettings)), log)
        return 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
