from __future__ import annotations

import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.audio import media, short
from pipeline.settings import Audio
from tests import hostile
from tests.conftest import CANARY, DEMO, ROOT, ffmpeg, tone, wait_for, write_wav

LIMITS = Audio()
ODD = {"cours magistral.mp3", "podcast.webm"}  # too long; it begins before its container
CLIPS = sorted(
    path
    for folder in ("recordings", "held_out")
    for path in (DEMO / folder).rglob("*.*")
    if "odd" not in path.parts and path.name not in ODD and path.suffix not in {".json", ".jsonl", ".md"}
)
READY = """
import os, socket, time
requests = socket.socket(fileno=0)
requests.send(b"x")"""  # how a program begins that stands in for the decoder's
ROUNDING = 8  # of 32,768: versions of ffmpeg's resampler differ


def processes() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "short_decoder" in " ".join(process.cmdline())]


@pytest.fixture
def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], short._Process]]:
    """Puts a program in the place of the decoder's; it is ended with the test."""
    process = short._Process()

    def put(program: str) -> short._Process:
        (tmp_path / "program.py").write_text(program)
        monkeypatch.setattr(short, "PROGRAM", tmp_path / "program.py")
        monkeypatch.setattr(short, "_process", process)
        return process

    yield put
    process._end()


def held(sound: Path) -> list[str]:
    """Descriptors of this process that a decoder could have left: Ray and S3, if they are in it, have sockets alone."""
    with os.scandir("/proc/self/fd") as found:
        links = [os.readlink(one.path) for one in found if Path(one.path).is_symlink()]
    return [link for link in links if link.startswith("pipe:") or link == str(sound)]


def test_the_samples_are_those_of_ffmpeg() -> None:
    assert len(CLIPS) > 50
    for path in CLIPS[::6]:
        whole = short.decode(path, LIMITS)
        assert whole, path.name
        expected = np.concatenate(list(media.decode(path, LIMITS)))
        assert whole.samples.shape == expected.shape, path.name
        assert np.abs(whole.samples.astype(int) - expected).max() <= ROUNDING, path.name
        assert np.array_equal(np.concatenate(whole.blocks), whole.samples)
        assert max(map(len, whole.blocks)) <= 32_000
        facts = media.probe(path, LIMITS)
        assert (whole.facts.channels, whole.facts.sample_rate_hz) == (facts.channels, facts.sample_rate_hz), path.name
        assert whole.facts.duration_is_stated == facts.duration_is_stated, path.name
        if facts.duration_is_stated:
            assert whole.facts.duration_s == pytest.approx(facts.duration_s, abs=1e-5), path.name


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "m4a", "ogg", "opus", "mkv", "aiff", "caf", "w64", "ts"])
def test_it_answers_for_ordinary_containers(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"tone.{extension}"
    ffmpeg("-i", write_wav(tmp_path / "sound.wav", tone(2.0)), *hostile.CONTAINERS[extension], path)
    assert short.decode(path, LIMITS)


def test_what_is_out_of_the_ordinary_is_left_to_ffmpeg(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "sound.wav", tone(2.0))
    ffmpeg("-i", sound, "-c:a", "libopus", tmp_path / "whole.mkv")
    jump = "setts=ts=TS+gt(N\\,20)*9/TB"
    ffmpeg("-i", tmp_path / "whole.mkv", "-c", "copy", "-bsf:a", jump, tmp_path / "gap.mkv")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("no recording")
    ffmpeg("-i", sound, tmp_path / "named.g722")
    write_wav(tmp_path / "long.wav", np.zeros(61 * 16_000, np.int16))
    with wave.open(str(tmp_path / "ten.wav"), "wb") as file:
        file.setparams((10, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(20 * 16_000))
    for name in ("ten.wav", "gap.mkv", "empty.wav", "text.mp3", "named.g722", "long.wav"):
        assert short.decode(tmp_path / name, LIMITS) is None, name
    assert short.decode(sound, LIMITS)
    assert short.decode(sound, Audio(max_duration_s=1.0)) is None


def test_memory_is_limited(tmp_path: Path) -> None:
    minute = write_wav(tmp_path / "minute.wav", np.zeros(59 * 16_000, np.int16))
    assert short.decode(minute, LIMITS)
    assert short.decode(minute, LIMITS.model_copy(update={"memory_limit_mb": 64})) is None


def test_it_sees_nothing_of_ours(tmp_path: Path) -> None:
    assert short.decode(write_wav(tmp_path / "sound.wav", tone(1.0)), LIMITS)
    (process,) = processes()
    environment = process.environ()
    assert environment.keys() <= {"PATH", "PYTHONPATH", "LC_CTYPE"} and CANARY not in str(environment)


def test_a_process_that_ends_or_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = write_wav(tmp_path / "sound.wav", tone(1.0))
    assert short.decode(sound, LIMITS)
    descriptors = len(held(sound))
    (killed,) = processes()
    killed.kill()
    wait_for(lambda: killed.status() == psutil.STATUS_ZOMBIE, 10.0)
    assert short.decode(sound, LIMITS)
    (stopped,) = processes()
    assert stopped != killed
    stopped.send_signal(signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(short, "PATIENCE_S", 0.2)
        assert short.decode(sound, LIMITS) is None
    assert not stopped.is_running()
    assert short.decode(sound, LIMITS)
    assert len(held(sound)) == descriptors
    assert len(processes()) == 1


def test_one_that_does_not_start_is_not_tried_for_every_recording(
    tmp_path: Path, instead: Callable[[str], short._Process], capfd: pytest.CaptureFixture[str]
) -> None:
    sound, started = write_wav(tmp_path / "sound.wav", tone(1.0)), tmp_path / "started"
    instead(f"open({str(started)!r}, 'a').write('x')")
    assert [short.decode(sound, LIMITS) for _ in range(3)] == [None] * 3
    assert started.read_text() == "xx"
    assert capfd.readouterr().err.count("short recordings are decoded by ffmpeg") == 1


STEREO = b'{"bytes": 2, "format": {"format_name": "wav"}, "streams": [{"codec_type": "audio", %b}]}\nab'
ODD_ANSWERS = [
    b"{}\n",
    b"[1]\n",
    b"\xff",
    b'{"bytes": 3}\nabc',
    b'{"bytes": 2, "streams": 7}\nab',
    b'{"bytes": 1, "streams": [], "format": {}}\na',
    b"[" * 60_000,
    STEREO % b'"channels": Infinity',
    STEREO % b'"duration": NaN',
    STEREO % b'"duration": 1e999',
    bytes(9_000_000),
]


@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_an_odd_answer_is_none(answer: bytes, tmp_path: Path, instead: Callable[[str], short._Process]) -> None:
    (tmp_path / "answer").write_bytes(answer)
    instead(f"""{READY}
while True:
    _, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 2)
    with os.fdopen(descriptors[1], "wb") as pipe:
        pipe.write(open({str(tmp_path / "answer")!r}, "rb").read())
    os.close(descriptors[0])
""")
    assert short.decode(write_wav(tmp_path / "sound.wav", tone(1.0)), LIMITS) is None


def test_one_that_does_not_answer_is_asked_again_later(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instead: Callable[[str], short._Process],
    capfd: pytest.CaptureFixture[str],
) -> None:
    sound, asked = write_wav(tmp_path / "sound.wav", tone(1.0)), tmp_path / "asked"
    process = instead(f"""{READY}
socket.recv_fds(requests, 1 << 16, 2)
open({str(asked)!r}, "a").write("x")
time.sleep(60)
""")
    monkeypatch.setattr(short, "PATIENCE_S", 1.0)
    assert [short.decode(sound, LIMITS) for _ in range(4)] == [None] * 4
    assert asked.read_text() == "xxx"
    assert capfd.readouterr().err.count("short_decoder has not answered 3 times") == 1
    monkeypatch.setattr(process, "_rests_until", 0.0)
    assert short.decode(sound, LIMITS) is None
    assert asked.read_text() == "xxxx"


def test_forks_end_where_their_process_has_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: Callable[[str], short._Process]
) -> None:
    sound, fork = write_wav(tmp_path / "sound.wav", tone(1.0)), tmp_path / "fork"
    instead(f"""{READY}
socket.recv_fds(requests, 1 << 16, 2)
if pid := os.fork():
    open({str(fork)!r}, "w").write(str(pid))
    os._exit(1)
time.sleep(60)
""")
    monkeypatch.setattr(short, "PATIENCE_S", 1.0)
    assert short.decode(sound, LIMITS) is None
    wait_for(lambda: not psutil.pid_exists(int(fork.read_text())), 10.0)


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "sound.wav", tone(1.0))
    program = f"""
import os, signal
from pathlib import Path
import psutil
from pipeline.audio import short
from pipeline.settings import Audio
assert short.decode(Path({str(sound)!r}), Audio())
print(psutil.Process().children()[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT, stdout=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: not psutil.pid_exists(int(done.stdout)), 10.0)
