"""From answers, as they come from the engines, to committed parts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.digests import DigestTable, digests
from pipeline.flow import metrics
from pipeline.ledger import keys
from pipeline.ledger.parts import AlreadyPublished
from pipeline.planning import Plan
from pipeline.redaction import redacted
from pipeline.schema import PROVENANCE, RECORDING
from pipeline.sources.kept import take
from pipeline.tasks.protocol import Left

OWN = ("recording_id", "place", "uri", "range_start_s", "range_end_s")  # columns of RECORDING that rows repeat
RECORDINGS_PER_PART = 10_000  # a part is written earlier when flush_interval_s has passed

Row = dict[str, Any]


class Assembly:
    """Gathers the answers for windows, which come in any order, until a recording has all of them.

    It holds those of unfinished recordings only, of which there are as many as the pipeline has in flight.
    """

    def __init__(self) -> None:
        self._answers: dict[str, dict[int, Row]] = defaultdict(dict)
        self._counts: dict[str, int] = {}

    def add(self, answers: pa.Table) -> Iterator[tuple[str, list[Row]]]:
        """Take rows in; yield (recording_id, its answers in order) for each recording that is now complete."""
        for row in answers.to_pylist():
            recording_id = row["recording_id"]
            # A stage that Ray ran twice gives an answer twice; one is kept.
            self._answers[recording_id][row["segment_index"]] = row
            if row["segment_count"] is not None:
                self._counts[recording_id] = row["segment_count"]
            if len(self._answers[recording_id]) == self._counts.get(recording_id):
                del self._counts[recording_id]
                own = self._answers.pop(recording_id)
                yield recording_id, [own[index] for index in sorted(own)]

    def unfinished(self) -> Iterator[tuple[str, list[Row]]]:
        """What is left when nothing more comes: recordings that miss answers."""
        for recording_id, own in self._answers.items():
            yield recording_id, [own[index] for index in sorted(own)]


class Writer:
    """Turns answers into rows of the task's tables, and commits them part by part."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._tally, self._task = plan, plan.tally, plan.task
        *_, self._of_recordings = self._task.tables
        self._assembly = Assembly()
        listing = plan.listing
        self._positions = DigestTable(np.int64)  # in the listing, by recording_id
        for chunk in listing.recordings["recording_id"].chunks:
            self._positions.add(digests(chunk), len(self._positions) + np.arange(len(chunk)))
        self._positions.merge()
        self._is_waiting = np.ones(len(listing.recordings), bool)
        self._schemas = dict(self._task.tables)
        for name in self._task.carrying:
            self._schemas[name] = pa.schema([*self._schemas[name], *listing.extra.schema])
        self._provenance = {field.name: plan.about[field.name] for field in PROVENANCE if field.name in plan.about}
        self._finished: dict[str, Mapping[str, Sequence[Row]]] = {}  # the rows of each table, to be committed
        self._flushed = time.monotonic()

    @property
    def left(self) -> np.ndarray:
        """Which of the plan's N recordings are not finished: bool (N,)."""
        return self._is_waiting

    @property
    def saved(self) -> int:
        """Recordings of the run that are committed, by whichever driver."""
        return self._tally.recordings - len(self._finished)

    @property
    def unsaved(self) -> int:
        """Recordings of the plan that are not committed."""
        return int(self._is_waiting.sum()) + len(self._finished)

    def add(self, answers: pa.Table) -> None:
        """Take in what an engine has answered."""
        self._finish(list(self._assembly.add(answers)))

    def flush_if_due(self) -> None:
        """Commit what is finished, if it is much, or if it has waited for flush_interval_s."""
        overdue = time.monotonic() - self._flushed > self._plan.settings.flush_interval_s
        if len(self._finished) >= RECORDINGS_PER_PART or (overdue and self._finished):
            self.flush()

    def finish(self) -> None:
        """Write what is left. A recording that never came back is a failure with a row like any other."""
        self._finish(list(self._assembly.unfinished()), complete=False)
        left = np.flatnonzero(self._is_waiting)
        for at in range(0, len(left), RECORDINGS_PER_PART):
            lost = take(self._plan.listing.recordings.select(["recording_id"]), left[at : at + RECORDINGS_PER_PART])
            self._finish([(str(name), []) for name in lost["recording_id"].to_pylist()], complete=False)
        self.flush()

    def flush(self) -> None:
        """Commit what is finished, but for what another driver of the run has committed meanwhile."""
        while self._finished:
            try:
                self._plan.output.write({name: self._table(name) for name in self._schemas})
                self._finished = {}
            except FileExistsError:
                self.catch_up()
            except AlreadyPublished:
                self.catch_up()
                if self._finished or self._is_waiting.any():
                    raise
        self._flushed = time.monotonic()

    def _table(self, name: str) -> pa.Table:
        rows = [row for tables in self._finished.values() for row in tables[name]]
        # Details repeat what storage, servers and manifests say.
        rows = [
            row | {"failure_detail": redacted(row["failure_detail"])} if row.get("failure_code") else row
            for row in rows
        ]
        return pa.Table.from_pylist(rows, self._schemas[name])

    def catch_up(self) -> None:
        """Leave out what another driver has committed. Its listing may be another one than ours."""
        for tables in self._plan.output.catch_up():
            recordings = keys.whole(tables[self._of_recordings])
            theirs = set(recordings["recording_id"].to_pylist())
            ours = self._finished.keys() & theirs  # counted already
            self._tally.add_part({name: _without(table, ours) for name, table in tables.items()})
            self._finished = {key: rows for key, rows in self._finished.items() if key not in ours}
            known, at = self._positions.find(digests(recordings["recording_id"]))
            self._is_waiting[at[known]] = False

    def _finish(self, found: Sequence[tuple[str, list[Row]]], complete: bool = True) -> None:
        """Make rows of recordings, each by its recording_id with its answers in order."""
        is_listed, positions = self._positions.find(digests(pa.array([name for name, _ in found], pa.string())))
        found = [own for own, known in zip(found, is_listed, strict=True) if known]
        positions = positions[is_listed]
        listing = self._plan.listing
        recordings = take(listing.recordings, positions).to_pylist()
        extras = take(listing.extra, positions).to_pylist() if listing.extra.num_columns else [{}] * len(found)
        for (_, answers), at, recording, extra in zip(found, positions, recordings, extras, strict=True):
            if self._is_waiting[at]:  # else a stage that Ray ran twice
                self._is_waiting[at] = False
                self._finish_one(recording, extra, answers, complete)

    def _finish_one(self, recording: Row, extra: Row, answers: list[Row], complete: bool) -> None:
        read = next((row["content_version"] for row in answers if row["segment_count"] is not None), None)
        known = {key: value for key, value in recording.items() if key in OWN or key not in RECORDING.names}
        known |= {"declared_language": recording["language"], "content_version": read or recording["content_version"]}
        try:
            rows = self._task.rows(self._provenance | known | extra, answers, self._plan.settings, complete)
        except Left as why:
            self._tally.left[str(why)] += 1
            return
        # Before it is counted: an interruption between the two must not say "saved".
        self._finished[recording["recording_id"]] = rows
        whole = self._tally.add(rows)
        metrics.count_recording(whole["outcome"], whole["failure_code"], whole["duration_s"] or 0.0)


def _without(rows: pa.Table, ids: Collection[str]) -> pa.Table:
    """The rows that are about other recordings, or their channels."""
    return rows.filter(pc.invert(pc.is_in(keys.whole_ids(rows), pa.array(ids, pa.string()))))
