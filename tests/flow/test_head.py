from __future__ import annotations

import socket

import pytest

from pipeline.flow import head
from tests.conftest import wait_for


def test_a_head_that_does_not_answer_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(head, "AWAY_S", 0.1)
    said: list[str] = []

    def say(text: str, **_: str) -> None:
        said.append(text)

    server = socket.create_server(("127.0.0.1", 0))
    with head.watched(f"127.0.0.1:{server.getsockname()[1]}", say):
        for _ in range(20):
            server.accept()[0].close()
        assert not said
        server.close()
        wait_for(lambda: said, 30)
    (line,) = said
    assert line.startswith("attention: the head of the Ray cluster, 127.0.0.1:") and "refused" in line


def test_what_is_no_address_is_not_looked_at() -> None:
    for word in ("", "auto", "local", "ray://head:10001"):
        with head.watched(word, pytest.fail):
            pass
