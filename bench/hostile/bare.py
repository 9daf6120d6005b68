"""What bare ffmpeg makes of the same file, and how ours differs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench.hostile.promises import SETTINGS, Carried
from pipeline.audio import confined

TIMEOUT_S = 300
FRAME_S = 0.1  # a frame or two of a codec, or what a resampler holds back
BYTES_PER_S = 2 * 16_000
CHUNK_BYTES = 1 << 20


def difference(path: Path, ours: Carried) -> str:
    """In which way our audio differs from what ffmpeg makes of the file by itself, or that it does not."""
    seconds = decoded_s(path)
    why = ", ".join([*ours.codes, *ours.flags]) or "without a remark"
    if not seconds and not ours.duration_s:
        return f"no audio, either way: {why}"
    if seconds and ours.duration_s and abs(ours.duration_s - seconds) <= FRAME_S:
        return "as much audio"
    if not ours.duration_s:
        foreign = [name for name in _formats(path) if name not in confined.FORMATS]
        return f"ffmpeg alone has audio: {why}" + (f" ({foreign[0]} is not among the formats)" if foreign else "")
    if not seconds:
        return f"we alone have audio: {why}"
    return f"{'more' if ours.duration_s > seconds else 'less'} audio: {why}"


def decoded_s(path: Path) -> float:
    """Seconds of audio from ffmpeg left to itself, but that it may not run for ever."""
    limit_s = SETTINGS.audio.max_duration_s
    command = f"timeout {TIMEOUT_S} ffmpeg -nostdin -v quiet -i".split()
    options = f"-map 0:a:0 -ac 1 -ar 16000 -t {limit_s} -f s16le -".split()
    size = 0
    with subprocess.Popen([*command, str(path.absolute()), *options], stdout=subprocess.PIPE) as process:
        assert process.stdout
        while chunk := process.stdout.read(CHUNK_BYTES):
            size += len(chunk)
    return size / BYTES_PER_S


def _formats(path: Path) -> list[str]:
    command = ["ffprobe", "-v", "quiet", "-show_entries", "format=format_name", "-of", "json", str(path.absolute())]
    answer = json.loads(subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S).stdout or "{}")
    return answer.get("format", {}).get("format_name", "").split(",")
