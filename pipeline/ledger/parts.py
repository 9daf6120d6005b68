"""The tables below one output prefix: the parts, the runs that wrote them, and which of them count.

    started/<run_id>.json                   a run began: on which input, with which settings (see ledger.starts)
    <table>/run_id=<run_id>/part-*.parquet  rows of finished recordings only; the file of the task's last table is
                                            written last: this commits the part
    runs/<run_id>.json                      the report: from now on the run counts

Committing files are numbered from 0 without gaps, and none is ever written over another. So a run that was stopped is
resumed where it ended; and of two drivers of one run, the second to write a number finds what the first wrote there: no
recording is committed twice.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.ledger import access, keys
from pipeline.log import Log
from pipeline.registry import TRANSCRIBE
from pipeline.schema import KEYS

T = TypeVar("T")
Unit = TypeVar("Unit")
READS_AT_ONCE = 16
SAME = ("task", "input", "limit", "fingerprint", "retry")  # facts that the drivers of one run share

Row = dict[str, Any]


def reports(output: str) -> list[Row]:
    """The reports of the published runs below an output, the oldest first.

    Raises:
        storage_errors.READ_ERRORS: one cannot be read.
    """
    found = facts_in(output, "runs", {"run_id", "finished_at"})
    return sorted(found.values(), key=lambda report: report["finished_at"])


def facts_in(output: str, folder: str, keys: Set[str], without: Collection[str] = ()) -> dict[str, Row]:
    """The JSON objects with these keys in one of our folders, by run_id, but for those of some runs. In a bucket of
    recordings there may be others' files, too."""
    uris = {Path(uri).stem: uri for uri in files_in(output, folder, ".json") if Path(uri).stem not in without}
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        found = zip(uris, map(json.loads, pool.map(store.read, uris.values())), strict=True)
        return {run_id: facts for run_id, facts in found if isinstance(facts, dict) and keys <= facts.keys()}


def files_in(output: str, folder: str, ending: str) -> list[str]:
    """URIs of the files in one of our folders whose names end so, in order."""
    scheme, path = store.split(f"{output.rstrip('/')}/{folder}")
    with suppress(FileNotFoundError, NotADirectoryError):
        return [store.join(scheme, name) for name in sorted(store.names(scheme, path)) if name.endswith(ending)]
    return []


def read_part(output: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One of the files that a report lists: all of it, or of the columns named those that it has, and no byte of the
    others."""
    uri = f"{output.rstrip('/')}/{name}"
    if columns is None:
        return pq.ParquetFile(pa.BufferReader(store.read(uri))).read()
    with store.open_ranges(uri) as data, pq.ParquetFile(data, pre_buffer=True) as file:
        return file.read([column for column in columns if column in file.schema_arrow.names])


def schema(output: str, name: str) -> pa.Schema:
    """The columns of one of the files that a report lists."""
    with store.open_ranges(f"{output.rstrip('/')}/{name}") as data, pq.ParquetFile(data) as file:
        return file.schema_arrow


def same(facts: Row) -> Row:
    """Of the facts with which a run began, or of a report, those of SAME."""
    return {name: facts[name] for name in SAME if name in facts}


def tables_of(report: Row) -> list[str]:
    """The names of a run's tables, the one with a row for each recording last. Reports of 0.1 do not name them."""
    return report.get("tables", ["segments", "transcripts"])


def of_task(found: Sequence[Row], task: str) -> list[Row]:
    """Of reports those of runs of a task. Reports of 0.1 are all of transcriptions."""
    return [report for report in found if report.get("task", TRANSCRIBE) == task]


def beside(found: Sequence[Row], table: str) -> dict[str, str]:
    """The part of a table that belongs to each part of recordings which these reports list."""
    return {
        whole: own for report in found for whole, own in zip(report[tables_of(report)[-1]], report[table], strict=True)
    }


def read_recordings(output: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A part of a table of recordings, of any version of ours: KEYS and the columns named, or all."""
    return keys.with_keys(read_part(output, name, None if columns is None else [*columns, *KEYS.names]))


def read_ahead(read: Callable[[Unit], T], units: Iterable[Unit]) -> Iterator[tuple[Unit, T]]:
    """Each unit and what is read of it, in order. No more than READS_AT_ONCE are in memory."""
    waiting, ahead = iter(units), deque[tuple[Unit, Future[T]]]()
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        try:
            while True:
                for unit in islice(waiting, READS_AT_ONCE - len(ahead)):
                    ahead.append((unit, pool.submit(read, unit)))
                if not ahead:
                    return
                unit, found = ahead.popleft()
                yield unit, found.result()
        finally:
            for _, found in ahead:
                found.cancel()


def published(output: str, found: Sequence[Row], columns: Sequence[str] = ()) -> Iterator[tuple[str, pa.Table]]:
    """The parts of recordings that reports of one task list, in the order of these: each one's name, its KEYS and the
    columns named. No more than READS_AT_ONCE parts are in memory."""
    names = dict.fromkeys(name for report in found for name in report[tables_of(report)[-1]])
    for name, table in read_ahead(lambda name: read_recordings(output, name, columns), names):
        schema = pa.schema([*KEYS, *(table.schema.field(column) for column in columns)])
        yield name, table.select(schema.names).cast(schema)


class AlreadyPublished(JobError):
    """Another driver has published the run, without all that this one has."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} was finished by another driver; start again for what it left out")


class Output:
    """One run's place below an output. `files` are those that it has committed, by table, whichever driver wrote them;
    the last table commits."""

    def __init__(self, uri: str, run_id: str, tables: Sequence[str]) -> None:
        self.uri = store.join(*store.split(uri)).rstrip("/")
        self.run_id = run_id
        self.started_uri = f"{self.uri}/started/{run_id}.json"
        self.report_uri = f"{self.uri}/runs/{run_id}.json"
        self.files: dict[str, list[str]] = {name: [] for name in tables}
        *self._others, self._committing = tables
        self._log: Log | None = None

    def start(self, facts: Row) -> None:
        """Write that the run began. It is the first object: where the output may not be written, it fails here.

        A run of that name that was stopped is resumed, if the facts of SAME are what they were.

        Raises:
            AlreadyPublished: another driver has finished it since it was planned.
            ConfigurationError: it began with other facts; or the output may not be written, or its server would
                overwrite what another driver has committed.
        """
        created = False
        with storage_errors.errors_as(ConfigurationError, f"--output {self.uri}"):
            if self.is_published():
                raise AlreadyPublished(self.run_id)
            try:
                store.create(self.started_uri, to_json(facts))
                created = True
            except FileExistsError:
                begun = json.loads(store.read(self.started_uri))
                if other := [name for name in SAME if begun.get(name) != facts.get(name)]:
                    raise ConfigurationError(
                        f"--run-id {self.run_id}: a run of this name began with another {other[0]}; choose another name"
                    ) from None
            access.refuse_overwriting(self.uri, self.started_uri, created)

    def began_with(self, facts: Row) -> bool:
        """Whether a run of that name began with the same facts, and has no report."""
        with suppress(FileNotFoundError):
            begun = json.loads(store.read(self.started_uri))
            return same(facts).items() <= begun.items() and not self.is_published()
        return False

    def refuse_published(self) -> None:
        """Raise ConfigurationError where a run of that name is finished."""
        if self.is_published():
            raise ConfigurationError(f"--run-id {self.run_id}: a run of this name is finished; choose another")

    def is_published(self) -> bool:
        scheme, path = store.split(self.report_uri)
        return store.filesystem(scheme).exists(path)

    def catch_up(self) -> Iterator[dict[str, pa.Table]]:
        """The tables of the run's parts that this driver does not know yet."""
        while True:
            committing = self._next()
            try:
                last = self._insist(lambda name=committing: read_part(self.uri, name))
            except FileNotFoundError:
                return
            marks = last.schema.metadata or {}
            files = {table: marks[table.encode()].decode() for table in self._others} | {self._committing: committing}
            tables = {
                table: self._insist(lambda name=files[table]: read_part(self.uri, name)) for table in self._others
            }
            yield tables | {self._committing: last}
            self._committed(files)

    def write(self, tables: Mapping[str, pa.Table]) -> None:
        """Commit one part: a file of each table, about the same recordings.

        Raises:
            FileExistsError: another driver of this run has committed a part meanwhile; see catch_up.
            AlreadyPublished: it has published the run.
        """
        committing, files = self._next(), {}
        stem = committing.removeprefix(f"{self._committing}/").removesuffix(".parquet")
        for table in self._others:
            files[table] = f"{table}/{stem}-{secrets.token_hex(4)}.parquet"
            self._create(files[table], parquet(tables[table]))
        if self._insist(self.is_published):
            raise AlreadyPublished(self.run_id)
        self._create(committing, parquet(tables[self._committing].replace_schema_metadata(files)))
        self._committed(files | {self._committing: committing})

    def publish(self, report: Row) -> Row:
        """Write the report: from now on the run's files count. Returns it, or the one that another driver wrote.

        Raises:
            AlreadyPublished: that one lacks files of ours.
        """
        with suppress(FileExistsError):
            self._create(f"runs/{self.run_id}.json", to_json(report))
            return report
        theirs = json.loads(self._insist(lambda: store.read(self.report_uri)))
        if not set(self.files[self._committing]) <= set(theirs[self._committing]):
            raise AlreadyPublished(self.run_id)
        return theirs

    def _create(self, name: str, data: bytes) -> None:
        self._insist(lambda: store.create(f"{self.uri}/{name}", data))

    def keep_trying(self, log: Log) -> None:
        """From now on, try again for store.PATIENCE_S where storage refuses access, as it has given it to this run
        before: credentials expire, and are renewed."""
        self._log = log

    def _insist(self, call: Callable[[], T]) -> T:
        return store.patiently(call, storage_errors.access_refused, self._warn) if self._log else call()

    def _warn(self, error: BaseException) -> None:
        assert self._log
        self._log.say(
            f"attention: --output {self.uri}: {storage_errors.explain(error)}; credentials may have expired: it is"
            f" tried again for {store.PATIENCE_S / 60:.0f} minutes",
            style="yellow",
            level="warning",
        )

    def _next(self) -> str:
        return f"{self._committing}/run_id={self.run_id}/part-{len(self.files[self._committing]):06d}.parquet"

    def _committed(self, files: Mapping[str, str]) -> None:
        for table, name in files.items():
            self.files[table].append(name)


def to_json(facts: Row) -> bytes:
    """Indented JSON in UTF-8; halves of surrogate pairs, which have no encoding, as JSON writes them."""
    return (json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace")


def parquet(table: pa.Table) -> bytes:
    """A Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue().to_pybytes()
