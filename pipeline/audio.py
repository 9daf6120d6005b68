"""Any container in, mono 16 kHz int16 out, streamed, at the times that the container's timestamps say.

Timestamps are believed as far as the stated duration and the audio that is there allow: a gap becomes silence. Where
they contradict these, they are ignored, and only the samples count.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from pipeline import confined
from pipeline.errors import RecordingError
from pipeline.schema import SAMPLE_RATE_HZ, FailureCode
from pipeline.settings import Audio

# Containers whose header states the duration; in others ffmpeg estimates it, and a difference means nothing.
STATES_DURATION = {"aiff", "caf", "flac", "matroska", "mov", "w64", "wav"}
# Containers that store timestamps, which may be wrong; in others ffmpeg counts them from the packets. The check of them
# reads all packets without decoding: 0.8 s of CPU time for an hour of m4a or Opus, up to 8% of its preparation.
STORES_TIMESTAMPS = ("asf avi dv flac flv gxf matroska mov mpeg mpegts mxf nut ogg rm webm wtv wv").split()
# Header and sum of decoded frames differ by encoder padding: up to 0.3 s was seen in mp4; 2% is for edited headers.
TRUNCATION_TOLERANCE_S, TRUNCATION_TOLERANCE = 0.5, 0.02
# Audio that begins later than its container, or has holes, keeps the recording's own clock: the gaps become silence.
FILTER = "aresample=async=1:first_pts=0"
# Timestamps counted anew from the samples.
COUNTED = "asetpts=N/SR/TB"
GAP_S = 0.1  # a difference that FILTER corrects: its min_hard_comp
MAX_PACKET_S = (
    10.0  # above the longest FLAC frame, 65,535 samples at 8 kHz; mov counts a gap as part of the packet before
)
# Gaps longer in all than this, and than the audio, are wrong timestamps.
MAX_GAPS_S = 60.0
BLOCK_BYTES = 2 * SAMPLE_RATE_HZ * 2
PROBE_TIMEOUT_S = 30.0
ENTRIES = (
    "format=format_name,start_time,duration:stream=codec_type,codec_name,channels,sample_rate,start_time,duration"
    ":stream_tags=DURATION"
)
_OPTIONS = [word for key, value in confined.INPUT_OPTIONS.items() for word in (f"-{key}", str(value))]
_FFPROBE = ["ffprobe", "-v", "error", *_OPTIONS]


@dataclass(frozen=True, slots=True)
class Probe:
    """What the container says of its first audio stream.

    `duration_s` is None where ffprobe knows none. `duration_is_stated` tells whether the container states it, so that
    a recording with less audio must be truncated; elsewhere it is ffprobe's estimate. `timestamps_contradicted` tells
    that `decode` must ignore them, see `_contradicted`.
    """

    format: str
    codec: str
    channels: int
    sample_rate_hz: int
    duration_s: float | None
    duration_is_stated: bool
    timestamps_contradicted: bool


def probe(path: Path, limits: Audio) -> Probe:
    """Look at a local file.

    Raises:
        RecordingError: empty_file, not_media, no_audio, or decode_limit.
    """
    if path.stat().st_size == 0:
        raise RecordingError(FailureCode.EMPTY_FILE, "the object has no bytes")
    with confined.own_name(path) as name:
        command = [*_FFPROBE, "-show_entries", ENTRIES, "-of", "json", name.name]
        with confined.started(command, limits, name.parent) as process:
            try:
                answer, _ = process.communicate(timeout=PROBE_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                reason = f"ffprobe took more than {PROBE_TIMEOUT_S:.0f} s"
                raise RecordingError(FailureCode.DECODE_LIMIT, reason) from error
            if process.returncode != 0:
                reason = confined.last_complaint(name.parent) or "ffprobe does not recognise it"
                raise RecordingError(FailureCode.NOT_MEDIA, reason)
    facts = json.loads(answer)
    stream = next((s for s in facts.get("streams", []) if s.get("codec_type") == "audio"), None)
    if stream is None:
        kinds = ", ".join(sorted({s.get("codec_type", "unknown") for s in facts.get("streams", [])})) or "none"
        raise RecordingError(FailureCode.NO_AUDIO, f"no audio stream (streams: {kinds})")
    names = facts["format"]["format_name"].split(",")
    rate = int(stream.get("sample_rate") or 0)
    if path.suffix.lower() in confined.NAMED and not rate:
        raise RecordingError(FailureCode.NOT_MEDIA, f"nothing in it is {names[0]} but its name")
    duration = stream.get("duration") or _clock_s(stream.get("tags", {}).get("DURATION"))
    stated = duration is not None and bool(STATES_DURATION & set(names))
    duration = duration or facts["format"].get("duration")
    return Probe(
        format=names[0],
        codec=stream.get("codec_name", "unknown"),
        channels=int(stream.get("channels") or 0),
        sample_rate_hz=rate,
        duration_s=float(duration) * _missing_share(path) if duration else None,
        duration_is_stated=stated,
        timestamps_contradicted=_contradicted(path, limits, facts["format"], stream),
    )


def _contradicted(path: Path, limits: Audio, container: dict[str, Any], stream: dict[str, Any]) -> bool:
    """Whether the timestamps of the packets cannot be right.

    They step back; or span less time than the packets' audio; or leave gaps of more than MAX_GAPS_S and than the audio;
    or leave gaps that end after the duration that the container states.
    """
    names = set(container["format_name"].split(","))
    if not names & set(STORES_TIMESTAMPS):
        return False
    begin_s = _seconds(container.get("start_time")) or 0.0
    stated_s = None
    if names & STATES_DURATION:
        own_s = (_seconds(stream.get("start_time")) or begin_s) - begin_s + (_seconds(stream.get("duration")) or 0.0)
        tagged_s = _clock_s(stream.get("tags", {}).get("DURATION"))
        stated_s = max(_seconds(container.get("duration")) or 0.0, own_s, tagged_s or 0.0)
    first_s = reached_s = None
    gaps_s = audio_s = 0.0
    for at_s, length_s in _packets(path, limits):
        if first_s is None or reached_s is None:
            first_s = reached_s = at_s
        if at_s < reached_s - GAP_S:
            return True
        gaps_s += at_s - reached_s if at_s > reached_s + GAP_S else 0.0
        audio_s += length_s
        reached_s = max(reached_s, at_s + length_s)
    if first_s is None or reached_s is None:
        return False
    late_s = first_s - begin_s
    if is_truncated(reached_s - first_s, audio_s) or gaps_s + (0.0 if stated_s else late_s) > max(MAX_GAPS_S, audio_s):
        return True
    return bool(stated_s) and gaps_s + late_s > GAP_S and is_truncated(stated_s, reached_s - begin_s)


def _packets(path: Path, limits: Audio) -> Iterator[tuple[float, float]]:
    """When each packet of the first audio stream begins, and its length, in seconds; up to where the file breaks."""
    with confined.own_name(path) as name, suppress(RecordingError):
        show = ["-select_streams", "a:0", "-show_entries", "packet=pts_time,duration_time", "-of", "csv=p=0"]
        rest = b""
        for chunk in confined.output([*_FFPROBE, *show, name.name], limits, name.parent):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                at, length, *_ = [*line.decode(errors="replace").split(","), ""]
                at_s = _seconds(at)
                if at_s is not None:
                    yield at_s, min(_seconds(length) or 0.0, MAX_PACKET_S)


def _seconds(value: str | None) -> float | None:
    """A number of ffprobe's; None for N/A."""
    try:
        return float(value or "")
    except ValueError:
        return None


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
    path: Path,
    limits: Audio,
    start_s: float = 0.0,
    end_s: float | None = None,
    channel: int | None = None,
    *,
    ignore_timestamps: bool = False,
) -> Iterator[np.ndarray]:
    """Stream a local file's first audio stream as int16 blocks at 16 kHz of at most 2 s.

    `start_s` and `end_s` choose a part of it, `channel` (from 0) one of its channels; without, all are mixed. At most
    `limits.max_duration_s` seconds come out. With `ignore_timestamps` only the samples count: no gap becomes silence,
    and a part is found by decoding all that is before it.

    Raises:
        RecordingError: decode_error or decode_limit, after the blocks that could be decoded.
    """
    seconds = limits.max_duration_s if end_s is None else min(end_s - start_s, limits.max_duration_s)
    seek = {"ss": f"{start_s:.6f}"} if start_s and not ignore_timestamps else {}
    filters = [] if channel is None else [f"pan=mono|c0=c{channel}"]
    filters += [COUNTED, f"atrim=start={start_s:.6f}", COUNTED] if ignore_timestamps else [FILTER]
    with confined.own_name(path) as name:
        source = ffmpeg.input(name.name, **confined.INPUT_OPTIONS, **seek)
        sink = source["a:0"].output(
            "pipe:",
            format="s16le",
            acodec="pcm_s16le",
            ac=1,
            ar=SAMPLE_RATE_HZ,
            t=f"{seconds:.6f}",
            threads=1,
            af=",".join(filters),
        )
        command = sink.global_args("-nostdin", "-hide_banner", "-v", "error").compile()
        pending, failure = bytearray(), None
        try:
            for chunk in confined.output(command, limits, name.parent):
                pending += chunk
                if len(pending) >= BLOCK_BYTES:
                    yield np.frombuffer(bytes(pending[:BLOCK_BYTES]), dtype="<i2")
                    del pending[:BLOCK_BYTES]
        except RecordingError as error:
            failure = error
        if len(pending) >= 2:
            yield np.frombuffer(bytes(pending[: len(pending) // 2 * 2]), dtype="<i2")
        if failure:
            raise failure


def is_truncated(decoded_s: float, stated_s: float | None) -> bool:
    """Whether clearly less audio came out than the container's header states."""
    return stated_s is not None and decoded_s < stated_s * (1 - TRUNCATION_TOLERANCE) - TRUNCATION_TOLERANCE_S
