"""The recipes of docs/asking.md and the presets: each is a task file, and its answers become rows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.models.protocol import Chat, Reply
from pipeline.tasks.ask.questions import PRESETS
from pipeline.tasks.ask.schema import PART
from pipeline.tasks.ask.settings import AskSettings
from pipeline.tasks.ask.task import Asking
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "asking.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^### ([^\n]+)\n(?:(?!^###).)*?```yaml\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
COLUMNS = {"customer": "Ann {A}", "product": "a lamp", "text": "what was said"}


def example(schema: Mapping[str, Any]) -> Any:
    """A value of a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    match kind:
        case "object":
            return {name: example(each) for name, each in schema["properties"].items()}
        case "array":
            return [example(schema["items"])]
        case "string":
            return "en" if "pattern" in schema else "words"
    return {"boolean": True, "integer": 3, "number": 0.5}[kind]


class Obedient:
    """A model that does what it is asked."""

    def __init__(self) -> None:
        self.chats: list[Chat] = []

    async def chat(self, chat: Chat) -> Reply:
        self.chats.append(chat)
        calls = [{"name": tool["name"], "arguments": example(tool["parameters"])} for tool in chat.tools[:1]]
        text = json.dumps(example(chat.schema)) if chat.schema else "words"
        return Reply("" if calls else text, json.dumps(calls) if calls else None, "stop", 3, 9, 30.0)


def test_there_are_ten() -> None:
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("name", [*RECIPES, *PRESETS])
def test_a_recipe_is_asked_and_answered(name: str, tmp_path: Path) -> None:
    if name in RECIPES:
        (tmp_path / "recipe.yaml").write_text(RECIPES[name], "utf-8")
        given: dict[str, Any] = {"task": tmp_path / "recipe.yaml"}
    else:
        given = {"preset": name}
    given["over"] = "transcripts" if "system:" in RECIPES.get(name, "") else "audio"
    settings = AskSettings(input="in", output="out", **given)
    task, model, asked = Asking(settings), Obedient(), settings.questions()
    part = {"recording_id": "a", "segment_index": 0, "segment_count": 1, "start_s": 0.0, "end_s": 1.0, "speech_s": 1.0}
    part |= {"overlap_s": 0.0, "duration_s": 1.0, "samples": b"\0\0" * 16_000, "lengths": [16_000]}
    if given["over"] == "transcripts":
        part |= {"samples": b"", "lengths": [], "text": "what was said"}
    part["columns"] = json.dumps({column: COLUMNS[column] for column in asked.columns})

    async def nothing_to_gather(*_: Any) -> None:
        raise AssertionError("one part is all")

    worker = task.worker(model, settings, nothing_to_gather)  # pyright: ignore[reportArgumentType]
    replied = asyncio.run(worker(pa.Table.from_pylist([part], PART))).to_pylist()
    recording = {"recording_id": "a", "place": "a", "uri": "a", "columns": part["columns"], "model": "m"}
    recording |= {"model_revision": "r", "fingerprint": "f", "pipeline_version": "v", "run_id": "r"}
    found = task.rows(recording, replied, settings, complete=True)
    tables = {table: pa.Table.from_pylist(rows, task.tables[table]) for table, rows in found.items()}
    assert [row["outcome"] for row in tables["recordings"].to_pylist()] == ["ok"]
    rows = tables["answers"].to_pylist()
    assert [row["question_name"] for row in rows] == [turn.name for turn in asked.turns]
    assert all("{" not in row["question"].replace("{A}", "") for row in rows)
    assert [len(chat.messages) for chat in model.chats] == [2 * n + 1 + bool(asked.system) for n in range(len(rows))]
    if asked.answer_schema:
        assert pa.types.is_struct(tables["answers"].schema.field("value").type)
        assert rows[-1]["value"] == example(asked.answer_schema)
    if asked.tools:
        assert [call["name"] for call in rows[-1]["tool_calls"]] == [asked.tools[0].name]
