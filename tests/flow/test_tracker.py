from __future__ import annotations

import pytest

from pipeline.flow.tracker import GatheringActor


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
