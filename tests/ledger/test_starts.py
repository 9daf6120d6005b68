from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline import planning, store
from pipeline.command_line import load
from pipeline.ledger import parts, starts
from tests.conftest import tone, write_wav
from tests.ledger.test_parts import BEGUN, begin, finish, part


def test_what_a_later_run_has_done_is_not_resumed_again(place: str) -> None:
    begin(place, "stopped").write(part("a"))
    finish(begin(place, "whole", started_at="1"), at="2")
    assert starts.stopped(place, parts.reports(place), BEGUN) is None
    begin(place, "anew", started_at="3")
    begin(place, "and anew", started_at="4")
    assert starts.stopped(place, parts.reports(place), BEGUN) == "and anew"


def test_drivers_that_begin_together_have_one_run(place: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda name: starts.claim(place, 0, BEGUN, name), map(str, range(8))))
    assert len(set(names)) == 1
    assert starts.claim(place, 0, BEGUN | {"input": "other"}, "other") == "other"
    finish(begin(place, names[0]))
    assert starts.claim(place, 0, BEGUN, "next") == "next", "the first was published after its reports were read"
    assert starts.claim(place, 1, BEGUN, "another") == "next"


def test_commands_that_begin_together_have_one_run(tmp_path: Path) -> None:
    """Neither has written anything when the other looks."""
    write_wav(tmp_path / "in" / "a.wav", tone(0.1))
    given = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--engine.family", "scripted"]
    given += ["--engine.model", "none", "--engine.device", "cpu"]
    planning.plan(load([*given, "--dry-run"]))
    assert not (tmp_path / "out").exists()
    plans = [planning.plan(load(given)) for _ in range(2)]
    assert not (tmp_path / "out").exists()
    first, second = map(planning.claimed, plans)
    assert plans[0].output.run_id == first.about["run_id"] == second.about["run_id"] == second.output.run_id
    other = planning.claimed(planning.plan(load([*given, "--language.expected", "en"])))
    assert other.output.run_id != first.output.run_id


def test_what_others_keep_below_started_is_no_run(place: str) -> None:
    begin(place, "ours")
    for name, said in {"list": b"[1]", "other": b'{"begun": "now"}'}.items():
        store.create(f"{place}/started/{name}.json", said)
    assert [run["run_id"] for run in starts.begun(place, [])] == ["ours"]
