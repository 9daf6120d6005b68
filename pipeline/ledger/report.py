"""The numbers of a run: counted as rows pass, shown at its end, kept as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from pipeline.log import Log, duration
from pipeline.schema import Outcome

Row = dict[str, Any]


class Numbers(Protocol):
    """What a task counts for the report, beside outcomes, failures and hours of audio."""

    def add(self, rows: Mapping[str, Iterable[Row]]) -> None:
        """Count rows of the task's tables, of recordings that are finished; columns of structs may be missing."""
        ...

    def facts(self) -> Row:
        """The sums, by the names that the report gives them."""
        ...


class Tally:
    """Outcomes, failures and hours of audio of a run's finished recordings, and what its task counts beside them."""

    def __init__(self, numbers: Numbers, of_recordings: str) -> None:
        """`of_recordings` is the name of the table with a row for each recording."""
        self._numbers, self._of_recordings = numbers, of_recordings
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.left: Counter[str] = (
            Counter()
        )  # by reason, recordings that stay as earlier runs left them; in no other sum
        self.audio_s = 0.0
        self.earlier_audio_s = 0.0  # of audio_s, what an earlier driver of the run did

    def add(self, rows: Mapping[str, Sequence[Row]]) -> Row:
        """Count the rows of a finished recording; returns the one that is about the whole of it."""
        self._numbers.add(rows)
        (whole,) = self._add_recordings(rows[self._of_recordings])
        return whole

    def add_part(self, tables: Mapping[str, pa.Table]) -> None:
        """Count what another driver of the run has committed."""
        before_s = self.audio_s
        rows = {name: _flat(table).to_pylist() for name, table in tables.items()}
        self._numbers.add(rows)
        self._add_recordings(rows[self._of_recordings])
        self.earlier_audio_s += self.audio_s - before_s

    def _add_recordings(self, rows: Iterable[Row]) -> list[Row]:
        whole = [row for row in rows if row.get("channel") is None]
        for row in whole:
            self.outcomes[row["outcome"]] += 1
            if row["failure_code"]:
                self.failures[row["failure_code"]] += 1
            self.audio_s += row["duration_s"] or 0.0
        return whole

    @property
    def recordings(self) -> int:
        return self.outcomes.total()

    def facts(self, wall_s: float) -> Row:
        """The report's numbers."""
        return {
            "recordings": self.recordings,
            **{outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "failures": dict(self.failures.most_common()),
            **({"left": dict(self.left.most_common())} if self.left else {}),
            "audio_s": round(self.audio_s, 3),
            **self._numbers.facts(),
            "wall_s": round(wall_s, 3),
            "speed": round((self.audio_s - self.earlier_audio_s) / wall_s, 3) if wall_s else None,
        }


def _flat(table: pa.Table) -> pa.Table:
    """Without columns whose values are structs or lists of structs: they are large, and nothing is counted in them."""
    nested = [f.name for f in table.schema if pa.types.is_struct(f.type) or _of_structs(f.type)]
    return table.drop_columns(nested)


def _of_structs(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)


def print_summary(report: Row, task_lines: Sequence[tuple[str, str]], log: Log) -> None:
    """The report as people read it, `task_lines` (Task.summary) among it."""
    numbers, run_id = report["numbers"], report["run_id"]
    counts = ", ".join(f"{numbers[outcome]} {outcome}" for outcome in Outcome)
    lines = [("recordings", f"{numbers['recordings']}: {counts}")]
    if numbers["failures"]:
        lines.append(("failures", ", ".join(f"{count} {code}" for code, count in numbers["failures"].items())))
    lines.append(("audio", duration(numbers["audio_s"])))
    lines += task_lines
    whole = f"{numbers['speed']:.1f} x real time, start of the engines included"
    lines.append(
        ("time", f"{duration(numbers['wall_s'])} ({duration(report['first_rows_s'])} to the first rows); {whole}")
    )
    if failures := report.get("engine_start_failures"):
        said = f"{report['engines_served']} of {report['engines']} started; {failures[0]}"
        lines.append(("engines", said + (f"; and {len(failures) - 1} more" if failures[1:] else "")))
    if report["not_reached"]:
        lines.append(
            ("not reached", f"{report['not_reached']} recordings: --max-hours is over, the next run does them")
        )
    lines += [(table, f"{report['output']}/{table}/run_id={run_id}/") for table in reversed(report["tables"])]
    lines.append(("report", f"{report['output']}/runs/{run_id}.json"))
    if log.as_json:
        log.say("finished", run_id=run_id, **numbers)
        return
    for name, value in lines:
        log.say(f"{name:<12} {value}")
