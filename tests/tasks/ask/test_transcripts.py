from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import ConfigurationError, RecordingError
from pipeline.ledger import parts
from pipeline.ledger.parts import Output
from pipeline.schema import RECORDING
from pipeline.tasks.ask import transcripts
from pipeline.tasks.ask.transcripts import PLACE_OF_TEXT
from pipeline.tasks.transcribe.schema import SEGMENT, TRANSCRIPT

Row = dict[str, Any]
RUN = {"task": "transcribe", "tables": ["segments", "transcripts"]}
PLAIN = {
    "model": "m",
    "model_revision": "r",
    "fingerprint": "f",
    "pipeline_version": "0",
    "duration_s": 2.0,
    "content_version": "v",
}


def row(name: str, text: str | None, **more: Any) -> Row:
    failure = (
        {"outcome": "failed", "failure_code": "truncated", "failure_detail": "x"} if text is None else {"outcome": "ok"}
    )
    own = {"recording_id": name, "place": f"/{name}", "uri": f"/{name}", "text": text}
    return PLAIN | failure | own | more


def publish(output: str, run_id: str, *several: list[Row], **report: Any) -> None:
    run = Output(output, run_id, ["segments", "transcripts"])
    for given in several:
        rows = [{"run_id": run_id} | one for one in given]
        run.write({"segments": SEGMENT.empty_table(), "transcripts": pa.Table.from_pylist(rows, TRANSCRIPT)})
    run.publish(RUN | {"run_id": run_id, "finished_at": run_id} | report | run.files)


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out")


def listed(output: str, limit: int | None = None, keep: Any = None) -> list[tuple[str, str | None, Any]]:
    found = transcripts.listing(output, limit, keep)
    assert found.recordings.schema == pa.schema([*RECORDING, *PLACE_OF_TEXT])
    assert len(found.extra) == len(found.recordings)
    texts = list(transcripts.texts(output, found.recordings))
    rows = found.recordings.to_pylist()
    return [(row["recording_id"], row["failure_code"], text) for row, text in zip(rows, texts, strict=True)]


def test_the_newest_transcript_of_a_recording_is_asked_about(output: str) -> None:
    publish(output, "1", [row("a", "old"), row("b", "stays")], [row("c", None)])
    publish(output, "2", [row("a", "new"), row("c", "now")])
    publish(output, "3", [row("d", None)])
    found = [("b", None, "stays"), ("a", None, "new"), ("c", None, "now"), ("d", "truncated", None)]
    assert listed(output) == found
    assert listed(output, 2) == found[:2]
    assert listed(output, None, lambda table: np.array([True, False, True, False])) == [found[0], found[2]]


def test_a_partial_transcript_is_no_failure_and_a_channel_no_recording(output: str) -> None:
    partial = row("a", "half", outcome="partial", failure_code="truncated", failure_detail="x")
    publish(output, "1", [partial, row("a#0", "left", place="/a", channel=0), row("a#1", None, place="/a", channel=1)])
    assert listed(output) == [("a", None, "half")]


def test_listing_reads_no_texts(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(output, "1", *([row(f"{at}", "x" if at % 3 else None)] for at in range(40)))
    read, columns = parts.read_part, set[str]()

    def noted(output: str, name: str, wanted: Any = None) -> pa.Table:
        columns.update(wanted or ["text"])
        return read(output, name, wanted)

    monkeypatch.setattr(parts, "read_part", noted)
    found = transcripts.listing(output, None, None).recordings
    assert found["recording_id"].to_pylist() == [f"{at}" for at in range(40)]
    assert [code is not None for code in found["failure_code"].to_pylist()] == [at % 3 == 0 for at in range(40)]
    assert "text" not in columns


def test_what_transcribed_it_is_part_of_its_version(output: str) -> None:
    publish(output, "1", [row("a", "x"), row("b", "x", fingerprint="g"), row("c", "x", content_version=None)])
    found = transcripts.listing(output, None, None).recordings
    assert found["content_version"].to_pylist() == ["v/f", "v/g", "/f"]
    assert found["duration_s"].to_pylist() == [2.0] * 3


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: folder.touch()])
def test_without_transcripts_there_is_one_line(output: str, make: Callable[[Path], None]) -> None:
    make(Path(output))
    with pytest.raises(ConfigurationError, match=r"--over transcripts takes the --output of jobs\.transcribe"):
        transcripts.listing(output, None, None)


def test_other_tasks_and_broken_reports(output: str) -> None:
    publish(output, "1", [row("a", "x")], task="ask")
    with pytest.raises(ConfigurationError, match="no transcripts of a finished run"):
        transcripts.listing(output, None, None)
    (Path(output) / "runs" / "2.json").write_text("{")
    with pytest.raises(ConfigurationError, match=f"--input {output}: "):
        transcripts.listing(output, None, None)


def test_a_text_that_is_gone_is_a_failure_of_its_recordings(output: str) -> None:
    publish(output, "1", [row("a", "x"), row("b", "y")], [row("c", "z")])
    found = transcripts.listing(output, None, None).recordings
    (Path(output) / "transcripts" / "run_id=1" / "part-000000.parquet").unlink()
    one, two, three = transcripts.texts(output, found)
    assert isinstance(one, RecordingError) and one.code == "not_found" and "part-000000" in one.detail
    assert isinstance(two, RecordingError) and three == "z"
