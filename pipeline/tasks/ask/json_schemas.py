"""JSON Schemas that people write: whether one can be used, and how values are checked by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

Schema = dict[str, Any]
Location = tuple[str | int, ...]

LITERAL = frozenset({"enum", "const", "default", "examples", "dependentRequired"})  # they hold values, not schemas
BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def problem(schema: Schema) -> tuple[Location, str] | None:
    """Why a schema cannot be used, and where in it; None for one that can.

    It must be valid JSON Schema (draft 2020-12), of an object, and complete: each $ref points into the schema itself.
    """
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        hint = ' (write "null" in quotes)' if isinstance(error.instance, list) and None in error.instance else ""
        return tuple(error.absolute_path), f"not JSON Schema: {_cut(error.message)}{hint}"
    except RecursionError:
        return (), "nested too deeply"
    if schema.get("type") != "object":
        return (
            "type",
        ), "a schema must be of an object: write `type: object`, and the answer's parts as its properties"
    return _problem_of_references(schema)


def _problem_of_references(schema: Schema) -> tuple[Location, str] | None:
    resolver = Registry[Any]().resolver_with_root(DRAFT202012.create_resource(schema))
    for location, each in subschemas(schema):
        if location and "$id" in each:
            return (*location, "$id"), "only the whole schema may have an $id: write $defs, and #/$defs/... in $ref"
        for keyword in {"$ref", "$dynamicRef"} & each.keys():
            target = str(each[keyword])
            if not target.startswith("#"):
                return (
                    *location,
                    keyword,
                ), f"{target:.80} is not in this schema: copy it to $defs, and write #/$defs/..."
            try:
                resolver.lookup(target)
            except Unresolvable:
                return (*location, keyword), f"the schema has no {target:.80}"
    try:
        validator(schema).is_valid({})
    except RecursionError:
        return (), "a $ref leads back to itself"
    return None


def subschemas(schema: Any, location: Location = ()) -> Iterator[tuple[Location, Schema]]:
    """Every mapping in a valid schema that is a schema, from the outermost on, with where it is."""
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from subschemas(each, (*location, index))
    if not isinstance(schema, dict):
        return
    yield location, schema
    for keyword, value in schema.items():
        if keyword in BY_NAME and isinstance(value, dict):
            for name, each in value.items():
                yield from subschemas(each, (*location, keyword, name))
        elif keyword not in LITERAL:
            yield from subschemas(value, (*location, keyword))


def validator(schema: Schema) -> Draft202012Validator:
    """Checks values; it fetches nothing."""
    return Draft202012Validator(schema, registry=Registry())


def breach(value: Any, schema: Schema) -> str | None:
    """How a value breaks a schema that has no problem, and where; None for a value that is valid."""
    try:
        error = best_match(validator(schema).iter_errors(value))
    except RecursionError:
        return "nested too deeply"
    except ArithmeticError:  # multipleOf
        return "with a number that is too large"
    if error is None:
        return None
    return f"at {_cut(error.json_path)}: {_cut(error.message)}"


def _cut(text: str) -> str:
    """At most 123 characters: messages begin with the value, and end with what is wrong with it."""
    return text if len(text) <= 123 else f"{text[:40]}...{text[-80:]}"
