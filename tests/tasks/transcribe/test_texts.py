from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.schema import RECORDING, WINDOW, FailureCode
from pipeline.sources.columns import no_columns
from pipeline.sources.listing import Listing
from pipeline.tasks.transcribe import texts
from tests.ledger import test_parts as parts

TRUNCATED = FailureCode.TRUNCATED.value


def window(index: int, **facts: Any) -> dict[str, Any]:
    place = {"start_s": 5.0 * index, "end_s": 5.0 * index + 4, "overlap_s": 0.0, "speech_s": 3.0, "channel": None}
    return {"recording_id": "a", "segment_index": index, "failure_code": None, **place, **facts}


def segment(index: int, **facts: Any) -> dict[str, Any]:
    return {"text": f"text {index}", "language": "en", **window(index), **facts}


def beside(windows: list[dict[str, Any]], segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_index = {one["segment_index"]: one for one in segments}
    return texts.beside(pa.Table.from_pylist(windows, WINDOW), {"a": by_index}, {"a": "v1"}).to_pylist()


LAST = {"segment_count": 2, "content_version": "v1"}


def test_each_window_has_its_text() -> None:
    rows = beside([window(0), window(1, **LAST)], [segment(0, flags=["no_text"]), segment(1, overlap_s=0.0)])
    assert [row["kept"]["text"] for row in rows] == ["text 0", "text 1"]
    assert rows[0]["kept"]["flags"] == ["no_text"]
    assert [row["left"] for row in rows] == [None, None]


def test_a_text_knows_how_much_of_its_end_is_in_the_next_window_of_its_channel() -> None:
    windows = [window(0, channel=0), window(1, channel=0, overlap_s=1.0), window(2, channel=1, overlap_s=0.5)]
    rows = beside(windows, [{**one, "text": "", "language": None} for one in windows])
    assert [row["kept"]["next_overlap_s"] for row in rows] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("last", "segments", "why"),
    [
        ({"start_s": 5.5}, [segment(0), segment(1)], texts.OTHER_WINDOWS),
        ({"overlap_s": 0.5}, [segment(0), segment(1)], texts.OTHER_WINDOWS),
        ({"channel": 0}, [segment(0), segment(1)], texts.OTHER_WINDOWS),
        ({}, [segment(0)], texts.OTHER_WINDOWS),
        ({}, [segment(0), segment(1), segment(2)], texts.OTHER_WINDOWS),
        ({"content_version": "v2"}, [segment(0), segment(1)], texts.OTHER_CONTENT),
        ({"failure_code": "storage_error"}, [segment(0), segment(1)], "storage_error"),
        ({"failure_code": TRUNCATED}, [segment(0), segment(1, text=None, failure_code=TRUNCATED)], None),
        ({}, [segment(0), segment(1, text=None, failure_code="engine_died")], None),
    ],
)
def test_a_window_of_another_recording_gets_no_text(
    last: dict[str, Any], segments: list[dict[str, Any]], why: str | None
) -> None:
    rows = beside([window(0), window(1, **(LAST | last))], segments)
    assert rows[1]["left"] == why
    assert (rows[1]["kept"] is None) == bool(why)


def test_what_lies_beside_the_texts_that_are_taken(tmp_path: Path) -> None:
    """Of whichever run: the newest one may have done other recordings."""
    for name, settings in (("a", {"words": True}), ("b", {}), ("c", {"speakers": "auto"})):
        run = parts.begin(str(tmp_path), name, started_at=name)
        run.write(parts.part(name, segments=[parts.segment(name)]))
        facts = {"fingerprint": "f", "texts_fingerprint": "t", "settings": settings, "finished_at": name}
        run.publish(facts | {"run_id": name} | run.files)
    rows = [{"recording_id": x, "place": x, "uri": x, "content_version": "v1"} for x in "abc"]
    listed = Listing(pa.Table.from_pylist(rows, RECORDING), no_columns(3))
    found = texts.Published(str(tmp_path), "t")
    expected = {(0,): ["words"], (1,): [], (1, 2): ["speakers"], (0, 2): ["words", "speakers"]}
    for chosen, passes in expected.items():
        assert found.passes(found.beside(listed.take(np.array(chosen)))) == passes
