from __future__ import annotations

from typing import Any

import pytest

from pipeline.tasks.ask.json_schemas import breach, problem, subschemas


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


TREE = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        of(a={"type": ["string", "null"]}),
        of(a={"$ref": "#/$defs/a"}) | {"$defs": {"a": {"type": "string"}}},
        of(a={"$ref": "#a"}) | {"$defs": {"a": {"$anchor": "a"}}, "$id": "https://example.com/a"},
        TREE,
        {"type": "object", "properties": {"$ref": {"type": "string"}, "$id": {}, "enum": {"type": "string"}}},
        of(a={"const": {"$ref": "https://example.com"}}) | {"examples": [{"$ref": "x"}]},
        {"type": "object", "dependentRequired": {"$ref": ["a"]}},
    ],
)
def test_schemas_that_can_be_used(schema: dict[str, Any]) -> None:
    assert problem(schema) is None


@pytest.mark.parametrize(
    ("schema", "location", "reason"),
    [
        (of(a={"type": "strin"}), ("properties", "a", "type"), "not JSON Schema"),
        (of(a={"type": ["string", None]}), ("properties", "a", "type"), '"null" in quotes'),
        (of(a={"pattern": "["}), ("properties", "a", "pattern"), "not JSON Schema"),
        ({"type": "object", "required": "a"}, ("required",), "not JSON Schema"),
        ({"type": "array"}, ("type",), "must be of an object"),
        ({"type": ["object"]}, ("type",), "must be of an object"),
        ({}, ("type",), "must be of an object"),
        (of(a={"$ref": "https://example.com/a"}), ("properties", "a", "$ref"), "is not in this schema"),
        (of(a={"anyOf": [{"$ref": "a.json"}]}), ("properties", "a", "anyOf", 0, "$ref"), "is not in this schema"),
        (of(enum={"$ref": "a.json"}), ("properties", "enum", "$ref"), "is not in this schema"),
        (of(a={"$ref": "#/$defs/a"}), ("properties", "a", "$ref"), "has no #/$defs/a"),
        (of(a={"$id": "a", "type": "string"}), ("properties", "a", "$id"), "only the whole schema"),
        ({"type": "object", "$ref": "#"}, (), "leads back to itself"),
    ],
)
def test_schemas_that_cannot_be_used(schema: dict[str, Any], location: tuple[str | int, ...], reason: str) -> None:
    found = problem(schema)
    assert found is not None
    assert found[0] == location and reason in found[1]


def test_a_schema_nested_beyond_reason_is_refused() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(500):
        schema = of(a=schema)
    assert problem(schema) == ((), "nested too deeply")


def test_subschemas_are_found_and_values_left_out() -> None:
    schema = of(a={"items": {"enum": [{"b": 1}]}}, properties={"anyOf": [{"type": "null"}, True]})
    assert [location for location, _ in subschemas(schema)] == [
        (),
        ("properties", "a"),
        ("properties", "a", "items"),
        ("properties", "properties"),
        ("properties", "properties", "anyOf", 0),
    ]


def test_a_breach_says_where() -> None:
    assert breach({"children": []}, TREE) is None
    found = breach({"children": [{"children": [{}, {"children": 5}]}]}, TREE)
    assert found == "at $.children[0].children[1].children: 5 is not of type 'array'"


def test_values_that_cannot_be_checked_are_breaches() -> None:
    value: dict[str, Any] = {}
    for _ in range(500):
        value = {"children": [value]}
    assert breach(value, TREE) == "nested too deeply"
    assert "too large" in str(breach({"a": 10**400}, of(a={"multipleOf": 0.01})))


def test_a_breach_is_short() -> None:
    found = str(breach({"x" * 900: "y" * 900}, {"additionalProperties": {"type": "null"}}))
    assert found.startswith("at $.xxx") and found.endswith("yyy' is not of type 'null'")
    assert len(found) < 260
