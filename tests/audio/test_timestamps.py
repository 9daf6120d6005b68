"""Which timestamps are trusted, and what becomes of the audio where they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.audio import media, timestamps
from pipeline.schema import Flag
from tests import hostile
from tests.audio.test_media import LIMITS, seconds
from tests.conftest import ffmpeg, tone, write_wav


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.ts", "late.ogg"])
def test_audio_that_begins_late_keeps_its_place(name: str, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "tone.wav", tone(4.0))
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=20"]
    codecs = ["-c:v", "libtheora", "-c:a", "libvorbis"] if name.endswith("ogg") else ["-c:v", "mpeg4", "-c:a", "aac"]
    ffmpeg(*picture, "-itsoffset", 5, "-i", wav, *codecs, tmp_path / name)
    samples = np.concatenate(list(media.decode(tmp_path / name, LIMITS)))
    assert np.flatnonzero(np.abs(samples) > 1000)[0] / 16_000 == pytest.approx(5.0, abs=0.1)
    facts = media.probe(tmp_path / name, LIMITS)
    # A picture that goes on longer than the sound does not make the sound truncated.
    assert not facts.duration_is_stated or not timestamps.is_truncated(len(samples) / 16_000, facts.duration_s)


def decoded(path: Path, **options: Any) -> tuple[np.ndarray, set[Flag]]:
    flags: set[Flag] = set()
    blocks = list(media.decode(path, LIMITS, flags=flags, **options))
    assert all(len(block) <= 2 * 16_000 for block in blocks)
    return np.concatenate(blocks), flags


CODECS = {"mkv": "flac", "mp4": "aac", "ts": "aac", "ogg": "libvorbis", "nut": "pcm_s16le", "webm": "libopus"}


def retimed(folder: Path, extension: str, times: str, seconds: float = 4.0) -> Path:
    """A tone in a container whose packets bear other times: an expression of T, the right one in seconds."""
    wav = write_wav(folder / "tone.wav", tone(seconds))
    ffmpeg("-i", wav, "-c:a", CODECS[extension], "-ar", 48_000, folder / f"right.{extension}")
    rule = f"setts=ts='({times.replace('T', '(TS*TB)')})/TB'"
    ffmpeg("-i", folder / f"right.{extension}", "-c", "copy", "-bsf:a", rule, folder / f"other.{extension}")
    return folder / f"other.{extension}"


def sounds(samples: np.ndarray) -> list[tuple[float, float]]:
    """Where it is loud, in seconds; pauses below 0.5 s do not count."""
    loud = np.flatnonzero(np.abs(samples) > 1000) / 16_000
    edges = np.flatnonzero(np.diff(loud) > 0.5)
    return list(zip(loud[[0, *(edges + 1)]].tolist(), loud[[*edges, -1]].tolist(), strict=True))


@pytest.mark.parametrize("extension", CODECS)
@pytest.mark.parametrize("hole_s", [5.0, 30.0])
def test_a_hole_keeps_the_recordings_clock(extension: str, hole_s: float, tmp_path: Path) -> None:
    samples, flags = decoded(retimed(tmp_path, extension, f"if(gte(T,2),T+{hole_s},T)"))
    first, second = sounds(samples)
    assert first == pytest.approx((0.0, 2.0), abs=0.15)
    assert second == pytest.approx((2.0 + hole_s, 4.0 + hole_s), abs=0.15)
    assert flags == set()


def test_many_holes_and_a_part_between_them(tmp_path: Path) -> None:
    path = retimed(tmp_path, "mkv", "T+2*floor(T)")  # every second is followed by two of silence
    starts = [start for start, _ in sounds(decoded(path)[0])]
    assert starts == pytest.approx([0.0, 3.0, 6.0, 9.0], abs=0.1)
    part, _ = decoded(path, start_s=3.5, end_s=9.5)
    assert len(part) == 6 * 16_000
    assert [start for start, _ in sounds(part)] == pytest.approx([0.0, 2.5, 5.5], abs=0.1)


def test_audio_behind_a_long_hole_is_all_there_and_flagged(tmp_path: Path) -> None:
    samples, flags = decoded(retimed(tmp_path, "mkv", "if(gte(T,2),T+600,T)"))
    assert sounds(samples)[1] == pytest.approx((602.0, 604.0), abs=0.15)
    assert flags == {Flag.LONG_GAPS}


@pytest.mark.parametrize("extension", ["ogg", "nut", "ts"])
def test_hours_of_silence_need_a_container_that_states_them(extension: str, tmp_path: Path) -> None:
    samples, flags = decoded(retimed(tmp_path, extension, "if(gte(T,2),T+21600,T)"))
    assert len(samples) / 16_000 == pytest.approx(4.0, abs=0.2)
    assert flags == {Flag.TIMESTAMPS_CORRECTED}


@pytest.mark.parametrize("extension", ["mkv", "nut", "webm"])
def test_timestamps_that_step_back_lose_nothing(extension: str, tmp_path: Path) -> None:
    samples, flags = decoded(retimed(tmp_path, extension, "if(gte(T,2),T-1.5,T)"))
    assert len(samples) / 16_000 == pytest.approx(4.0, abs=0.1)
    assert len(sounds(samples)) == 1
    assert flags == {Flag.TIMESTAMPS_CORRECTED}


FRAME_NUMBERS = {
    "sample numbers where frame numbers belong": lambda frame, sample: sample,
    "a jump of an hour": lambda frame, sample: frame if frame < 20 else frame + 56_250,
    "a jump within the stated duration": lambda frame, sample: frame if frame < 3 else frame + 40,
    "a step back": lambda frame, sample: frame if frame < 40 else frame - 30,
}


@pytest.fixture
def flac(tmp_path: Path) -> Path:
    ramp = np.arange(16_000 * 4, dtype=np.int16)
    ffmpeg("-i", write_wav(tmp_path / "ramp.wav", ramp), "-frame_size", 1024, tmp_path / "ramp.flac")
    return tmp_path / "ramp.flac"


@pytest.mark.parametrize("numbers", FRAME_NUMBERS)
@pytest.mark.parametrize("total", [True, False])
def test_flac_frames_are_joined_whatever_their_numbers(numbers: str, total: bool, flac: Path) -> None:
    data = bytearray(hostile.renumbered(flac, FRAME_NUMBERS[numbers]))
    if not total:
        data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])  # STREAMINFO's number of samples
    flac.write_bytes(data)
    ramp = np.arange(16_000 * 4, dtype=np.int16)
    samples, flags = decoded(flac)
    assert np.array_equal(samples, ramp)
    assert flags == {Flag.TIMESTAMPS_CORRECTED}
    if numbers.startswith("sample"):
        assert np.array_equal(decoded(flac, start_s=2.0, end_s=3.0)[0], ramp[32_000:48_000])


def test_right_frame_numbers_are_left_alone(flac: Path) -> None:
    assert hostile.renumbered(flac, lambda frame, sample: frame) == flac.read_bytes()
    assert decoded(flac)[1] == set()


@pytest.mark.parametrize("extension", ["ts", "ogg", "mp3"])
def test_a_change_of_channels_or_rate_adds_no_silence(extension: str, tmp_path: Path) -> None:
    wav, codec = write_wav(tmp_path / "tone.wav", tone(6.0)), {"ts": "ac3", "ogg": "libvorbis", "mp3": "libmp3lame"}
    for name, rate, channels in (("one", 48_000, 2), ("two", 48_000 if extension == "ts" else 32_000, 1)):
        ffmpeg("-i", wav, "-c:a", codec[extension], "-ar", rate, "-ac", channels, tmp_path / f"{name}.{extension}")
    parts = [(tmp_path / f"{name}.{extension}").read_bytes() for name in ("one", "two", "one")]
    (tmp_path / f"joined.{extension}").write_bytes(b"".join(parts))
    assert seconds(tmp_path / f"joined.{extension}") == pytest.approx(18.0, abs=0.3)


@pytest.mark.parametrize("extension", ["ogg", "ts", "mp3", "aac"])
def test_recordings_one_after_the_other_in_a_file(extension: str, tmp_path: Path) -> None:
    ffmpeg("-i", write_wav(tmp_path / "tone.wav", tone(3.0)), tmp_path / f"one.{extension}")
    (tmp_path / f"two.{extension}").write_bytes((tmp_path / f"one.{extension}").read_bytes() * 2)
    samples, flags = decoded(tmp_path / f"two.{extension}")
    assert len(samples) / 16_000 == pytest.approx(6.0, abs=0.3)
    assert flags == set()


@pytest.mark.parametrize("junk", [b"", b"\x07" * 700])
def test_flac_that_begins_in_mid_stream(junk: bytes, flac: Path) -> None:
    ramp, whole = np.arange(16_000 * 4, dtype=np.int16), flac.read_bytes()
    first = whole.index(b"\xff\xf8")
    flac.write_bytes(junk + whole[first if junk else first + 100 :])
    facts = media.probe(flac, LIMITS)
    assert (facts.format, facts.sample_rate_hz) == ("flac", 16_000)
    samples, _ = decoded(flac)
    lost = len(ramp) - len(samples[np.flatnonzero(samples)[0] - 1 :])
    assert np.array_equal(samples[-60_000:], ramp[-60_000:])
    assert lost <= 1024


def test_no_audio_follows_the_last_packet(tmp_path: Path) -> None:
    path = tmp_path / "call.mkv"
    ffmpeg("-i", write_wav(tmp_path / "tone.wav", tone(2.0)), "-c:a", "flac", path)
    assert timestamps.check(path, LIMITS, resumes_s=1.0) is None
    assert timestamps.check(path, LIMITS, resumes_s=30.0) is Flag.TIMESTAMPS_CORRECTED


@pytest.mark.parametrize(
    ("time", "length_s"),
    [
        ("00:01:02.5", 62.5),
        *((wrong, None) for wrong in ("x", "00:00:nan", "00:00:inf", "-5:00:00", f"{'9' * 400}:00:00.5")),
    ],
)
def test_what_is_no_length_is_none(time: str, length_s: float | None) -> None:
    assert timestamps.clock_s(time) == length_s
