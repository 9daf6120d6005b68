"""The answers of jobs.ask, to be shown beside the texts: kept on disk, found by the recordings' places."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

from pipeline.errors import JobError
from pipeline.ledger import parts
from pipeline.registry import ASK

SHOWN = ["question_name", "question", "answer", "tool_calls", "parts", "flags", "outcome"]
SHOWN += ["failure_code", "failure_detail", "model", "run_id"]

Row = dict[str, Any]


class Answers:
    """The newest published answer to each question about each recording below an output."""

    def __init__(self, output: str, folder: Path) -> None:
        """`folder` holds the temporary database.

        Raises:
            storage_errors.READ_ERRORS: they cannot be read.
            JobError: the temporary folder is full.
        """
        self._database = sqlite3.connect(folder / "answers", check_same_thread=False)
        self._lock = Lock()
        try:
            self._read(output)
        except sqlite3.Error as error:
            raise JobError(f"{folder}: {error}; TMPDIR names another place for temporary files") from error

    def _read(self, output: str) -> None:
        keys = "place text, recording text, question text"
        self._database.execute(f"create table answers ({keys}, answer text, primary key (place, question, recording))")
        self._database.execute("create index by_recording on answers (recording)")
        for report in parts.of_task(parts.reports(output), ASK):
            for name in report["answers"]:
                for row in parts.read_part(output, name).to_pylist():
                    # A group may have lost members since.
                    about = (row["place"], row["question_name"])
                    self._database.execute("delete from answers where place = ? and question = ?", about)
                    entries = [_entry(row, member) for member in (None, *(row.get("members") or ()))]
                    self._database.executemany("insert or replace into answers values (?, ?, ?, ?)", entries)
        self._database.commit()

    def of(self, place: str, recording_id: str) -> list[Row]:
        """Those about a recording, and about the groups that it belongs to, in the order in which they were asked."""
        # "+": else SQLite looks through all answers that are of no group.
        query = "select answer from answers where (place = ? and +recording = '') or recording = ? order by rowid"
        with self._lock:
            found = self._database.execute(query, (place, recording_id)).fetchall()
        return [json.loads(answer) for (answer,) in found]

    def close(self) -> None:
        self._database.close()


def _entry(row: Row, member: Row | None = None) -> tuple[str, str, str, str]:
    """A row of the database. One that is about a group's `member` is found by its recording_id, others have none."""
    shown = {name: row[name] for name in SHOWN} | {"group": len(row["members"]) if member else 0}
    calls = row["tool_calls"]
    shown["tool_calls"] = calls if calls is None else [[call["name"], call["arguments"]] for call in calls]
    recording = member["recording_id"] if member else ""
    return row["place"], recording, row["question_name"], json.dumps(shown, default=str)
