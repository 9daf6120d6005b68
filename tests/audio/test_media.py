from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.audio import confined, media, timestamps
from pipeline.errors import ConfigurationError, RecordingError
from pipeline.schema import FailureCode
from pipeline.settings import Audio
from tests.conftest import CANARY, DEMO, ROOT, ffmpeg, hostile_files, tone, write_wav

LIMITS = Audio()
GOOD = sorted(
    json.loads(line)["path"]
    for line in (DEMO / "references.jsonl").read_text("utf-8").splitlines()
    if json.loads(line)["reference"] is not None
)


def seconds(path: Path, **options: Any) -> float:
    return sum(len(block) for block in media.decode(path, LIMITS, **options)) / 16_000


@pytest.mark.parametrize("name", GOOD)
def test_every_format_decodes_to_its_length(name: str) -> None:
    path = DEMO / "recordings" / name
    decoded, facts = seconds(path), media.probe(path, LIMITS)
    assert decoded > 1.0
    assert facts.duration_s
    if facts.duration_is_stated:
        assert decoded == pytest.approx(facts.duration_s, abs=0.3)
        assert not timestamps.is_truncated(decoded, facts.duration_s)


def test_a_decoded_tone_is_that_tone(tmp_path: Path) -> None:
    samples = tone(5.0)
    blocks = list(media.decode(write_wav(tmp_path / "tone.wav", samples), LIMITS))
    assert max(len(block) for block in blocks) <= 2 * 16_000
    assert np.array_equal(np.concatenate(blocks), samples)


def test_a_time_range(tmp_path: Path) -> None:
    samples = np.arange(16_000 * 5, dtype=np.int16)
    path = write_wav(tmp_path / "ramp.wav", samples)
    part = np.concatenate(list(media.decode(path, LIMITS, start_s=1.0, end_s=2.5)))
    assert np.array_equal(part, samples[16_000:40_000])


def test_telephone_stereo_is_mixed_and_resampled(tmp_path: Path) -> None:
    path = DEMO / "recordings/calls/0003 stereo.wav"
    facts = media.probe(path, LIMITS)
    assert (facts.channels, facts.sample_rate_hz) == (2, 8000)
    assert seconds(path) == pytest.approx(facts.duration_s, abs=0.1)


def failure(path: Path, limits: Audio = LIMITS) -> RecordingError:
    with pytest.raises(RecordingError) as caught:
        media.probe(path, limits)
        for _ in media.decode(path, limits):
            pass
    assert str(path) not in caught.value.detail
    assert "voxtral-" not in caught.value.detail
    return caught.value


def test_what_is_no_recording_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("no media at all\n" * 50)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5_000))
    assert failure(tmp_path / "empty.wav").code is FailureCode.EMPTY_FILE
    assert failure(tmp_path / "text.mp3").code is FailureCode.NOT_MEDIA
    assert failure(tmp_path / "noise.mp4").code in (FailureCode.NOT_MEDIA, FailureCode.DECODE_ERROR)


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "silent film.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=1", "-c:v", "mpeg4"]
    subprocess.run(["ffmpeg", "-v", "error", *picture, path], check=True)
    error = failure(path)
    assert error.code is FailureCode.NO_AUDIO
    assert "video" in error.detail


def test_truncation_shows_in_the_probe() -> None:
    path = DEMO / "recordings/odd/truncated.wav"
    facts = media.probe(path, LIMITS)
    assert timestamps.is_truncated(seconds(path), facts.duration_s)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "pcm_alaw", "adpcm_ms"])
def test_a_truncated_wav_states_the_whole_duration(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    ffmpeg("-i", write_wav(tmp_path / "tone.wav", tone(4.0)), "-c:a", codec, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    assert media.probe(path, LIMITS).duration_s == pytest.approx(4.0, rel=0.02)
    assert seconds(path) == pytest.approx(1.0, rel=0.05)


def test_the_name_alone_makes_no_recording(tmp_path: Path) -> None:
    (tmp_path / "text.flac").write_text("no media at all\n" * 50)
    assert failure(tmp_path / "text.flac").code is FailureCode.NOT_MEDIA


def test_the_formats_are_ffmpegs() -> None:
    answer = subprocess.run(["ffmpeg", "-v", "error", "-demuxers"], capture_output=True, check=True, text=True).stdout
    known = {name for line in answer.splitlines() if line.startswith(" D") for name in line.split()[1].split(",")}
    assert set(confined.FORMATS) <= known
    assert {"tak", "mpc", "mpc8", "dsf", "shn"} <= set(confined.FORMATS)
    others = {"hls", "dash", "concat", "sdp", "rtsp", "image2", "lavfi", "imf", "vobsub", "mlv", "s16le", "data"}
    assert not others & set(confined.FORMATS)


MORE_FORMATS = {
    "g722": [],
    "sln": ["-f", "s16le", "-ar", "8000"],
    "sbc": [],
    "gsm": ["-ar", "8000", "-c:a", "libgsm"],
    "tco": ["-ar", "8000", "-c:a", "g723_1", "-f", "g723_1"],
    "c2": ["-ar", "8000"],
    "dts": ["-strict", "-2", "-ar", "48000"],
    "mlp": ["-strict", "-2", "-ar", "48000"],
    "sf": ["-f", "ircam"],
    "wtv": [],
}


@pytest.mark.parametrize("extension", MORE_FORMATS)
def test_more_formats(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"tone.{extension}"
    ffmpeg("-i", write_wav(tmp_path / "tone.wav", tone(3.0)), *MORE_FORMATS[extension], path)
    assert media.probe(path, LIMITS).channels == 1
    assert seconds(path) == pytest.approx(3.0, abs=0.1)


def test_one_bit_audio(tmp_path: Path) -> None:
    """DSF, made by hand: ffmpeg cannot write it. Alternating ones and zeros are silence."""
    blocks, size = 2 * 100, 4096
    form = struct.pack("<IIIIIIQII", 1, 0, 2, 2, 2_822_400, 1, blocks // 2 * size * 8, size, 0)
    data = (
        b"fmt "
        + struct.pack("<Q", 52)
        + form
        + b"data"
        + struct.pack("<Q", 12 + blocks * size)
        + b"\x69" * blocks * size
    )
    path = tmp_path / "one bit.dsf"
    path.write_bytes(b"DSD " + struct.pack("<QQQ", 28, 28 + len(data), 0) + data)
    assert media.probe(path, LIMITS).format == "dsf"
    assert seconds(path) == pytest.approx(blocks // 2 * size * 8 / 2_822_400, abs=0.1)


def test_a_wav_that_never_learnt_its_size(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "piped.wav", tone(2.0))
    for size in (0, 0x7FFFF024, 0xFFFFFFFF):
        data = bytearray(path.read_bytes())
        data[4:8] = data[40:44] = size.to_bytes(4, "little")
        path.write_bytes(data)
        facts = media.probe(path, LIMITS)
        assert facts.duration_s is None or facts.duration_s == pytest.approx(2.0, abs=0.1)
        assert seconds(path) == pytest.approx(2.0, abs=0.1)


def test_playlists_open_nothing(tmp_path: Path) -> None:
    secret = write_wav(tmp_path / "secret.wav", tone(2.0))
    hostile_files(tmp_path / "in", secret)
    for path in (tmp_path / "in").iterdir():
        assert failure(path).code is FailureCode.NOT_MEDIA, path.name
    assert not list(tmp_path.rglob("pwned"))


def test_limits_stop_ffmpeg(tmp_path: Path) -> None:
    endless = tmp_path / "long.flac"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "36000", endless]
    subprocess.run(command, check=True)
    assert seconds_with(endless, Audio(max_duration_s=100.0)) == pytest.approx(100.0)
    error = failure(endless, Audio(cpu_limit_s=1))
    assert error.code is FailureCode.DECODE_LIMIT
    assert "cpu_limit_s = 1" in error.detail
    error = failure(
        write_wav(tmp_path / "short.wav", tone(1.0)),
        Audio.model_construct(**{**LIMITS.model_dump(), "memory_limit_mb": 8}),
    )
    assert error.code in (FailureCode.DECODE_LIMIT, FailureCode.NOT_MEDIA, FailureCode.DECODE_ERROR)


def seconds_with(path: Path, limits: Audio) -> float:
    return sum(len(block) for block in media.decode(path, limits)) / 16_000


@pytest.mark.parametrize(
    ("status", "complaint", "said"),
    [
        (-signal.SIGXCPU, "", "ffprobe passed audio.cpu_limit_s = 60, or what it may complain"),
        (127, "ffprobe: error while loading libicudata.so.72: failed to map segment", "audio.memory_limit_mb = 512"),
        (1, "a.wav: Cannot allocate memory", "ffprobe wanted more than audio.memory_limit_mb = 512"),
        (1, "a.wav: Invalid data found when processing input", None),
    ],
)
def test_a_limit_that_ends_a_process_is_told_as_such(
    status: int, complaint: str, said: str | None, tmp_path: Path
) -> None:
    (tmp_path / "stderr").write_text(complaint)
    limits = Audio(cpu_limit_s=60, memory_limit_mb=512)
    found = confined.passed_limit("ffprobe", status, limits, tmp_path)
    assert (found and found.code) == (said and FailureCode.DECODE_LIMIT)
    assert not said or said in str(found)


def test_a_lower_limit_of_our_own_is_kept() -> None:
    """A service or a batch system may have set it, and nobody may raise it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = write_wav(Path(folder) / "a.wav", tone(1.0))
        code = f"""
import os, resource
from pathlib import Path
from pipeline.audio import media
from pipeline.settings import Audio
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
if not os.getuid():  # who may do all, but for this
    os.setresuid(65534, 65534, 65534)
print(media.probe(Path({str(path)!r}), Audio(cpu_limit_s=600)).duration_s)
"""
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
        assert said.stdout.strip() == "1.0", said.stderr


def test_a_reader_that_leaves_early_leaves_no_process(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", np.tile(tone(10.0), 30))
    blocks = media.decode(path, LIMITS)
    next(blocks)
    assert [child.name() for child in psutil.Process().children() if child.name() == "ffmpeg"]
    blocks.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not [child.name() for child in psutil.Process().children() if child.name() == "ffmpeg"]


def test_a_failure_leaves_no_open_file(tmp_path: Path) -> None:
    path = tmp_path / "noise.aac"
    ffmpeg("-i", write_wav(tmp_path / "tone.wav", tone(1.0)), path)
    data, at = bytearray(path.read_bytes()), 0
    for index in range(10_000):
        if at + 7 > len(data):
            break
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        if index > 2:  # healthy headers of frames, and noise in the frames
            data[at + 7 : at + size] = np.random.default_rng(index).bytes(size - 7)
        at += size
    path.write_bytes(data)
    before = psutil.Process().num_fds()
    error = failure(path)  # a kept exception keeps the frames that it has left
    assert (error.code, psutil.Process().num_fds()) == (FailureCode.DECODE_ERROR, before)


def test_a_complaint_has_the_same_words_every_time(tmp_path: Path) -> None:
    said = [
        "[vorbis @ 0x55ab528b6580] Setup header corrupt.",
        "    Last message repeated 3 times",
        "0.0250000000000000",
    ]
    (tmp_path / "stderr").write_text("\n".join(said))
    assert confined.last_complaint(tmp_path) == "[vorbis] Setup header corrupt."


def test_ffmpeg_sees_no_environment_and_only_our_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "bin" / "ffprobe"
    spy.parent.mkdir()
    spy.write_text('#!/bin/sh\nenv >&2; echo "$@" >&2; exit 1\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:/usr/bin:/bin")
    seen: list[str] = []
    monkeypatch.setattr(confined, "last_complaint", lambda folder: seen.append((folder / "stderr").read_text()) or "x")
    path = write_wav(tmp_path / "-i $(secret) name.wav", tone(1.0))
    assert failure(path).code is FailureCode.NOT_MEDIA
    assert CANARY not in seen[0]
    assert "secret" not in seen[0]
    assert "-format_whitelist" in seen[0]
    assert "-protocol_whitelist file" in seen[0]


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    confined.check_tools()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="ffmpeg cannot be started"):
        confined.check_tools()
