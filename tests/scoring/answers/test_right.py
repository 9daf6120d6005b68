from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scoring.answers.right import NAMES, RIGHT, Kind, Scoring, folded, scoring, wanted

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)
CALLS = st.lists(st.fixed_dictionaries({"name": st.sampled_from(["open", "close"]), "arguments": OBJECTS}), max_size=3)


def shuffled(value: Any, draw: Any) -> Any:
    """The same JSON, its keys in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(one, draw) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (" Yes. ", "yes"),
        ("**Yes**", "yes"),
        ("“Ja!”", "ja"),
        ("Straße", "strasse"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("two\n  words", "two words"),
        ("don't", "don't"),
        ("¿Cómo?", "cómo"),
        ("हिंदी।", "हिंदी"),
        ("-5", "-5"),
        ("(-.5)", "-.5"),
        ("- 5", "5"),
        ("$5", "$5"),
        ("-", "-"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_what_free_text_is_not_scored_by(text: str, plain: str) -> None:
    assert folded(text) == plain


@given(TEXTS)
def test_folding_is_final_and_knows_no_case_or_form(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, text)) == folded(text)
    assert folded(text.casefold()) == folded(text)
    assert folded(f" {text}\n") == folded(text)


@given(TEXTS)
def test_a_text_is_right_beside_itself(text: str) -> None:
    assert Scoring(Kind.TEXT).scores(text, text) == {RIGHT: True}
    assert Scoring(Kind.TEXT).scores(text, None) == {RIGHT: False}


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.data())
def test_objects_are_right_beside_themselves_in_whatever_order(objects: list[dict[str, Any]], data: Any) -> None:
    texts = [json.dumps(each) for each in objects]
    by = scoring(Kind.SCHEMA, texts)
    assert by == scoring(Kind.SCHEMA, [json.dumps(shuffled(each, data.draw)) for each in objects])
    for each, text in zip(objects, texts, strict=True):
        found = by.scores(text, json.dumps(shuffled(each, data.draw)))
        assert tuple(found) == by.names and all(found.values())


@given(CALLS, st.data())
def test_calls_are_right_beside_themselves_in_whatever_order(calls: list[Any], data: Any) -> None:
    other = [shuffled(call, data.draw) for call in data.draw(st.permutations(calls))]
    assert Scoring(Kind.TOOLS).scores(json.dumps(calls), json.dumps(other)) == {RIGHT: True, NAMES: True}
    one_more = [*other, {"name": "open", "arguments": {}}]
    assert Scoring(Kind.TOOLS).scores(json.dumps(calls), json.dumps(one_more)) == {RIGHT: False, NAMES: False}


@pytest.mark.parametrize(
    ("reference", "answer", "wrong"),
    [
        ({"a": "Billing", "b": 1}, {"a": "billing.", "b": 1.0}, ""),
        ({"a": "billing", "b": 1}, {"a": "sales", "b": 1}, "a"),
        ({"a": True, "b": 1}, {"a": 1, "b": True}, "ab"),
        ({"a": [1, 2], "b": {}}, {"a": [2, 1], "b": {"x": None}}, "a"),
        ({"a": ["X "], "b": {"x": {"y": "Z"}}}, {"a": ["x"], "b": {"x": {"y": "z"}}}, ""),
        ({"a": None, "b": 0}, {"b": 0}, ""),
        ({"a": None, "b": 0}, {"a": 0, "b": False}, "ab"),
        ({"a": "1", "b": 1}, {"a": 1, "b": "1"}, "ab"),
        ({"a": 1, "b": 2**53 + 1}, {"a": 1, "b": 2.0**53}, "b"),
        ({"a": 1}, {"a": 1, "b": 1}, "b"),
        ({"a": 1, "b": 1}, {}, "ab"),
        ({"a": 1, "b": 1}, {"a": 1, "b": 1, "summary": "that no reference has"}, ""),
    ],
)
def test_each_field_is_scored(reference: dict[str, Any], answer: dict[str, Any], wrong: str) -> None:
    by = Scoring(Kind.SCHEMA, ("a", "b"))
    found = by.scores(json.dumps(reference), json.dumps(answer))
    assert found == {RIGHT: not wrong, "field a": "a" not in wrong, "field b": "b" not in wrong}


@pytest.mark.parametrize(
    ("answer", "calls", "names"),
    [
        ([{"name": "pay", "arguments": {"sum": 5.0}}, {"name": "open", "arguments": {}}], True, True),
        ([{"name": "open", "arguments": {"x": None}}, {"name": "pay", "arguments": '{"sum":5}'}], True, True),
        ([{"name": "open", "arguments": {}}, {"name": "pay", "arguments": {"sum": "5"}}], False, True),
        ([{"name": "pay", "arguments": {"sum": 5}}], False, False),
        ([{"name": "pay", "arguments": {"sum": 5}}] * 2, False, False),
        ([], False, False),
    ],
)
def test_calls_and_their_names_are_scored(answer: Any, calls: bool, names: bool) -> None:
    reference = [{"name": "open", "arguments": {}}, {"name": "pay", "arguments": {"sum": 5}}]
    assert Scoring(Kind.TOOLS).scores(json.dumps(reference), json.dumps(answer)) == {RIGHT: calls, NAMES: names}


def test_texts_in_arguments_are_exact_and_one_call_needs_no_list() -> None:
    one = json.dumps({"name": "say", "arguments": {"text": "Yes"}})
    assert Scoring(Kind.TOOLS).scores(one, f"[{one}]")[RIGHT]
    assert not Scoring(Kind.TOOLS).scores(one, one.replace("Yes", "yes"))[RIGHT]
    assert Scoring(Kind.TOOLS).scores("[]", "[]")[RIGHT], "no call is wanted, and there is none"


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (Kind.SCHEMA, "billing", "not JSON"),
        (Kind.SCHEMA, '{"a": NaN}', "not JSON"),
        (Kind.SCHEMA, "[" * 100_000, "not JSON"),
        (Kind.SCHEMA, '{"a":' + "[" * 1_000 + "]" * 1_000 + "}", "not JSON"),
        (Kind.SCHEMA, "9" * 5_000, "not JSON"),
        (Kind.SCHEMA, "[1]", "no JSON object"),
        (Kind.TOOLS, "pay", "not JSON"),
        (Kind.TOOLS, '{"name": "pay", "arguments": "five"}', "not JSON"),
        (Kind.TOOLS, '"pay"', "no call"),
        (Kind.TOOLS, '{"name": "pay"}', "no call"),
        (Kind.TOOLS, '{"name": 1, "arguments": {}}', "no call"),
        (Kind.TOOLS, '{"name": "pay", "arguments": [1]}', "no call"),
        (Kind.TOOLS, '[{"name": "pay", "arguments": {}, "when": "now"}]', "no call"),
    ],
)
def test_what_is_not_of_its_kind_is_no_reference_and_no_right_answer(kind: Kind, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wanted(kind, text)
    with pytest.raises(ValueError, match=why):
        Scoring(kind).scores(text, text)
    reference = "{}" if kind == Kind.SCHEMA else "[]"
    assert not any(Scoring(kind, ("a",)).scores(reference, text).values())
