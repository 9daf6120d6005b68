"""What a model answers as values: by a JSON Schema, as a column of a table; and the tools that it calls."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa

from pipeline.tasks.ask import json_schemas
from pipeline.tasks.ask.json_schemas import Schema
from pipeline.tasks.ask.questions import Tool
from pipeline.text import writable

TOOL_CALLS: pa.DataType = pa.list_(pa.struct([("name", pa.string()), ("arguments", pa.string())]))
PRIMITIVE = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
# Keywords beside `type`, `properties` and `items` with which a value has more forms than one.
MANY_FORMS = frozenset(
    """$ref $dynamicRef allOf anyOf oneOf if then else prefixItems patternProperties dependentSchemas
    unevaluatedProperties unevaluatedItems""".split()
)
INT64 = range(-(2**63), 2**63)
MAX_DETAIL = 299  # characters


class AnswerError(Exception):
    """An answer is not what was asked for. `detail` says how, in one line of less than 300 characters."""

    def __init__(self, detail: str) -> None:
        line = " ".join(writable(detail).split())
        self.detail = line if len(line) <= MAX_DETAIL else f"{line[: MAX_DETAIL - 3]}..."
        super().__init__(self.detail)


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for. `arguments` is JSON, its keys in the order in which the model gave them."""

    name: str
    arguments: str


def arrow_type(schema: Schema) -> pa.DataType:
    """The type of the column with values of a schema: a struct where all of it has one form, each part with its own
    type, and where the schema names all parts; else string, which holds JSON. Every part may be null."""
    return _type(schema) or pa.string()


def value_of(text: str, schema: Schema, type_: pa.DataType) -> Any:
    """An answer as a value of a column of that type, which is the schema's `arrow_type`.

    Properties that a struct has and the answer has not are None. Properties that the schema does not name, but does not
    forbid, are left out of a struct.

    Raises:
        AnswerError: it is not JSON, breaks the schema, or holds a number that the column cannot.
    """
    value = _parsed(text)
    if found := json_schemas.breach(value, schema):
        raise AnswerError(f"breaks the schema {found}")
    return _compact(value) if pa.types.is_string(type_) else _held(value, type_)


def tool_calls_of(text: str, tools: Sequence[Tool]) -> list[ToolCall]:
    """The calls in an answer: JSON, `{"name": ..., "arguments": {...}}` or a list of such; each may have an `id`.

    Raises:
        AnswerError: it is not of that form, or calls a tool that there is not, or with arguments that it does not take.
    """
    value, by_name = _parsed(text), {tool.name: tool for tool in tools}
    calls: list[ToolCall] = []
    for number, call in enumerate(value if isinstance(value, list) else [value], 1):
        if not isinstance(call, dict) or call.keys() - {"id"} != {"name", "arguments"}:
            raise AnswerError(f"call {number} is no object of name and arguments: {_compact(call)}")
        tool = by_name.get(call["name"]) if isinstance(call["name"], str) else None
        if tool is None:
            raise AnswerError(f"call {number}: there is no tool {call['name']!s:.80}")
        if found := json_schemas.breach(call["arguments"], tool.parameters):
            raise AnswerError(f"call {number}: the arguments of {tool.name} break its parameters {found}")
        calls.append(ToolCall(tool.name, _compact(call["arguments"])))
    return calls


def calls_schema(tools: Sequence[Tool], choice: str) -> Schema:
    """JSON Schema of the answers that `tool_calls_of` reads, for constrained decoding. `required`: one call or more, of
    any tools. The name of a tool: one call of it. (With `auto` an answer may be anything.)"""
    wanted = [tool for tool in tools if choice in ("required", tool.name)]
    assert wanted, f"{choice} is neither `required` nor the name of a tool"
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{tool.name}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in wanted
    ]
    schema = {
        "type": "array",
        "items": calls[0] if len(calls) == 1 else {"anyOf": calls},
        "minItems": 1,
        "$defs": {tool.name: _moved(tool.parameters, f"#/$defs/{tool.name}") for tool in wanted},
    }
    return schema if choice == "required" else {**schema, "maxItems": 1}


def _moved(schema: Schema, place: str) -> Schema:
    """The schema for a place in another one: its references begin there."""
    moved = {keyword: deepcopy(value) for keyword, value in schema.items() if keyword not in ("$id", "$schema")}
    for _, each in json_schemas.subschemas(moved):
        for keyword in {"$ref", "$dynamicRef"} & each.keys():
            target = each[keyword]
            if target == "#" or (isinstance(target, str) and target.startswith("#/")):
                each[keyword] = place + target.removeprefix("#")
    return moved


def _type(schema: Any) -> pa.DataType | None:
    """None: values of this schema have more forms than one, or a form that Arrow has no type for."""
    if not isinstance(schema, dict) or MANY_FORMS & schema.keys():
        return None
    named = schema.get("type", [])
    names = {named} if isinstance(named, str) else set(named)
    if not names:
        names = _names(schema)
    if len(names - {"null"}) != 1:
        return None
    (name,) = names - {"null"}
    if name == "array":
        items = _type(schema.get("items"))
        return items and pa.list_(items)
    return _struct(schema) if name == "object" else PRIMITIVE[name]


def _names(schema: Schema) -> set[str]:
    """The types of the values that a schema lists, if it does."""
    listed = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []
    names = {_name(value) for value in listed}
    return names - {"integer"} if "number" in names else names


def _name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) and value in INT64:
        return "integer"
    return {float: "number", str: "string"}.get(type(value), "array")  # without `items` it has no form


def _struct(schema: Schema) -> pa.DataType | None:
    properties = schema.get("properties", {})
    if not properties or schema.get("additionalProperties", False) is not False:
        return None
    if not set(schema.get("required", [])) <= properties.keys():
        return None
    fields: list[tuple[str, pa.DataType]] = []
    for name, each in properties.items():
        if (type_ := _type(each)) is None:
            return None
        fields.append((name, type_))
    return pa.struct(fields)


def _parsed(text: str) -> Any:
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
        )
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise AnswerError("half of a surrogate pair is no text") from error
    except json.JSONDecodeError as error:
        raise AnswerError(f"not JSON: {error.msg} at character {error.pos + 1} of {len(text)}") from error
    except RecursionError as error:
        raise AnswerError("not JSON: nested too deeply") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise AnswerError(f"an object has the key {name:.100} twice")
        made[name] = value
    return made


def _no_number(text: str) -> NoReturn:
    raise AnswerError(f"not JSON: {text} is no number there")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise AnswerError(f"{text:.40} is beyond 64-bit floating point")
    return number


def _whole(text: str) -> int:
    if len(text) > 400:  # more digits than a float can have
        raise AnswerError(f"{text:.40}... is beyond 64-bit floating point")
    return int(text)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _held(value: Any, type_: pa.DataType) -> Any:
    """A valid value as its type holds it."""
    if value is None:
        return None
    if isinstance(type_, pa.StructType):
        return {field.name: _held(value.get(field.name), field.type) for field in type_}
    if isinstance(type_, pa.ListType):
        return [_held(each, type_.value_type) for each in value]
    if pa.types.is_integer(type_):
        if int(value) not in INT64:
            raise AnswerError(f"{value} is beyond 64-bit integers")
        return int(value)  # 1.0, too, is an integer in JSON Schema
    if pa.types.is_floating(type_):
        try:
            return float(value)
        except OverflowError as error:
            raise AnswerError(f"{value!s:.40}... is beyond 64-bit floating point") from error
    return value
