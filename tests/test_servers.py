"""Jobs whose model runs on servers that fail in every way that servers do. Ray and ffmpeg are real, they are not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from jobs import ask, transcribe
from pipeline.ledger.parts import reports
from tests.conftest import DEMO, ROOT, SCRIPTED, JobRun, published, run_job, wait_for
from tests.fake_server import Answer, Asked, FakeServer, failure, json_answer, serving

RECORDINGS = 24
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


def broken(behave: Callable[[Asked], Answer | None]) -> Callable[[Asked], Answer | None]:
    """Slow enough that a job is in the middle of its work for a while."""

    def slow(asked: Asked) -> Answer | None:
        time.sleep(0.1)
        return behave(asked)

    return slow


def test_rows_say_where_they_come_from(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    card = {"owned_by": "vllm", "root": "a/b"}
    with serving(card=card, version="0.32.0") as fake, serving(card=card, version="0.32.0") as other:
        run = run_job(flags(recordings, fake), str(tmp_path / "out"))
        assert texts(run) == said
        row = run.transcripts[0]
        assert (row["model"], row["model_revision"]) == ("fake", "fake (a/b)")
        assert (row["runtime"], row["runtime_version"]) == ("server", "vllm 0.32.0")
        assert all(row["mean_logprob"] is None and row["token_count"] is None for row in run.segments)
        assert {row["language_source"] for row in run.transcripts} <= {"identified", None}
        assert run.report["settings"]["engine"]["device"] == "cpu"
        asked = len(fake.asked)
        assert transcribe.main([*flags(recordings, other), "--output", run.output]) == 0
        assert not other.asked and len(fake.asked) == asked  # where the server is changes no text
        assert (
            transcribe.main([*flags(recordings, other), "--output", run.output, "--engine.server-audio", "opus"]) == 0
        )
        assert len(other.asked) >= RECORDINGS


def test_a_server_that_limits_the_rate_gives_every_text(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    with serving(behave=lambda asked: failure(429) if asked.number % 2 else None) as fake:
        assert texts(run_job(flags(recordings, fake), str(tmp_path / "out"))) == said
    assert len(fake.asked) > RECORDINGS


def test_a_server_that_is_killed_and_started_again(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    def restart() -> None:
        while len(fake.asked) < 5:
            time.sleep(0.05)
        fake.stop()
        time.sleep(2.0)
        fake.start()

    with serving(behave=broken(lambda _: None)) as fake:
        thread = threading.Thread(target=restart)
        thread.start()
        run = run_job([*flags(recordings, fake), "--engine.max-num-seqs", "2"], str(tmp_path / "out"))
        thread.join()
    assert texts(run) == said
    assert run.report["engine_deaths"] == 0


def test_an_outage_that_ends_the_engine_blames_no_window(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    def restart() -> None:
        while len(fake.asked) < 5:
            time.sleep(0.05)
        fake.stop()
        time.sleep(8.0)
        fake.start()

    with serving(behave=broken(lambda _: None)) as fake:
        thread = threading.Thread(target=restart)
        thread.start()
        wanted = [*flags(recordings, fake), "--engine.max-num-seqs", "2", "--engine.stall-timeout-s", "2"]
        run = run_job(wanted, str(tmp_path / "out"))
        thread.join()
    assert texts(run) == said
    assert run.report["engine_deaths"] >= 1


def test_of_two_servers_one_dies(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    with serving(behave=broken(lambda _: None)) as fake, serving() as other:

        def die(asked: Asked) -> None:
            time.sleep(0.1)
            if asked.number >= 3 and other._http:
                threading.Thread(target=other.stop).start()

        other.behave = die
        run = run_job([*flags(recordings, fake, other), "--engine.max-num-seqs", "2"], str(tmp_path / "out"))
    assert texts(run) == said
    assert len(fake.asked) > len(other.asked) > 0
    assert run.report["engine_deaths"] == 0


def test_one_window_that_a_server_fails_at_costs_one_recording(
    recordings: str, tmp_path: Path, said: dict[str, str]
) -> None:
    lengths = set[int]()

    def behave(asked: Asked) -> Answer | None:
        lengths.add(len(asked.samples))
        return failure(500, "it fell over") if len(asked.samples) == min(lengths) else None

    with serving() as fake:
        output = str(tmp_path / "out")
        run_job(flags(recordings, fake), str(tmp_path / "before"))
        lengths.update(len(asked.samples) for asked in fake.asked)
        fake.behave = behave
        run = run_job(flags(recordings, fake), output)
        (failed,) = [row for row in run.transcripts if row["outcome"] == "failed"]
        assert failed["failure_code"] == "engine_error" and failed["text"] is None
        assert "HTTP 500: it fell over" in failed["failure_detail"]
        assert all(row["text"] == said[row["uri"]] for row in run.transcripts if row is not failed)
        fake.behave, before = (lambda _: None), len(fake.asked)
        assert transcribe.main([*flags(recordings, fake), "--output", output]) == 0
        assert len(fake.asked) == before + 1  # the next run does it alone
    newest = {row["uri"]: row["text"] for row in published(output, "transcripts")}
    assert newest == said


def test_garbage_is_no_text(recordings: str, tmp_path: Path, said: dict[str, str]) -> None:
    garbage = [b"", b'{"text": ', b'{"text": ["a"]}', b"<html>"]

    def behave(asked: Asked) -> Answer | None:
        return (200, {}, garbage[asked.number % len(garbage)]) if asked.number % 5 == 0 else None

    with serving(behave=behave) as fake:
        assert texts(run_job(flags(recordings, fake), str(tmp_path / "out"))) == said


def test_a_server_that_refuses_in_mid_run_ends_the_job_with_the_reason(
    recordings: str, tmp_path: Path, shared_ray: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(behave=lambda asked: failure(403, "no credit left") if asked.number > 3 else None) as fake:
        wanted = [*flags(recordings, fake), "--output", str(tmp_path / "out"), "--engine.max-deaths", "1"]
        assert transcribe.main(wanted) == 1
    assert "HTTP 403: no credit left" in capfd.readouterr().err


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_what_is_wrong_is_said_before_the_run(
    recordings: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], dry_run: list[str]
) -> None:
    output = ["--output", str(tmp_path / "out"), *dry_run]
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
    recordings: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as fake:
        wanted = ["--input", recordings, "--output", str(tmp_path / "out"), "--engine.server", fake.url]
        assert ask.main([*wanted, "--over", "transcripts", "--question", "What?"]) == 2
    assert "--engine.max-model-len says it" in capfd.readouterr().err


def test_a_dry_run_says_what_a_server_does_not_tell(
    recordings: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as fake:
        assert transcribe.main([*flags(recordings, fake), "--output", str(tmp_path / "out"), "--dry-run"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert any(line.startswith("a server tells no probabilities") for line in lines)
    assert any("fake -> " in line for line in lines)


@pytest.mark.usefixtures("no_ray")
def test_no_key_is_written(
    recordings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with serving(key="sk-canary") as fake:
        run = run_job(flags(recordings, fake), str(tmp_path / "out"))
    assert texts(run)
    said = capfd.readouterr()
    assert "sk-canary" not in said.out + said.err
    assert all(b"sk-canary" not in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_questions_are_answered_by_a_server(recordings: str, tmp_path: Path, shared_ray: None) -> None:
    calls = [{"function": {"name": "dial", "arguments": '{"number": "12"}'}}]

    def behave(asked: Asked) -> Answer | None:
        if "tools" not in asked.body:
            return None
        message = {"content": None, "tool_calls": calls}
        return json_answer({"choices": [{"message": message, "finish_reason": "tool_calls"}]})

    (tmp_path / "task.yaml").write_text((DEMO / "questions.yaml").read_text())
    with serving(behave=behave) as fake:
        wanted = ["--input", recordings, "--engine.server", fake.url, "--task", str(tmp_path / "task.yaml")]
        assert ask.main([*wanted, "--output", str(tmp_path / "out")]) == 0
    rows = published(str(tmp_path / "out"), "answers")
    assert {row["outcome"] for row in rows} == {"ok"} and len(rows) == 3 * RECORDINGS
    for row in rows:
        if row["question_name"] == "call":
            assert row["tool_calls"] == [{"name": "dial", "arguments": '{"number":"12"}'}]
        else:
            assert row["answer"].endswith(": How many digits?") or row["answer"].endswith(": And which is the largest?")
    (report,) = reports(str(tmp_path / "out"))
    assert report["runtime"] == "server" and json.dumps(report)


DEMO_LIKE = ["--language.expected", "en,es,fr,de", "--language.methods", "text", "--segmentation.max-window-s", "6"]


@pytest.fixture
def vllm_server() -> Iterator[str]:
    """`make serve`, on a port of its own; its URL."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    code = f"import os, demo.serve; given = demo.serve.command({port}); os.execv(given[0], given)"
    server = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    try:
        wait_for(lambda: server.poll() is not None or _answers(f"http://127.0.0.1:{port}/v1/models"), 400.0)
        assert server.poll() is None
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.usefixtures("no_ray", "s3")
def test_vllm_serve_says_what_an_engine_says(recordings: str, tmp_path: Path, vllm_server: str) -> None:
    like = ["--input", recordings, *DEMO_LIKE, *LIKE_SCRIPTED, "--engine.max-num-seqs", "16"]
    served = run_job([*like, "--engine.server", vllm_server], str(tmp_path / "served"))
    row = served.transcripts[0]
    assert (row["model"], row["runtime"]) == ("demo", "server")
    assert row["runtime_version"].startswith("vllm 0.") and row["model_revision"].startswith("demo (")
    wanted = ["--input", recordings, "--engine.server", vllm_server, "--segmentation.max-window-s", "12"]
    wanted += ["--task", str(DEMO / "questions.yaml"), "--output", str(tmp_path / "asked")]
    assert ask.main(wanted) == 0
    answers = published(str(tmp_path / "asked"), "answers")
    assert {row["outcome"] for row in answers} == {"ok"}, [row["failure_detail"] for row in answers]
    assert {call["name"] for row in answers for call in row["tool_calls"] or []} == {"dial"}
    own = run_job([*like, "--engine.model", str(DEMO / "model"), "--engine.device", "cpu"], str(tmp_path / "own"))
    assert texts(served) == texts(own)
