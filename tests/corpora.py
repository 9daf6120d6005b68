"""Corpora in the layouts that they are published in, made of the demo's held-out clips: digits in four languages."""

from __future__ import annotations

import io
import json
import tarfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audio import media
from pipeline.settings import Audio
from tests.conftest import DEMO

CONFIGS = {"en_us": "en", "de_de": "de", "es_419": "es", "fr_fr": "fr"}
Row = dict[str, Any]


def held_out(language: str, count: int) -> list[Row]:
    """Clips as FLEURS has them: a number that names the file, the reference, and the sentence's id. Two clips with the
    same id are two recordings of one sentence (of which the references differ here)."""
    lines = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]
    own = [line for line in lines if line["language"] == language][:count]
    return [
        {
            "id": at // 2,
            "file": f"{10_000 + at}.wav",
            "raw": line["reference"].capitalize() + ".",
            "text": line["reference"],
            "data": wav(np.concatenate(list(media.decode(DEMO / "held_out" / line["path"], Audio())))),
        }
        for at, line in enumerate(own)
    ]


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def line(row: Row) -> str:
    samples = (len(row["data"]) - 44) // 2
    fields = (row["id"], row["file"], row["raw"], row["text"], " ".join(row["text"]), samples, "FEMALE")
    return "\t".join(map(str, fields)) + "\n"


def fleurs(root: Path, config: str, rows: list[Row]) -> None:
    """{config}/test.tsv and {config}/audio/test.tar.gz."""
    (root / config / "audio").mkdir(parents=True)
    (root / config / "test.tsv").write_text("".join(map(line, rows)), "utf-8")
    with tarfile.open(root / config / "audio/test.tar.gz", "w:gz") as archive:
        for row in rows:
            member = tarfile.TarInfo(f"test/{row['file']}")
            member.size = len(row["data"])
            archive.addfile(member, io.BytesIO(row["data"]))


def fleurs_parquet(root: Path, config: str, rows: list[Row]) -> None:
    """parquet-data/{config}/test-00000-of-00001.parquet."""
    folder = root / "parquet-data" / config
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(
        [
            {
                "id": row["id"],
                "num_samples": (len(row["data"]) - 44) // 2,
                "path": f"/somewhere/{config}/audio/test/{row['file']}",
                "audio": {"bytes": row["data"], "path": row["file"]},
                "transcription": row["text"],
                "raw_transcription": row["raw"],
                "gender": 1,
            }
            for row in rows
        ]
    )
    pq.write_table(table, folder / "test-00000-of-00001.parquet")


def common_voice(root: Path, locale: str, rows: list[Row]) -> None:
    """{locale}/test.tsv with a header, {locale}/clips/."""
    (root / locale / "clips").mkdir(parents=True)
    lines = ["client_id\tpath\tsentence\tup_votes\n"]
    for row in rows:
        (root / locale / "clips" / row["file"]).write_bytes(row["data"])
        lines.append(f"someone\t{row['file']}\t{row['raw']}\t2\n")
    (root / locale / "test.tsv").write_text("".join(lines), "utf-8")


def mls(root: Path, language: str, rows: list[Row]) -> None:
    """mls_{language}/test/transcripts.txt and audio/{speaker}/{book}/{id}.flac (the content is wav: ffmpeg looks)."""
    folder = root / f"mls_{language}" / "test"
    lines = []
    for at, row in enumerate(rows):
        name = f"12_345_{at:06d}"
        path = folder / "audio/12/345" / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["data"])
        lines.append(f"{name}\t{row['text']}\n")
    (folder / "transcripts.txt").write_text("".join(lines), "utf-8")
