from __future__ import annotations

from typing import Any

import pytest

from jobs import evaluate as job
from pipeline.command_line import load
from pipeline.errors import JobError
from pipeline.evaluation.inputs import Input
from pipeline.evaluation.settings import Evaluation
from pipeline.evaluation.transcripts import Transcripts

PLAN: Any = None


def test_references_are_texts_whatever_their_column_is() -> None:
    scored = Transcripts(PLAN, Input(Evaluation(input="m.jsonl", output="out"), "reference", {}, []))
    assert list(map(scored.reference, ["Café crème", '"Café"', 1998])) == ["Café crème", '"Café"', "1998"]
    for nothing in (None, "", " "):
        with pytest.raises(ValueError, match="no reference"):
            scored.reference(nothing)


def test_too_many_failures_are_a_failure_of_the_job_whichever_run_they_are_of() -> None:
    settings = Evaluation(input="m.jsonl", output="out", max_failed_share=0.5)
    rows = [{"recording_id": name} for name in "aabb"]  # by two normalisers
    job._check_failures({"model": "m", "failures": []}, rows, settings)
    with pytest.raises(JobError, match="m: 50% of the recordings failed, --max-failed-share"):
        job._check_failures({"model": "m", "failures": [{}]}, rows, settings)


def test_languages_are_codes_whatever_their_tags() -> None:
    given = ["--input", "m.jsonl", "--output", "out", "--cer-languages", "zh-CN,ja,yue"]
    assert load(given, Evaluation).cer_languages == ("zh", "ja", "yue")
