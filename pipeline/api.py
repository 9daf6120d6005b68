"""The jobs as Python functions, for notebooks and for jobs of your own; docs/python.md shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import command_line, planning, run
from pipeline.errors import ConfigurationError
from pipeline.ledger import keys, parts
from pipeline.ledger.newest import Newest
from pipeline.log import Log
from pipeline.registry import TRANSCRIBE
from pipeline.settings import Settings
from pipeline.tasks.ask.settings import AskSettings

Made = TypeVar("Made", bound=Settings)


@dataclass(frozen=True)
class Result:
    """What a job of one task has written below `output`. `report` is that of the run, None where there was nothing to
    do, or after a dry run."""

    output: str
    report: dict[str, Any] | None
    task: str = TRANSCRIBE

    def tables(self, name: str = "transcripts", columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of this run in one of its tables (transcripts, segments; answers, recordings), one committed part at
        a time; of the columns named, or all."""
        for part in (self.report or {}).get(name, []):
            yield parts.read_part(self.output, part, columns)

    def transcripts(self) -> pa.Table:
        """The newest published transcript of every recording below the output, whichever run wrote it, in memory.

        Without the columns of manifests that only some of the runs have, or with other types.

        Raises:
            LookupError: there are none.
        """
        return keys.whole(self._newest("transcripts"))

    def answers(self) -> pa.Table:
        """The newest published answers about every recording or group, a row for each question; as `transcripts`."""
        return self._newest("answers")

    def _newest(self, table: str) -> pa.Table:
        """The rows about each place that count."""
        reports = parts.of_task(parts.reports(self.output), self.task)
        newest, beside = Newest(self.output, reports), parts.beside(reports, table)
        if not newest.parts:
            raise LookupError(f"no published {table} below {self.output}")
        found = []
        for name, counts in newest.parts.items():
            if beside[name] == name:
                found.append(parts.read_recordings(self.output, name).filter(pa.array(counts)))
                continue
            rows = parts.read_part(self.output, beside[name])
            places = newest.keys[name]["place"].combine_chunks()
            found.append(rows.filter(pc.is_in(rows["place"], value_set=places)))
        columns = [name for name in found[-1].column_names if all(name in rows.column_names for rows in found)]
        columns = [name for name in columns if _have_one_type([rows.field(name) for rows in found])]
        return pa.concat_tables([rows.select(columns) for rows in found], promote_options="permissive")


def transcribe(settings: Settings | None = None, log: Log | None = None, **facts: Any) -> Result:
    """Transcribe recordings, as `python -m jobs.transcribe` does; settings by name, groups as dictionaries:

        transcribe(input="s3://bucket/calls/", output="s3://bucket/transcripts", engine={"model": "..."})

    What is done already is not done again; with `dry_run` nothing is. Settings that are not given come from the
    environment (VOXTRAL_...). Recordings that fail are rows; they raise nothing.

    Raises:
        ConfigurationError: a setting, the model, the input or the output is not as it should be.
        JobError: the engines, the cluster or the output broke down. What was finished is kept, and the same call
            resumes it.
    """
    return _done(_made(Settings, settings, facts), log)


def ask(settings: AskSettings | None = None, log: Log | None = None, **facts: Any) -> Result:
    """Ask questions about recordings, as `python -m jobs.ask` does; its help explains `question`, `preset` and `task`:

        ask(input="s3://bucket/calls/", output="s3://bucket/answers", question=("What does the caller want?",))

    For the rest, and what is raised, see `transcribe`.
    """
    return _done(_made(AskSettings, settings, facts), log)


def _made(kind: type[Made], settings: Made | None, facts: Mapping[str, Any]) -> Made:
    if settings and facts:
        raise ConfigurationError(f"{', '.join(facts)}: given beside settings; give either settings or their values")
    if settings:
        return settings
    settings = command_line.given(kind, facts)
    if settings.config:
        raise ConfigurationError(f"config {settings.config}: only the command line reads a file; give what it has")
    return settings


def _have_one_type(fields: Sequence[pa.Field]) -> bool:
    try:
        pa.unify_schemas([pa.schema([one]) for one in fields], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _done(settings: Settings, log: Log | None) -> Result:
    plan = planning.plan(settings)
    is_over = plan.is_settled or settings.dry_run
    return Result(plan.output.uri, None if is_over else run.execute(plan, log or Log()), plan.task.name)
