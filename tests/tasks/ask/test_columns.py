from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tasks.ask.columns import columns_in, filled

NAMES = st.from_regex(r"[a-zA-Z_éß漢]([a-zA-Z0-9_ éß漢-]*[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("question", "columns"),
    [
        ("What is said?", []),
        ("Does {customer} call {agent name}, or {customer}?", ["customer", "agent name", "customer"]),
        ("Was kostet die {Größe}, {名前}?", ["Größe", "名前"]),
        ("{{customer}} and {{{customer}}}", ["customer"]),
        ("{call-id}{2026}{Cost (€)}{Share %}{a/b}", ["call-id", "2026", "Cost (€)", "Share %", "a/b"]),
    ],
)
def test_columns_stand_in_braces(question: str, columns: list[str]) -> None:
    assert columns_in(question) == columns


@pytest.mark.parametrize(
    ("question", "wrong", "place"),
    [
        ('Answer as {"a": 1}', '{"a": 1}', 11),
        ("{}", "{}", 1),
        ("ab {a.b}", "{a.b}", 4),
        ("{a!r}", "{a!r}", 1),
        ("{a:>10}", "{a:>10}", 1),
        ("{ a }", "{ a }", 1),
        ("{a\nb}", "{a\nb}", 1),
        ("{{{}}}", "{}", 3),
        ("what {", "{", 6),
        ("what }", "}", 6),
        ("{a}}", "}", 4),
        ("{{a}", "}", 4),
        ("{a {b}", "{a ", 1),
    ],
)
def test_other_braces_are_shown_with_their_place(question: str, wrong: str, place: int) -> None:
    with pytest.raises(ValueError, match=r"\{\{ or \}\} for a brace") as error:
        columns_in(question)
    assert str(error.value).startswith(f"{wrong} at character {place} ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("{b} {{ }", "{b} {{ }"),
        (7, "7"),
        (1.5, "1.5"),
        (Decimal("1.50"), "1.50"),
        (True, "true"),
        (date(2026, 5, 1), "2026-05-01"),
        (["ü", 1], '["ü", 1]'),
        ({"when": date(2026, 5, 1)}, '{"when": "2026-05-01"}'),
        ("half \ud800", "half ?"),
    ],
)
def test_values_become_text(value: Any, text: str) -> None:
    assert filled("<{a}>", {"a": value, "b": "no"}) == f"<{text}>"


def test_a_column_without_a_value_leaves_nothing() -> None:
    assert filled("by {agent}.", {}) == "by ."


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_asked_with_its_braces_doubled(text: str) -> None:
    question = text.replace("{", "{{").replace("}", "}}")
    assert columns_in(question) == []
    assert filled(question, {}) == text


@given(st.lists(st.tuples(NAMES, st.text(st.characters(exclude_categories=["Cs"])))))
def test_values_are_put_in_as_they_are(columns: list[tuple[str, str]]) -> None:
    values = dict(columns)
    question = "|".join(f"{{{name}}}" for name, _ in columns)
    assert columns_in(question) == [name for name, _ in columns]
    assert filled(question, values) == "|".join(values[name] for name, _ in columns)
