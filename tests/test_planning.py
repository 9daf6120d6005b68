from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import planning, run
from pipeline.flow import metrics
from pipeline.ledger.parts import reports
from pipeline.log import Log
from pipeline.settings import Settings
from pipeline.writer import Writer
from tests.conftest import DEMO

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
