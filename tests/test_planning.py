from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import running
from pipeline import planning, run
from pipeline.flow import metrics
from pipeline.ledger.done import Status
from pipeline.ledger.parts import reports
from pipeline.log import Log
from pipeline.settings import Settings
from pipeline.writer import Writer
from tests.conftest import DEMO, tone, write_wav

LATER = "2999-01-01T00:00:00+00:00"


def test_a_run_counts_before_those_that_began_by_a_clock_that_was_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are newer, and a stopped one is resumed. No engine runs: recordings have no answers."""
    monkeypatch.setattr(metrics, "count_recording", lambda *_: None)
    engine = {"family": "scripted", "model": "none", "device": "cpu"}
    wanted = Settings.model_validate({"input": str(DEMO / "held_out"), "limit": 2, "output": str(tmp_path)})
    wanted = wanted.model_copy(update={"engine": wanted.engine.model_copy(update=engine)})

    def stopped(plan: planning.Plan) -> None:
        """All done, but for the report."""
        plan.output.start(plan.about)
        Writer(plan).finish()

    stopped(planning.plan(wanted))
    ahead = run.execute(planning.plan(wanted), Log())
    (tmp_path / "runs" / f"{ahead['run_id']}.json").write_text(json.dumps(ahead | {"finished_at": LATER}))
    stopped(again := planning.plan(wanted))
    assert again.output.run_id != ahead["run_id"]
    resumed = planning.plan(wanted)
    assert resumed.resumed and resumed.output.run_id == again.output.run_id
    run.execute(resumed, Log())
    assert [report["run_id"] for report in reports(str(tmp_path))] == [ahead["run_id"], again.output.run_id]


def test_what_a_run_wrote_of_a_recording_that_is_gone_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest may name what a retention rule has removed since, or what storage refuses tonight."""
    monkeypatch.setattr(metrics, "count_recording", lambda *_: None)
    for name in "ab":
        write_wav(tmp_path / f"{name}.wav", tone(0.1))
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"path": f"{name}.wav"}) + "\n" for name in "abc"))
    engine = {"family": "scripted", "model": "none", "device": "cpu"}
    places = {"input": str(tmp_path / "list.jsonl"), "output": str(tmp_path / "out")}
    wanted = Settings.model_validate({**places, "engine": engine})
    first = planning.plan(wanted)
    assert first.count == 3
    first.output.start(first.about)
    Writer(first).finish()
    run.execute(planning.plan(wanted), Log())
    (tmp_path / "a.wav").unlink()
    write_wav(tmp_path / "c.wav", tone(0.1))
    again = planning.plan(wanted)
    assert again.why[Status.UNREACHABLE] == 1
    assert {Path(str(uri)).name for uri in again.listing.recordings["uri"].to_pylist()} == {"b.wav", "c.wav"}
    running.print_plan(again, Log())
    assert "1 cannot be reached now; what there is of them stays" in capsys.readouterr().err
