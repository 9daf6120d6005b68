"""`make demo`: the main job on the recordings that the repository carries, with every part real; and a few questions
about some of them.

An S3 server in this process holds the bucket; ffmpeg, Ray, vLLM and the small checkpoint in demo/model do what they do
anywhere else. The tables are copied to build/demo to look at.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jiwer
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from demo.s3 import embedded_s3, upload
from jobs import ask, transcribe
from pipeline import store

HERE = Path(__file__).parent
KEPT = Path("build/demo")
# The checkpoint knows these languages. Few and short windows: a small batch is enough.
MODEL = ["--engine.model", str(HERE / "model"), "--engine.device", "cpu"]
LANGUAGES = ["--language.expected", "en,es,fr,de", "--language.methods", "score,text"]
ENGINE = [*MODEL, *LANGUAGES, "--words", "--alignment.model", str(HERE / "aligner"), "--speakers", "auto"]
QUESTIONS = ["--task", str(HERE / "questions.yaml"), "--segmentation.max-window-s", "12"]
ASKED = ["--input", "s3://demo/recordings/calls/", "--output", "s3://demo/answers", *MODEL, *QUESTIONS]


def main() -> int:
    """Run the demo; returns the job's exit status."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    with embedded_s3("demo"):
        upload(HERE / "recordings", "s3://demo/recordings")
        arguments = ["--input", "s3://demo/recordings/", "--output", "s3://demo/transcripts", *ENGINE, *sys.argv[1:]]
        console.print(f"$ python -m jobs.transcribe {' '.join(arguments)}\n", highlight=False, soft_wrap=True)
        status = transcribe.main(arguments)
        if status == 0 and "--dry-run" not in arguments:
            shutil.rmtree(KEPT, ignore_errors=True)
            _show(_published("transcripts", KEPT), console)
            console.print(f"\n$ python -m jobs.ask {' '.join(ASKED)}\n", highlight=False, soft_wrap=True)
            status = ask.main(ASKED)
            if status == 0:
                _show_answers(_published("answers", KEPT / "asked"), console)
    return status


def _published(table: str, folder: Path) -> pa.Table:
    """Copy all that a job wrote below an output of the table's name to a folder, and read that table of its run."""
    s3, output = store.filesystem("s3"), f"demo/{table}/"
    for name in s3.find(output):
        copy = folder / name.removeprefix(output)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(store.read(f"s3://{name}"))
    (report,) = [json.loads(path.read_text()) for path in folder.glob("runs/*.json")]
    return pa.concat_tables(pq.read_table(folder / name, partitioning=None) for name in report[table])


def _show(rows: pa.Table, console: Console) -> None:
    lines = [json.loads(line) for line in (HERE / "references.jsonl").read_text("utf-8").splitlines()]
    references = {line["path"]: line for line in lines}
    table = Table("recording", "seconds", "language", "transcript", "word errors", title="transcripts")
    said, recognised = [], []
    for row in sorted(rows.to_pylist(), key=lambda row: row["uri"]):
        name = row["uri"].removeprefix("s3://demo/recordings/")
        reference = references[name]["reference"]
        language = f"{row['language']} {row['language_probability']:.2f}" if row["language"] else ""
        text = (
            row["text"]
            if row["outcome"] == "ok"
            else f"[red]{row['outcome']}: {row['failure_code']}[/] {row['text'] or ''}"
        )
        errors = ""
        if reference and row["outcome"] == "ok":
            said.append(reference)
            recognised.append(row["text"])
            words = jiwer.process_words(reference, row["text"])
            errors = f"{words.substitutions + words.deletions + words.insertions} of {len(reference.split())}"
        short = text if len(text) < 120 else f"{text[:110]} ..."
        table.add_row(name, f"{row['duration_s'] or 0:.1f}", language, short or "[dim](silence)[/]", errors)
    console.print(table)
    console.print(f"word error rate {jiwer.wer(said, recognised):.1%} over {len(said)} recordings with a reference")
    for row in rows.to_pylist():
        if len({turn["speaker"] for turn in row["turns"] or []}) > 1:
            _show_turns(row, console)
    console.print(f"tables: {KEPT}; to look: duckdb -c \"from '{KEPT}/transcripts/*/*.parquet'\"", highlight=False)


def _show_turns(row: dict[str, Any], console: Console) -> None:
    table = Table("seconds", "speaker", "words", title=f"who says what in {row['uri'].rpartition('/')[2]}")
    timed = [word for word in row["words"] if word["start_s"] is not None]
    for speaker, own in itertools.groupby(timed, lambda word: word["speaker"]):
        words = list(own)
        times = f"{words[0]['start_s']:.1f} - {words[-1]['end_s']:.1f}"
        table.add_row(times, speaker or "", " ".join(word["word"] for word in words))
    console.print(table)


def _show_answers(rows: pa.Table, console: Console) -> None:
    table = Table("recording", "question", "answer", "function call", title="answers")
    for row in sorted(rows.to_pylist(), key=lambda row: row["uri"]):
        name = row["uri"].removeprefix("s3://demo/recordings/")
        calls = ", ".join(f"{call['name']}({call['arguments']})" for call in row["tool_calls"] or [])
        table.add_row(name, row["question"], row["answer"] or row["failure_detail"] or "", calls)
    console.print(table)
    console.print(f"tables: {KEPT}/asked; calls are written down, never made", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
