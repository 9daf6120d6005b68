"""Several models in one command, which a server without a model plays. Ray, ffmpeg and storage are real."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs import evaluate
from pipeline.ledger.parts import reports
from pipeline.scoring.comparison.tables import COMPARED
from tests.conftest import DEMO, DEMO_ENGINE
from tests.fake_server import Answer, Asked, FakeServer, failure, json_answer, serving

Row = dict[str, Any]
Capture = pytest.CaptureFixture[str]
CLIPS = sorted((DEMO / "held_out").glob("*.ogg"))[:3]
SAID = {"fine": "one two three four five six", "poor": "one two three <b> five eight", "third": "one two three four"}
WORDS = 6 * 4  # one recording is not there


def comparisons(output: Path) -> list[Row]:
    """The reports below an output, the oldest first."""
    return [json.loads(path.read_text()) for path in sorted(output.glob("comparisons/*/comparison.json"))]


def behave(asked: Asked) -> Answer:
    said = SAID.get(asked.body["model"])
    return json_answer({"text": said}) if said else failure(403, "no credit")


class Folder:
    """A manifest, an output, and a server with several models."""

    def __init__(self, folder: Path, server: FakeServer) -> None:
        self.output, self.server = folder / "out", server
        flags = ["--input", manifest(folder), "--output", str(self.output), "--engine.server", server.url]
        self._flags = [*flags, "--price-per-engine-hour", "3", "--normalizers", "none"]

    def evaluate(self, models: str, *flags: str) -> tuple[int, set[str]]:
        """The exit status, and which models were asked."""
        before = len(self.server.asked)
        status = evaluate.main([*self._flags, "--models", models, *flags])
        return status, {each.body["model"] for each in self.server.asked[before:]}


def manifest(folder: Path) -> str:
    rows = [{"path": str(clip), "reference": SAID["fine"], "reference_language": "en"} for clip in CLIPS]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0] | {"path": "gone"}]))
    return str(folder / "list.jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with serving(model="fine", others=("poor", "third", "down"), behave=behave) as server:
        yield Folder(tmp_path, server)


def test_one_command_evaluates_models_and_compares_them(shared_ray: None, folder: Folder, capsys: Capture) -> None:
    assert folder.evaluate("fine,poor", "--dry-run") == (0, set())
    said = capsys.readouterr().err
    assert "model 1 of 2: fine" in said and "model 2 of 2: poor" in said and said.count("4 to do") == 2
    assert folder.evaluate("fine,poor,wrong") == (2, set())
    assert "wrong" in capsys.readouterr().err and not folder.output.exists()

    assert folder.evaluate("fine,poor") == (0, {"fine", "poor"})
    said = " ".join(capsys.readouterr().err.split())
    assert "+25.00" in said and f"comparison {folder.output}/comparisons/" in said
    (report,) = comparisons(folder.output)
    place = folder.output / "comparisons" / report["comparison_id"]
    assert pq.read_schema(place / "comparison.parquet").names == COMPARED.names
    rows = pq.read_table(place / "comparison.parquet").to_pylist()
    assert len(rows) == 2 * 2  # models, languages with the mean
    by = {row["model"]: row for row in rows if row["language"] == "macro"}
    fine, poor = by["fine"], by["poor"]
    assert (fine["error_rate"], fine["difference"], fine["failed"]) == (pytest.approx(6 / WORDS), None, 1)
    assert (poor["error_rate"], poor["beside"], poor["failed"]) == (pytest.approx(12 / WORDS), "fine", 1)
    assert poor["difference"] == pytest.approx(6 / WORDS) and poor["shared"] == 4
    assert fine["engine_speed"] > 0 and fine["price_per_audio_hour"] == 3 / fine["engine_speed"]
    (run, _) = reports(str(folder.output))
    assert fine["audio_h"] == pytest.approx(run["numbers"]["audio_s"] / 3600, rel=1e-3)
    html = (place / "report.html").read_text()
    assert CLIPS[0].name in html and "&lt;b&gt;" in html and "<b>" not in html[html.index("</head>") :]
    assert len(list(folder.output.glob("evaluations/*/report.json"))) == 2

    # In the other order: nobody is asked, though other rows are newer than those of one model.
    assert folder.evaluate("poor,fine") == (0, set())
    other = comparisons(folder.output)[-1]
    assert [one["model"] for one in other["models"]] == ["poor", "fine"]
    for name in ("engine_speed", "price_per_audio_hour", "fingerprint"):
        assert [one[name] for one in other["models"]] == [one[name] for one in reversed(report["models"])]
    rates = ({line["model"]: line["error_rate"] for line in each["lines"]} for each in (report, other))
    assert next(rates) == next(rates)
    assert {round(line["difference"] or 0, 6) for line in other["lines"]} == {0, round(-6 / WORDS, 6)}


@pytest.mark.slow
def test_a_model_that_breaks_down_does_not_stop_the_others(shared_ray: None, folder: Folder, capsys: Capture) -> None:
    assert folder.evaluate("fine,down,poor", "--engine.max-deaths", "0") == (1, {"fine", "down", "poor"})
    said = " ".join(capsys.readouterr().err.split())
    assert "error: down: " in said and "attention: down is not compared" in said
    (report,) = comparisons(folder.output)
    assert [one["model"] for one in report["models"]] == ["fine", "poor"]
    assert [one["model"] for one in report["not_evaluated"]] == ["down"] and "no credit" in str(report)

    # Another model is added: only that one is asked.
    assert folder.evaluate("third", "--models", "poor,fine") == (0, {"third"})
    assert [one["model"] for one in comparisons(folder.output)[-1]["models"]] == ["third", "poor", "fine"]

    assert folder.evaluate("fine,down", "--engine.max-deaths", "0") == (1, {"down"})
    assert "nothing to compare: 1 of 2 models could not be evaluated" in capsys.readouterr().err
    assert len(comparisons(folder.output)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline", "old"], "--baseline is for one model: leave it out with --models"),
        (["--run-id", "a"], "--run-id is for one model"),
        (["--engine.revision", "main"], "--engine.revision is for one model"),
        (["--task", "{folder}/task.yaml"], "--models is for transcripts: leave it out with --task"),
        ([], "--models: none and {folder}/script are the same model"),
        (["--models", "{folder}/gone"], "--engine.model {folder}/gone: no file with a script"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_starts(
    arguments: list[str], words: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "script").touch()
    (tmp_path / "task.yaml").write_text("turns: [What is said?]")
    flags = ["--input", manifest(tmp_path), "--output", str(tmp_path / "out"), "--engine.family", "scripted"]
    flags += ["--models", f"none,{tmp_path}/script", *(each.format(folder=tmp_path) for each in arguments)]
    assert evaluate.main(flags) == 2
    assert words.format(folder=tmp_path) in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_checkpoints_in_the_real_engine(no_ray: None, tmp_path: Path) -> None:
    """The demo's model, and the same weights under another digest: they say the same, and do not differ."""
    shutil.copytree(DEMO / "model", tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("a copy")
    lines = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]
    rows = [{"path": str(DEMO / "held_out" / line["path"]), "reference": line["reference"]} for line in lines[:8]]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = f"{DEMO / 'model'},{tmp_path / 'copy'}"
    flags = ["--input", str(tmp_path / "list.jsonl"), "--output", str(tmp_path / "out"), "--models", models]
    assert evaluate.main([*flags, *DEMO_ENGINE[2:]]) == 0
    (report,) = comparisons(tmp_path / "out")
    assert not report["disagreements"] and all(one["engine_speed"] > 0 for one in report["models"])
    assert {line["difference"] for line in report["lines"]} == {None, 0.0}
