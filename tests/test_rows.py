from __future__ import annotations

from dataclasses import fields

import pyarrow as pa
import pytest

from pipeline import rows
from pipeline.rows import Recording, Span, Window
from pipeline.schema import RECORDING, WINDOW


@pytest.mark.parametrize(("kind", "schema"), [(Recording, RECORDING), (Window, WINDOW)])
def test_a_dataclass_has_the_columns_of_its_schema(kind: type, schema: pa.Schema) -> None:
    assert {field.name for field in fields(kind)} == set(schema.names)


def test_rows_come_back_as_they_were() -> None:
    window = Window(
        start_s=1.0, end_s=2.5, spans=[Span(start_s=1.0, end_s=2.0)], samples=b"\0\1", recording_flags=["x"]
    )
    assert rows.read(rows.table([window], WINDOW), Window) == [window]
    assert rows.table([], WINDOW).schema == WINDOW
