from __future__ import annotations

import logging

import pytest

from pipeline.flow import messages


def test_what_ray_prints_is_logged_line_by_line(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("ray"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("ray"), "disabled", False)  # as libraries may leave it that configure logging
    caplog.set_level(logging.WARNING, "ray")
    monkeypatch.setattr(logging.getLogger("ray"), "handlers", [])  # as log.through_root leaves it
    with messages.logged():
        print("\x1b[33m(raylet)\x1b[0m A worker died.\nIt is replaced.\n")
    print("ours")
    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        ("ray", "WARNING", "(raylet) A worker died."),
        ("ray", "WARNING", "It is replaced."),
    ]
    assert capsys.readouterr().out == "ours\n"
