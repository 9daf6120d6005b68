"""What a run asks about every recording: read and checked by the driver, and sent to the workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.command_line import REASONS
from pipeline.errors import ConfigurationError
from pipeline.flags import did_you_mean, similar
from pipeline.settings import LanguageCode
from pipeline.tasks.ask import columns, json_schemas, task_file
from pipeline.tasks.ask.task_file import Location, TaskFile

CHOICES = ("auto", "required")  # of tools, beside the name of one
_PRESETS = Path(__file__).parent / "presets"
PRESETS = tuple(sorted(path.stem for path in _PRESETS.glob("*.yaml")))
"""The names of the task files that come with the package."""


def _problem(message: str, *location: str | int) -> PydanticCustomError:
    """An error at a location inside of the value that is validated."""
    return PydanticCustomError("problem", "{message}", {"message": message, "location": location})  # pyright: ignore[reportArgumentType]


def _text(text: str) -> str:
    if not text.strip():
        raise _problem("is empty")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _problem("is no Unicode text")
    return text


def _usable_schema(schema: json_schemas.Schema) -> json_schemas.Schema:
    if found := json_schemas.problem(schema):
        raise _problem(found[1], *found[0])
    return schema


Text = Annotated[str, AfterValidator(_text)]
Schema = Annotated[dict[str, Any], AfterValidator(_usable_schema)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Tool(_Frozen):
    """A function that the model may call instead of answering; nothing here carries the call out."""

    name: str = Field(pattern="^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: Schema = {"type": "object", "properties": {}}
    """JSON Schema of its arguments."""

    @field_validator("name")
    @classmethod
    def _is_no_choice(cls, name: str) -> str:
        if name in CHOICES:
            raise _problem(f"a tool cannot be called {name}, which is a tool_choice")
        return name


class Turn(_Frozen):
    """One question. In it, {customer} stands for the recording's value of the manifest's column customer."""

    name: Text
    """Default: the question as written."""
    question: Text

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"question": given}
        return {"name": given["question"], **given} if isinstance(given, dict) and "question" in given else given

    @field_validator("question")
    @classmethod
    def _has_columns_in_braces(cls, question: str) -> str:
        columns.columns_in(question)
        return question


Conversation = tuple[Turn, ...]


class Questions(_Frozen):
    """All that is asked of a recording, and how."""

    name: Text
    conversations: tuple[Conversation, ...]
    """Independent of each other. Within one, each turn follows up on those before it, and knows their answers."""
    answer_schema: Schema | None = None
    """JSON Schema of the last answer of each conversation."""
    tools: tuple[Tool, ...] = ()
    """Offered with the last turn of each conversation."""
    tool_choice: str = "auto"
    """`auto`: the model answers or calls tools. `required`: it calls some. The name of a tool: it calls that one."""
    language: LanguageCode | None = None
    """Of the answers."""
    system: Text | None = None
    """System prompt. Braces mean nothing in it."""
    temperature: StrictFloat = Field(default=0.2, ge=0, le=2)
    """Default: the model card's, as that of top_p."""
    top_p: StrictFloat = Field(default=0.95, gt=0, le=1)
    seed: StrictInt = Field(default=0, ge=0, lt=2**63)
    max_tokens: StrictInt = Field(default=1024, ge=1, le=8192)
    """Of one answer."""

    @model_validator(mode="after")
    def _consistent(self) -> Questions:
        if not self.conversations or not all(self.conversations):
            raise _problem("there are no turns: list one or more questions", "conversations")
        seen: set[str] = set()
        for conversation, turns in enumerate(self.conversations):
            for index, turn in enumerate(turns):
                if turn.name in seen:
                    message = f"another turn is called {turn.name:.80}, too: give this one a `name`"
                    raise _problem(message, "conversations", conversation, index, "name")
                seen.add(turn.name)
        names = [tool.name for tool in self.tools]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _problem(f"another tool is called {name}, too", "tools", index, "name")
        if self.answer_schema is not None and self.tools:
            raise _problem("an answer has a schema or tools are called: leave out `schema` or `tools`", "tools")
        if not self.tools and "tool_choice" in self.model_fields_set:
            raise _problem("there are no tools to choose from: leave it out, or list `tools`", "tool_choice")
        if self.tool_choice not in (*CHOICES, *names):
            listed = ", ".join((*CHOICES, *names))
            raise _problem(f"{self.tool_choice:.80} is none of {listed:.200}", "tool_choice")
        return self

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, in order."""
        return tuple(turn for conversation in self.conversations for turn in conversation)

    @property
    def columns(self) -> tuple[str, ...]:
        """The manifest's columns that stand in questions, in order, each once."""
        return tuple(dict.fromkeys(name for turn in self.turns for name in columns.columns_in(turn.question)))

    def filled(self, values: Mapping[str, Any]) -> tuple[Conversation, ...]:
        """The conversations with a recording's values in place of columns; a column that has none leaves nothing. The
        questions are final then, their braces mean nothing more, and one that was nothing but columns may be empty."""
        return tuple(
            tuple(turn.model_copy(update={"question": columns.filled(turn.question, values)}) for turn in conversation)
            for conversation in self.conversations
        )

    def facts(self) -> dict[str, Any]:
        """All that changes an answer or what it is called, as JSON, for a fingerprint. Schemas and tools are texts in
        it: the order of their keys counts, since answers follow it."""
        sampling = self.model_dump(include={"language", "system", "temperature", "top_p", "seed", "max_tokens"})
        return {
            "conversations": [[turn.model_dump() for turn in conversation] for conversation in self.conversations],
            "schema": self.answer_schema and json.dumps(self.answer_schema),
            "tools": [tool.model_dump_json() for tool in self.tools],
            "tool_choice": self.tool_choice if self.tools else None,
            **sampling,
        }


_IN_FILE = {"conversations": "turns", "answer_schema": "schema"}  # what fields are called there
KEYS = tuple(_IN_FILE.get(field, field) for field in Questions.model_fields)
"""Of a task file."""


def from_file(path: Path | str) -> Questions:
    """What a task file asks: YAML with `turns`, a list of questions that make one conversation, each a text or a
    mapping of `name` and `question`; and any other field of Questions, answer_schema as `schema`. It is called as the
    file is, unless it has a `name`.

    Raises:
        ConfigurationError: the file cannot be read, or asks what cannot be asked. One line: FILE:LINE: reason.
    """
    file = task_file.read(Path(path))
    if wrong := [key for key in file.content if key not in KEYS]:
        problems = [f"{file.place((key,))}: {_no_key(key, KEYS)}" for key in wrong]
        raise ConfigurationError(task_file.one_line(problems))
    given: dict[str, Any] = {"name": file.path.stem, **file.content}
    if "schema" in given:
        given["answer_schema"] = given.pop("schema")
    if "turns" not in given:
        raise ConfigurationError(f"{file.path}: there are no turns: list one or more questions under `turns:`")
    given["conversations"] = [given.pop("turns")]
    try:
        return Questions.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError(task_file.one_line(list(_explained(error, file)))) from error


def from_texts(texts: Sequence[str]) -> Questions:
    """Questions that have nothing to do with each other: a conversation of one turn for each.

    Raises:
        ConfigurationError: there is none, one comes twice, or one is empty or has braces without a column.
    """
    if not texts:
        raise ConfigurationError("--question: ask one or more")
    if twice := [text for text, count in Counter(texts).items() if count > 1]:
        raise ConfigurationError(task_file.one_line([f"--question {twice[0]:.80}: is asked twice"]))
    try:
        return Questions.model_validate({"name": "questions", "conversations": [[text] for text in texts]})
    except ValidationError as error:
        found = {problem["loc"][1]: problem for problem in error.errors()}  # one of each, though it is its name, too
        problems = [f"--question {texts[int(index)]!r:.80}: {_reason(each)}" for index, each in found.items()]
        raise ConfigurationError(task_file.one_line(problems)) from error


def preset(name: str) -> Questions:
    """What one of PRESETS asks.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in PRESETS:
        meant = similar(name, PRESETS)
        hint = f"did you mean {meant}? " if meant else ""
        raise ConfigurationError(f"there is no preset {name:.80} ({hint}there are {', '.join(PRESETS)})")
    return from_file(_PRESETS / f"{name}.yaml")


def _no_key(key: str, known: Iterable[str]) -> str:
    meant = similar(key, tuple(known))
    hint = did_you_mean(meant) if meant else f"there are {', '.join(known)}"
    return f"there is no key {key:.80} ({hint})"


def _explained(error: ValidationError, file: TaskFile) -> Iterator[str]:
    """A line for each thing that is wrong in a task file."""
    found: dict[Location, str] = {}
    for problem in error.errors():
        location = (*problem["loc"], *problem.get("ctx", {}).get("location", ()))
        field, *inside = location
        location = (_IN_FILE.get(str(field), field), *inside[field == "conversations" :])  # a file has one
        if location[0] == "turns" and location[-1] == "name" and location not in file.lines:
            location = (*location[:-1], "question")  # what it is called by default
        kind, shown = {"turns": Turn, "tools": Tool}.get(str(location[0])), location
        if problem["type"] == "extra_forbidden" and kind:
            reason = f"{_no_key(str(location[-1]), kind.model_fields)}; a text with a colon inside needs quotes"
            shown = location[:-1]
        elif problem["type"] == "missing":
            reason, shown = f"has no {location[-1]}", location[:-1]
        else:
            reason = _reason(problem)
        found.setdefault(location, f"{file.place(location)}: {_label(shown)}: {reason}")
    yield from found.values()


def _label(location: Location) -> str:
    """A location in words: turn 2, tools 1 parameters.properties.a."""
    first, *rest = location
    if first in ("turns", "tools") and rest:
        inside = ".".join(map(str, rest[1:]))
        return f"{str(first).removesuffix('s')} {int(rest[0]) + 1}{inside and ' '}{inside:.100}"
    return f"{'.'.join(map(str, location)):.100}"


def _reason(problem: Any) -> str:
    """What is wrong with a value."""
    reasons = REASONS | {
        "problem": "{message}",
        "model_type": "must be a mapping" if "tools" in problem["loc"] else "must be a text or a mapping",
        "string_pattern_mismatch": "must be 1 to 64 of the letters A-Z and a-z, digits, _ and -",
        "string_type": "must be text (one that begins with {{ needs quotes)",
        "dict_type": "must be a mapping: a JSON Schema",
    }
    reason = str(reasons.get(problem["type"], problem["msg"])).format_map(problem.get("ctx", {}))
    scalar = problem["type"] in REASONS and isinstance(problem["input"], int | float | str)
    return f"{problem['input']!s:.80} {reason}" if scalar and problem["type"] != "value_error" else reason
