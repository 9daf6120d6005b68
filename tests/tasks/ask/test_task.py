from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import planning
from pipeline.errors import ConfigurationError
from pipeline.ledger.done import Index
from pipeline.models.checkpoint import Checkpoint
from pipeline.schema import RECORDING
from pipeline.settings import Engine
from pipeline.tasks.ask.settings import AskSettings
from pipeline.tasks.ask.task import Asking
from tests.conftest import DEMO

Row = dict[str, Any]
VOXTRAL = Checkpoint("m", "voxtral", "r", 30.0, "vllm", 32_768)
DEMO_MODEL = Checkpoint("m", "voxtral", "r", 6.0, "vllm", 4_096)
SCHEMA = "schema:\n  type: object\n  properties: {n: {type: integer}}\n  additionalProperties: false\n"


def wanted(folder: Path | str = "in", **facts: Any) -> AskSettings:
    given = {"input": str(folder), "output": f"{folder}/out", "question": ("Who?",)} | facts
    return AskSettings.model_validate({"engine": Engine(model="none", family="scripted", device="cpu")} | given)


def task_file(folder: Path, text: str) -> Row:
    path = folder / "own.yaml"
    path.write_text(text, "utf-8")
    return {"task": path, "question": ()}


def window_s(checkpoint: Checkpoint, **facts: Any) -> float | None:
    settings = wanted(**facts)
    return Asking(settings).fit(settings, checkpoint).segmentation.max_window_s


def test_a_part_is_as_long_as_context_and_model_card_allow(tmp_path: Path) -> None:
    assert window_s(VOXTRAL) == 2_400.0
    long = ("Who? " * 1_000,)
    assert (window_s(VOXTRAL, question=long) or 0.0) % 30 == 0.0
    assert 1_800.0 < (window_s(VOXTRAL, question=long) or 0.0) < 2_400.0
    assert (window_s(DEMO_MODEL) or 0.0) < 200.0
    assert window_s(VOXTRAL, segmentation={"max_window_s": 60.0}) == 60.0
    assert window_s(Checkpoint("m", "scripted", "r", 30.0, "scripted")) == 2_400.0


def test_the_demand_is_within_the_context() -> None:
    for checkpoint in (VOXTRAL, DEMO_MODEL):
        settings = wanted()
        task = Asking(settings)
        fitted = task.fit(settings, checkpoint)
        demand = task.demand(fitted, checkpoint)
        assert demand.audio_s * 12.5 + demand.text_tokens <= (checkpoint.max_context or 0)
        assert demand.audios == 1


@pytest.mark.parametrize(
    ("facts", "checkpoint", "message"),
    [
        ({"question": ("x" * 40_000,)}, VOXTRAL, "task questions: the questions, their answers .* and the context has"),
        ({"question": ("x" * 3_000,)}, DEMO_MODEL, "that leaves no room for what they are about"),
        (
            {"question": ("x" * 3_000,), "over": "transcripts"},
            DEMO_MODEL,
            "that leaves no room for what they are about",
        ),
        (
            {"segmentation": {"max_window_s": 1_800.0}, "question": ("Who? " * 2_000,)},
            VOXTRAL,
            "--segmentation.max-wind",
        ),
        ({"channels": "split"}, VOXTRAL, "--channels split: "),
        ({"words": True}, VOXTRAL, "--words: "),
        ({"engine": {"beams": 5}}, VOXTRAL, "--engine.beams: "),
    ],
)
def test_what_does_not_fit_is_told_before_the_run(facts: Row, checkpoint: Checkpoint, message: str) -> None:
    settings = wanted(**facts)
    with pytest.raises(ConfigurationError, match=message):
        Asking(settings).fit(settings, checkpoint)


def test_a_system_prompt_is_for_transcripts(tmp_path: Path) -> None:
    facts = task_file(tmp_path, "turns:\n- Who?\nsystem: Be brief.\n")
    with pytest.raises(ConfigurationError, match=r"task own: system: .* --over transcripts"):
        Asking(wanted(**facts))
    assert Asking(wanted(**facts, over="transcripts"))


def listed(task: Asking, settings: AskSettings, keep: Any = None) -> tuple[list[Row], list[Row]]:
    fitted = task.fit(settings, VOXTRAL)
    found = task.recordings(fitted, keep)
    assert len(found.extra) == len(found.recordings)
    return found.recordings.to_pylist(), found.extra.to_pylist()


def manifest(folder: Path, rows: list[Row]) -> Path:
    for row in rows:
        (folder / row["path"]).touch()
    (folder / "list.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return folder / "list.jsonl"


def test_columns_stand_in_questions_and_are_part_of_the_version(tmp_path: Path) -> None:
    rows = [{"path": "a", "customer": "Ann", "n": 1}, {"path": "b", "customer": None, "n": [2]}, {"path": "missing/x"}]
    path = manifest(tmp_path, rows[:2])
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    settings = wanted(path, question=("What does {customer} of {uri} want?",), output=str(tmp_path / "out"))
    found, _ = listed(Asking(settings), settings)
    assert [json.loads(row["columns"]) for row in found[:2]] == [
        {"customer": "Ann", "uri": f"{tmp_path}/a"},
        {"customer": None, "uri": f"{tmp_path}/b"},
    ]
    assert len({row["content_version"].split("#")[1] for row in found[:2]}) == 2
    assert (found[2]["content_version"], found[2]["failure_code"]) == (None, "not_found")


def test_columns_that_the_manifest_lacks_are_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, [{"path": "a", "answer": "x", "columns": "y", "Größe (€)": 1}])
    settings = wanted(path, question=("{customer} {answer}?",))
    with pytest.raises(ConfigurationError) as error:
        listed(Asking(settings), settings)
    assert str(error.value).endswith(
        "no column customer, answer, which the questions name; it has manifest_answer, manifest_columns, Größe (€)"
    )
    settings = wanted(path, question=("{manifest_answer} {Größe (€)}?",))
    ((row,), (extra,)) = listed(Asking(settings), settings)
    assert json.loads(row["columns"]) == {"manifest_answer": "x", "Größe (€)": 1}
    assert extra["manifest_columns"] == "y"


def test_columns_of_ours_keep_their_names(tmp_path: Path) -> None:
    names = sorted(
        {name for schema in Asking(wanted()).tables.values() for name in schema.names} | {"columns", "channel"}
    )
    names = [name for name in names if name not in RECORDING.names]
    with (tmp_path / "list.csv").open("w") as file:
        csv.writer(file).writerows([["path", *names], ["a", *names]])
    (tmp_path / "a").touch()
    settings = wanted(tmp_path / "list.csv", question=("Who?",), output=str(tmp_path / "out"))
    (_, (extra,)) = listed(Asking(settings), settings)
    assert extra == {f"manifest_{name}": name for name in names}


def test_a_limit_parts_no_group(tmp_path: Path) -> None:
    rows = [{"path": f"{at}", "group_id": at // 2} for at in range(6)]
    path = manifest(tmp_path, rows)
    for limit, sizes in ((1, [2]), (3, [2, 2, 2]), (2, [2, 2]), (100, [2, 2, 2])):
        settings = wanted(path, limit=limit, output=str(tmp_path / "out"))
        found, extra = listed(Asking(settings), settings)
        assert [len(row["members"]) for row in found] == sizes
        assert [row["group_id"] for row in extra] == list(range(len(sizes)))
    settings = wanted(path, limit=1, output=str(tmp_path / "out"))
    task = Asking(settings)
    (row,), _ = listed(task, settings)
    demand = task.demand(task.fit(settings, VOXTRAL), VOXTRAL)
    assert (demand.audios, len(row["members"])) == (2, 2)


def test_what_is_done_is_asked_of_each_row_once(tmp_path: Path) -> None:
    rows = [{"path": f"{at}", "group_id": at // 2, "x": at} for at in range(6)]
    path, asked = manifest(tmp_path, rows), list[pa.Table]()

    def keep(recordings: pa.Table) -> np.ndarray:
        assert recordings.schema == RECORDING
        assert Index("f").find(recordings).counts == Counter({"new": len(recordings)})
        asked.append(recordings)
        return np.arange(len(recordings)) != 1

    for question in ("Who?", "{x}?"):
        settings = wanted(path, limit=3, question=(question,), output=str(tmp_path / "out"))
        found, extra = listed(Asking(settings), settings, keep)
        assert [row["x"] for row in extra] == [0, 4]
        assert [len(row["members"]) for row in found] == [2, 2]
        assert sum(map(len, asked)) == 3
        asked.clear()


def fingerprint(checkpoint: Checkpoint = VOXTRAL, **facts: Any) -> str:
    settings = wanted(**facts)
    task = Asking(settings)
    return planning.fingerprint(task, task.fit(settings, checkpoint), checkpoint)


def test_a_fingerprint_follows_what_is_asked_and_how_it_is_cut() -> None:
    own = fingerprint()
    assert own == fingerprint(output="elsewhere", limit=3, price_per_engine_hour=3.0)
    others = [
        fingerprint(question=("Why?",)),
        fingerprint(question=("Who?", "Why?")),
        fingerprint(segmentation={"max_window_s": 60.0}),
        fingerprint(over="transcripts"),
        fingerprint(Checkpoint("m", "voxtral", "s", 30.0, "vllm", 32_768)),
    ]
    assert len({own, *others}) == len(others) + 1


def test_over_transcripts_takes_the_whole_context() -> None:
    settings = wanted(over="transcripts")
    task = Asking(settings)
    assert task.fit(settings, VOXTRAL) == settings
    demand = task.demand(settings, VOXTRAL)
    assert (demand.audio_s, demand.audios) == (0.0, 1)
    assert demand.text_tokens <= 32_768


def test_a_value_of_another_type_needs_another_output(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ogg").write_bytes((DEMO / "held_out" / "en-00.ogg").read_bytes())
    places = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    plan = planning.plan(wanted(**places))
    tables = {name: schema.empty_table() for name, schema in plan.task.tables.items()}
    plan.output.start(plan.about)
    plan.output.write(tables)
    numbers = {"numbers": plan.tally.facts(1.0), "finished_at": "1", "engines": 1, "tables": list(tables)}
    plan.output.publish(plan.about | numbers | plan.output.files)
    assert planning.plan(wanted(**places, question=("Why?",))).count == 1
    with pytest.raises(ConfigurationError) as error:
        planning.plan(wanted(**places, **task_file(tmp_path, f"turns:\n- Who?\n{SCHEMA}")))
    assert str(error.value) == (
        f"--output {tmp_path}/out: the column value of its table answers is struct<n: int64> in this run, and string in"
        " earlier ones, so that the table could not be read as one: choose another --output"
    )


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("properties: {tags: {type: array, uniqueItems: true}}", "uniqueItems"),
        ("properties: {phone: {type: string, format: phone}}", "phone"),
        ('properties: {code: {type: string, pattern: "(?=a)b"}}', "look-around"),
        ("properties: {n: {type: integer}}", None),
    ],
)
def test_what_no_answer_can_follow_ends_the_job_before_the_run(schema: str, why: str | None, tmp_path: Path) -> None:
    for text, key in (
        (f"schema:\n  type: object\n  {schema}\n", "schema"),
        (f"tool_choice: required\ntools:\n- name: dial\n  parameters:\n    type: object\n    {schema}\n", "tools"),
    ):
        settings = wanted(**task_file(tmp_path, f'turns: ["Who?"]\n{text}'))
        if why:
            with pytest.raises(ConfigurationError, match=f"task own: {key}: vllm can make no answer .*{why}"):
                Asking(settings).fit(settings, VOXTRAL)
        else:
            Asking(settings).fit(settings, VOXTRAL)
        Asking(settings).fit(settings, replace(VOXTRAL, runtime="scripted"))
