from __future__ import annotations

import pyarrow as pa

from pipeline import identity
from pipeline.ledger import keys
from tests.ledger.test_done import row, table


def test_rows_of_earlier_versions_have_places_too() -> None:
    own = identity.generated_id("u", "v1", None, None)
    rows = [
        row("u", recording_id=own),
        row("u", recording_id=f"{own}#0", channel=0),
        row("u", recording_id="mine"),
        row("u", recording_id="part", range_start_s=1.0),
    ]
    old = table(rows).drop_columns(["place"])
    assert keys.with_keys(old)["place"].to_pylist() == ["u", "u", "id:mine", "id:part"]
    assert keys.with_keys(table(rows)).equals(table(rows))


def test_a_channels_rows_are_known() -> None:
    rows = table([row("a"), row("a#0", channel=0), row("b#1")])
    assert keys.whole_ids(rows).to_pylist() == ["a", "a", "b#1"]
    assert keys.whole(rows)["recording_id"].to_pylist() == ["a", "b#1"]
    without = pa.table({"recording_id": ["c#2"]})  # of a task that knows no channels
    assert keys.whole_ids(without).to_pylist() == keys.whole(without)["recording_id"].to_pylist() == ["c#2"]
