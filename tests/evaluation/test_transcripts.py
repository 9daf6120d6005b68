from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobs import evaluate as job
from jobs import running
from pipeline.errors import JobError
from pipeline.evaluation import evaluate
from pipeline.evaluation.inputs import Input
from pipeline.evaluation.settings import Evaluation
from pipeline.evaluation.transcripts import Transcripts
from pipeline.log import Log

PLAN: Any = None


def test_references_are_texts_whatever_their_column_is() -> None:
    scored = Transcripts(PLAN, Input(Evaluation(input="m.jsonl", output="out"), "reference", {}, []))
    given = ["Café crème", '"Caf\\u00e9 cr\\u00e8me"', 1998]  # the second of a column with texts and numbers
    assert list(map(scored.reference, given)) == ["Café crème", "Café crème", "1998"]
    for nothing in (None, "", " "):
        with pytest.raises(ValueError, match="no reference"):
            scored.reference(nothing)


def test_too_many_failures_are_a_failure_of_the_job_once_the_report_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, shown = Evaluation(input="m.jsonl", output="out", max_failed_share=0.5), list[Any]()
    planned: Any = SimpleNamespace(plan=SimpleNamespace(settings=settings, output=SimpleNamespace(uri="out")))
    planned.by = SimpleNamespace(show=lambda report, _: shown.append(report))
    monkeypatch.setattr(running, "carry_out", lambda *_: {"numbers": {"failed": 1, "recordings": 2}})
    monkeypatch.setattr(evaluate, "evaluate", lambda _: ({"evaluation_id": "e"}, []))
    with pytest.raises(JobError, match="50% of the recordings failed, --max-failed-share"):
        job._evaluate(planned, Log())
    assert shown == [{"evaluation_id": "e"}]
