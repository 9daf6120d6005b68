from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.api import Result, ask, transcribe
from pipeline.command_line import load
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from tests.conftest import DEMO, ROOT, tone, write_wav
from tests.ledger.test_parts import begin, finish, part

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text("utf-8"), re.S)


@pytest.mark.slow
def test_the_examples_of_the_docs_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shared_ray: None
) -> None:
    monkeypatch.setenv("VOXTRAL_ENGINE__FAMILY", "scripted")
    monkeypatch.setenv("VOXTRAL_ENGINE__MODEL", "none")
    monkeypatch.setenv("VOXTRAL_ENGINE__DEVICE", "cpu")
    (tmp_path / "calls").mkdir()
    for clip in sorted((DEMO / "held_out").glob("*.ogg"))[:2]:
        (tmp_path / "calls" / clip.name).write_bytes(clip.read_bytes())
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        local = example.replace("s3://bucket/", f"{tmp_path}/").replace("mistralai/Voxtral-Mini-3B-2507", "none")
        exec(local, names)
    said = capsys.readouterr().out
    assert len(names["frame"]) == 2 and set(names["frame"]["language"]) <= {"en", "de"}
    assert len(EXAMPLES) == 4
    assert len(names["answers"]) == 4 and names["answers"]["answer"].notna().all()
    assert "2 recordings to do; {'model or settings changed': 2}" in said
    assert names["report"]["numbers"]["ok"] == 2
    assert names["result"].report is None, "nothing has failed, so that there is nothing to do again"
    again = transcribe(input=f"{tmp_path}/calls", output=f"{tmp_path}/transcripts")
    assert again.report is None
    assert len(again.transcripts()) == 2
    question = [str(each) for each in names["answers"]["question"].unique()]
    clip = sorted((DEMO / "held_out").glob("*.ogg"))[2]
    (tmp_path / "calls" / clip.name).write_bytes(clip.read_bytes())
    more = ask(input=f"{tmp_path}/calls", output=f"{tmp_path}/answers", question=tuple(question))
    assert more.report is not None and more.report["numbers"]["recordings"] == 1
    assert len(more.answers()) == 6  # those of both runs
    changed = ask(input=f"{tmp_path}/calls", output=f"{tmp_path}/answers", question=tuple(question[:1]))
    assert len(changed.answers()) == 3  # what the last run says of each recording


def test_a_dry_run_does_nothing(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "a.wav", tone(0.1))
    given: dict[str, Any] = {"input": f"{tmp_path}/in", "output": f"{tmp_path}/out", "dry_run": True}
    engine = {"family": "scripted", "model": "none", "device": "cpu"}
    assert transcribe(**given, engine=engine).report is None
    assert not (tmp_path / "out").exists()


def test_what_is_given_counts_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"OUTPUT": "elsewhere", "LIMIT": "3", "ENGINE__MODEL": "other", "ENGINE__DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"VOXTRAL_{name}", value)
    found = Settings(input="in", output="out", engine={"model": "mine"})  # pyright: ignore[reportArgumentType]
    assert (found.output, found.limit, found.engine.model, found.engine.device) == ("out", 3, "mine", "cpu")
    (tmp_path / "job.yaml").write_text("limit: 5\nrun_id: named\n")
    loaded = load(["--input", "in", "--output", "out", "--config", f"{tmp_path}/job.yaml"])
    assert (loaded.output, loaded.limit, loaded.run_id) == ("out", 3, "named"), "flags, environment, file"
    with pytest.raises(ConfigurationError, match="only the command line reads a file"):
        transcribe(input="in", output="out", config=f"{tmp_path}/job.yaml")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"limit": 0}, "limit 0: must be at least 1"),
        ({"engine": {"count": "many"}}, "engine.count many: must be a whole number"),
        ({"inputs": "in"}, "inputs"),
        ({"output": None}, "output None: must be text"),
    ],
)
def test_a_wrong_setting_is_one_line(wrong: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"input": "in", "output": "out"} | wrong
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        transcribe(**given)
    monkeypatch.setenv("VOXTRAL_PRICE_PER_ENGINE_HOUR", "dear")
    with pytest.raises(ConfigurationError, match=r"VOXTRAL_PRICE_PER_ENGINE_HOUR dear: must be a number"):
        transcribe(input="in", output="out")
    with pytest.raises(ConfigurationError, match=r"^input is missing; output is missing$"):
        monkeypatch.delenv("VOXTRAL_PRICE_PER_ENGINE_HOUR")
        transcribe()


def test_settings_or_their_values() -> None:
    with pytest.raises(ConfigurationError, match=r"^limit, dry_run: given beside settings"):
        transcribe(Settings(input="in", output="out"), limit=3, dry_run=True)


def test_a_manifests_column_of_other_types_is_left_out(tmp_path: Path) -> None:
    """One night customers were texts, the next one numbers."""
    for name, customer in (("a", "Ann"), ("b", 5)):
        run, tables = begin(str(tmp_path), name, started_at=name), part(name)
        own = {"customer": [customer], "agent": ["x"]}
        transcripts = tables["transcripts"]
        for column, values in own.items():
            transcripts = transcripts.append_column(column, pa.array(values))
        run.write(tables | {"transcripts": transcripts})
        finish(run, at=name)
    found = Result(str(tmp_path), None).transcripts()
    assert found["agent"].to_pylist() == ["x", "x"] and "customer" not in found.column_names


def test_what_is_wrong_is_an_exception(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing: "):
        transcribe(
            input=f"{tmp_path}/nothing", output=f"{tmp_path}/out", engine={"family": "scripted", "model": "none"}
        )
    with pytest.raises(LookupError, match="no published transcripts below"):
        Result(str(tmp_path), None).transcripts()
