from __future__ import annotations

from tempfile import TemporaryDirectory

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger import parts
from pipeline.ledger.newest import Newest
from tests.ledger.test_parts import begin, finish, part

# Runs of parts of recordings, each with the channels that it was split into, and whether its content is another.
RECORDING = st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans())
RUNS = st.lists(st.lists(st.lists(RECORDING, max_size=3, unique_by=lambda one: one[0]), max_size=2), max_size=4)


@given(RUNS)
@settings(max_examples=40, deadline=None)
def test_of_each_place_the_rows_of_the_newest_run_count(runs: list[list[list[tuple[str, int, bool]]]]) -> None:
    expected: dict[str, set[tuple[str, str, int | None]]] = {}
    with TemporaryDirectory() as place:
        for number, run in enumerate(runs):
            opened, seen = begin(place, str(number), started_at=str(number)), set[str]()
            for some in run:
                rows = []
                for name, channels, is_new in (one for one in some if one[0] not in seen):
                    seen.add(name)
                    about = [(name, None), *((f"{name}#{at}", at) for at in range(channels))]
                    uri = f"{name} of {number if is_new else 'old'}"
                    rows += [{"recording_id": x, "channel": at, "place": name, "uri": uri} for x, at in about]
                    expected[name] = {(name, uri, at) for _, at in about}
                facts = part("x")["transcripts"].to_pylist()[0]
                tables = part() | {
                    "transcripts": pa.Table.from_pylist([facts | x for x in rows], part()["transcripts"].schema)
                }
                opened.write(tables)
            finish(opened, at=str(number))
        found = list(Newest(place, parts.reports(place)).rows())
    assert len(found) == sum(map(len, expected.values()))
    assert {(row["place"], row["uri"], row["channel"]) for row in found} == set().union(*expected.values())
