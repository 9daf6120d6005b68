"""The job on object storage that fails now and then: the same tables come out, only later."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import pytest
from moto.moto_server import threaded_moto_server

from demo.s3 import embedded_s3
from pipeline import store
from tests.conftest import DEMO, SCRIPTED, published, run_job

RATE = 0.1  # of requests
SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'
ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We failed.</Message></Error>'


class Faulty:
    """Between the job and the S3 server: some requests are refused, cut, delayed, or done without an answer."""

    rng = random.Random(5)
    faults: ClassVar[Counter[str]] = Counter()
    rate = 0.0

    def __init__(self, *arguments: Any) -> None:
        self._server = SERVER(*arguments)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.rng.random() >= self.rate:
            return self._server(environ, start_response)
        fault = self.rng.choice(["throttled", "lost answer", "cut before", "cut within", "slow"])
        self.faults[fault] += 1
        if fault == "throttled":
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [SLOW_DOWN]
        if fault == "lost answer":
            for _ in self._server(environ, lambda *_: None):
                pass
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [ERROR]
        if fault == "cut before":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        if fault == "cut within":
            return self._half(environ, self._server(environ, start_response))
        time.sleep(1.0)
        return self._server(environ, start_response)

    def _half(self, environ: dict[str, Any], answer: Iterable[bytes]) -> Iterator[bytes]:
        body = b"".join(answer)
        yield body[: len(body) // 2]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


SERVER = threaded_moto_server.DomainDispatcherApplication


@pytest.mark.slow
def test_ten_percent_faults_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded_moto_server, "DomainDispatcherApplication", Faulty)
    with embedded_s3("faults"):
        for clip in sorted((DEMO / "held_out").glob("*.ogg")):
            store.create(f"s3://faults/in/{clip.name}", clip.read_bytes())
        arguments = ["--input", "s3://faults/in/", "--flush-interval-s", "0.5", *SCRIPTED]
        calm = run_job(arguments, "s3://faults/calm")
        monkeypatch.setattr(Faulty, "rate", RATE)
        run_job(arguments, "s3://faults/out")
        monkeypatch.setattr(Faulty, "rate", 0.0)
        rows = published("s3://faults/out", "transcripts")
    assert {row["uri"]: row["text"] for row in rows} == {row["uri"]: row["text"] for row in calm.transcripts}
    assert len(rows) == len(calm.transcripts)
    assert Faulty.faults.total() >= 10, Faulty.faults
