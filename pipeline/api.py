"""The jobs as Python functions, for notebooks and for jobs of your own; docs/python.md shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import planning, run
from pipeline.ledger import parts
from pipeline.log import Log
from pipeline.settings import Settings


@dataclass(frozen=True)
class Result:
    """What a job has written below `output`. `report` is that of the run, None where there was nothing to do."""

    output: str
    report: dict[str, Any] | None
    task: str = "transcribe"

    def tables(self, name: str = "transcripts", columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of this run in one of its tables (transcripts, segments), one committed part at a time; of the
        columns named, or all."""
        for part in (self.report or {}).get(name, []):
            yield parts.read_part(self.output, part, columns)

    def transcripts(self) -> pa.Table:
        """The newest published transcript of every recording below the output, whichever run wrote it, in memory.

        Without columns that only some of the runs have: those of manifests.
        """
        reports = parts.of_task(parts.reports(self.output), self.task)
        found = [parts.read_recordings(self.output, name) for report in reports for name in report["transcripts"]]
        if not found:
            raise LookupError(f"no published transcripts below {self.output}")
        common = [name for name in found[-1].column_names if all(name in table.column_names for table in found)]
        rows = pa.concat_tables([table.select(common) for table in found], promote_options="permissive")
        rows = rows.filter(pc.is_null(rows["channel"]))
        newest = {place: at for at, place in enumerate(rows["place"].to_pylist())}
        return rows.take(pa.array(newest.values(), pa.int64()))


def transcribe(settings: Settings | None = None, log: Log | None = None, **facts: Any) -> Result:
    """Transcribe recordings, as `python -m jobs.transcribe` does; settings by name, groups as dictionaries:

        transcribe(input="s3://bucket/calls/", output="s3://bucket/transcripts", engine={"model": "..."})

    What is done already is not done again. Settings that are not given come from the environment (VOXTRAL_...).
    Recordings that fail are rows; they raise nothing.

    Raises:
        ConfigurationError: a setting, the model, the input or the output is not as it should be.
        JobError: the engines, the cluster or the output broke down. What was finished is kept, and the same call
            resumes it.
    """
    wanted = settings or Settings(**facts)
    plan = planning.plan(wanted)
    return Result(plan.output.uri, None if plan.is_settled else run.execute(plan, log or Log()))
