"""Task files: YAML with the line of everything in it, so that an error can name it.

Words mean what they do in YAML 1.2 and JSON, which schemas are written for: true, false, null and numbers are what they
look like, while no, on and 2026-05-01 are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigurationError

MAX_BYTES = 1_000_000  # of characters and nodes, too, where each alias counts as what it stands for
MAX_DEPTH = 100
MAX_LISTED = 5  # problems in one message

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class TaskFile:
    """What a task file holds, and the line of each key and list entry."""

    path: Path
    content: dict[str, Any]
    lines: Mapping[Location, int]

    def place(self, location: Location) -> str:
        """FILE:LINE of a location, or of the innermost one around it that the file has."""
        while location and location not in self.lines:
            location = location[:-1]
        return f"{self.path}:{self.lines[location]}" if location else str(self.path)


def read(path: Path) -> TaskFile:
    """The content of a task file; strings, numbers, booleans, None, lists, and mappings with text as keys.

    Raises:
        ConfigurationError: it cannot be read, is not YAML or no mapping, or is too large. One line: FILE:LINE: reason.
    """
    builder = _Builder()
    try:
        root = yaml.compose(_text(path), _Loader)
        content = builder.value(root, ()) if root else None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except _Unusable as error:
        raise ConfigurationError(f"{path}:{error.line}: {error}" if error.line else f"{path}: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        hint = "(a text needs quotes if it begins with {, has a colon inside, or stands in [ ])"
        raise ConfigurationError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {reason:.200} {hint}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split()):.200}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: nested more than {MAX_DEPTH} deep") from error
    if not isinstance(content, dict):
        held = "is empty" if content is None else f"holds {content!r:.40}"
        raise ConfigurationError(f"{path}: a task file holds keys such as `turns:`, but this one {held}")
    return TaskFile(path, content, builder.lines)


def one_line(problems: list[str]) -> str:
    """A message of several."""
    more = [f"and {len(problems) - MAX_LISTED} more"] if len(problems) > MAX_LISTED else []
    return "; ".join(" ".join(problem.split()) for problem in problems[:MAX_LISTED] + more)


class _Unusable(Exception):
    def __init__(self, message: str, node: yaml.Node | None = None) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1 if node else None


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise _Unusable(f"more than {MAX_BYTES / 1e6:g} MB is too large for a task file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unusable("not a text file in UTF-8") from error
    if "\0" in text:
        raise _Unusable("not a text file in UTF-8")
    return text


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as the core schema of YAML 1.2 does, without .inf and .nan. In pure Python: libyaml's
    composer crashes on deep nesting."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


_CORE = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
}
_TAG = "tag:yaml.org,2002:"
for _name, _pattern in _CORE.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)  # pyright: ignore[reportUnknownMemberType]
_Loader.yaml_implicit_resolvers[""] = _Loader.yaml_implicit_resolvers[None]  # PyYAML asks for it by the first letter


class _Builder:
    """Makes values of YAML nodes."""

    def __init__(self) -> None:
        self.lines: dict[Location, int] = {}
        self._size = 0
        self._open: set[int] = set()  # nodes around the present one

    def value(self, node: yaml.Node, location: Location) -> Any:
        if id(node) in self._open:
            raise _Unusable("an anchor that holds its own alias", node)
        self._size += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if self._size > MAX_BYTES:
            raise _Unusable("too large with its aliases written out", node)
        if len(location) > MAX_DEPTH:
            raise _Unusable(f"nested more than {MAX_DEPTH} deep", node)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            raise _Unusable(f"the tag {node.tag:.80} is not supported", node)
        self._open.add(id(node))
        made = self._mapping(node, location) if isinstance(node, yaml.MappingNode) else self._list(node, location)
        self._open.remove(id(node))
        return made

    def _list(self, node: yaml.Node, location: Location) -> list[Any]:
        made = []
        for index, each in enumerate(node.value):
            self.lines[*location, index] = each.start_mark.line + 1
            made.append(self.value(each, (*location, index)))
        return made

    def _mapping(self, node: yaml.Node, location: Location) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Unusable("a key must be text, not a list or a mapping", key)
            name = key.value
            if name == "<<" and key.style is None:
                raise _Unusable("<< is not supported: write the keys out", key)
            if name in made:
                raise _Unusable(f"the key {name:.80} comes twice in one mapping", key)
            _encodable(name, key)
            self._size += len(name)
            self.lines[*location, name] = key.start_mark.line + 1
            made[name] = self.value(value, (*location, name))
        return made


def _scalar(node: yaml.ScalarNode) -> Any:
    text, tag = node.value, node.tag.removeprefix(_TAG)
    if tag == "str":
        return _encodable(text, node)
    if tag not in _CORE:
        raise _Unusable(f"the tag {node.tag:.80} is not supported", node)
    if not re.fullmatch(_CORE[tag], text):
        raise _Unusable(f"{text:.80} is no {tag}", node)
    try:
        if tag == "float" and not math.isinf(number := float(text)):
            return number
        if tag in ("null", "bool"):
            return None if tag == "null" else text.lower() == "true"
        return int(text)
    except ValueError as error:  # thousands of digits, or a float beyond its range
        raise _Unusable(f"{text:.40} is too large a number", node) from error


def _encodable(text: str, node: yaml.Node) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _Unusable("half of a surrogate pair is no text", node)
    return text
