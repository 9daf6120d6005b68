"""What values of a manifest are as references."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import ConfigurationError
from pipeline.evaluation.answers import Answers
from pipeline.evaluation.inputs import Input
from pipeline.evaluation.settings import Evaluation
from tests.jobs.test_evaluate_answers import CHOICES, SCHEMA, TOOLS


@pytest.fixture
def scored(tmp_path: Path):
    def make(task: str, to_do: list[Any] | None = None, total: int = 9) -> Answers:
        (tmp_path / "task.yaml").write_text(task)
        settings = Evaluation(input="m.csv", output="out", task=tmp_path / "task.yaml")
        listing = SimpleNamespace(extra=pa.table({"wanted": pa.array(to_do or [], pa.string())}))
        plan: Any = SimpleNamespace(count=len(to_do or []), why=Counter(all=total), listing=listing)
        return Answers(plan, Input(settings, "wanted", {}, []))

    return make


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Yes", "Yes"),
        ("3", "3"),
        (3, "3"),
        (2.5, "2.5"),
        (0, "0"),
        (False, "false"),
        ('"café"', '"café"'),
        ('"Yes", he said', '"Yes", he said'),
    ],
)
def test_values_as_texts(value: Any, text: str, scored) -> None:
    assert scored(CHOICES).reference(value) == text


def test_json_is_a_value_or_a_text(scored) -> None:
    assert scored(SCHEMA).reference({"a": "é", "b": None}) == '{"a": "é", "b": null}'
    assert scored(SCHEMA).reference(' {"a": 1}') == ' {"a": 1}'
    assert scored(TOOLS).reference([]) == "[]"


@pytest.mark.parametrize(
    ("task", "value", "why"),
    [
        (CHOICES, None, "no wanted"),
        (CHOICES, " ", "no wanted"),
        (SCHEMA, "", "no wanted"),
        (SCHEMA, "billing", "its wanted is not JSON"),
        (SCHEMA, [1], "its wanted is no JSON object"),
        (TOOLS, {"call": "dial"}, r"its wanted is no call \{name, arguments\}, or list of calls"),
    ],
)
def test_what_is_no_reference(task: str, value: Any, why: str, scored) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        scored(task).reference(value)


def test_nothing_starts_where_no_recording_could_be_scored(scored) -> None:
    with pytest.raises(ConfigurationError, match=r"no row to score: .* \(its wanted is not JSON, no wanted\)$"):
        scored(SCHEMA, ["billing", None, "sales"], total=3)
    scored(SCHEMA, ["billing", "{}"], total=2)
    scored(SCHEMA, ["billing"], total=2)  # one is done already
