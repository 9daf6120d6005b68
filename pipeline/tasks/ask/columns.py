"""Columns of the manifest in a question: `{customer}` stands for the recording's value of the column `customer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import regex

_IN_WORDS = r"\p{L}\p{M}\p{N}_"
_BRACES = regex.compile(
    rf"(?P<doubled>\{{\{{|\}}\}})"
    rf"|\{{(?P<column>[{_IN_WORDS}](?:[{_IN_WORDS}\p{{Zs}}\p{{Sc}}\-/\#%&+()]*[{_IN_WORDS}\p{{Sc}}\#%)])?)\}}"
    r"|(?P<wrong>\{[^{}]*\}?|\})"
)


def columns_in(question: str) -> list[str]:
    """The columns that stand in a question, in order; one that stands there twice is there twice.

    A column's name may hold letters of any script, digits, spaces and any of _ - / # % & + ( ) and signs of currency.

    Raises:
        ValueError: braces that hold no such name, or a single one; the message says which.
    """
    columns = []
    for found in _BRACES.finditer(question):
        if found["wrong"]:
            raise ValueError(
                f"{found['wrong']:.40} at character {found.start() + 1} names no column: "
                "write {customer} for the column customer, and {{ or }} for a brace"
            )
        if found["column"]:
            columns.append(found["column"])
    return columns


def filled(question: str, values: Mapping[str, Any]) -> str:
    """The question with the columns' values in place; a column without a value leaves nothing. What is put in is text:
    braces in it mean nothing. The question is one that `columns_in` accepts."""
    return _BRACES.sub(
        lambda found: found["doubled"][0] if found["doubled"] else _text(values.get(found["column"])), question
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | list | tuple | Mapping):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return str(value).encode("utf-8", "replace").decode()  # no half of a surrogate pair, which no tokenizer takes
