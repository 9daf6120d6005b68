"""Jobs whose model runs on servers that fail in every way that servers do. Ray and ffmpeg are real, they are not."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest

from demo.run import QUESTIONS
from jobs import ask, transcribe
from tests.conftest import CANARY, DEMO, ROOT, SCRIPTED, JobRun, published, run_job, wait_for
from tests.fake_server import Answer, Asked, FakeServer, failure, serving

RECORDINGS = 16
Capture = pytest.CaptureFixture[str]
LIKE_SCRIPTED = ["--segmentation.max-pause-s", "1"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("in")
    for clip in sorted((DEMO / "held_out").glob("*.ogg"))[:RECORDINGS]:
        (folder / clip.name).write_bytes(clip.read_bytes())
    return str(folder)


def flags(recordings: str, *servers: FakeServer) -> list[str]:
    return [
        "--input",
        recordings,
        *LIKE_SCRIPTED,
        *(flag for each in servers for flag in ("--engine.server", each.url)),
    ]


SAID: dict[str, str] = {}  # of `said`, which is the same for all tests here


@pytest.fixture
def said(recordings: str, tmp_path: Path, shared_ray: None) -> dict[str, str]:
    """The texts of the fake server, without one."""
    if not SAID:
        arguments = ["--input", recordings, *LIKE_SCRIPTED, *SCRIPTED]
        SAID.update(texts(run_job(arguments, str(tmp_path / "scripted"))))
    return SAID


def texts(run: JobRun) -> dict[str, str]:
    """Every recording has one row, and its segments are there once."""
    assert Counter(row["outcome"] for row in run.transcripts) == {"ok": RECORDINGS}
    assert len({row["uri"] for row in run.transcripts}) == RECORDINGS
    assert max(Counter((row["uri"], row["segment_index"]) for row in run.segments).values()) == 1
    return {row["uri"]: row["text"] for row in run.transcripts}


def restarted(server: FakeServer, down_s: float) -> threading.Thread:
    """A thread that kills a server in the middle of a job, and starts it again."""

    def restart() -> None:
        wait_for(lambda: len(server.asked) >= 5)
        server.stop()
        time.sleep(down_s)
        server.start()

    thread = threading.Thread(target=restart)
    thread.start()
    return thread


def slowly(asked: Asked) -> None:
    """Slow enough that a job is in the middle of its work for a while."""
    time.sleep(0.1)


def test_servers_that_fail_in_every_way_lose_nothing(
    recordings: str, tmp_path: Path, said: dict[str, str], capfd: Capture
) -> None:
    """One limits the rate, talks garbage, and answers late; the other is killed and started again. Both want a key."""
    garbage = [b"", b'{"text": ', b'{"text": ["a"]}', b"<html>"]

    def behave(asked: Asked) -> Answer | None:
        slowly(asked)
        if asked.number % 2:
            return failure(429)
        return (200, {}, garbage[asked.number % len(garbage)]) if asked.number % 10 == 0 else None

    with serving(behave=behave, key=CANARY) as fake, serving(behave=slowly, key=CANARY) as other:
        thread = restarted(other, 2.0)
        run = run_job([*flags(recordings, fake, other), "--engine.max-num-seqs", "2"], str(tmp_path / "out"))
        thread.join()
    assert texts(run) == said
    assert run.report["engine_deaths"] == 0
    assert any(asked.number % 2 for asked in fake.asked)
    shown = capfd.readouterr()
    assert CANARY not in shown.out + shown.err
    assert all(CANARY.encode() not in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.slow
def test_one_window_that_a_server_fails_at_costs_one_recording(
    recordings: str, tmp_path: Path, said: dict[str, str]
) -> None:
    def behave(asked: Asked) -> Answer | None:
        bad = fake.asked[0].samples
        return failure(500, "it fell over") if np.array_equal(asked.samples, bad) else None

    card, output = {"owned_by": "vllm", "root": "a/b"}, str(tmp_path / "out")
    with serving(card=card, version="0.32.0", behave=behave) as fake, serving(card=card, version="0.32.0") as other:
        run = run_job(flags(recordings, fake), output)
        (failed,) = [row for row in run.transcripts if row["outcome"] == "failed"]
        assert failed["failure_code"] == "engine_error" and failed["text"] is None
        assert "HTTP 500: it fell over" in failed["failure_detail"]
        right = [row for row in run.transcripts if row is not failed]
        assert {row["uri"]: row["text"] for row in right} == {uri: said[uri] for uri in said if uri != failed["uri"]}
        # where rows come from, and what a server does not tell
        assert (right[0]["model"], right[0]["model_revision"]) == ("fake", "fake (a/b)")
        assert (right[0]["runtime"], right[0]["runtime_version"]) == ("server", "vllm 0.32.0")
        assert all(row["mean_logprob"] is None and row["token_count"] is None for row in run.segments)
        assert {row["language_source"] for row in right} <= {"identified", None}
        assert run.report["settings"]["engine"]["device"] == "cpu"
        # the next run does it alone: where the server is changes no text
        assert transcribe.main([*flags(recordings, other), "--output", output]) == 0
        assert len(other.asked) == 1
    newest = {row["uri"]: row["text"] for row in published(output, "transcripts")}
    assert newest == said


@pytest.mark.slow
def test_an_outage_that_ends_the_engine_blames_no_window(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    with serving(behave=slowly) as fake:
        thread = restarted(fake, 8.0)
        wanted = [*flags(recordings, fake), "--engine.max-num-seqs", "2", "--engine.stall-timeout-s", "2"]
        run = run_job(wanted, str(tmp_path / "out"))
        thread.join()
    assert texts(run) == said
    assert run.report["engine_deaths"] >= 1


@pytest.mark.slow
def test_of_two_servers_one_dies(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    with serving(behave=slowly) as fake, serving() as other:

        def die(asked: Asked) -> None:
            slowly(asked)
            if asked.number >= 3 and other._http:
                threading.Thread(target=other.stop).start()

        other.behave = die
        run = run_job([*flags(recordings, fake, other), "--engine.max-num-seqs", "2"], str(tmp_path / "out"))
    assert texts(run) == said
    assert len(fake.asked) > len(other.asked) > 0
    assert run.report["engine_deaths"] == 0


@pytest.mark.slow
def test_a_server_that_refuses_in_mid_run_ends_the_job_with_the_reason(
    recordings: str, tmp_path: Path, shared_ray: None, capfd: Capture
) -> None:
    with serving(behave=lambda asked: failure(403, "no credit left") if asked.number > 3 else None) as fake:
        wanted = [*flags(recordings, fake), "--output", str(tmp_path / "out"), "--engine.max-deaths", "1"]
        assert transcribe.main(wanted) == 1
    assert "HTTP 403: no credit left" in capfd.readouterr().err


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_what_is_wrong_is_said_before_the_run(
    recordings: str, tmp_path: Path, capfd: Capture, dry_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = ["--output", str(tmp_path / "out"), *dry_run]
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(key="sk-right") as fake:
        assert transcribe.main([*flags(recordings, fake), *output]) == 2
        assert "OPENAI_API_KEY" in capfd.readouterr().err
        fake.key = None
        assert transcribe.main([*flags(recordings, fake), *output, "--engine.model", "large"]) == 2
        assert "serves fake, and not --engine.model large" in capfd.readouterr().err
        assert not fake.asked
    assert transcribe.main([*flags(recordings, fake), *output]) == 2
    assert f"--engine.server {fake.url}: no answer" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_context_that_is_not_known_must_be_named_to_part_transcripts(
    recordings: str, tmp_path: Path, capfd: Capture
) -> None:
    with serving() as fake:
        wanted = ["--input", recordings, "--output", str(tmp_path / "out"), "--engine.server", fake.url]
        assert ask.main([*wanted, "--over", "transcripts", "--question", "What?"]) == 2
    assert "--engine.max-model-len says it" in capfd.readouterr().err


def test_a_dry_run_says_what_a_server_does_not_tell(recordings: str, tmp_path: Path, capfd: Capture) -> None:
    with serving() as fake:
        assert transcribe.main([*flags(recordings, fake), "--output", str(tmp_path / "out"), "--dry-run"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert any(line.startswith("a server tells no probabilities") for line in lines)
    assert any("fake -> " in line for line in lines)


# What a job with an engine finds out by itself.
DEMO_LIKE = ["--language.expected", "en,es,fr,de", "--language.methods", "text"]
DEMO_LIKE += ["--segmentation.max-window-s", "6", "--segmentation.max-pause-s", "1"]


@pytest.fixture
def vllm_server(tmp_path: Path) -> Iterator[str]:
    """`make serve`, on a port of its own; its URL. It is no child of this process: jobs end the engines among these."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    code = f"import demo.serve; demo.serve.serve({port})"
    start = f"setsid {shlex.join([sys.executable, '-c', code])} > {tmp_path}/server.log 2>&1 & echo $!"
    server = psutil.Process(int(subprocess.check_output(["sh", "-c", start], cwd=ROOT)))
    try:
        wait_for(lambda: not server.is_running() or _answers(f"http://127.0.0.1:{port}/v1/models"), 400.0)
        assert server.is_running(), (tmp_path / "server.log").read_text()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        with suppress(psutil.TimeoutExpired):
            server.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.HTTPError:
        return False


def test_vllm_serve_says_what_an_engine_says(
    demo_run: JobRun, shared_ray: None, tmp_path: Path, vllm_server: str
) -> None:
    """The rows of the job with an engine of its own on the same recordings; and questions."""
    wanted = ["--input", "s3://test/in/recordings/", "--engine.server", vllm_server, *DEMO_LIKE]
    served = run_job(wanted, str(tmp_path / "served"))
    row = served.of("calls/0001.wav")
    assert (row["model"], row["runtime"]) == ("demo", "server")
    assert row["runtime_version"].startswith("vllm 0.") and row["model_revision"].startswith("demo (")
    own = {row["uri"]: row for row in demo_run.transcripts}
    assert len(served.transcripts) == sum("/recordings/" in uri for uri in own)
    for row in served.transcripts:
        for column in ("outcome", "failure_code", "text", "duration_s", "language"):
            assert row[column] == own[row["uri"]][column], row["uri"]
    asked = ["--input", "s3://test/in/recordings/calls/", "--engine.server", vllm_server, *QUESTIONS]
    assert ask.main([*asked, "--output", str(tmp_path / "asked")]) == 0
    answers = published(str(tmp_path / "asked"), "answers")
    assert {row["outcome"] for row in answers} == {"ok"}, [row["failure_detail"] for row in answers]
    assert {call["name"] for row in answers for call in row["tool_calls"] or []} == {"dial"}
