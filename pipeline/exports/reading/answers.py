"""The answers of jobs.ask, to be shown beside the texts: kept on disk, found by the recordings' places."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

from pipeline.ledger import parts

TASK = "ask"
SHOWN = ["question_name", "question", "answer", "tool_calls", "parts", "flags", "outcome"]
SHOWN += ["failure_code", "failure_detail", "model", "run_id"]

Row = dict[str, Any]


class Answers:
    """The newest published answer to each question about each recording below an output."""

    def __init__(self, output: str, folder: Path) -> None:
        """`folder` holds the temporary database.

        Raises:
            store.READ_ERRORS: they cannot be read.
        """
        self._database = sqlite3.connect(folder / "answers", check_same_thread=False)
        self._lock = Lock()
        keys = "place text, recording text, question text"
        self._database.execute(f"create table answers ({keys}, answer text, primary key (place, question))")
        self._database.execute("create index by_recording on answers (recording)")
        for report in parts.of_task(parts.reports(output), TASK):
            for name in report["answers"]:
                rows = parts.read_part(output, name).to_pylist()
                self._database.executemany("insert or replace into answers values (?, ?, ?, ?)", map(_entry, rows))
                groups = [row for row in rows if row.get("members")]
                entries = [_entry(row, member) for row in groups for member in row["members"]]
                self._database.executemany("insert or replace into answers values (?, ?, ?, ?)", entries)
        self._database.commit()

    def of(self, place: str, recording_id: str) -> list[Row]:
        """Those about a recording, and about the groups that it belongs to, in the order in which they were asked."""
        query = "select answer from answers where place = ? or recording = ? order by rowid"
        with self._lock:
            found = self._database.execute(query, (place, recording_id)).fetchall()
        return [json.loads(answer) for (answer,) in found]

    def close(self) -> None:
        self._database.close()


def _entry(row: Row, member: Row | None = None) -> tuple[str, str | None, str, str]:
    """A row of the database. One that is about a group's `member` is found by its recording_id."""
    shown = {name: row[name] for name in SHOWN} | {"group": len(row["members"]) if member else 0}
    calls = row["tool_calls"]
    shown["tool_calls"] = calls if calls is None else [[call["name"], call["arguments"]] for call in calls]
    place = f"{row['place']}\n{member['recording_id']}" if member else row["place"]
    return place, member["recording_id"] if member else None, row["question_name"], json.dumps(shown, default=str)
