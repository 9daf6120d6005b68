"""Any container in, mono 16 kHz int16 out, streamed. The only place that starts ffmpeg.

A recording is hostile until decoded: ffmpeg sees a name of ours and never the manifest's, may open only the formats
listed here and only local files, gets no environment, no network protocol and no standard input, and runs in its own
process group under limits of CPU time, memory and silence on its output.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import numpy as np

from pipeline.errors import ConfigurationError, RecordingError
from pipeline.schema import SAMPLE_RATE_HZ, FailureCode
from pipeline.settings import Audio

# Demuxers that hold audio in themselves. Playlists and scripts (hls, dash, concat, ffconcat, sdp, image2, ...),
# which make ffmpeg open other files or addresses, are left out: -protocol_whitelist alone does not stop them.
FORMATS = (
    "aac ac3 aiff amr amrnb amrwb ape asf au avi caf eac3 flac flv gsm loas matroska mov mp3 mpc8 mpeg mpegts nut ogg "
    "rm sox tta voc w64 wav webm wv"
).split()
# Containers whose header states the duration; in others ffmpeg estimates it, and a difference means nothing.
STATES_DURATION = {"aiff", "caf", "flac", "matroska", "mov", "w64", "wav"}
# Header and sum of decoded frames differ by encoder padding: up to 0.3 s was seen in mp4; 2% is for edited headers.
TRUNCATION_TOLERANCE_S, TRUNCATION_TOLERANCE = 0.5, 0.02
# Audio that begins later than its container, or has holes, keeps the recording's own clock: the gaps become silence.
FILTER = "aresample=async=1:first_pts=0"
BLOCK_BYTES = 2 * SAMPLE_RATE_HZ * 2
PROBE_TIMEOUT_S = 30.0
ENTRIES = "format=format_name,duration:stream=codec_type,codec_name,channels,sample_rate,duration:stream_tags=DURATION"


@dataclass(frozen=True, slots=True)
class Probe:
    """What the container says of its first audio stream.

    `duration_s` is None where ffprobe knows none. `duration_is_stated` tells whether the container states it, so that
    a recording with less audio must be truncated; elsewhere it is ffprobe's estimate.
    """

    format: str
    codec: str
    channels: int
    sample_rate_hz: int
    duration_s: float | None
    duration_is_stated: bool


def check_tools() -> None:
    """Raise ConfigurationError unless ffmpeg and ffprobe can be started."""
    for tool in ("ffmpeg", "ffprobe"):
        try:
            subprocess.run([tool, "-version"], capture_output=True, check=True, env=_environment())
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigurationError(
                f"{tool} cannot be started ({error}); install ffmpeg, or put it on PATH"
            ) from error


def probe(path: Path, limits: Audio) -> Probe:
    """Look at a local file.

    Raises:
        RecordingError: empty_file, not_media, no_audio, or decode_limit.
    """
    if path.stat().st_size == 0:
        raise RecordingError(FailureCode.EMPTY_FILE, "the object has no bytes")
    command = ["ffprobe", "-v", "error", *_INPUT_OPTIONS, "-show_entries", ENTRIES, "-of", "json"]
    with _own_name(path) as name, _started([*command, name], limits, cwd=name.parent) as process:
        try:
            answer, _ = process.communicate(timeout=PROBE_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            reason = f"ffprobe took more than {PROBE_TIMEOUT_S:.0f} s"
            raise RecordingError(FailureCode.DECODE_LIMIT, reason) from error
        if process.returncode != 0:
            raise RecordingError(FailureCode.NOT_MEDIA, _complaint(name.parent) or "ffprobe does not recognise it")
    facts = json.loads(answer)
    stream = next((s for s in facts.get("streams", []) if s.get("codec_type") == "audio"), None)
    if stream is None:
        kinds = ", ".join(sorted({s.get("codec_type", "unknown") for s in facts.get("streams", [])})) or "none"
        raise RecordingError(FailureCode.NO_AUDIO, f"no audio stream (streams: {kinds})")
    names = facts["format"]["format_name"].split(",")
    duration = stream.get("duration") or _clock_s(stream.get("tags", {}).get("DURATION"))
    stated = duration is not None and bool(STATES_DURATION & set(names))
    duration = duration or facts["format"].get("duration")
    return Probe(
        format=names[0],
        codec=stream.get("codec_name", "unknown"),
        channels=int(stream.get("channels") or 0),
        sample_rate_hz=int(stream.get("sample_rate") or 0),
        duration_s=float(duration) * _missing_share(path) if duration else None,
        duration_is_stated=stated,
    )


def _clock_s(time: str | None) -> float | None:
    """Matroska's "00:01:02.5" for a stream, in seconds: a container may be longer than its audio."""
    try:
        hours, minutes, seconds = (time or "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _missing_share(path: Path) -> float:
    """Bytes that a RIFF (wav) header states over bytes that are there, at least 1.

    ffprobe cuts a wav's duration to the file's size, which hides that it was truncated. Sizes of 0 and from about
    2**31 on are what programs write that do not know the size yet.
    """
    with path.open("rb") as file:
        head = file.read(8)
    stated = int.from_bytes(head[4:], "little") + 8
    if head[:4] != b"RIFF" or not 8 < stated < 0x7FFFF000:
        return 1.0
    return max(1.0, stated / path.stat().st_size)


def decode(
    path: Path, limits: Audio, start_s: float = 0.0, end_s: float | None = None, channel: int | None = None
) -> Iterator[np.ndarray]:
    """Stream a local file's first audio stream as int16 blocks at 16 kHz of at most 2 s.

    `start_s` and `end_s` choose a part of it, `channel` (from 0) one of its channels; without, all are mixed. At most
    `limits.max_duration_s` seconds come out.

    Raises:
        RecordingError: decode_error or decode_limit, after the blocks that could be decoded.
    """
    seconds = limits.max_duration_s if end_s is None else min(end_s - start_s, limits.max_duration_s)
    with _own_name(path) as name:
        source = ffmpeg.input(name.name, **_GRAPH_INPUT_OPTIONS, **({"ss": f"{start_s:.6f}"} if start_s else {}))
        sink = source["a:0"].output(
            "pipe:",
            format="s16le",
            acodec="pcm_s16le",
            ac=1,
            ar=SAMPLE_RATE_HZ,
            t=f"{seconds:.6f}",
            threads=1,
            af=FILTER if channel is None else f"pan=mono|c0=c{channel},{FILTER}",
        )
        command = sink.global_args("-nostdin", "-hide_banner", "-v", "error").compile()
        with _started(command, limits, cwd=name.parent) as process:
            assert process.stdout is not None
            pending = bytearray()
            while block := _read(process.stdout.fileno(), limits.stall_timeout_s):
                pending += block
                if len(pending) >= BLOCK_BYTES:
                    yield np.frombuffer(bytes(pending[:BLOCK_BYTES]), dtype="<i2")
                    del pending[:BLOCK_BYTES]
            if len(pending) >= 2:
                yield np.frombuffer(bytes(pending[: len(pending) // 2 * 2]), dtype="<i2")
            if (status := process.wait()) != 0:
                complaint = _complaint(name.parent)
                if -status in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL):
                    reason = f"ffmpeg passed audio.cpu_limit_s = {limits.cpu_limit_s}, or what it may complain"
                    raise RecordingError(FailureCode.DECODE_LIMIT, reason)
                if "Cannot allocate memory" in complaint:
                    reason = f"ffmpeg wanted more than audio.memory_limit_mb = {limits.memory_limit_mb}"
                    raise RecordingError(FailureCode.DECODE_LIMIT, reason)
                raise RecordingError(FailureCode.DECODE_ERROR, complaint or f"ffmpeg ended with status {status}")


def is_truncated(decoded_s: float, stated_s: float | None) -> bool:
    """Whether clearly less audio came out than the container's header states."""
    return stated_s is not None and decoded_s < stated_s * (1 - TRUNCATION_TOLERANCE) - TRUNCATION_TOLERANCE_S


_GRAPH_INPUT_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file", "threads": 1}
_INPUT_OPTIONS = [argument for key, value in _GRAPH_INPUT_OPTIONS.items() for argument in (f"-{key}", str(value))]
_STDERR_LIMIT_BYTES = 1 << 20


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}


@contextmanager
def _own_name(path: Path) -> Iterator[Path]:
    """A folder of ours in which the recording has a name of ours."""
    with tempfile.TemporaryDirectory(prefix="voxtral-") as folder:
        name = Path(folder, "recording")
        name.symlink_to(path.absolute())
        yield name


@contextmanager
def _started(command: Sequence[str | Path], limits: Audio, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start ffmpeg or ffprobe under limits in its own process group; whatever happens, none of it is left behind."""
    command = [argument.name if isinstance(argument, Path) else argument for argument in command]
    with (cwd / "stderr").open("wb") as complaints:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
    try:
        if hasattr(resource, "prlimit"):  # Linux
            memory = limits.memory_limit_mb << 20
            for kind, limit in (
                (resource.RLIMIT_CPU, limits.cpu_limit_s),
                (resource.RLIMIT_AS, memory),
                (resource.RLIMIT_FSIZE, _STDERR_LIMIT_BYTES),
            ):
                try:
                    resource.prlimit(process.pid, kind, (limit, limit))
                except ProcessLookupError:  # it has ended already
                    break
        yield process
    finally:
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        if process.stdout:
            process.stdout.close()


def _read(descriptor: int, timeout_s: float) -> bytes:
    """The next bytes of a pipe, b"" at its end. The clock runs only while we wait: backpressure costs nothing."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    if not poll.poll(timeout_s * 1000):
        raise RecordingError(FailureCode.DECODE_LIMIT, f"ffmpeg gave no output for {timeout_s:.0f} s")
    return os.read(descriptor, 1 << 16)


def _complaint(folder: Path) -> str:
    """The last thing ffmpeg said, without our names in it."""
    text = (folder / "stderr").read_bytes()[-4096:].decode(errors="replace")
    lines = [line.removeprefix("recording: ").strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
