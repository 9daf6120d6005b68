from __future__ import annotations

import pytest

from pipeline.flow.tracker import EngineTracker, GatheringActor


def test_what_is_gathered_is_complete_once_all_has_come_in_any_order() -> None:
    found = GatheringActor()
    assert found.add("a", 2, 3, "c") is None
    assert found.add("b", 0, None, "of b") is None
    assert found.add("a", 0, None, "a") is None
    assert found.add("a", 0, None, "a, again") is None
    assert found.add("a", 1, None, "b") == ["a, again", "b", "c"]
    assert found.add("a", 2, 3, "c") == ["a, again", "b", "c"], "its engine crashed before it could say so"


def test_what_was_complete_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.flow.tracker.COMPLETE_KEPT", 2)
    found = GatheringActor()
    found.add("waits", 0, None, "x")
    for name in ("a", "b", "a", "c"):
        assert found.add(name, 0, 1, name) == [name]
    assert found.add("a", 0, None, "a") == ["a"], "the last two: a, c"
    assert found.add("b", 0, None, "b") is None
    assert found.add("waits", 1, 2, "y") == ["x", "y"]


def test_an_engine_that_was_killed_with_nothing_inside_counts_as_dead_once_its_actor_starts_another() -> None:
    engines = EngineTracker(engines=2, elastic=False, max_deaths=2)
    engines.starting("one", "actor")
    engines.starting("two", "actor")  # the first was killed while it loaded
    assert engines.states() == (0, 1)
    engines.ready("two")
    engines.enter("two", ["a"])
    engines.starting("three", "actor")
    engines.ready("three")
    assert engines.states() == (1, 0)
    assert engines.suspects("three", ["a"]) == {"a": 1}, "it was inside, alone"
    assert engines.facts()["engine_deaths"] == 1, "it died once"


def test_an_engine_that_starts_too_slowly_is_started_again_while_others_fail() -> None:
    engines = EngineTracker(engines=2, elastic=False, max_deaths=9)
    engines.starting("slow", "one")
    assert engines.start_failed("slow", "it did not start in time", again=True) is None
    engines.starting("slow again", "one")
    engines.starting("wrong", "two")
    assert engines.start_failed("wrong", "no weights", again=False) is None, "one engine is loading"
    engines.starting("wrong too", "three")
    assert engines.start_failed("wrong too", "no weights", again=False) == "no weights"
    assert len(engines.facts()["engine_start_failures"]) == 3
