from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipeline.tasks.ask import json_schemas
from pipeline.tasks.ask.questions import PRESETS, Tool, preset
from pipeline.tasks.ask.values import (
    TOOL_CALLS,
    AnswerError,
    ToolCall,
    arrow_type,
    calls_schema,
    tool_calls_of,
    value_of,
)

STRING, INTEGER, NUMBER, BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
Case = tuple[dict[str, Any], Any]  # a schema and a value of it


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def refusal(text: str, schema: dict[str, Any]) -> str:
    with pytest.raises(AnswerError) as error:
        value_of(text, schema, arrow_type(schema))
    detail = error.value.detail
    assert detail == str(error.value)
    assert 0 < len(detail) < 300 and len(detail.splitlines()) == 1
    return detail


@st.composite
def primitives(draw: st.DrawFn) -> Case:
    name, values = draw(
        st.sampled_from(
            [
                ("string", TEXT),
                ("integer", st.integers(-(2**63), 2**63 - 1)),
                ("number", st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)),
                ("boolean", st.booleans()),
            ]
        )
    )
    form, value = draw(st.sampled_from(["plain", "nullable", "enum", "const"])), draw(values)
    if form == "nullable":
        return {"type": [name, "null"]}, draw(st.none() | st.just(value))
    if form == "enum":
        return {"enum": [value, *draw(st.lists(st.none(), max_size=1))]}, value
    return ({"const": value}, value) if form == "const" else ({"type": name, "description": "A part."}, value)


@st.composite
def lists(draw: st.DrawFn, parts: st.SearchStrategy[Case]) -> Case:
    items, value = draw(parts)
    return {"type": "array", "items": items}, draw(st.lists(st.just(value), max_size=3))


@st.composite
def objects(draw: st.DrawFn, parts: st.SearchStrategy[Case]) -> Case:
    members = draw(st.dictionaries(TEXT | st.sampled_from(["", "a.b", "A", "a"]), parts, min_size=1, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(members)), unique=True))
    present = [name for name in members if name in required or draw(st.booleans())]
    schema = {
        "type": "object",
        "properties": {name: part for name, (part, _) in members.items()},
        "required": required,
        **draw(st.sampled_from([{}, {"additionalProperties": False}])),
    }
    return schema, {name: members[name][1] for name in present}


PARTS = st.recursive(primitives(), lambda inner: lists(inner) | objects(inner), max_leaves=6)


def with_nulls(value: Any, type_: pa.DataType) -> Any:
    """The value with None where optional properties are absent."""
    if isinstance(type_, pa.StructType) and value is not None:
        return {field.name: with_nulls(value.get(field.name), field.type) for field in type_}
    if isinstance(type_, pa.ListType) and value is not None:
        return [with_nulls(each, type_.value_type) for each in value]
    return value


@given(case=objects(PARTS), spaces=st.sampled_from([None, 2]))
def test_a_valid_value_comes_back_from_its_column(case: Case, spaces: int | None) -> None:
    schema, value = case
    assert json_schemas.problem(schema) is None and Draft202012Validator(schema).is_valid(value)
    type_ = arrow_type(schema)
    assert isinstance(type_, pa.StructType)
    held = value_of(json.dumps(value, indent=spaces), schema, type_)
    table, file = pa.table({"value": pa.array([held, None], type_)}), io.BytesIO()
    assert table["value"].to_pylist() == [with_nulls(value, type_), None]
    pq.write_table(table, file)
    assert pq.read_table(file).equals(table)


@given(case=objects(PARTS), broken=st.text())
def test_whatever_is_answered_is_a_value_or_an_answer_error(case: Case, broken: str) -> None:
    schema, value = case
    text = json.dumps(value)
    for answer in (broken, text[:-1], text + broken, json.dumps({broken: value}), text.replace("1", "NaN")):
        try:
            pa.array([value_of(answer, schema, arrow_type(schema))], arrow_type(schema))
        except AnswerError as error:
            assert 0 < len(error.detail) < 300 and len(error.detail.splitlines()) == 1


@pytest.mark.parametrize(
    ("schema", "type_"),
    [
        (STRING | {"format": "date", "minLength": 1}, pa.string()),
        ({"type": ["null", "integer"]}, pa.int64()),
        ({"type": ["boolean"]}, pa.bool_()),
        ({"enum": ["a", "b", None]}, pa.string()),
        ({"enum": [1, 2]}, pa.int64()),
        ({"enum": [1, 2.5]}, pa.float64()),
        ({"const": True}, pa.bool_()),
        ({"type": "integer", "enum": [1, "a"]}, pa.int64()),
        ({"type": "array", "items": {"type": "array", "items": NUMBER}}, pa.list_(pa.list_(pa.float64()))),
        ({"type": ["object", "null"], "properties": {"b": STRING}}, pa.struct([("b", pa.string())])),
    ],
)
def test_parts_with_one_form_have_a_type(schema: dict[str, Any], type_: pa.DataType) -> None:
    assert arrow_type(of(a=schema)) == pa.struct([("a", type_)])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        of(),
        of(a={"type": "object", "properties": {}}),
        of(a=STRING) | {"additionalProperties": True},
        of(a=STRING) | {"additionalProperties": STRING},
        of(a=STRING) | {"patternProperties": {"^x": STRING}},
        of(a=STRING) | {"required": ["b"]},
        of(a=STRING) | {"allOf": [of(b=STRING)]},
        of(a={}),
        of(a=True),
        of(a={"type": "null"}),
        of(a={"type": ["string", "integer"]}),
        of(a={"anyOf": [STRING, {"type": "null"}]}),
        of(a={"oneOf": [STRING, INTEGER]}),
        of(a={"$ref": "#/$defs/a"}) | {"$defs": {"a": STRING}},
        of(a={"enum": ["a", 1]}),
        of(a={"enum": [1, True]}),
        of(a={"enum": [None]}),
        of(a={"enum": [["a"], ["b"]]}),
        of(a={"const": 2**63}),
        of(a={"type": "array"}),
        of(a={"type": "array", "items": True}),
        of(a={"type": "array", "prefixItems": [STRING], "items": STRING}),
    ],
)
def test_values_of_other_schemas_are_json(schema: dict[str, Any]) -> None:
    assert arrow_type(schema) == pa.string()


@pytest.mark.parametrize("name", PRESETS)
def test_the_schemas_of_presets_are_structs(name: str) -> None:
    schema = preset(name).answer_schema
    assert schema is None or isinstance(arrow_type(schema), pa.StructType)


def test_json_is_compact_and_keeps_its_keys() -> None:
    schema = {"type": "object"}
    text = '{ "ü": [1, 2.0,\n null], "b": {"c": 100000000000000000000, "a": "\\u00e9"} }'
    assert value_of(text, schema, pa.string()) == '{"ü":[1,2.0,null],"b":{"c":100000000000000000000,"a":"é"}}'


def test_numbers_are_of_their_column() -> None:
    schema = of(a=INTEGER, b=NUMBER)
    held = value_of('{"a": 2.0, "b": 3}', schema, arrow_type(schema))
    assert held == {"a": 2, "b": 3.0} and isinstance(held["a"], int) and isinstance(held["b"], float)


def test_properties_that_the_schema_does_not_name_are_left_out() -> None:
    schema = of(a=STRING)
    assert value_of('{"b": 1, "a": "x"}', schema, arrow_type(schema)) == {"a": "x"}
    assert "'b' was unexpected" in refusal('{"b": 1}', schema | {"additionalProperties": False})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON: Expecting value at character 1 of 0"),
        ("Sure! {}", "not JSON: Expecting value at character 1 of 8"),
        ('{"a": 1', "not JSON: Expecting ',' delimiter at character 8 of 7"),
        ('{"a": 1} {}', "not JSON: Extra data at character 10 of 11"),
        ("[1]", "breaks the schema at $: [1] is not of type 'object'"),
        ("null", "breaks the schema at $: None is not of type 'object'"),
        ('{"a": true}', "breaks the schema at $.a: True is not of type 'integer'"),
        ('{"a": null}', "breaks the schema at $.a: None is not of type 'integer'"),
        ('{"c": ["x", 1]}', "breaks the schema at $.c[1]: 1 is not of type 'string'"),
        ('{"a": 9223372036854775808}', "9223372036854775808 is beyond 64-bit integers"),
        ('{"a": 1e30}', "1e+30 is beyond 64-bit integers"),
        ('{"b": NaN}', "not JSON: NaN is no number there"),
        ('{"b": -Infinity}', "not JSON: -Infinity is no number there"),
        ('{"b": 1e999}', "1e999 is beyond 64-bit floating point"),
        (f'{{"b": {"9" * 350}}}', "beyond 64-bit floating point"),
        (f'{{"b": {"9" * 9999}}}', "beyond 64-bit floating point"),
        ('{"a": 1, "a": 1}', "an object has the key a twice"),
        ('{"d": {"x": 1, "x": 1}}', "an object has the key x twice"),
        ('{"c": ["\\ud800"]}', "half of a surrogate pair is no text"),
        ('{"\\udfff": 1}', "half of a surrogate pair is no text"),
        ('{"\\udfff": 1, "\\udfff": 1}', r"an object has the key \udfff twice"),
        ('{"d": ' + "[" * 100_000, "not JSON: nested too deeply"),
        (json.dumps({"c": "long\n" * 1000}), "is not of type 'array'"),
        (json.dumps({"c\n" * 200: 1}), "was unexpected)"),
    ],
)
def test_an_answer_that_is_no_value_says_why(text: str, reason: str) -> None:
    parts = of(a=INTEGER, b=NUMBER, c={"type": "array", "items": STRING}, d=of(x=INTEGER))
    assert reason in refusal(text, parts | {"additionalProperties": False})


TREE = {"type": "object", "properties": {"name": STRING, "children": {"type": "array", "items": {"$ref": "#"}}}}
NAMED = of(to={"$ref": "#/$defs/name"}) | {"$defs": {"name": {"type": "string"}}, "required": ["to"], "$id": "x:/y"}
TOOLS = [Tool(name="hang_up"), Tool(name="plant", parameters=TREE), Tool(name="call-2", parameters=NAMED)]
TO_BO = {"name": "call-2", "arguments": {"to": "Bö"}}


def test_calls_are_read_with_their_arguments_as_given() -> None:
    text = json.dumps([{"id": "a1b2c3d4e", **TO_BO}, {"arguments": {"name": "a", "children": []}, "name": "plant"}])
    calls = [ToolCall("call-2", '{"to":"Bö"}'), ToolCall("plant", '{"name":"a","children":[]}')]
    assert tool_calls_of(text, TOOLS) == calls
    rows = [{"name": call.name, "arguments": call.arguments} for call in calls]
    assert pa.table({"calls": pa.array([rows], TOOL_CALLS)})["calls"].to_pylist() == [rows]


def test_one_call_needs_no_list_and_a_list_no_call() -> None:
    assert tool_calls_of('{"name": "hang_up", "arguments": {}}', TOOLS) == [ToolCall("hang_up", "{}")]
    assert tool_calls_of("[]", TOOLS) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot do that.", "not JSON"),
        ("5", "call 1 is no object of name and arguments: 5"),
        ('[{"name": "hang_up"}]', 'call 1 is no object of name and arguments: {"name":"hang_up"}'),
        ('[{"name": "hang_up", "arguments": {}, "x": 1}]', "call 1 is no object of name and arguments"),
        ('[{"name": "hang_up", "arguments": {}}, {"name": "fly", "arguments": {}}]', "call 2: there is no tool fly"),
        ('[{"name": ["hang_up"], "arguments": {}}]', "call 1: there is no tool ['hang_up']"),
        (
            '[{"name": "hang_up", "arguments": "{}"}]',
            "call 1: the arguments of hang_up break its parameters at $: '{}'",
        ),
        ('[{"name": "call-2", "arguments": {}}]', "break its parameters at $: 'to' is a required property"),
        ('[{"name": "call-2", "arguments": {"to": 5}}]', "break its parameters at $.to: 5 is not of type 'string'"),
        ('[{"name": "plant", "arguments": {"a": 1, "a": 1}}]', "an object has the key a twice"),
        (json.dumps([{"name": "x" * 999, "arguments": {}}]), "call 1: there is no tool xxx"),
    ],
)
def test_other_calls_say_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(AnswerError) as error:
        tool_calls_of(text, TOOLS)
    assert reason in error.value.detail and len(error.value.detail) < 300


def valid(value: Any, choice: str) -> bool:
    schema = calls_schema(TOOLS, choice)
    Draft202012Validator.check_schema(schema)
    return json_schemas.breach(value, schema) is None


def test_required_is_one_call_or_more_of_any_tool() -> None:
    hang_up = {"name": "hang_up", "arguments": {}}
    tree = {"name": "plant", "arguments": {"children": [{"name": "a", "children": [{}]}]}}
    for calls in ([hang_up], [TO_BO, hang_up, tree]):
        assert valid(calls, "required")
        assert len(tool_calls_of(json.dumps(calls), TOOLS)) == len(calls)
    for calls in ([], hang_up, [{"name": "fly", "arguments": {}}], [hang_up | {"x": 1}], [{"name": "hang_up"}]):
        assert not valid(calls, "required")
    assert not valid([{"name": "plant", "arguments": {"children": [{"children": [5]}]}}], "required")
    assert not valid([{"name": "call-2", "arguments": {"to": 5}}], "required")


def test_the_name_of_a_tool_is_exactly_one_call_of_it() -> None:
    assert valid([TO_BO], "call-2")
    for calls in ([], [TO_BO, TO_BO], [{"name": "hang_up", "arguments": {}}]):
        assert not valid(calls, "call-2")


def test_the_schema_of_calls_leaves_the_tools_as_they_are() -> None:
    before = json.dumps([tool.model_dump() for tool in TOOLS])
    calls_schema(TOOLS, "required")
    assert json.dumps([tool.model_dump() for tool in TOOLS]) == before
