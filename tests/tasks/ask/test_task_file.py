from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError
from pipeline.tasks.ask import task_file

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff\x85"))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as error:
        task_file.read(path)
    line = str(error.value)
    assert line.startswith(f"{path}:") and len(line.splitlines()) == 1
    return line.removeprefix(str(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "task.yaml"


def test_words_mean_what_they_do_in_json(path: Path) -> None:
    path.write_text(
        "language: no\n"
        "listed: [yes, on, 2026-05-01, 1:30, 0x1f, .inf, -, true, null, ~, 1, -2.5, 1e3, 010, '1', !!str 1]\n"
        "empty:\n"
        "1: {true: x}\n"
    )
    words = ["yes", "on", "2026-05-01", "1:30", "0x1f", ".inf", "-"]
    values = [*words, True, None, None, 1, -2.5, 1000.0, 10, "1", "1"]
    content = {"language": "no", "listed": values, "empty": None, "1": {"true": "x"}}
    assert task_file.read(path).content == content


@given(value=VALUES)
def test_json_is_read_as_json(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "json.yaml"
    path.write_text(json.dumps({"value": value}, ensure_ascii=False), "utf-8")
    assert task_file.read(path).content == {"value": value}


def test_everything_has_its_line(path: Path) -> None:
    path.write_text(
        "# A task\n\nturns:\n  - name: a\n    question: >\n      long\n      one\n  - b\ntools: [{name: x}]\n"
    )
    file = task_file.read(path)
    lines = {(): "", ("turns",): 3, ("turns", 0, "question"): 5, ("turns", 1): 8, ("tools", 0, "name"): 9}
    lines |= {("turns", 1, "question"): 8, ("nothing",): ""}
    for location, line in lines.items():
        assert file.place(location) == (f"{path}:{line}" if line else str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: 1\nb: [", ":2: not YAML"),
        ("turns:\n- {customer} calls\n", ":2: not YAML"),
        ("a: 1\n---\nb: 1", ":2: not YAML"),
        ("a: *b", ":1: not YAML"),
        ("a: \x07", ": not YAML"),
        ("a: 1\nb: 2\na: 3", ":3: the key a comes twice"),
        ("a: {b: 1, b: 1}", ":1: the key b comes twice"),
        ("? [a]\n: 1", ":1: a key must be text"),
        ("a: &a {x: 1}\nb:\n  <<: *a", ":3: << is not supported"),
        ("a: !!python/object:os.system x", ":1: the tag"),
        ("a: !!set {x}", ":1: the tag"),
        ("a: !!int x", ":1: x is no int"),
        ("a: 1e999", ":1: 1e999 is too large"),
        ("a: " + "9" * 5000, ":1: 999"),
        ('a: "\\ud800"', ":1: half of a surrogate pair"),
        ("a: &a [*a]", ":1: an anchor that holds its own alias"),
        (BOMB, "too large with its aliases"),
        ("[" * 100_000, ": nested more than 100 deep"),
        ("a: " + "[" * 101 + "]" * 101, ":1: nested more than 100 deep"),
        ("", ": a task file holds keys such as `turns:`, but this one is empty"),
        ("- a", ": a task file holds keys such as `turns:`, but this one holds ['a']"),
        ("just text", ": a task file holds keys"),
        (b"\xff\xfea\0", ": not a text file in UTF-8"),
        (b"a: \0", ": not a text file in UTF-8"),
        (b"a: caf\xe9", ": not a text file in UTF-8"),
        (b"a" * 1_000_001, ": more than 1 MB"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(path: Path, content: str | bytes, reason: str) -> None:
    assert reason in refusal(path, content)


def test_a_file_that_is_missing_or_a_directory_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ConfigurationError, match=f"^{path}: .*directory"):
            task_file.read(path)


def test_aliases_and_a_byte_order_mark_are_read(path: Path) -> None:
    path.write_bytes("\ufeffa: &a [1]\nb: *a\n".encode())
    content = task_file.read(path).content
    assert content == {"a": [1], "b": [1]}
    assert content["a"] is not content["b"]


def test_of_many_problems_the_first_are_listed() -> None:
    assert task_file.one_line(["a\n b", "c"]) == "a b; c"
    assert task_file.one_line(list("abcdefg")) == "a; b; c; d; e; and 2 more"
