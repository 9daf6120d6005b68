"""Outputs of 0.1: they are read, added to, exported and queried beside what this version writes."""

from __future__ import annotations

import glob
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from jobs import export, transcribe
from pipeline.ledger import parts
from tests.conftest import ROOT, SCRIPTED, published, run_job

# What has come since: columns of both tables, of one of them, and keys of reports (some had another name).
LATER = {
    "transcripts": ["place", "unexpected_language", "words", "turns", "runtime", "runtime_version"],
    "segments": ["unexpected_language", "words", "speaker", "runtime", "runtime_version"],
}
LATER_KEYS = ("task", "tables", "runtime", "runtime_version", "texts_fingerprint", "unlisted_files")
RENAMED = {"resumed": "taken_up", "recordings_by_status": "recordings_by_standing"}


def as_of_0_1(recording: Path, output: Path) -> list[str]:
    """Transcribe a recording, and make of the run's output what 0.1 would have written; returns the arguments."""
    arguments = ["--input", str(recording.parent), *SCRIPTED]
    run_job(arguments, str(output))
    for table, columns in LATER.items():
        for path in output.glob(f"{table}/*/*.parquet"):
            rows = pq.ParquetFile(path).read()
            path.write_bytes(parts.parquet(rows.drop_columns(columns).replace_schema_metadata(None)))
    for path in [*output.glob("started/*.json"), *output.glob("runs/*.json")]:
        facts = json.loads(path.read_text())
        kept = {RENAMED.get(name, name): value for name, value in facts.items() if name not in LATER_KEYS}
        kept["settings"] = {name: kept["settings"][name] for name in ("input", "output", "engine", "audio")}
        path.write_text(json.dumps(kept))
    for path in output.glob("started/*.claim"):
        path.unlink()
    return arguments


def test_an_output_of_0_1_is_gone_on_with(
    shared_ray: None, speech_wav: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, out = speech_wav("in/old.wav"), tmp_path / "out"
    arguments = as_of_0_1(recording, out)
    capsys.readouterr()
    assert transcribe.main([*arguments, "--output", str(out), "--dry-run"]) == 0
    assert "1 recordings in" in (said := capsys.readouterr().err) and "1 done already, 0 to do" in said

    shutil.copy(recording, recording.with_name("new.wav"))
    assert transcribe.main([*arguments, "--output", str(out)]) == 0
    assert "1 done already, 1 to do" in capsys.readouterr().err
    old, new = published(str(out), "transcripts")
    assert "place" not in old and Path(new["place"]) == Path(new["uri"]) == recording.with_name("new.wav")

    files = tmp_path / "files"
    assert export.main(["--input", str(out), "--output", str(files), "--formats", "txt,json,srt"]) == 0
    assert sorted(path.name for path in files.iterdir()) == sorted(
        f"{name}.{kind}" for name in ("old", "new") for kind in ("txt", "json", "srt")
    )
    docs = (ROOT / "docs" / "tables.md").read_text("utf-8").replace("out/", f"{out}/")
    sql, expression = re.findall(r"^```(?:sql|python)\n(.+?)\n```$", docs, re.M | re.S)
    both = sorted([str(recording), str(recording.with_name("new.wav"))])
    assert sorted(row[1] for row in duckdb.connect().execute(sql).fetchall()) == both
    assert sorted(eval(expression, {"pl": pl, "glob": glob, "json": json})["uri"]) == both
    every = f"select uri, words, runtime, place from read_parquet('{out}/transcripts/*/*.parquet', union_by_name=true)"
    rows = {Path(uri).name: rest for uri, *rest in duckdb.connect().execute(every).fetchall()}
    assert rows["old.wav"] == [None, None, None] and rows["new.wav"][1:] == ["scripted", new["place"]]
    assert transcribe.main([*arguments, "--output", str(out)]) == 0
    assert "2 done already, 0 to do" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_0_1_left_unfinished_is_done_anew(
    shared_ray: None, speech_wav: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = as_of_0_1(speech_wav("in/old.wav"), out)
    for path in out.glob("runs/*.json"):
        path.unlink()
    assert len(run_job(arguments, str(out)).transcripts) == 1
    assert "0 done already, 1 to do" in capsys.readouterr().err
    assert len(list(out.glob("started/*.json"))) == 2
