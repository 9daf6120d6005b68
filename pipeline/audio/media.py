"""Any container in, mono 16 kHz int16 out, streamed, on the recording's own clock."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from pipeline.audio import confined, timestamps
from pipeline.errors import RecordingError
from pipeline.schema import SAMPLE_RATE_HZ, FailureCode, Flag
from pipeline.settings import Audio

PROBE_TIMEOUT_S = 30.0
BLOCK_BYTES = 2 * SAMPLE_RATE_HZ * 2
LATE_S = 1.0  # audio that begins so late is trusted without reading all timestamps
EDGE_S = 0.01  # of samples that the resampler may still give after the last frame
# Left to itself, ffmpeg takes jumps of 10 s in some formats for the start of another recording; and in some it takes
# the audio for the only stream, whose start is then 0, unless an offset is given.
JUMP_S, OFFSET_S = 108_000, 1e-6
ENTRIES = "format=format_name,duration:stream=codec_type,channels,sample_rate,bit_rate,duration:stream_tags=DURATION"


@dataclass(frozen=True, slots=True)
class Probe:
    """What the container says of its first audio stream.

    `duration_s` is None where ffprobe knows none. `duration_is_stated` tells whether the container states it, so that
    a recording with less audio must be truncated; elsewhere it is ffprobe's estimate.
    """

    format: str
    channels: int
    sample_rate_hz: int
    duration_s: float | None
    duration_is_stated: bool


def probe(path: Path, limits: Audio) -> Probe:
    """Look at a local file.

    Raises:
        RecordingError: empty_file, not_media, no_audio, or decode_limit.
    """
    if path.stat().st_size == 0:
        raise RecordingError(FailureCode.EMPTY_FILE, "the object has no bytes")
    with confined.own_name(path) as name:
        command = [*confined.FFPROBE, "-show_entries", ENTRIES, "-of", "json", name.name]
        with confined.started(command, limits, name.parent) as process:
            try:
                answer, _ = process.communicate(timeout=PROBE_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                reason = f"ffprobe took more than {PROBE_TIMEOUT_S:.0f} s"
                raise RecordingError(FailureCode.DECODE_LIMIT, reason) from error
            if process.returncode != 0:
                if limit := confined.passed_limit("ffprobe", process.returncode, limits, name.parent):
                    raise limit
                reason = confined.last_complaint(name.parent) or "ffprobe does not recognise it"
                raise RecordingError(FailureCode.NOT_MEDIA, reason)
    return told(json.loads(answer), path)


def told(facts: Mapping[str, Any], path: Path) -> Probe:
    """What ffprobe's answer about a file says, as JSON with `format` and `streams`.

    Raises:
        RecordingError: not_media or no_audio.
    """
    stream = next((s for s in facts.get("streams", []) if s.get("codec_type") == "audio"), None)
    if stream is None:
        kinds = ", ".join(sorted({s.get("codec_type", "unknown") for s in facts.get("streams", [])})) or "none"
        raise RecordingError(FailureCode.NO_AUDIO, f"no audio stream (streams: {kinds})")
    names = facts["format"]["format_name"].split(",")
    rate = int(stream.get("sample_rate") or 0)
    if path.suffix.lower() in confined.NAMED and not rate:
        raise RecordingError(FailureCode.NOT_MEDIA, f"nothing in it is {names[0]} but its name")
    duration = stream.get("duration") or timestamps.clock_s(stream.get("tags", {}).get("DURATION"))
    stated = duration is not None and bool(timestamps.STATES_DURATION & set(names))
    duration = duration or facts["format"].get("duration")
    return Probe(
        format=names[0],
        channels=int(stream.get("channels") or 0),
        sample_rate_hz=rate,
        duration_s=_whole_s(path, float(duration), int(stream.get("bit_rate") or 0) / 8) if duration else None,
        duration_is_stated=stated,
    )


def decode(
    path: Path,
    limits: Audio,
    start_s: float = 0.0,
    end_s: float | None = None,
    channel: int | None = None,
    *,
    flags: set[Flag] | None = None,
) -> Iterator[np.ndarray]:
    """Stream a local file's first audio stream as int16 blocks at 16 kHz of at most 2 s.

    `start_s` and `end_s` choose a part of it, `channel` (from 0) one of its channels; without, all are mixed. At most
    `limits.max_duration_s` seconds come out. `flags` receives what is wrong with its timestamps, see
    `timestamps.check`: before the first gap.

    Raises:
        RecordingError: decode_error or decode_limit, after the blocks that could be decoded.
    """
    seconds = limits.max_duration_s if end_s is None else min(end_s - start_s, limits.max_duration_s)
    left = _bytes(seconds)
    pending, failure = bytearray(), None
    with closing(_on_its_clock(path, limits, start_s, channel, set() if flags is None else flags)) as chunks:
        try:
            for chunk in chunks:
                pending += chunk[:left]
                left -= min(left, len(chunk))
                while len(pending) >= BLOCK_BYTES:
                    yield np.frombuffer(bytes(pending[:BLOCK_BYTES]), dtype="<i2")
                    del pending[:BLOCK_BYTES]
                if not left:
                    break
        except RecordingError as error:
            failure = error
    if len(pending) >= 2:
        yield np.frombuffer(bytes(pending[: len(pending) // 2 * 2]), dtype="<i2")
    if failure:
        raise failure


def _on_its_clock(
    path: Path, limits: Audio, start_s: float, channel: int | None, flags: set[Flag]
) -> Generator[bytes, None, None]:
    """All samples from `start_s` on, with silence in the gaps if the timestamps are trusted: checked at the first gap.

    Files without gaps, nearly all, so cost no second process, and nothing has left here yet that depends on the answer.
    """
    gaps: list[tuple[float, float]] = []
    at, trusted = 0, None
    with (
        confined.own_name(path) as name,
        closing(_pcm(name, limits, start_s, channel)) as chunks,
        closing(timestamps.gaps(name.parent)) as reported,
    ):
        for samples in chunks:
            rest = samples
            if trusted is not False:  # what is reported of a frame is in the log before its samples are in the pipe
                gaps += next(reported)
            while gaps and _bytes(gaps[0][0]) < at + len(rest) - _bytes(EDGE_S):
                begin_s, length_s = gaps.pop(0)
                if trusted is None and (begin_s > 0 or length_s > LATE_S):
                    flag = timestamps.check(path, limits, start_s + begin_s + length_s)
                    flags |= {flag} if flag else set()
                    trusted = flag is not Flag.TIMESTAMPS_CORRECTED
                    if not trusted and start_s:  # ffmpeg has looked for it by timestamps
                        yield from _from_sample(name, limits, _bytes(start_s) + at, channel)
                        return
                if trusted is False:
                    gaps.clear()
                elif length_s > 0:
                    cut = max(0, _bytes(begin_s) - at)
                    yield rest[:cut]
                    yield from _silence(length_s)
                    at += cut + _bytes(length_s)
                    rest = rest[cut:]
            yield rest
            at += len(rest)


def _from_sample(name: Path, limits: Audio, skip: int, channel: int | None) -> Generator[bytes, None, None]:
    with closing(_pcm(name, limits, 0.0, channel)) as chunks:
        for chunk in chunks:
            yield chunk[skip:]
            skip -= min(skip, len(chunk))


def _pcm(name: Path, limits: Audio, start_s: float, channel: int | None) -> Generator[bytes, None, None]:
    options = {**confined.INPUT_OPTIONS, "itsoffset": f"{OFFSET_S:f}", **({"ss": f"{start_s:.6f}"} if start_s else {})}
    sink = ffmpeg.input(name.name, **options)["a:0"].output(
        "pipe:",
        format="s16le",
        acodec="pcm_s16le",
        ac=1,
        ar=SAMPLE_RATE_HZ,
        threads=1,
        flush_packets=0,  # else each packet, of 20 ms in Opus, is a write of its own, and a read here
        af=timestamps.FILTER if channel is None else f"pan=mono|c0=c{channel},{timestamps.FILTER}",
        **{"bsf:a": "setts=ts=N"},  # else the muxer would complain of every packet behind a step back
    )
    arguments = ("-nostdin", "-hide_banner", "-v", "error", "-dts_delta_threshold", str(JUMP_S))
    yield from confined.output(sink.global_args(*arguments).compile(), limits, name.parent)


def _bytes(seconds: float) -> int:
    return 2 * round(seconds * SAMPLE_RATE_HZ)


def _silence(seconds: float) -> Iterator[bytes]:
    left = _bytes(seconds)
    while left:
        yield bytes(min(left, confined.CHUNK_BYTES))
        left -= min(left, confined.CHUNK_BYTES)


def _whole_s(path: Path, duration_s: float, bytes_per_s: float) -> float:
    """The duration with the bytes that a RIFF (wav) header states and the file lacks.

    Without a fact chunk ffprobe estimates a wav's duration from the file's size, which hides that it was truncated.
    Sizes of 0 and from about 2**31 on are what programs write that do not know the size yet.
    """
    with path.open("rb") as file:
        head = file.read(8)
    stated, size = int.from_bytes(head[4:], "little") + 8, path.stat().st_size
    is_estimate = duration_s * bytes_per_s <= 1.001 * size  # as printed, it is rounded
    if head[:4] != b"RIFF" or not size < stated < 0x7FFFF000 or not is_estimate:
        return duration_s
    return duration_s * stated / size
