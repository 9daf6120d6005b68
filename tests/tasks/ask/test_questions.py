from __future__ import annotations

import json
import pickle
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import ConfigurationError
from pipeline.tasks.ask import questions
from pipeline.tasks.ask.questions import PRESETS, Questions, Tool, Turn, from_file, from_texts, preset

WHOLE = """
    name: calls
    turns:
      - What does {customer} want, from {agent name}?
      - name: mood
        question: And how does {customer} feel? Answer with {{ }} around it.
    tools:
      - name: open_ticket
        description: Opens a ticket.
        parameters:
          type: object
          properties: {title: {type: string}}
      - name: hang-up
    tool_choice: hang-up
    language: no
    system: Be brief {always}.
    temperature: 0
    top_p: 1
    seed: 7
    max_tokens: 8192
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my-task.yaml"


def asked(path: Path, text: str) -> Questions:
    path.write_text(dedent(text), "utf-8")
    return from_file(path)


def refusal(path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        asked(path, text)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    return line.replace(str(path), "FILE")


def test_a_task_file_with_everything(path: Path) -> None:
    found = asked(path, WHOLE)
    first = "What does {customer} want, from {agent name}?"
    second = "And how does {customer} feel? Answer with {{ }} around it."
    assert found.conversations == ((Turn(name=first, question=first), Turn(name="mood", question=second)),)
    assert found.turns == found.conversations[0]
    assert found.columns == ("customer", "agent name")
    assert [tool.name for tool in found.tools] == ["open_ticket", "hang-up"]
    assert found.tools[1].parameters == {"type": "object", "properties": {}}
    assert (found.name, found.tool_choice, found.language) == ("calls", "hang-up", "no")
    assert (found.temperature, found.top_p, found.seed, found.max_tokens) == (0.0, 1.0, 7, 8192)
    assert found.system == "Be brief {always}."


def test_the_least_task_file(path: Path) -> None:
    found = asked(path, "turns: [What was said]\nschema:\ntool_choice: auto\ntools: [{name: a}]")
    assert (found.name, found.answer_schema, found.language, found.system) == ("my-task", None, None, None)
    assert (found.temperature, found.top_p, found.seed, found.max_tokens) == (0.2, 0.95, 0, 1024)


def test_questions_go_to_workers(path: Path) -> None:
    found = asked(path, WHOLE)
    assert pickle.loads(pickle.dumps(found)) == found
    assert json.loads(json.dumps(found.facts())) == found.facts()
    with pytest.raises(ValidationError):
        found.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_values_are_filled_in_and_names_stay(path: Path) -> None:
    found = asked(path, WHOLE)
    ((first, second),) = found.filled({"customer": "{agent name}", "agent name": None, "other": 1})
    assert first.question == "What does {agent name} want, from ?"
    assert first.name == found.turns[0].name
    assert second == Turn.model_construct(
        name="mood", question="And how does {agent name} feel? Answer with { } around it."
    )
    assert found == asked(path, WHOLE)


def test_long_questions_and_any_script(path: Path) -> None:
    long = "Qu'est-ce qui est dit ? 何 🎙 " * 400
    assert from_texts([long, "か?"]).turns[0].question == long
    assert asked(path, f"turns: [{json.dumps(long, ensure_ascii=False)}]").turns[0].name == long


def test_texts_are_conversations_of_their_own() -> None:
    found = from_texts(["Who {a}?", "What {b} {a}?"])
    assert found.name == "questions"
    assert [[turn.name for turn in turns] for turns in found.conversations] == [["Who {a}?"], ["What {b} {a}?"]]
    assert found.columns == ("a", "b")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "--question: ask one or more"),
        (["a", "b", "a"], "--question a: is asked twice"),
        (["a", " \n"], r"--question ' \n': is empty"),
        (["a {x}", "b {}"], "--question 'b {}': {} at character 3 names no column"),
        (["caf\udce9"], r"--question 'caf\udce9': is no Unicode text"),
    ],
)
def test_texts_that_cannot_be_asked(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        from_texts(texts)
    assert str(error.value).startswith(message) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "FILE: there are no turns: list one or more questions under `turns:`"),
        ("name: x\nturns: []", "FILE:2: turns: there are no turns: list one or more questions"),
        ("turns:", "FILE:1: turns: must be a list"),
        ("turns: What is said?", "FILE:1: turns: What is said? must be a list"),
        ("turns:\n- a\n- 5", "FILE:3: turn 2: 5 must be a text or a mapping"),
        ("turns:\n- a\n- ' '", "FILE:3: turn 2 question: is empty"),
        ("turns:\n- name: ''\n  question: a", "FILE:2: turn 1 name: is empty"),
        ("turns:\n- name: a", "FILE:2: turn 1: has no question"),
        ("turns:\n- a\n- a", "FILE:3: turn 2 question: another turn is called a, too: give this one a `name`"),
        ("turns:\n- a\n- question: b\n  name: a", "FILE:4: turn 2 name: another turn is called a, too"),
        ("turns:\n- a\n- question: '{a.b}'", "FILE:3: turn 2 question: {a.b} at character 1 names no column"),
        ("turns:\n- question: {a}", "FILE:2: turn 1 question: must be text (one that begins with { needs quotes)"),
        ("turns:\n- Say: what?", "FILE:2: turn 1: has no question; FILE:2: turn 1: there is no key Say (there are"),
        ("turns: [a]\nturn: [b]", "FILE:2: there is no key turn (did you mean turns?)"),
        ("turns: [a]\nconversations: [[b]]", "FILE:2: there is no key conversations (there are name, turns, schema"),
        ("turns: [a]\nname: 5", "FILE:2: name: 5 must be text"),
        ("turns: [a]\nsystem: ' '", "FILE:2: system: is empty"),
        ("turns: [a]\nlanguage: german", "FILE:2: language: german is not a language code: de"),
        ("turns: [a]\ntemperature: 2.1", "FILE:2: temperature: 2.1 must be at most 2"),
        ("turns: [a]\ntemperature: -1", "FILE:2: temperature: -1 must be at least 0"),
        ("turns: [a]\ntemperature: true", "FILE:2: temperature: True must be a number"),
        ("turns: [a]\ntop_p: 0", "FILE:2: top_p: 0 must be more than 0"),
        ("turns: [a]\ntop_p: 1.1", "FILE:2: top_p: 1.1 must be at most 1"),
        ("turns: [a]\nseed: -1", "FILE:2: seed: -1 must be at least 0"),
        ("turns: [a]\nseed: 9223372036854775808", "FILE:2: seed: 9223372036854775808 must be less than"),
        ("turns: [a]\nmax_tokens: 8193", "FILE:2: max_tokens: 8193 must be at most 8192"),
        ("turns: [a]\nmax_tokens: 0", "FILE:2: max_tokens: 0 must be at least 1"),
        ("turns: [a]\nmax_tokens: '9'", "FILE:2: max_tokens: 9 must be a whole number"),
        ("turns: [a]\nschema: true", "FILE:2: schema: must be a mapping: a JSON Schema"),
        ("turns: [a]\nschema: {type: array}", "FILE:2: schema.type: a schema must be of an object"),
        (
            "turns: [a]\nschema:\n  type: object\n  properties:\n    a:\n      type: strin",
            "FILE:6: schema.properties.a.type: not JSON Schema: 'strin' is not valid",
        ),
        (
            "turns: [a]\nschema:\n  type: object\n  properties:\n    a: {$ref: a.json}",
            "FILE:5: schema.properties.a.$ref: a.json is not in this schema",
        ),
        ("turns: [a]\ntools: [a]", "FILE:2: tool 1: a must be a mapping"),
        (
            "turns: [a]\ntools:\n- nam: a",
            "FILE:3: tool 1: has no name; FILE:3: tool 1: there is no key nam (did you mean name?)",
        ),
        ("turns: [a]\ntools:\n- name: a b", "FILE:3: tool 1 name: must be 1 to 64 of the letters"),
        ("turns: [a]\ntools:\n- name: auto", "FILE:3: tool 1 name: a tool cannot be called auto"),
        ("turns: [a]\ntools:\n- name: b\n- name: b", "FILE:4: tool 2 name: another tool is called b, too"),
        (
            "turns: [a]\ntools:\n- name: b\n  parameters:\n    type: string",
            "FILE:5: tool 1 parameters.type: a schema must be of an object",
        ),
        ("turns: [a]\ntools: [{name: b}]\nschema: {type: object}", "FILE:2: tools: an answer has a schema or tools"),
        ("turns: [a]\ntool_choice: auto", "FILE:2: tool_choice: there are no tools to choose from"),
        ("turns: [a]\ntools: [{name: b}]\ntool_choice: c", "FILE:3: tool_choice: c is none of auto, required, b"),
        ("turns: [a]\ntools: [{name: b}]\ntool_choice: none", "FILE:3: tool_choice: none is none of auto, required, b"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(path: Path, text: str, message: str) -> None:
    assert refusal(path, text).startswith(message)


def test_all_that_is_wrong_is_listed(path: Path) -> None:
    message = "FILE:2: turn 1 question: is empty; FILE:3: seed: -1 must be at least 0"
    assert refusal(path, "turns:\n- ''\nseed: -1") == message
    assert refusal(path, "a: 1\nb: 2").count("there is no key") == 2


FACTS: dict[str, Any] = {"name": "a", "conversations": [["Who?", "Why?"]], "tools": [{"name": "f"}]}


@pytest.mark.parametrize(
    "other",
    [
        {"conversations": [["Who?"], ["Why?"]]},
        {"conversations": [["Who?", {"name": "reason", "question": "Why?"}]]},
        {"tools": [{"name": "f", "description": "Does."}]},
        {"tools": []},
        {"tool_choice": "f"},
        {"language": "en"},
        {"system": "Be brief."},
        {"temperature": 0.3},
        {"top_p": 0.5},
        {"seed": 1},
        {"max_tokens": 10},
    ],
)
def test_facts_differ_with_all_that_changes_an_answer(other: dict[str, Any]) -> None:
    facts = Questions.model_validate(FACTS).facts()
    assert Questions.model_validate(FACTS | other).facts() != facts
    assert Questions.model_validate(FACTS | {"name": "b", "tool_choice": "auto"}).facts() == facts


def test_the_order_of_keys_in_a_schema_is_a_fact() -> None:
    def facts(*names: str) -> str:
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        found = from_texts(["What?"]).model_copy(update={"answer_schema": schema}).facts()
        return json.dumps(found, sort_keys=True)  # as planning.plan does

    assert facts("a", "b") != facts("b", "a")


def test_questions_are_checked_without_a_file_too() -> None:
    with pytest.raises(ValidationError, match="no turns"):
        Questions.model_validate({"name": "a", "conversations": []})
    with pytest.raises(ValidationError, match="no turns"):
        Questions.model_validate({"name": "a", "conversations": [["Who?"], []]})
    assert Tool(name="f").parameters == {"type": "object", "properties": {}}


def test_the_presets_are_all_there() -> None:
    assert set(PRESETS) == {"summary", "minutes", "translate", "topics"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_be_asked_and_copied(name: str) -> None:
    found = preset(name)
    assert found.name == name and not found.columns
    text = (Path(questions.__file__).parent / f"presets/{name}.yaml").read_text()
    assert text.startswith("# ") and f"--preset {name}\n" in text and f"--task my-{name}.yaml" in text


def test_a_preset_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no preset sumary \(did you mean summary\? there are minutes, "):
        preset("sumary")
    with pytest.raises(ConfigurationError, match=r"no preset ../x \(there are minutes, "):
        preset("../x")
