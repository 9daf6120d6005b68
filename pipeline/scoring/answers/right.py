"""Whether an answer is the one that is wanted. Texts in, booleans out."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

import regex

# White space and punctuation at both ends; a sign or decimal point is part of its number.
_EDGES = regex.compile(r"^(?:(?!-?\.?\d)[\s\p{P}])+|[\s\p{P}]+$")
RIGHT = "right"  # the score that counts: the others say where an answer is wrong
NAMES = "names"
NOT_JSON, NO_CALLS = "not JSON", "no call {name, arguments}, or list of calls"


class Kind(StrEnum):
    """What an answer is."""

    TEXT = "text"  # free text, or one of several choices
    SCHEMA = "schema"  # a JSON object
    TOOLS = "tools"  # calls of tools, in JSON: {"name": ..., "arguments": {...}}, or a list of such


@dataclass(frozen=True)
class Scoring:
    """How answers are scored: RIGHT; for TOOLS also NAMES; for SCHEMA also each of the `fields`.

    Texts are compared as `folded` leaves them, but for arguments of tools, which are exact. JSON is compared by value:
    keys and calls may stand in any order, 1.0 is 1, and what is null counts as missing.
    """

    kind: Kind
    fields: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scores, RIGHT first."""
        more = {Kind.TEXT: (), Kind.SCHEMA: tuple(map(_of_field, self.fields)), Kind.TOOLS: (NAMES,)}
        return RIGHT, *more[self.kind]

    def scores(self, reference: str, answer: str | None) -> dict[str, bool]:
        """By name, whether an answer is right; None, a failure, and an answer that is not of its kind are not.

        Raises:
            ValueError: the reference is not of its kind.
        """
        expected, given = wanted(self.kind, reference), None
        try:
            given = None if answer is None else wanted(self.kind, answer)
        except ValueError:
            pass
        if given is None:
            return dict.fromkeys(self.names, False)
        if self.kind == Kind.SCHEMA:
            found = {_of_field(name): expected.get(name) == given.get(name) for name in self.fields}
            return {RIGHT: all(found.values()), **found}
        if self.kind == Kind.TOOLS:
            return {RIGHT: expected == given, NAMES: [name for name, _ in expected] == [name for name, _ in given]}
        return {RIGHT: expected == given}


def scoring(kind: Kind, references: Iterable[str]) -> Scoring:
    """How answers with these references are scored: a field of a schema that no reference has is not.

    Raises:
        ValueError: a reference is not of its kind.
    """
    if kind != Kind.SCHEMA:
        return Scoring(kind)
    return Scoring(kind, tuple(sorted({name for each in references for name in wanted(kind, each)})))


def wanted(kind: Kind, reference: str) -> Any:
    """A reference, or an answer, in the form in which two are equal if they mean the same: a text; for a schema, a text
    for each field; for tools, names and arguments of the calls, sorted.

    Raises:
        ValueError: it is not of that kind; the message says in a few words what it is not.
    """
    if kind == Kind.TEXT:
        return folded(reference)
    try:
        value = _parsed(reference)
        return _fields(value) if kind == Kind.SCHEMA else _calls(value)
    except RecursionError as error:
        raise ValueError(NOT_JSON) from error


def folded(text: str) -> str:
    """A text without what free text is not scored by: case and compatibility forms (Unicode's compatibility caseless
    match, D146), white space and punctuation around it, and which white space is in it. Of nothing but punctuation all
    stays."""
    for form in ("NFD", "NFKC"):
        text = unicodedata.normalize(form, text).casefold()
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    return _EDGES.sub("", text) or text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise ValueError(NOT_JSON) from error


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _fields(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return {name: _json(one, folded) for name, one in value.items() if one is not None}


def _calls(value: Any) -> list[tuple[str, str]]:
    return sorted(map(_call, value if isinstance(value, list) else [value]))


def _call(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict) or value.keys() - {"id"} != {"name", "arguments"}:
        raise ValueError(NO_CALLS)
    name, arguments = value["name"], value["arguments"]
    if isinstance(arguments, str):  # as in the column tool_calls
        arguments = _parsed(arguments)
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(NO_CALLS)
    return name, _json(arguments, str)


def _json(value: Any, text: Callable[[str], str]) -> str:
    return json.dumps(_plain(value, text), sort_keys=True)


def _plain(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one, text) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_plain(one, text) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return text(value) if isinstance(value, str) else value


def _of_field(name: str) -> str:
    return f"field {name}"
