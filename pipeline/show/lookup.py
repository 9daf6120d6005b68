"""Finding one recording in the tables of an output, without reading them: names first, then the rows that match."""

# pyright: reportCallIssue=false, reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError
from pipeline.ledger import parts
from pipeline.show.runs import PUBLISHED, Run

NAMES = ["recording_id", "uri"]
RANGE = ["range_start_s", "range_end_s"]
ROWS_AT_ONCE = 256  # whole rows that are decoded at once
LISTED, CANDIDATES = 10, 2_000  # names that a message holds; that are compared with one that is unknown

Row = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What one run says of a recording: the rows of its table of recordings (one, or with channels several), and those
    of its other tables that were asked for."""

    run: Run
    rows: list[Row]
    others: dict[str, list[Row]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Match:
    run: Run
    files: Row
    ids: dict[str, tuple[Any, ...]]  # URI and range by recording_id


def find(output: str, runs: Sequence[Run], wanted: str, also: Sequence[str] = ()) -> list[Said]:
    """What the newest of these runs of each task says of a recording, which is named by its recording_id, its URI, or a
    part of either that no other one has; with its rows in the tables `also`, where a run has them.

    Runs that are published go before others, the last published first.

    Raises:
        ConfigurationError: there is none, or several; or a table cannot be read.
    """
    ordered = sorted(runs, key=lambda run: (run.state == PUBLISHED, run.facts.get("finished_at", "")), reverse=True)
    with storage_errors.errors_as(
        ConfigurationError, f"{output}: its tables cannot be read", storage_errors.READ_ERRORS
    ):
        exact, partial = _matches(output, ordered, wanted)
        matches = exact or partial
        if not matches:
            raise ConfigurationError(f"{output} has no recording {wanted}{_similar(output, ordered, wanted)}")
        newest: dict[str, list[_Match]] = {}  # by task: the parts of one run
        for match in matches:
            own = newest.setdefault(match.run.task, [match])
            if match is not own[0] and match.run is own[0].run:
                own.append(match)
        _refuse_several(wanted, matches, list(newest.values()))
        return [_read(output, own[0], also) for own in newest.values()]


def _refuse_several(wanted: str, matches: Sequence[_Match], newest: Sequence[Sequence[_Match]]) -> None:
    """Raise ConfigurationError unless they are one recording. Of a file that has changed, runs have other ids."""
    ids = {name: what for match in matches for name, what in match.ids.items()}
    in_a_run = max(len({name for match in own for name in match.ids}) for own in newest)
    if in_a_run > 1 or len(set(ids.values())) > 1:
        names = [f"{name} ({uri})" for name, (uri, *_) in islice(ids.items(), LISTED)]
        more = f", and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
        raise ConfigurationError(f"{wanted} may be any of {len(ids)} recordings: {', '.join(names)}{more}")


def _matches(output: str, runs: Sequence[Run], wanted: str) -> tuple[list[_Match], list[_Match]]:
    """Parts with recordings of just that name, and with those that have it in theirs; the newest first."""
    exact, partial = [], []
    for run, files, names in _names(output, runs):
        is_partial = pc.or_(*(pc.match_substring(names[column], wanted) for column in NAMES))
        if not pc.any(is_partial).as_py():
            continue
        # The row of the whole recording has the segments of its channels.
        rows = [
            row
            for row in names.filter(is_partial).to_pylist()
            if row.get("channel") is None or row["recording_id"] == wanted
        ]
        if not rows:
            continue
        ids = {row["recording_id"]: (row["uri"], *(row.get(name) for name in RANGE)) for row in rows}
        own = {name: what for name, what in ids.items() if wanted in (name, what[0])}
        if own:
            exact.append(_Match(run, files, own))
        partial.append(_Match(run, files, ids))
    return exact, partial


def _names(output: str, runs: Sequence[Run]) -> Iterator[tuple[Run, Row, pa.Table]]:
    """The names of all recordings, part by part, the newest first; few parts are in memory."""
    units = [(run, files) for run in runs for files in reversed(run.files)]
    found = parts.read_ahead(lambda unit: parts.read_part(output, _last(unit[1]), [*NAMES, *RANGE, "channel"]), units)
    return ((run, files, names) for (run, files), names in found)


def _last(files: Row) -> str:
    return files[list(files)[-1]]


def _read(output: str, match: _Match, also: Sequence[str]) -> Said:
    ids = list(match.ids)
    names = {table: name for table, name in match.files.items() if table in also}
    others = {table: _rows(output, name, ids) for table, name in names.items()}
    rows = _rows(output, _last(match.files), ids)
    return Said(match.run, rows, others)


def _rows(output: str, name: str, ids: Sequence[str]) -> list[Row]:
    """The rows of some recordings in a file: of the row groups that may have them, a few rows are in memory at once."""
    wanted = pa.array(ids, pa.string())
    found: list[Row] = []
    with store.open_ranges(f"{output.rstrip('/')}/{name}") as data, pq.ParquetFile(data) as file:
        for group in range(file.num_row_groups):
            own = file.read_row_group(group, columns=["recording_id"])
            hits = pc.indices_nonzero(pc.is_in(own["recording_id"], value_set=wanted)).to_numpy().tolist()
            if not hits:
                continue
            at = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group]):
                inside = [hit - at for hit in hits if at <= hit < at + len(batch)]
                found += batch.take(pa.array(inside, pa.int64())).to_pylist()
                at += len(batch)
                if at > hits[-1]:
                    break
    return found


def _similar(output: str, runs: Sequence[Run], wanted: str) -> str:
    """Names that are like one that nothing has."""
    words = [word for word in re.split(r"[\W_]+", wanted.rpartition("/")[2] or wanted) if len(word) > 1]
    half = len(wanted) // 2
    pieces = [piece for piece in {*words, wanted[:half], wanted[half:]} if len(piece) > 1]
    candidates: dict[str, str] = {}  # names that are compared -> those that are shown
    for _, _, names in _names(output, runs):
        for column in NAMES:
            values = pc.unique(names[column])
            for piece in pieces:
                for value in (
                    values.filter(pc.match_substring(values, piece, ignore_case=True)).slice(0, LISTED).to_pylist()
                ):
                    candidates[value] = value
                    candidates.setdefault(str(value).rpartition("/")[2], str(value))
        if len(candidates) > CANDIDATES:
            break
    close = difflib.get_close_matches(wanted, candidates, LISTED, 0.5)
    shown = list(dict.fromkeys(candidates[name] for name in close))[:3]
    return f"; similar: {', '.join(shown)}" if shown else ""
