"""Transcripts of earlier runs as something to work on: an output of jobs.transcribe becomes a table of recordings."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage_errors
from pipeline.errors import ConfigurationError, RecordingError, failure
from pipeline.ledger import parts
from pipeline.ledger.newest import Newest
from pipeline.registry import TRANSCRIBE
from pipeline.schema import RECORDING, Outcome
from pipeline.sources.columns import no_columns
from pipeline.sources.kept import ROWS_AT_ONCE, Keep
from pipeline.sources.listing import Listing

# Where a transcript lies: a part, relative to the output, and the number of its row.
PLACE_OF_TEXT = [
    pa.field("part", pa.dictionary(pa.int32(), pa.string())),
    pa.field("row", pa.int64()),
    pa.field("duration_s", pa.float64()),
]
_COLUMNS = ["duration_s", "outcome", "failure_detail"]


def listing(output: str, limit: int | None, keep: Keep | None) -> Listing:
    """The newest transcript of every recording, as RECORDING rows with PLACE_OF_TEXT; of them what `keep` says. A
    content version is that of the audio and of what transcribed it; a transcript that failed is a failure.

    Raises:
        ConfigurationError: there are none, or they cannot be read.
    """
    with storage_errors.errors_as(ConfigurationError, f"--input {output}", storage_errors.READ_ERRORS):
        newest = Newest(output, parts.of_task(parts.reports(output), TRANSCRIBE))
        read = parts.read_ahead(lambda name: parts.read_recordings(output, name, _COLUMNS), newest.parts)
        tables = [_rows(name, rows, pa.array(newest.parts[name])) for name, rows in read]
    if not tables:
        why = "no transcripts of a finished run there; --over transcripts takes the --output of jobs.transcribe"
        raise ConfigurationError(f"--input {output}: {why}")
    found = pa.concat_tables(tables).unify_dictionaries().slice(0, limit)
    if keep:
        pieces = [found.slice(at, ROWS_AT_ONCE) for at in range(0, len(found), ROWS_AT_ONCE)]
        found = pa.concat_tables([one.take(np.flatnonzero(keep(one.select(RECORDING.names)))) for one in pieces])
    return Listing(found, no_columns(len(found)))


def texts(output: str, recordings: pa.Table) -> Iterator[str | RecordingError | None]:
    """The text of each row of `listing`, in order; why there is none where storage does not give it."""
    failed: dict[str, RecordingError] = {}  # by part: one that cannot be read is not tried again for each row
    for name, row in zip(recordings["part"].to_pylist(), recordings["row"].to_pylist(), strict=True):
        try:
            yield failed[name] if name in failed else _texts(output, name)[row].as_py()
        except storage_errors.READ_ERRORS as error:
            failed[name] = failure(storage_errors.failure_code(error), f"{name}: {storage_errors.explain(error)}")
            yield failed[name]


@lru_cache(maxsize=1)  # a worker is given the recordings of a part in many blocks
def _texts(output: str, name: str) -> pa.ChunkedArray:
    return parts.read_part(output, name, ["text"])["text"]


def _rows(name: str, found: pa.Table, counts: pa.Array) -> pa.Table:
    """What `listing` says of the recordings of a part that count."""
    own = {
        "part": pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(found), np.int32)), [name]),
        "row": pa.array(np.arange(len(found))),
        "size_bytes": pa.nulls(len(found), pa.int64()),
        "modified_at": pa.nulls(len(found), RECORDING.field("modified_at").type),
        "language": found["declared_language"],
        "content_version": pc.binary_join_element_wise(
            pc.fill_null(found["content_version"], ""), found["fingerprint"], "/"
        ),
    }
    schema = pa.schema([*RECORDING, *PLACE_OF_TEXT])
    columns = [own.get(field.name, found[field.name] if field.name in found.column_names else None) for field in schema]
    table = pa.Table.from_arrays([pa.nulls(len(found)) if x is None else x for x in columns], schema.names).cast(schema)
    # A partial transcript is worth asking about; its failure is not one of the question.
    failed = pc.equal(found["outcome"], Outcome.FAILED.value)
    for column in ("failure_code", "failure_detail"):
        at = table.schema.get_field_index(column)
        table = table.set_column(at, RECORDING.field(column), pc.if_else(failed, table[column], None))
    return table.filter(pc.and_(counts, pc.is_null(found["channel"])))
