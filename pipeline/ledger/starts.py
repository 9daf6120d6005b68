"""Which run a command belongs to: one that was stopped, one that another driver is just starting, or a new one.

    started/<digest of the run's facts>.<number>.claim    the run_id of the next run with these facts

Two commands that begin at the same moment find no run of the other's. They claim the next run with their facts, which
have one name, and `store.create` lets one of them; the other joins its run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pipeline import store
from pipeline.ledger import access, parts

Row = dict[str, Any]


def begun(output: str, finished: Collection[str]) -> list[Row]:
    """The facts with which runs began that are not among the finished ones, with their run_id."""
    found = parts.facts_in(output, "started", {"started_at"}, finished)
    return [facts | {"run_id": run_id} for run_id, facts in found.items()]


def overtaken(start: Row, found: Iterable[Row]) -> bool:
    """Whether a run that is among the reports found has finished after one began with the same facts: that one is never
    resumed."""
    own = parts.same(start)
    return any(own.items() <= report.items() and report["finished_at"] >= start["started_at"] for report in found)


def stopped(output: str, found: Sequence[Row], facts: Row) -> str | None:
    """The newest run that began with the same facts and is not among the reports found: its run_id.

    None where a later run with these facts has one: that has done what the stopped one left.
    """
    facts = parts.same(facts)
    finished = {report["run_id"] for report in found}
    last = max((report["finished_at"] for report in found if facts.items() <= report.items()), default="")
    left = [(x["started_at"], x["run_id"]) for x in begun(output, finished) if facts.items() <= x.items()]
    newest, run_id = max(left, default=("", None))
    return run_id if newest > last else None


def claims(output: str) -> dict[str, str]:
    """The run_id that each claim names, by the claim's URI."""
    return {uri: store.read(uri).decode() for uri in parts.files_in(output, "started", ".claim")}


def claim(output: str, before: int, facts: Row, run_id: str) -> str:
    """Name the next run with the same facts, of which so many were published `before`: `run_id`, or the one that
    another driver has claimed.

    Raises:
        ConfigurationError: its server would overwrite what another driver has committed.
        storage_errors.STORAGE_ERRORS: the output may not be written.
    """
    digest = hashlib.sha256(json.dumps(parts.same(facts), sort_keys=True).encode()).hexdigest()[:16]
    for number in itertools.count(before):  # reports may have gone since, or come
        uri = f"{output.rstrip('/')}/started/{digest}.{number}.claim"
        try:
            store.create(uri, run_id.encode())
        except FileExistsError:
            theirs = store.read(uri).decode()
            if not parts.Output(output, theirs, [""]).is_published():
                return theirs
        else:
            access.refuse_overwriting(output, uri, created=True)
            return run_id
    raise AssertionError("numbers end")
